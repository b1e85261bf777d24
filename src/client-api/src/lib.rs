//! The client-server API: handlers that take a request apart, ask one domain crate and put the answer together.
//!
//! One module for each domain: [`accounts`], [`rooms`], [`sync`]. Knows no store and no data; a handler takes the
//! handle of its domain, never the whole.

use axum::Router;
use axum::extract::FromRef;
use hearth_accounts::Accounts;
use hearth_http::Gate;
use hearth_rooms::Rooms;

pub mod accounts;
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
{
    Router::new()
        .merge(accounts::router())
        .merge(rooms::router())
        .merge(sync::router())
}
