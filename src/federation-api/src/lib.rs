//! The server-server API: handlers. So far what every server may ask of every other: its keys and its version.
//!
//! Knows no store and no data; asks [`hearth_federation`].

use axum::extract::{FromRef, State};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use hearth_federation::OwnKeys;
use hearth_http::RawJson;
use serde_json::{Value, json};

/// All endpoints. `S` is the caller's state, of which each handler takes what it needs.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    OwnKeys: FromRef<S>,
{
    Router::new()
        .route("/_matrix/key/v2/server", get(own_keys))
        .route("/_matrix/federation/v1/version", get(version))
}

/// GET /_matrix/key/v2/server
async fn own_keys(State(keys): State<OwnKeys>) -> RawJson {
    RawJson(Bytes::from(keys.document()))
}

/// GET /_matrix/federation/v1/version
async fn version() -> Json<Value> {
    Json(json!({ "server": { "name": "Hearth", "version": env!("CARGO_PKG_VERSION") } }))
}
