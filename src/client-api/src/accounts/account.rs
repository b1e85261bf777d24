//! The account itself: who am I, password, deactivation, OpenID.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::{Accounts, Erase, Flows, Logout};
use hearth_http::{ApiError, Gate, RawJson, Ruma, RumaResponse, route};
use ruma::api::client::account::{
    ThirdPartyIdRemovalStatus, change_password, deactivate, request_openid_token, whoami,
};
use ruma::authentication::TokenType;

use super::error::accounts_error;
use super::uia::authenticated;
use super::{done, must_be};
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<whoami::v3::Request, _, _, _>(router, whoami);
    let router = route::<change_password::v3::Request, _, _, _>(router, change_password);
    let router = route::<deactivate::v3::Request, _, _, _>(router, deactivate);
    route::<request_openid_token::v3::Request, _, _, _>(router, openid_token)
}

/// GET /_matrix/client/v3/account/whoami
async fn whoami(
    request: Ruma<whoami::v3::Request>,
) -> Result<RumaResponse<whoami::v3::Response>, ApiError> {
    let caller = request.caller()?;
    let mut answered = whoami::v3::Response::new(caller.user.clone(), caller.is_guest);
    answered.device_id = caller.device.clone();
    Ok(RumaResponse(answered))
}

/// POST /_matrix/client/v3/account/password
async fn change_password(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<change_password::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let passed = authenticated((&gate, &accounts), &request, Flows::PASSWORD).await?;
    let logout = match (passed.request.logout_devices, &caller.device) {
        (false, _) => Logout::Nobody,
        (true, Some(device)) => Logout::AllBut(device),
        (true, None) => Logout::All,
    };
    accounts
        .password_set(&caller.user, &passed.request.new_password, logout)
        .await
        .map_err(accounts_error)?;
    Ok(done())
}

/// POST /_matrix/client/v3/account/deactivate
async fn deactivate(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<deactivate::v3::Request>>,
) -> Result<RumaResponse<deactivate::v3::Response>, ApiError> {
    let caller = request.caller()?;
    let passed = authenticated((&gate, &accounts), &request, Flows::PASSWORD).await?;
    let erase = match passed.request.erase {
        true => Erase::Yes,
        false => Erase::No,
    };
    let threepids = accounts
        .threepid_list(&caller.user)
        .await
        .map_err(accounts_error)?;
    accounts
        .deactivate(&caller.user, erase)
        .await
        .map_err(accounts_error)?;
    // Identity servers are not told; without identifiers there is nothing to tell.
    let unbound = match threepids.is_empty() {
        true => ThirdPartyIdRemovalStatus::Success,
        false => ThirdPartyIdRemovalStatus::NoSupport,
    };
    Ok(RumaResponse(deactivate::v3::Response::new(unbound)))
}

/// POST /_matrix/client/v3/user/{userId}/openid/request_token
async fn openid_token(
    State(accounts): State<Accounts>,
    request: Ruma<request_openid_token::v3::Request>,
) -> Result<RumaResponse<request_openid_token::v3::Response>, ApiError> {
    let caller = request.caller()?;
    must_be(caller, &request.body.user_id)?;
    let token = accounts
        .openid_token(&caller.user)
        .await
        .map_err(accounts_error)?;
    Ok(RumaResponse(request_openid_token::v3::Response::new(
        token.token,
        TokenType::Bearer,
        caller.user.server_name().to_owned(),
        token.expires_in,
    )))
}
