//! Application services: whether they can be reached, and the aliases that they hold.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_appservice::{AppServices, PingError};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::Error;
use hearth_types::Caller;
use http::StatusCode;
use ruma::api::client::appservice::request_ping;
use ruma::{RoomAliasId, RoomOrAliasId};
use serde_json::json;

use super::answer;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    AppServices: FromRef<S>,
{
    route::<request_ping::v1::Request, _, _, _>(Router::new(), ping)
}

/// POST /_matrix/client/v1/appservice/{appserviceId}/ping
async fn ping(
    State(services): State<AppServices>,
    request: Ruma<request_ping::v1::Request>,
) -> Result<RawJson, ApiError> {
    let service = request.caller()?.service.as_ref();
    let service = service.ok_or_else(|| ApiError::forbidden("This is for application services"))?;
    let transaction_id = request.body.transaction_id.as_ref().map(|id| id.as_str());
    let pinged = services
        .ping(service, &request.body.appservice_id, transaction_id)
        .await;
    let took = pinged.map_err(ping_error)?;
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Ok(answer(&json!({ "duration_ms": millis })))
}

fn ping_error(error: PingError) -> ApiError {
    let message = error.to_string();
    let gateway = |errcode| ApiError::new(StatusCode::BAD_GATEWAY, errcode, message.clone());
    match error {
        PingError::Foreign => ApiError::forbidden(message),
        PingError::NoUrl => ApiError::new(StatusCode::BAD_REQUEST, "M_URL_NOT_SET", message),
        PingError::Status { status, body } => gateway("M_BAD_STATUS")
            .with("status", status)
            .with("body", body),
        PingError::TimedOut => {
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, "M_CONNECTION_TIMEOUT", message)
        }
        PingError::Unreachable(_) => gateway("M_CONNECTION_FAILED"),
    }
}

/// Refuses an alias that belongs to an application service, or is outside of what the one that asks may have.
pub(super) fn check_alias(
    services: &AppServices,
    alias: &RoomAliasId,
    caller: &Caller,
) -> Result<(), ApiError> {
    let checked = services
        .registrations()
        .check_alias(alias, caller.service.as_ref());
    checked.map_err(|reserved| {
        ApiError::new(StatusCode::BAD_REQUEST, "M_EXCLUSIVE", reserved.to_string())
    })
}

/// Whether an application service has made a room for an alias that nobody had found (application service API,
/// "Querying"): then what failed is worth doing again.
pub(super) async fn is_made<T: Sync>(
    services: &AppServices,
    room: &RoomOrAliasId,
    done: &Result<T, Error>,
) -> bool {
    match (done, <&RoomAliasId>::try_from(room)) {
        (Err(Error::NoSuchAlias), Ok(alias)) => services.query_alias(alias).await,
        _ => false,
    }
}
