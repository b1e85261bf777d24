//! Device keys, one-time keys, changed device lists.

use std::time::Duration;

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_e2ee::{Claims, E2ee};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use ruma::api::client::keys::{claim_keys, get_key_changes, get_keys, upload_keys};
use serde_json::json;

use super::{answer, api_error};
use crate::sync::{reader, token};

/// How long other servers may take where the client says nothing.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    E2ee: FromRef<S>,
    hearth_sync::Sync: FromRef<S>,
{
    let router = route::<upload_keys::v3::Request, _, _, _>(Router::new(), upload);
    let router = route::<get_keys::v3::Request, _, _, _>(router, query);
    let router = route::<claim_keys::v3::Request, _, _, _>(router, claim);
    route::<get_key_changes::v3::Request, _, _, _>(router, changes)
}

/// POST /_matrix/client/v3/keys/upload
async fn upload(
    State(e2ee): State<E2ee>,
    request: Ruma<upload_keys::v3::Request>,
) -> Result<RawJson, ApiError> {
    let counts = e2ee.keys_upload(request.caller()?, &request.json).await;
    let counts = counts.map_err(api_error)?;
    Ok(answer(json!({ "one_time_key_counts": counts }).to_string()))
}

/// POST /_matrix/client/v3/keys/query
async fn query(
    State(e2ee): State<E2ee>,
    request: Ruma<get_keys::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asker = request.caller()?.user.clone();
    let timeout = request.body.timeout.unwrap_or(TIMEOUT_DEFAULT);
    let found = e2ee.keys_query(&asker, request.body.device_keys, timeout);
    found.await.map(answer).map_err(api_error)
}

/// POST /_matrix/client/v3/keys/claim
async fn claim(
    State(e2ee): State<E2ee>,
    request: Ruma<claim_keys::v3::Request>,
) -> Result<RawJson, ApiError> {
    request.caller()?;
    let timeout = request.body.timeout.unwrap_or(TIMEOUT_DEFAULT);
    let wanted = request.body.one_time_keys.into_iter();
    let claims: Claims = wanted
        .map(|(user, devices)| {
            let devices = devices.into_iter();
            let devices = devices.map(|(device, algorithm)| (device, algorithm.to_string()));
            (user, devices.collect())
        })
        .collect();
    let claimed = e2ee.keys_claim(claims, timeout).await.map_err(api_error)?;
    Ok(answer(claimed.to_json()))
}

/// GET /_matrix/client/v3/keys/changes
async fn changes(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<get_key_changes::v3::Request>,
) -> Result<RawJson, ApiError> {
    let ask = hearth_sync::ask::KeyChangesAsk {
        reader: reader(request.caller()?),
        from: token(Some(&request.body.from))?,
        to: token(Some(&request.body.to))?,
    };
    let found = sync.key_changes(ask).await;
    found.map(RawJson).map_err(crate::sync::api_error)
}
