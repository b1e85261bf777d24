//! Third-party identifiers: e-mail addresses and telephone numbers.
//!
//! This server sends no mail and no messages, and asks no identity server: addresses cannot be proved here, so none is
//! added. What is there can be removed.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_accounts::{Accounts, Flows};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use http::StatusCode;
use ruma::api::client::account::{
    add_3pid, bind_3pid, delete_3pid, get_3pids, request_3pid_management_token_via_email,
    request_3pid_management_token_via_msisdn, request_password_change_token_via_email,
    request_password_change_token_via_msisdn, request_registration_token_via_email,
    request_registration_token_via_msisdn, unbind_3pid,
};
use serde_json::{Map, Value, json};

use super::error::accounts_error;
use super::uia::authenticated;
use super::{answer, object};
use crate::unparsed::Unparsed;

/// The old way of adding, for which ruma has no type.
const ADD_OLD: [&str; 2] = [
    "/_matrix/client/r0/account/3pid",
    "/_matrix/client/v3/account/3pid",
];

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = route::<get_3pids::v3::Request, _, _, _>(Router::new(), list);
    let router = route::<add_3pid::v3::Request, _, _, _>(router, add);
    let router = route::<bind_3pid::v3::Request, _, _, _>(router, bind);
    let router = route::<delete_3pid::v3::Request, _, _, _>(router, delete);
    let router = route::<unbind_3pid::v3::Request, _, _, _>(router, unbind);
    let router = ADD_OLD.into_iter().fold(router, |router, path| {
        hearth_http::route_at::<bind_3pid::v3::Request, _, _, _>(router, path, add_old)
    });
    tokens(router)
}

/// The endpoints that would send something to an address.
fn tokens<S>(router: Router<S>) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    use request_3pid_management_token_via_email as mail;
    use request_3pid_management_token_via_msisdn as phone;
    use request_password_change_token_via_email as password_mail;
    use request_password_change_token_via_msisdn as password_phone;
    use request_registration_token_via_email as registration_mail;
    use request_registration_token_via_msisdn as registration_phone;
    let router = route::<mail::v3::Request, _, _, _>(router, mail_token);
    let router = route::<phone::v3::Request, _, _, _>(router, phone_token);
    let router = route::<password_mail::v3::Request, _, _, _>(router, password_mail_token);
    let router = route::<password_phone::v3::Request, _, _, _>(router, password_phone_token);
    let router = route::<registration_mail::v3::Request, _, _, _>(router, registration_mail_token);
    route::<registration_phone::v3::Request, _, _, _>(router, registration_phone_token)
}

/// GET /_matrix/client/v3/account/3pid
async fn list(
    State(accounts): State<Accounts>,
    request: Ruma<get_3pids::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let threepids = accounts
        .threepid_list(&caller.user)
        .await
        .map_err(accounts_error)?;
    let threepids: Vec<Value> = threepids
        .into_iter()
        .map(|(medium, address, validated_at, added_at)| {
            json!({
                "medium": medium,
                "address": address,
                "validated_at": validated_at.0,
                "added_at": added_at.0,
            })
        })
        .collect();
    answer(&json!({ "threepids": threepids }))
}

/// POST /_matrix/client/v3/account/3pid/add
async fn add(
    State(accounts): State<Accounts>,
    State(gate): State<Gate>,
    request: Ruma<Unparsed<add_3pid::v3::Request>>,
) -> Result<RawJson, ApiError> {
    authenticated((&gate, &accounts), &request, Flows::PASSWORD).await?;
    Err(not_validated())
}

/// POST /_matrix/client/v3/account/3pid
async fn add_old(request: Ruma<Unparsed<bind_3pid::v3::Request>>) -> Result<RawJson, ApiError> {
    let body = object(&request.json)?;
    match body.get("three_pid_creds") {
        Some(Value::Object(credentials)) => {
            required(credentials, &["client_secret", "sid"])?;
            Err(not_validated())
        }
        Some(_) => Err(ApiError::bad_json("three_pid_creds is not an object")),
        None => Err(ApiError::missing_param("Missing three_pid_creds")),
    }
}

/// POST /_matrix/client/v3/account/3pid/bind
async fn bind(request: Ruma<Unparsed<bind_3pid::v3::Request>>) -> Result<RawJson, ApiError> {
    let body = object(&request.json)?;
    required(
        &body,
        &["client_secret", "id_server", "id_access_token", "sid"],
    )?;
    Err(not_validated())
}

/// No session to validate an address has ever been begun here, and identity servers are not asked.
fn not_validated() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "M_THREEPID_AUTH_FAILED",
        "The address could not be verified",
    )
}

/// POST /_matrix/client/v3/account/3pid/delete
async fn delete(
    State(accounts): State<Accounts>,
    request: Ruma<Unparsed<delete_3pid::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let (medium, address) = identifier(&object(&request.json)?)?;
    accounts
        .threepid_delete(user, &medium, &address)
        .await
        .map_err(accounts_error)?;
    not_unbound()
}

/// POST /_matrix/client/v3/account/3pid/unbind
async fn unbind(request: Ruma<Unparsed<unbind_3pid::v3::Request>>) -> Result<RawJson, ApiError> {
    request.caller()?;
    identifier(&object(&request.json)?)?;
    not_unbound()
}

/// Nothing was ever bound through this server, so it knows no identity server to ask.
fn not_unbound() -> Result<RawJson, ApiError> {
    answer(&json!({ "id_server_unbind_result": "no-support" }))
}

fn identifier(body: &Map<String, Value>) -> Result<(String, String), ApiError> {
    required(body, &["medium", "address"])?;
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    match text("medium").as_str() {
        "email" | "msisdn" => Ok((text("medium"), text("address"))),
        _ => Err(ApiError::invalid_param("medium is email or msisdn")),
    }
}

/// POST /_matrix/client/v3/account/3pid/email/requestToken
async fn mail_token(
    request: Ruma<Unparsed<request_3pid_management_token_via_email::v3::Request>>,
) -> Result<RawJson, ApiError> {
    asks_mail(&request.json)?;
    Err(medium_not_supported("e-mail addresses"))
}

/// POST /_matrix/client/v3/account/3pid/msisdn/requestToken
async fn phone_token(
    request: Ruma<Unparsed<request_3pid_management_token_via_msisdn::v3::Request>>,
) -> Result<RawJson, ApiError> {
    asks_phone(&request.json)?;
    Err(medium_not_supported("telephone numbers"))
}

/// POST /_matrix/client/v3/account/password/email/requestToken
async fn password_mail_token(
    request: Ruma<Unparsed<request_password_change_token_via_email::v3::Request>>,
) -> Result<RawJson, ApiError> {
    asks_mail(&request.json)?;
    Err(denied("This server sends no e-mail"))
}

/// POST /_matrix/client/v3/account/password/msisdn/requestToken
async fn password_phone_token(
    request: Ruma<Unparsed<request_password_change_token_via_msisdn::v3::Request>>,
) -> Result<RawJson, ApiError> {
    asks_phone(&request.json)?;
    Err(denied("This server sends no text messages"))
}

/// POST /_matrix/client/v3/register/email/requestToken
async fn registration_mail_token(
    request: Ruma<Unparsed<request_registration_token_via_email::v3::Request>>,
) -> Result<RawJson, ApiError> {
    asks_mail(&request.json)?;
    Err(denied("This server asks for no e-mail address"))
}

/// POST /_matrix/client/v3/register/msisdn/requestToken
async fn registration_phone_token(
    request: Ruma<Unparsed<request_registration_token_via_msisdn::v3::Request>>,
) -> Result<RawJson, ApiError> {
    asks_phone(&request.json)?;
    Err(denied("This server asks for no telephone number"))
}

fn asks_mail(json: &[u8]) -> Result<(), ApiError> {
    let body = object(json)?;
    required(&body, &["client_secret", "email"])?;
    attempt(&body)?;
    let address = body["email"].as_str().unwrap_or_default();
    match address.split_once('@') {
        Some((local, domain)) if !local.is_empty() && !domain.is_empty() => Ok(()),
        _ => Err(ApiError::invalid_param("This is not an e-mail address")),
    }
}

fn asks_phone(json: &[u8]) -> Result<(), ApiError> {
    let body = object(json)?;
    required(&body, &["client_secret", "country", "phone_number"])?;
    attempt(&body)
}

fn attempt(body: &Map<String, Value>) -> Result<(), ApiError> {
    match body.get("send_attempt") {
        Some(attempt) if attempt.is_u64() => Ok(()),
        Some(_) => Err(ApiError::bad_json("send_attempt is not a number")),
        None => Err(ApiError::missing_param("Missing send_attempt")),
    }
}

/// Refuses a body without one of these texts.
fn required(body: &Map<String, Value>, fields: &[&str]) -> Result<(), ApiError> {
    for field in fields {
        match body.get(*field) {
            Some(Value::String(_)) => {}
            Some(_) => return Err(ApiError::bad_json(format!("{field} is not a string"))),
            None => return Err(ApiError::missing_param(format!("Missing {field}"))),
        }
    }
    Ok(())
}

fn medium_not_supported(what: &str) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "M_THREEPID_MEDIUM_NOT_SUPPORTED",
        format!("This server does not take {what}"),
    )
}

fn denied(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "M_THREEPID_DENIED", message)
}
