//! Account data and tags.

use axum::Router;
use axum::extract::{FromRef, State};
use bytes::Bytes;
use hearth_accounts::{Accounts, Json};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use ruma::api::client::config::{
    get_global_account_data, get_room_account_data, set_global_account_data, set_room_account_data,
};
use ruma::api::client::tag::{create_tag, delete_tag, get_tags};
use serde_json::json;

use super::error::accounts_error;
use super::{answer, done, must_be, object};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<get_global_account_data::v3::Request, _, _, _>(router, global);
    let router = route::<set_global_account_data::v3::Request, _, _, _>(router, set_global);
    let router = route::<get_room_account_data::v3::Request, _, _, _>(router, of_room);
    let router = route::<set_room_account_data::v3::Request, _, _, _>(router, set_of_room);
    let router = route::<get_tags::v3::Request, _, _, _>(router, tags);
    let router = route::<create_tag::v3::Request, _, _, _>(router, set_tag);
    route::<delete_tag::v3::Request, _, _, _>(router, delete_tag)
}

fn content(found: Option<Json>) -> Result<RawJson, ApiError> {
    let found = found.ok_or_else(|| ApiError::not_found("No account data of this type"))?;
    Ok(RawJson(found.0))
}

/// The body as it came. It has been checked to be a JSON object or empty, and ruma has refused an empty one.
fn body(json: &Bytes) -> Json {
    Json(json.clone())
}

/// GET /_matrix/client/v3/user/{userId}/account_data/{type}
async fn global(
    State(accounts): State<Accounts>,
    request: Ruma<get_global_account_data::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asked = &request.body;
    must_be(request.caller()?, &asked.user_id)?;
    let kind = asked.event_type.to_string();
    let found = accounts.account_data(&asked.user_id, None, &kind).await;
    content(found.map_err(accounts_error)?)
}

/// PUT /_matrix/client/v3/user/{userId}/account_data/{type}
async fn set_global(
    State(accounts): State<Accounts>,
    request: Ruma<set_global_account_data::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asked = &request.body;
    must_be(request.caller()?, &asked.user_id)?;
    let kind = asked.event_type.to_string();
    accounts
        .account_data_set(&asked.user_id, None, &kind, body(&request.json))
        .await
        .map_err(accounts_error)?;
    Ok(done())
}

/// GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
async fn of_room(
    State(accounts): State<Accounts>,
    request: Ruma<get_room_account_data::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asked = &request.body;
    must_be(request.caller()?, &asked.user_id)?;
    let kind = asked.event_type.to_string();
    let found = accounts
        .account_data(&asked.user_id, Some(&asked.room_id), &kind)
        .await;
    content(found.map_err(accounts_error)?)
}

/// PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}
async fn set_of_room(
    State(accounts): State<Accounts>,
    request: Ruma<set_room_account_data::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asked = &request.body;
    must_be(request.caller()?, &asked.user_id)?;
    let kind = asked.event_type.to_string();
    accounts
        .account_data_set(
            &asked.user_id,
            Some(&asked.room_id),
            &kind,
            body(&request.json),
        )
        .await
        .map_err(accounts_error)?;
    Ok(done())
}

/// GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags
async fn tags(
    State(accounts): State<Accounts>,
    request: Ruma<get_tags::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asked = &request.body;
    must_be(request.caller()?, &asked.user_id)?;
    let tags = accounts.tags(&asked.user_id, &asked.room_id).await;
    answer(&json!({ "tags": tags.map_err(accounts_error)? }))
}

/// PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
async fn set_tag(
    State(accounts): State<Accounts>,
    request: Ruma<create_tag::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asked = &request.body;
    must_be(request.caller()?, &asked.user_id)?;
    accounts
        .tag_set(
            &asked.user_id,
            &asked.room_id,
            &asked.tag,
            &object(&request.json)?,
        )
        .await
        .map_err(accounts_error)?;
    Ok(done())
}

/// DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}
async fn delete_tag(
    State(accounts): State<Accounts>,
    request: Ruma<delete_tag::v3::Request>,
) -> Result<RawJson, ApiError> {
    let asked = &request.body;
    must_be(request.caller()?, &asked.user_id)?;
    accounts
        .tag_delete(&asked.user_id, &asked.room_id, &asked.tag)
        .await
        .map_err(accounts_error)?;
    Ok(done())
}
