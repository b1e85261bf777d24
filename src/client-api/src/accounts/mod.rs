//! The endpoints of `accounts`: users, sessions, devices, profiles, account data, push rules, filters.

mod account;
mod admin;
mod data;
mod devices;
mod error;
mod filters;
mod login;
mod pages;
mod profile;
mod push_rules;
mod register;
mod threepids;
pub(crate) mod uia;
mod voip;

use axum::Router;
use axum::extract::FromRef;
use bytes::Bytes;
use hearth_accounts::Accounts;
use hearth_http::{ApiError, Gate, RawJson};
use hearth_types::Caller;
use ruma::UserId;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// All endpoints of this module.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    hearth_federation::Client: FromRef<S>,
{
    Router::new()
        .merge(account::router())
        .merge(admin::router())
        .merge(data::router())
        .merge(devices::router())
        .merge(filters::router())
        .merge(login::router())
        .merge(profile::router())
        .merge(push_rules::router())
        .merge(pages::router())
        .merge(register::router())
        .merge(threepids::router())
        .merge(voip::router())
}

/// What `GET /capabilities` says of accounts, by the names of the capabilities.
pub fn capabilities() -> Map<String, Value> {
    let on = json!({ "enabled": true });
    [
        ("m.change_password", on.clone()),
        ("m.set_displayname", on.clone()),
        ("m.set_avatar_url", on.clone()),
        ("m.profile_fields", on.clone()),
        ("m.get_login_token", on),
        ("m.3pid_changes", json!({ "enabled": false })),
    ]
    .into_iter()
    .map(|(name, capability)| (name.to_owned(), capability))
    .collect()
}

/// A JSON answer of a type that ruma does not have.
fn answer(body: &impl Serialize) -> Result<RawJson, ApiError> {
    let text = serde_json::to_vec(body).map_err(|error| ApiError::internal(&error))?;
    Ok(RawJson(Bytes::from(text)))
}

/// `{}`
fn done() -> RawJson {
    RawJson(Bytes::from_static(b"{}"))
}

/// Refuses what only the user herself may do.
fn must_be(caller: &Caller, user: &UserId) -> Result<(), ApiError> {
    match caller.user == user {
        true => Ok(()),
        false => Err(ApiError::forbidden("This is another user's")),
    }
}

/// The JSON object that the body is; an empty body stands for an empty one.
pub(crate) fn object(json: &[u8]) -> Result<Map<String, Value>, ApiError> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    serde_json::from_slice(json).map_err(|error| ApiError::bad_json(error.to_string()))
}

#[cfg(test)]
mod tests;
