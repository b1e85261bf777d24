//! Filters.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::Accounts;
use hearth_http::{ApiError, Gate, RawJson, Ruma, RumaResponse, route};
use ruma::api::client::filter::{create_filter, get_filter};

use super::error::accounts_error;
use super::{must_be, object};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<create_filter::v3::Request, _, _, _>(router, create);
    route::<get_filter::v3::Request, _, _, _>(router, filter)
}

/// POST /_matrix/client/v3/user/{userId}/filter
async fn create(
    State(accounts): State<Accounts>,
    request: Ruma<create_filter::v3::Request>,
) -> Result<RumaResponse<create_filter::v3::Response>, ApiError> {
    let user = &request.body.user_id;
    must_be(request.caller()?, user)?;
    // ruma has checked its shape; kept is what the client wrote, with fields that ruma does not know.
    let filter = object(&request.json)?;
    let filter_id = accounts
        .filter_put(user, &filter)
        .await
        .map_err(accounts_error)?;
    Ok(RumaResponse(create_filter::v3::Response::new(filter_id)))
}

/// GET /_matrix/client/v3/user/{userId}/filter/{filterId}
async fn filter(
    State(accounts): State<Accounts>,
    request: Ruma<get_filter::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.body.user_id;
    must_be(request.caller()?, user)?;
    let found = accounts.filter(user, &request.body.filter_id).await;
    let found = found.map_err(accounts_error)?;
    Ok(RawJson(
        found
            .ok_or_else(|| ApiError::not_found("Unknown filter"))?
            .0,
    ))
}
