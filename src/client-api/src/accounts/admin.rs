//! Locking and suspending accounts, and who is behind one.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::{Accounts, Flag, User};
use hearth_http::{ApiError, Gate, RawJson, Ruma, RumaResponse, route};
use hearth_types::Caller;
use ruma::UserId;
use ruma::api::client::admin::{
    get_user_info, is_user_locked, is_user_suspended, lock_user, suspend_user,
};
use serde_json::{Map, Value, json};

use super::answer;
use super::error::accounts_error;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<get_user_info::v3::Request, _, _, _>(router, whois);
    let router = route::<is_user_locked::v1::Request, _, _, _>(router, locked);
    let router = route::<lock_user::v1::Request, _, _, _>(router, set_locked);
    let router = route::<is_user_suspended::v1::Request, _, _, _>(router, suspended);
    route::<suspend_user::v1::Request, _, _, _>(router, set_suspended)
}

/// A user on whom an administrator may look.
async fn subject(accounts: &Accounts, caller: &Caller, user: &UserId) -> Result<User, ApiError> {
    if !caller.is_admin {
        return Err(ApiError::forbidden("You are not a server administrator"));
    }
    if !accounts.is_local(user) {
        return Err(ApiError::invalid_param("This is another server's user"));
    }
    let found = accounts.user(user).await.map_err(accounts_error)?;
    let found = found.filter(|user| !user.is_deactivated);
    found.ok_or_else(|| ApiError::not_found("Unknown user"))
}

/// Sets or clears a flag of somebody who is neither the caller nor another administrator.
async fn set_flag(
    accounts: &Accounts,
    caller: &Caller,
    user: &UserId,
    (flag, on): (Flag, bool),
) -> Result<(), ApiError> {
    if subject(accounts, caller, user).await?.is_admin {
        return Err(ApiError::forbidden("This user is an administrator"));
    }
    let changed = match on {
        true => accounts.flag_set(user, flag).await,
        false => accounts.flag_clear(user, flag).await,
    };
    changed.map_err(accounts_error)
}

/// GET /_matrix/client/v1/admin/lock/{userId}
async fn locked(
    State(accounts): State<Accounts>,
    request: Ruma<is_user_locked::v1::Request>,
) -> Result<RumaResponse<is_user_locked::v1::Response>, ApiError> {
    let user = subject(&accounts, request.caller()?, &request.body.user_id).await?;
    let answered = is_user_locked::v1::Response::new(user.is_locked);
    Ok(RumaResponse(answered))
}

/// PUT /_matrix/client/v1/admin/lock/{userId}
async fn set_locked(
    State(accounts): State<Accounts>,
    request: Ruma<lock_user::v1::Request>,
) -> Result<RumaResponse<lock_user::v1::Response>, ApiError> {
    let locked = request.body.locked;
    let flag = (Flag::Locked, locked);
    set_flag(&accounts, request.caller()?, &request.body.user_id, flag).await?;
    Ok(RumaResponse(lock_user::v1::Response::new(locked)))
}

/// GET /_matrix/client/v1/admin/suspend/{userId}
async fn suspended(
    State(accounts): State<Accounts>,
    request: Ruma<is_user_suspended::v1::Request>,
) -> Result<RumaResponse<is_user_suspended::v1::Response>, ApiError> {
    let user = subject(&accounts, request.caller()?, &request.body.user_id).await?;
    let answered = is_user_suspended::v1::Response::new(user.is_suspended);
    Ok(RumaResponse(answered))
}

/// PUT /_matrix/client/v1/admin/suspend/{userId}
async fn set_suspended(
    State(accounts): State<Accounts>,
    request: Ruma<suspend_user::v1::Request>,
) -> Result<RumaResponse<suspend_user::v1::Response>, ApiError> {
    let suspended = request.body.suspended;
    let flag = (Flag::Suspended, suspended);
    set_flag(&accounts, request.caller()?, &request.body.user_id, flag).await?;
    Ok(RumaResponse(suspend_user::v1::Response::new(suspended)))
}

/// GET /_matrix/client/v3/admin/whois/{userId}
///
/// Users may ask for themselves. Addresses are not kept, so a connection says only when it was.
async fn whois(
    State(accounts): State<Accounts>,
    request: Ruma<get_user_info::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let user = &request.body.user_id;
    if caller.user != *user {
        subject(&accounts, caller, user).await?;
    }
    let devices = accounts.device_list(user).await.map_err(accounts_error)?;
    let devices: Map<String, Value> = devices
        .iter()
        .map(|device| {
            let seen = device.last_seen.map(|at| json!({ "last_seen": at.0 }));
            let connections: Vec<Value> = seen.into_iter().collect();
            let sessions = json!({ "sessions": [{ "connections": connections }] });
            (device.device_id.to_string(), sessions)
        })
        .collect();
    answer(&json!({ "user_id": user, "devices": devices }))
}
