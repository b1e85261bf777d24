//! From an HTTP request to a request of the Matrix API with its caller.

use std::ops::Deref;
use std::time::Duration;

use axum::RequestExt;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::{FromRef, FromRequest, RawPathParams};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use hearth_ports::{Acting, AuthFailure, BoxError, ByteStream};
use hearth_types::Caller;
use http::{Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use ruma::api::auth_scheme::{
    AccessToken, AccessTokenOptional, AppserviceToken, AppserviceTokenOptional, NoAccessToken,
    NoAuthentication, extract_bearer_or_query_token,
};
use ruma::api::{IncomingRequest, Metadata};

use crate::rate_limit::{Class, Key};
use crate::{ApiError, ClientAddress, Gate, guest, json};

/// Largest JSON body where nothing else is set, in bytes.
pub const JSON_BODY_BYTES_MAX_DEFAULT: usize = 4 << 20;

/// How long a client may take to send its body.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest pause of a client within a body that is streamed.
const BODY_IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether an endpoint wants to know who is asking. Implemented for the schemes of the client-server API.
pub trait Scheme {
    /// What becomes of the access token.
    const TOKEN: TokenUse;
}

/// What an endpoint does with an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// Not looked at, so that a client with a stale token can still log in.
    Ignored,
    /// Looked at if it is an application service's, otherwise as [`TokenUse::Ignored`].
    Service,
    /// Refused if it is there and not good.
    Optional,
    /// Refused unless it is good.
    Required,
    /// Refused unless it is an application service's.
    RequiredOfService,
}

impl Scheme for NoAuthentication {
    const TOKEN: TokenUse = TokenUse::Ignored;
}

impl Scheme for NoAccessToken {
    const TOKEN: TokenUse = TokenUse::Ignored;
}

impl Scheme for AppserviceTokenOptional {
    const TOKEN: TokenUse = TokenUse::Service;
}

impl Scheme for AccessTokenOptional {
    const TOKEN: TokenUse = TokenUse::Optional;
}

impl Scheme for AccessToken {
    const TOKEN: TokenUse = TokenUse::Required;
}

impl Scheme for AppserviceToken {
    const TOKEN: TokenUse = TokenUse::RequiredOfService;
}

/// A request of the Matrix API, checked, with its caller.
#[derive(Debug)]
pub struct Ruma<T> {
    /// Path, query and body as ruma's request type.
    pub body: T,
    /// Who is asking; `None` only where the endpoint does not require a token.
    pub caller: Option<Caller>,
    /// The JSON body as it came; empty where there is none.
    pub json: Bytes,
    /// Where the request came from, as far as trusted proxies tell.
    pub client: ClientAddress,
}

impl<T> Ruma<T> {
    /// Who is asking, for endpoints that need to know.
    pub fn caller(&self) -> Result<&Caller, ApiError> {
        self.caller.as_ref().ok_or_else(ApiError::missing_token)
    }
}

/// As [`Ruma`], for the endpoints that a locked user may use: `/logout` and `/logout/all`.
#[derive(Debug)]
pub struct RumaEvenLocked<T>(pub Ruma<T>);

impl<T> Deref for RumaEvenLocked<T> {
    type Target = Ruma<T>;

    fn deref(&self) -> &Ruma<T> {
        &self.0
    }
}

impl<T, S> FromRequest<S> for Ruma<T>
where
    T: IncomingRequest,
    <T as Metadata>::Authentication: Scheme,
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        extract(request, &Gate::from_ref(state), Locked::Refused).await
    }
}

impl<T, S> FromRequest<S> for RumaEvenLocked<T>
where
    T: IncomingRequest,
    <T as Metadata>::Authentication: Scheme,
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let gate = Gate::from_ref(state);
        Ok(Self(extract(request, &gate, Locked::Admitted).await?))
    }
}

/// As [`Ruma`], for endpoints whose body is a file: it is still to be read, and may have any length.
pub struct RumaBody<T> {
    /// The request without its body.
    pub ruma: Ruma<T>,
    /// The body. Ends with an error if the client pauses for too long.
    pub body: ByteStream,
}

impl<T, S> FromRequest<S> for RumaBody<T>
where
    T: IncomingRequest,
    <T as Metadata>::Authentication: Scheme,
    Gate: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, ApiError> {
        let gate = Gate::from_ref(state);
        let body = std::mem::take(request.body_mut());
        let caller = admit::<T>(&mut request, &gate, Locked::Refused).await?;
        let client = ClientAddress::of(request.extensions());
        let path = path_of(&mut request).await?;
        let (parts, _) = request.into_parts();
        let path: Vec<&str> = path.iter().map(|(_, value)| value).collect();
        let request = http::Request::from_parts(parts, &b""[..]);
        let ruma = Ruma {
            body: T::try_from_http_request_inner(request, &path)?,
            caller,
            json: Bytes::new(),
            client,
        };
        let body = streamed(body);
        Ok(Self { ruma, body })
    }
}

fn streamed(body: Body) -> ByteStream {
    Box::pin(stream::try_unfold(
        body.into_data_stream(),
        async |mut body| {
            let more = tokio::time::timeout(BODY_IDLE_TIMEOUT, body.next()).await;
            let more = more.map_err(BoxError::from)?.transpose()?;
            Ok(more.map(|more| (more, body)))
        },
    ))
}

#[derive(Clone, Copy)]
enum Locked {
    Refused,
    Admitted,
}

/// Who is asking; counts the request.
async fn admit<T>(
    request: &mut Request,
    gate: &Gate,
    locked: Locked,
) -> Result<Option<Caller>, ApiError>
where
    T: IncomingRequest,
    <T as Metadata>::Authentication: Scheme,
{
    let class = Class::of::<T>();
    let client = ClientAddress::of(request.extensions());
    // A header of another scheme is as good as none.
    let token = extract_bearer_or_query_token(request).unwrap_or_default();
    let wanted = <T::Authentication as Scheme>::TOKEN;
    let caller = match (wanted, token) {
        (TokenUse::Required | TokenUse::RequiredOfService, None) => {
            return Err(ApiError::missing_token());
        }
        (TokenUse::Ignored, _) | (TokenUse::Optional | TokenUse::Service, None) => None,
        (_, Some(token)) if gate.authenticate().is_service(&token) => {
            // Registering and logging in, it does not yet act as the user.
            let acts = wanted != TokenUse::Service;
            let query = request.uri().query().filter(|_| acts).unwrap_or_default();
            Some(authenticate_service(&token, gate, query).await?)
        }
        (TokenUse::Service, Some(_)) => None,
        (TokenUse::RequiredOfService, Some(_)) => {
            return Err(ApiError::forbidden("This is for application services"));
        }
        (TokenUse::Required | TokenUse::Optional, Some(token)) => {
            Some(authenticate(&token, gate, locked, client).await?)
        }
    };
    let is_guest = caller.as_ref().is_some_and(|caller| caller.is_guest);
    if is_guest
        && <T::Authentication as Scheme>::TOKEN == TokenUse::Required
        && !guest::may_ask(request.method(), request.uri(), request.extensions())
    {
        return Err(ApiError::guest_access_forbidden());
    }
    let payer = match &caller {
        Some(caller) => Key::User(caller.user.clone()),
        None => Key::address(client.0),
    };
    let is_free = caller
        .as_ref()
        .and_then(|caller| caller.service.as_ref())
        .is_some_and(|service| !service.is_rate_limited);
    if !is_free {
        gate.count(class, payer)?;
    }
    Ok(caller)
}

async fn path_of(request: &mut Request) -> Result<RawPathParams, ApiError> {
    let path = request.extract_parts().await;
    path.map_err(|_| ApiError::invalid_param("path is not valid percent-encoded UTF-8"))
}

async fn extract<T>(mut request: Request, gate: &Gate, locked: Locked) -> Result<Ruma<T>, ApiError>
where
    T: IncomingRequest,
    <T as Metadata>::Authentication: Scheme,
{
    let caller = admit::<T>(&mut request, gate, locked).await?;
    let client = ClientAddress::of(request.extensions());
    let path = path_of(&mut request).await?;
    let (parts, body) = request.into_parts();
    let json = if parts.method == Method::GET || parts.method == Method::HEAD {
        Bytes::new()
    } else {
        read(body, gate.json_body_bytes_max()).await?
    };
    json::check(&json)?;
    let path: Vec<&str> = path.iter().map(|(_, value)| value).collect();
    // An absent body stands for an empty object, which not every parser of ruma's knows.
    let text: &[u8] = match parts.method == Method::GET || !json.iter().all(u8::is_ascii_whitespace)
    {
        true => &json,
        false => b"{}",
    };
    let request = http::Request::from_parts(parts, text);
    let body = T::try_from_http_request_inner(request, &path)?;
    Ok(Ruma {
        body,
        caller,
        json,
        client,
    })
}

async fn authenticate(
    token: &str,
    gate: &Gate,
    locked: Locked,
    client: ClientAddress,
) -> Result<Caller, ApiError> {
    let failure = match gate.authenticate().authenticate(token).await {
        Ok(caller) => return Ok(caller),
        Err(failure) => failure,
    };
    Err(match (failure, locked) {
        (AuthFailure::Locked { caller }, Locked::Admitted) => return Ok(*caller),
        (AuthFailure::Locked { .. }, Locked::Refused) => ApiError::user_locked(),
        (AuthFailure::Unknown { soft_logout }, _) => {
            // There is no user to count, and looking up tokens is not for free.
            gate.count(Class::Read, Key::address(client.0))?;
            if soft_logout {
                ApiError::unknown_token().with("soft_logout", true)
            } else {
                ApiError::unknown_token()
            }
        }
        (failure, _) => other_failure(&failure),
    })
}

/// The caller in whose name an application service asks, as `user_id` and `device_id` of the query say.
async fn authenticate_service(token: &str, gate: &Gate, query: &str) -> Result<Caller, ApiError> {
    let field = |name: &str| {
        url::form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let (user_id, device_id) = (field("user_id"), field("device_id"));
    let acting = Acting {
        user_id: user_id.as_deref(),
        device_id: device_id.as_deref(),
    };
    let found = gate.authenticate().authenticate_service(token, acting);
    found.await.map_err(|failure| other_failure(&failure))
}

/// Failures that do not depend on the endpoint.
fn other_failure(failure: &AuthFailure) -> ApiError {
    match failure {
        AuthFailure::NotInNamespace(why) => ApiError::forbidden(*why),
        AuthFailure::UnknownDevice => ApiError::new(
            StatusCode::BAD_REQUEST,
            "M_UNKNOWN_DEVICE",
            "The user has no such device",
        ),
        AuthFailure::Locked { .. } => ApiError::user_locked(),
        AuthFailure::Unknown { .. } => ApiError::unknown_token(),
        AuthFailure::Internal(_) => ApiError::internal(failure),
    }
}

/// A JSON body as another API than the client-server one takes it: whole, in time, an object, not nested too deep.
pub async fn read_json(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let json = read(body, bytes_max).await?;
    json::check(&json)?;
    Ok(json)
}

/// The whole body, if it is not too large and comes in time.
async fn read(body: Body, bytes_max: usize) -> Result<Bytes, ApiError> {
    let collected =
        tokio::time::timeout(BODY_READ_TIMEOUT, Limited::new(body, bytes_max).collect())
            .await
            .map_err(|_| {
                ApiError::new(
                    StatusCode::REQUEST_TIMEOUT,
                    "M_UNKNOWN",
                    "The body did not arrive in time",
                )
            })?;
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(format!(
            "body is larger than {bytes_max} bytes"
        ))),
        Err(_) => Err(ApiError::bad_request("The body could not be read")),
    }
}
