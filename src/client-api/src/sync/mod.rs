//! The endpoints of `sync`.

use axum::Router;

/// All endpoints of this module.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
}
