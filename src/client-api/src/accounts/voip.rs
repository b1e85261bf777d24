//! Credentials for calls.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::Accounts;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use ruma::api::client::voip::get_turn_server_info;
use serde_json::json;

use super::answer;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    route::<get_turn_server_info::v3::Request, _, _, _>(Router::new(), turn_server)
}

/// GET /_matrix/client/v3/voip/turnServer
async fn turn_server(
    State(accounts): State<Accounts>,
    request: Ruma<get_turn_server_info::v3::Request>,
) -> Result<RawJson, ApiError> {
    let credentials = accounts.turn_credentials(&request.caller()?.user);
    let credentials =
        credentials.ok_or_else(|| ApiError::not_found("This server has no TURN server"))?;
    answer(&json!({
        "username": credentials.username,
        "password": credentials.password,
        "uris": credentials.uris,
        "ttl": credentials.lifetime.as_secs(),
    }))
}
