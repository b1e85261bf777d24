//! Devices and keys of this server's users.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bytes::Bytes;
use hearth_e2ee::{Claims, E2ee, KeyQuery};
use hearth_http::{ApiError, RawJson};
use ruma::OwnedUserId;
use serde::Deserialize;

use crate::Parts;
use crate::signed::Bare;

pub(crate) fn router() -> Router<Parts> {
    Router::new()
        .route("/_matrix/federation/v1/user/devices/{userId}", get(devices))
        .route("/_matrix/federation/v1/user/keys/query", post(query))
        .route("/_matrix/federation/v1/user/keys/claim", post(claim))
}

pub(crate) fn e2ee_error(error: hearth_e2ee::Error) -> ApiError {
    use hearth_e2ee::Error;
    match &error {
        Error::Schema(_) | Error::Param(_) => ApiError::bad_json(error.to_string()),
        Error::TooLarge { .. } => ApiError::too_large(error.to_string()),
        Error::NotFound(_) | Error::NoDevice => ApiError::not_found(error.to_string()),
        Error::Contended => ApiError::unavailable(&error),
        _ => ApiError::internal(&error),
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(json).map_err(|error| ApiError::bad_json(error.to_string()))
}

/// GET /_matrix/federation/v1/user/devices/{userId}
async fn devices(State(e2ee): State<E2ee>, request: Bare) -> Result<RawJson, ApiError> {
    let user: OwnedUserId = request.path(0)?;
    let devices = e2ee.devices_for_server(&user).await.map_err(e2ee_error)?;
    let devices = devices.ok_or_else(|| ApiError::not_found("No such user"))?;
    Ok(RawJson(Bytes::from(devices)))
}

#[derive(Deserialize)]
struct Query {
    device_keys: KeyQuery,
}

/// POST /_matrix/federation/v1/user/keys/query
async fn query(State(e2ee): State<E2ee>, request: Bare) -> Result<RawJson, ApiError> {
    let query: Query = read(&request.json)?;
    let answer = e2ee.query_for_server(query.device_keys).await;
    Ok(RawJson(Bytes::from(answer.map_err(e2ee_error)?)))
}

#[derive(Deserialize)]
struct Claim {
    one_time_keys: Claims,
}

/// POST /_matrix/federation/v1/user/keys/claim
async fn claim(State(e2ee): State<E2ee>, request: Bare) -> Result<RawJson, ApiError> {
    let claim: Claim = read(&request.json)?;
    let answer = e2ee.claim_for_server(claim.one_time_keys).await;
    Ok(RawJson(Bytes::from(answer.map_err(e2ee_error)?)))
}
