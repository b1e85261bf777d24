//! Profiles.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::Accounts;
use hearth_federation::Client;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use ruma::api::client::profile::{
    delete_profile_field, get_profile, get_profile_field, set_profile_field,
};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value};

use super::error::accounts_error;
use super::{answer, done, must_be, object};
use crate::remote_error;
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    Client: FromRef<S>,
{
    let router = Router::new();
    let router = route::<get_profile::v3::Request, _, _, _>(router, profile);
    let router = route::<get_profile_field::v3::Request, _, _, _>(router, profile_field);
    let router = route::<set_profile_field::v3::Request, _, _, _>(router, set);
    route::<delete_profile_field::v3::Request, _, _, _>(router, delete)
}

/// GET /_matrix/client/v3/profile/{userId}
async fn profile(
    State(accounts): State<Accounts>,
    State(federation): State<Client>,
    request: Ruma<get_profile::v3::Request>,
) -> Result<RawJson, ApiError> {
    answer(&load(&accounts, &federation, &request.body.user_id).await?)
}

/// GET /_matrix/client/v3/profile/{userId}/{keyName}
async fn profile_field(
    State(accounts): State<Accounts>,
    State(federation): State<Client>,
    request: Ruma<get_profile_field::v3::Request>,
) -> Result<RawJson, ApiError> {
    let mut profile = load(&accounts, &federation, &request.body.user_id).await?;
    let field = request.body.field.as_str();
    let value = profile.remove_entry(field);
    let value = value.ok_or_else(|| ApiError::not_found("This profile field is not set"))?;
    answer(&Map::from_iter([value]))
}

async fn load(
    accounts: &Accounts,
    federation: &Client,
    user: &UserId,
) -> Result<Map<String, Value>, ApiError> {
    let profile = if user.server_name() == federation.server_name() {
        accounts.profile(user).await.map_err(accounts_error)?
    } else {
        match federation.profile(user).await {
            // Whom this server does not talk to, it knows nothing about.
            Err(hearth_federation::Error::NotAllowed(_)) => None,
            asked => asked.map_err(|error| remote_error(&error))?,
        }
    };
    profile.ok_or_else(|| ApiError::not_found("Unknown user"))
}

/// PUT /_matrix/client/v3/profile/{userId}/{keyName}
async fn set(
    State(accounts): State<Accounts>,
    request: Ruma<Unparsed<set_profile_field::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let user: OwnedUserId = request.body.path(0)?;
    let field: String = request.body.path(1)?;
    must_be(caller, &user)?;
    let body = object(&request.json)?;
    let value = body.get(&field);
    let value = value.ok_or_else(|| ApiError::missing_param(format!("Missing {field}")))?;
    accounts
        .profile_set(&user, &field, Some(value))
        .await
        .map_err(accounts_error)?;
    Ok(done())
}

/// DELETE /_matrix/client/v3/profile/{userId}/{keyName}
async fn delete(
    State(accounts): State<Accounts>,
    request: Ruma<delete_profile_field::v3::Request>,
) -> Result<RawJson, ApiError> {
    must_be(request.caller()?, &request.body.user_id)?;
    accounts
        .profile_set(&request.body.user_id, request.body.field.as_str(), None)
        .await
        .map_err(accounts_error)?;
    Ok(done())
}
