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

/// The parts that the handlers ask. A handler takes the one or two that it uses.
#[derive(Clone, FromRef)]
pub struct Parts {
    /// The server's signing keys.
    pub own_keys: OwnKeys,
}

/// All endpoints.
pub fn router(parts: Parts) -> Router {
    Router::new()
        .route("/_matrix/key/v2/server", get(own_keys))
        .route("/_matrix/federation/v1/version", get(version))
        .with_state(parts)
}

/// GET /_matrix/key/v2/server
async fn own_keys(State(keys): State<OwnKeys>) -> RawJson {
    RawJson(Bytes::from(keys.document()))
}

/// GET /_matrix/federation/v1/version
async fn version() -> Json<Value> {
    Json(json!({ "server": { "name": "Hearth", "version": env!("CARGO_PKG_VERSION") } }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use hearth_event::canonical::{Strictness, parse_object};
    use hearth_event::{SigningKey, verify_json};
    use hearth_types::{ManualClock, UnixMs};
    use http::{Request, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate([7; 32], "one").unwrap()
    }

    async fn ask(path: &str) -> (StatusCode, Bytes) {
        let clock = Arc::new(ManualClock::at(UnixMs(1_000)));
        let keys = OwnKeys::new("hearth.example".try_into().unwrap(), key(), clock);
        let request = Request::get(path).body(Body::empty()).unwrap();
        let parts = Parts { own_keys: keys };
        let answer = router(parts).oneshot(request).await.unwrap();
        let status = answer.status();
        (
            status,
            answer.into_body().collect().await.unwrap().to_bytes(),
        )
    }

    #[tokio::test]
    async fn other_servers_get_the_signed_key() {
        let (status, body) = ask("/_matrix/key/v2/server").await;
        assert_eq!(status, StatusCode::OK);
        let document = parse_object(&body, Strictness::Strict).unwrap();
        let public = key().public_key_bytes();
        verify_json(&document, "hearth.example", "ed25519:one", &public).unwrap();
    }

    #[tokio::test]
    async fn other_servers_get_name_and_version() {
        let (status, body) = ask("/_matrix/federation/v1/version").await;
        assert_eq!(status, StatusCode::OK);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["server"]["name"], "Hearth");
        assert!(answer["server"]["version"].is_string());
    }
}
