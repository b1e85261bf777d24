//! What every server may ask of every other, unsigned: keys and version.

use std::sync::Arc;

use axum::extract::{Path, Query, Request, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use hearth_federation::{Error, KeyQuery, Notary, OwnKeys};
use hearth_http::{ApiError, RawJson, read_json};
use hearth_types::{Clock, UnixMs};
use ruma::OwnedServerName;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

use crate::Parts;

/// Largest question for keys, in bytes.
const QUERY_BYTES_MAX: usize = 64 << 10;

pub(crate) fn router() -> Router<Parts> {
    Router::new()
        .route("/_matrix/key/v2/server", get(own_keys))
        // An older form, with the id of a key; all keys are told all the same.
        .route("/_matrix/key/v2/server/{keyId}", get(own_keys))
        .route("/_matrix/key/v2/query", post(query_many))
        .route("/_matrix/key/v2/query/{serverName}", get(query_one))
        .route("/_matrix/federation/v1/version", get(version))
}

/// GET /_matrix/key/v2/server
async fn own_keys(State(keys): State<OwnKeys>) -> RawJson {
    RawJson(Bytes::from(keys.document_text()))
}

/// GET /_matrix/federation/v1/version
async fn version() -> Json<Value> {
    Json(json!({ "server": { "name": "Hearth", "version": env!("CARGO_PKG_VERSION") } }))
}

#[derive(Deserialize)]
struct Validity {
    minimum_valid_until_ts: Option<u64>,
}

/// GET /_matrix/key/v2/query/{serverName}
async fn query_one(
    State(notary): State<Notary>,
    State(clock): State<Arc<dyn Clock>>,
    Path(server): Path<String>,
    Query(validity): Query<Validity>,
) -> Result<RawJson, ApiError> {
    let server = OwnedServerName::try_from(server)
        .map_err(|_| ApiError::invalid_param("not a server name"))?;
    let until = validity.minimum_valid_until_ts.map(UnixMs);
    let query = KeyQuery {
        server,
        valid_until: until.unwrap_or_else(|| clock.now()),
    };
    let answer = notary.answer(&[query]).await.map_err(internal)?;
    Ok(RawJson(Bytes::from(answer)))
}

#[derive(Deserialize)]
struct Criteria {
    server_keys: BTreeMap<OwnedServerName, BTreeMap<String, Validity>>,
}

/// POST /_matrix/key/v2/query
async fn query_many(
    State(notary): State<Notary>,
    State(clock): State<Arc<dyn Clock>>,
    request: Request,
) -> Result<RawJson, ApiError> {
    let body = read_json(request.into_body(), QUERY_BYTES_MAX).await?;
    let criteria: Criteria =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_json(error.to_string()))?;
    let queries: Vec<KeyQuery> = criteria
        .server_keys
        .into_iter()
        .map(|(server, keys)| {
            let asked = keys.values().filter_map(|key| key.minimum_valid_until_ts);
            KeyQuery {
                server,
                valid_until: asked.max().map_or_else(|| clock.now(), UnixMs),
            }
        })
        .collect();
    let answer = notary.answer(&queries).await.map_err(internal)?;
    Ok(RawJson(Bytes::from(answer)))
}

fn internal(error: Error) -> ApiError {
    ApiError::internal(&error)
}
