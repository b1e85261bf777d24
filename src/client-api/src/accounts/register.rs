//! Registration.

use axum::Router;
use axum::extract::{FromRef, State};
use axum::routing::get;
use bytes::Bytes;
use hearth_accounts::{
    Accounts, NewDevice, NewUser, RefreshTokens, Registered, RegistrationKind, SharedSecretRequest,
};
use hearth_http::{ApiError, Gate, RawJson, Ruma, RumaResponse, route};
use ruma::api::client::account::register::{self, LoginType};
use ruma::api::client::account::{check_registration_token_validity, get_username_availability};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::accounts_error;
use super::uia::authenticated;
use super::{answer, object};
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<register::v3::Request, _, _, _>(router, register);
    let router = route::<get_username_availability::v3::Request, _, _, _>(router, available);
    let router = route::<check_registration_token_validity::v1::Request, _, _, _>(router, validity);
    router.route(
        "/_synapse/admin/v1/register",
        get(shared_secret_nonce).post(register_by_shared_secret),
    )
}

/// POST /_matrix/client/v3/register
async fn register(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<register::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let mut body = object(&request.json)?;
    body.remove("auth");
    let first = request
        .body
        .parse(Value::Object(body).to_string().as_bytes())?;
    if first.login_type == Some(LoginType::ApplicationService) {
        let caller = request.caller.as_ref();
        let service = caller.and_then(|caller| caller.service.as_ref());
        let service = service.ok_or_else(ApiError::unknown_token)?;
        let device = device(&first, RegistrationKind::ByService);
        let registered = accounts
            .register_by_service(service, first.username, device.as_ref())
            .await;
        return answer(&registration(registered.map_err(accounts_error)?));
    }
    if first.kind == register::RegistrationKind::Guest {
        let new = NewUser {
            kind: RegistrationKind::Guest,
            ..NewUser::default()
        };
        return registered(&accounts, new, &first).await;
    }
    if first.kind != register::RegistrationKind::User {
        return Err(ApiError::invalid_param("Unknown kind of registration"));
    }
    let flows = accounts.registration_flows().map_err(accounts_error)?;
    // Before the user goes through the flow for nothing.
    let guest = match (&first.guest_access_token, &first.username) {
        (Some(token), username) => {
            let guest = accounts.guest_of_token(token, username.as_deref()).await;
            Some(guest.map_err(accounts_error)?)
        }
        (None, Some(username)) => {
            let available = accounts.username_available(username).await;
            available.map_err(accounts_error)?;
            None
        }
        (None, None) => None,
    };
    let passed = authenticated((&gate, &accounts), &request, flows).await?;
    let new = NewUser {
        username: passed.request.username.clone(),
        password: passed.request.password.clone(),
        registration_token: passed.registration_token,
        ..NewUser::default()
    };
    let Some(guest) = guest else {
        return registered(&accounts, new, &passed.request).await;
    };
    let device = device(&passed.request, RegistrationKind::User);
    let upgraded = accounts.guest_upgrade(&guest, &new, device.as_ref()).await;
    answer(&registration(upgraded.map_err(accounts_error)?))
}

async fn registered(
    accounts: &Accounts,
    new: NewUser,
    request: &register::v3::Request,
) -> Result<RawJson, ApiError> {
    let device = device(request, new.kind);
    let registered = accounts.register(new, device.as_ref()).await;
    answer(&registration(registered.map_err(accounts_error)?))
}

/// The device to log in on, if one is wanted.
fn device(request: &register::v3::Request, kind: RegistrationKind) -> Option<NewDevice> {
    let device = NewDevice {
        // Guests have a device of the server's choice.
        device_id: request
            .device_id
            .clone()
            .filter(|_| kind != RegistrationKind::Guest),
        display_name: request.initial_device_display_name.clone(),
        refresh: match request.refresh_token {
            true => RefreshTokens::Supported,
            false => RefreshTokens::Unsupported,
        },
    };
    (!request.inhibit_login).then_some(device)
}

fn registration(registered: Registered) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("user_id".to_owned(), json!(registered.user_id));
    if let Some(session) = registered.session {
        body.insert("device_id".to_owned(), json!(session.device_id));
        body.insert("access_token".to_owned(), json!(session.access_token));
        if let Some(token) = session.refresh_token {
            body.insert("refresh_token".to_owned(), json!(token));
        }
        if let Some(expires_in) = session.expires_in {
            let millis = u64::try_from(expires_in.as_millis()).unwrap_or(u64::MAX);
            body.insert("expires_in_ms".to_owned(), json!(millis));
        }
    }
    body
}

/// GET /_matrix/client/v3/register/available
async fn available(
    State(accounts): State<Accounts>,
    request: Ruma<get_username_availability::v3::Request>,
) -> Result<RumaResponse<get_username_availability::v3::Response>, ApiError> {
    let available = accounts.username_available(&request.body.username).await;
    available.map_err(accounts_error)?;
    Ok(RumaResponse(get_username_availability::v3::Response::new(
        true,
    )))
}

/// GET /_matrix/client/v1/register/m.login.registration_token/validity
async fn validity(
    State(accounts): State<Accounts>,
    request: Ruma<check_registration_token_validity::v1::Request>,
) -> Result<RumaResponse<check_registration_token_validity::v1::Response>, ApiError> {
    let open = accounts.may_register(RegistrationKind::User);
    open.map_err(accounts_error)?;
    let valid = accounts.registration_token_valid(&request.body.token).await;
    let valid = valid.map_err(accounts_error)?;
    Ok(RumaResponse(
        check_registration_token_validity::v1::Response::new(valid),
    ))
}

/// GET /_synapse/admin/v1/register
async fn shared_secret_nonce(State(accounts): State<Accounts>) -> Result<RawJson, ApiError> {
    let nonce = accounts.shared_secret_nonce().map_err(accounts_error)?;
    answer(&json!({ "nonce": nonce }))
}

#[derive(Deserialize)]
struct SharedSecretBody {
    nonce: String,
    username: String,
    password: String,
    displayname: Option<String>,
    admin: Option<bool>,
    user_type: Option<String>,
    mac: String,
}

/// POST /_synapse/admin/v1/register
async fn register_by_shared_secret(
    State(accounts): State<Accounts>,
    json: Bytes,
) -> Result<RawJson, ApiError> {
    let body: SharedSecretBody =
        serde_json::from_slice(&json).map_err(|error| match error.is_data() {
            true => ApiError::bad_json(error.to_string()),
            false => ApiError::not_json(error.to_string()),
        })?;
    let request = SharedSecretRequest {
        nonce: body.nonce,
        username: body.username,
        password: body.password,
        displayname: body.displayname,
        admin: body.admin.unwrap_or_default(),
        user_type: body.user_type,
        mac: body.mac,
    };
    let session = accounts.register_by_shared_secret(request).await;
    let session = session.map_err(accounts_error)?;
    answer(&json!({
        "access_token": session.access_token,
        "user_id": session.user_id,
        "home_server": session.user_id.server_name(),
        "device_id": session.device_id,
    }))
}
