//! Login, logout and refresh.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::{Accounts, Flows, Identifier, Login, NewDevice, RefreshTokens};
use hearth_http::{ApiError, Gate, RawJson, Ruma, RumaEvenLocked, RumaResponse, route};
use ruma::api::client::session::{
    get_login_token, get_login_types, login, logout, logout_all, refresh_token,
};
use serde::Deserialize;
use serde_json::json;

use super::error::accounts_error;
use super::uia::authenticated;
use super::{answer, done, object};
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<get_login_types::v3::Request, _, _, _>(router, login_types);
    let router = route::<login::v3::Request, _, _, _>(router, login);
    let router = route::<get_login_token::v1::Request, _, _, _>(router, login_token);
    let router = route::<logout::v3::Request, _, _, _>(router, logout);
    let router = route::<logout_all::v3::Request, _, _, _>(router, logout_all);
    route::<refresh_token::v3::Request, _, _, _>(router, refresh)
}

/// GET /_matrix/client/v3/login
async fn login_types(_: Ruma<get_login_types::v3::Request>) -> Result<RawJson, ApiError> {
    answer(&json!({
        "flows": [
            { "type": "m.login.password" },
            { "type": "m.login.token", "get_login_token": true },
            { "type": "m.login.application_service" },
        ],
    }))
}

#[derive(Deserialize)]
struct LoginBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    password: Option<String>,
    token: Option<String>,
    device_id: Option<String>,
    initial_device_display_name: Option<String>,
    refresh_token: Option<bool>,
}

/// POST /_matrix/client/v3/login
async fn login(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<login::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let object = object(&request.json)?;
    let body: LoginBody = serde_json::from_value(object.clone().into())
        .map_err(|error| ApiError::bad_json(error.to_string()))?;
    let kind = body
        .kind
        .ok_or_else(|| ApiError::missing_param("Missing type"))?;
    let login = match kind.as_str() {
        "m.login.password" => Login::Password {
            identifier: Identifier::from_json(&object).map_err(accounts_error)?,
            password: body
                .password
                .ok_or_else(|| ApiError::missing_param("Missing password"))?,
        },
        "m.login.token" => Login::Token(
            body.token
                .ok_or_else(|| ApiError::missing_param("Missing token"))?,
        ),
        "m.login.application_service" => {
            let caller = request.caller.as_ref();
            let service = caller.and_then(|caller| caller.service.clone());
            Login::Service {
                service: service.ok_or_else(ApiError::unknown_token)?,
                identifier: Identifier::from_json(&object).map_err(accounts_error)?,
            }
        }
        _ => return Err(ApiError::bad_request("Unknown login type")),
    };
    if let Login::Password { identifier, .. } = &login
        && let Some(user) = accounts
            .identify(identifier)
            .await
            .map_err(accounts_error)?
    {
        gate.count_login(&user)?;
    }
    let device = NewDevice {
        device_id: body.device_id.map(Into::into),
        display_name: body.initial_device_display_name,
        refresh: match body.refresh_token {
            Some(true) => RefreshTokens::Supported,
            Some(false) | None => RefreshTokens::Unsupported,
        },
    };
    let session = accounts.login(login, &device).await.map_err(login_error)?;
    let mut answered =
        login::v3::Response::new(session.user_id, session.access_token, session.device_id);
    answered.refresh_token = session.refresh_token;
    answered.expires_in = session.expires_in;
    answer_login(answered)
}

/// A bad login token is a failed login, not a bad access token.
fn login_error(error: hearth_accounts::Error) -> ApiError {
    match error {
        hearth_accounts::Error::UnknownToken => ApiError::forbidden("Unknown or expired token"),
        error => accounts_error(error),
    }
}

fn answer_login(response: login::v3::Response) -> Result<RawJson, ApiError> {
    use ruma::api::OutgoingResponseExt;
    let response = response.try_into_http_response::<bytes::BytesMut>();
    let response = response.map_err(|error| ApiError::internal(&error))?;
    Ok(RawJson(response.into_body().freeze()))
}

/// POST /_matrix/client/v1/login/get_token
async fn login_token(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<get_login_token::v1::Request>>,
) -> Result<RumaResponse<get_login_token::v1::Response>, ApiError> {
    let caller = request.caller()?;
    authenticated((&gate, &accounts), &request, Flows::PASSWORD).await?;
    let (token, expires_in) = accounts.login_token(caller).await.map_err(accounts_error)?;
    Ok(RumaResponse(get_login_token::v1::Response::new(
        expires_in, token,
    )))
}

/// POST /_matrix/client/v3/logout
async fn logout(
    State(accounts): State<Accounts>,
    request: RumaEvenLocked<logout::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    accounts.logout(caller).await.map_err(accounts_error)?;
    Ok(done())
}

/// POST /_matrix/client/v3/logout/all
async fn logout_all(
    State(accounts): State<Accounts>,
    request: RumaEvenLocked<logout_all::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    accounts
        .logout_all(&caller.user)
        .await
        .map_err(accounts_error)?;
    Ok(done())
}

/// POST /_matrix/client/v3/refresh
async fn refresh(
    State(accounts): State<Accounts>,
    request: Ruma<refresh_token::v3::Request>,
) -> Result<RumaResponse<refresh_token::v3::Response>, ApiError> {
    let refreshed = accounts.refresh(&request.body.refresh_token).await;
    let refreshed = refreshed.map_err(accounts_error)?;
    let mut answered = refresh_token::v3::Response::new(refreshed.access_token);
    answered.refresh_token = Some(refreshed.refresh_token);
    answered.expires_in_ms = refreshed.expires_in;
    Ok(RumaResponse(answered))
}
