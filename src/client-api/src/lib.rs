//! The client-server API: handlers that take a request apart, ask one domain crate and put the answer together.
//!
//! One module for each domain: [`accounts`], [`rooms`], [`sync`]; and [`discovery`], what clients ask first. Knows no store and no data; a handler takes the
//! handle of its domain, never the whole.

use axum::Router;
use axum::extract::FromRef;
use hearth_accounts::Accounts;
use hearth_http::Gate;
use hearth_rooms::Rooms;

pub mod accounts;
pub mod discovery;
pub mod rooms;
pub mod sync;

/// All endpoints. `S` is the caller's state, of which each handler takes what it needs.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Rooms: FromRef<S>,
    hearth_sync::Sync: FromRef<S>,
    discovery::Discovery: FromRef<S>,
{
    Router::new()
        .merge(accounts::router())
        .merge(discovery::router())
        .merge(rooms::router())
        .merge(sync::router())
}
