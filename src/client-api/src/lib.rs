//! The client-server API: handlers that take a request apart, ask one domain crate and put the answer together.
//!
//! One module for each domain: [`accounts`], [`e2ee`], [`rooms`], [`sync`]; and [`discovery`], what clients ask first. Knows no store and no data; a handler takes the
//! handle of its domain, never the whole.

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use hearth_accounts::Accounts;
use hearth_appservice::AppServices;
use hearth_e2ee::E2ee;
use hearth_http::{ApiError, Gate};
use hearth_media::Media;
use hearth_rooms::Rooms;
use http::StatusCode;

pub mod accounts;
pub mod discovery;
pub mod e2ee;
pub mod media;
pub mod rooms;
pub mod social;
pub mod sync;
mod unparsed;

/// The parts that the handlers ask. A handler takes the one or two that it uses.
#[derive(Clone)]
pub struct Parts {
    /// Who asks, and how much.
    pub gate: Gate,
    /// Users, sessions, devices.
    pub accounts: Accounts,
    /// Encrypted chats: keys, messages to devices, backups.
    pub e2ee: E2ee,
    /// The only writer of rooms.
    pub rooms: Rooms,
    /// Friends and groups.
    pub social: hearth_social::Social,
    /// The only reader for clients.
    pub sync: hearth_sync::Sync,
    /// Other servers.
    pub federation: hearth_federation::Client,
    /// Files.
    pub media: Media,
    /// Bridges and bots.
    pub services: AppServices,
    /// Where this server is found.
    pub discovery: discovery::Discovery,
}

/// The parts as the router has them: each layer around a handler copies them for each request.
#[derive(Clone)]
struct Shared(Arc<Parts>);

macro_rules! shared {
    ($($part:ident: $type:ty,)*) => {
        $(impl FromRef<Shared> for $type {
            fn from_ref(shared: &Shared) -> Self {
                shared.0.$part.clone()
            }
        })*
    };
}

shared! {
    gate: Gate,
    accounts: Accounts,
    e2ee: E2ee,
    rooms: Rooms,
    social: hearth_social::Social,
    sync: hearth_sync::Sync,
    federation: hearth_federation::Client,
    media: Media,
    services: AppServices,
    discovery: discovery::Discovery,
}

/// All endpoints. Not generic over the state, so that the handlers are compiled here and not again in the binary.
pub fn router(parts: Parts) -> Router {
    Router::new()
        .merge(accounts::router())
        .merge(discovery::router())
        .merge(e2ee::router())
        .merge(media::router(&parts.media))
        .merge(rooms::router())
        .merge(social::router())
        .merge(sync::router())
        .with_state::<()>(Shared(Arc::new(parts)))
}

/// What goes wrong between servers, as a client sees it.
pub(crate) fn remote_error(error: &hearth_federation::Error) -> ApiError {
    use hearth_federation::Error;
    let bad_gateway = |message: &str| ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message);
    match error {
        Error::NotAllowed(_) => ApiError::forbidden("This server does not talk to that one"),
        Error::Unreachable { .. } => bad_gateway("The other server cannot be reached"),
        Error::Malformed { .. } => bad_gateway("The other server gave a malformed answer"),
        Error::Refused {
            status: 403,
            message,
            ..
        } => ApiError::forbidden(message.clone()),
        Error::Refused {
            status: 404,
            message,
            ..
        } => ApiError::not_found(message.clone()),
        Error::Refused { .. } => bad_gateway("The other server refused"),
        Error::Store(_) => ApiError::internal(error),
    }
}
