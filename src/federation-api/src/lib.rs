//! The server-server API: handlers that take a signed request apart, ask one domain crate and put the answer together.
//!
//! [`Signed`] is the extractor: it knows which server asks. Knows no store and no data.

mod edus;
mod error;
mod keys;
mod media;
mod members;
mod query;
mod reads;
mod send;
mod signed;
mod users;

use std::sync::Arc;

use axum::Router;
use axum::extract::FromRef;
use hearth_accounts::Accounts;
use hearth_e2ee::E2ee;
use hearth_federation::{Notary, OwnKeys};
use hearth_rooms::Rooms;
use hearth_types::Clock;

pub use edus::Edus;
pub use media::media_router;
pub use signed::{Door, Signed};

/// The parts that the handlers ask. A handler takes the one or two that it uses.
#[derive(Clone, FromRef)]
pub struct Parts {
    /// The server's signing keys.
    pub own_keys: OwnKeys,
    /// Tells others' keys.
    pub notary: Notary,
    /// Who may come in.
    pub door: Door,
    /// Rooms.
    pub rooms: Rooms,
    /// Users.
    pub accounts: Accounts,
    /// Devices and their keys.
    pub e2ee: E2ee,
    /// What passes.
    pub edus: Edus,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// All endpoints but those of media. Not generic over the state, so that the handlers are compiled here and not again in the binary.
pub fn router(parts: Parts) -> Router {
    Router::new()
        .merge(keys::router())
        .merge(members::router())
        .merge(query::router())
        .merge(reads::router())
        .merge(send::router())
        .merge(users::router())
        .with_state::<()>(parts)
}
