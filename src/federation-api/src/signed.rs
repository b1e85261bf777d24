//! From an HTTP request to a request of the server-server API with the server that signed it.

use std::sync::Arc;

use axum::RequestExt;
use axum::extract::{FromRef, FromRequest, RawPathParams, Request};
use bytes::Bytes;
use hearth_federation::{Client, KeyRing, Sender, SignedRequest, XMatrix};
use hearth_http::{ApiError, read_json};
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Method, StatusCode};
use ruma::OwnedServerName;
use ruma::api::IncomingRequest;

/// Largest body, in bytes: a transaction of 50 events and 100 EDUs of the largest size fits.
const BODY_BYTES_MAX: usize = 16 << 20;
/// Most signatures of a request that are looked at: a server may have several keys.
const SIGNATURES_MAX: usize = 4;

/// Who may come in: knows other servers' keys and with whom this server talks. Cheap to clone.
#[derive(Clone)]
pub struct Door(Arc<Inner>);

struct Inner {
    client: Client,
    ring: KeyRing,
    sender: Sender,
}

impl Door {
    /// Checks signatures with `ring`, goes by the rules of `client`, and tells `sender` who is alive.
    pub fn new(client: Client, ring: KeyRing, sender: Sender) -> Self {
        Self(Arc::new(Inner {
            client,
            ring,
            sender,
        }))
    }

    /// The server that signed a request, if it may talk to this one.
    async fn origin(&self, parts: &Parts, body: &Bytes) -> Result<OwnedServerName, ApiError> {
        let headers = parts.headers.get_all(AUTHORIZATION).iter();
        let signatures = headers.filter_map(|value| XMatrix::parse(value.to_str().ok()?));
        let path = parts.uri.path_and_query();
        let request = SignedRequest {
            method: parts.method.as_str(),
            uri: path.map_or("/", |path| path.as_str()),
            body: (!body.iter().all(u8::is_ascii_whitespace)).then_some(body),
        };
        let mut refused = unauthorized("Missing or malformed X-Matrix authorization");
        for signature in signatures.take(SIGNATURES_MAX) {
            match self.check(&signature, request).await {
                Ok(()) => {
                    self.0.sender.alive(&signature.origin);
                    return Ok(signature.origin);
                }
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }

    async fn check(&self, signature: &XMatrix, request: SignedRequest<'_>) -> Result<(), ApiError> {
        let (origin, own) = (&signature.origin, self.0.client.server_name());
        if !signature.is_for(own) {
            return Err(unauthorized("The request is for another server"));
        }
        if origin == own || !self.0.client.policy().permits(origin) {
            return Err(ApiError::forbidden("This server does not talk to yours"));
        }
        let key = self.0.ring.request_key(origin, &signature.key_id).await;
        let key = key.map_err(|error| ApiError::internal(&error))?;
        let key = key.ok_or_else(|| unauthorized("The signing key is not known"))?;
        match signature.verifies(own, request, &key) {
            true => Ok(()),
            false => Err(unauthorized("The signature is not valid")),
        }
    }
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message)
}

/// A request of the server-server API, checked, with the server that signed it.
#[derive(Debug)]
pub struct Signed<T> {
    /// Path, query and body as ruma's request type.
    pub body: T,
    /// Who is asking.
    pub origin: OwnedServerName,
    /// The JSON body as it came; empty where there is none.
    pub json: Bytes,
}

/// A request whose body is for the domain crate to read: only the parts of the path are taken.
#[derive(Debug)]
pub(crate) struct Bare {
    /// Who is asking.
    pub(crate) origin: OwnedServerName,
    /// The JSON body as it came.
    pub(crate) json: Bytes,
    path: Vec<String>,
}

impl Bare {
    /// A part of the path, decoded.
    pub(crate) fn path<P>(&self, index: usize) -> Result<P, ApiError>
    where
        P: for<'a> TryFrom<&'a str>,
    {
        let part = self.path.get(index).map_or("", String::as_str);
        P::try_from(part).map_err(|_| ApiError::invalid_param("Malformed path"))
    }
}

impl<S> FromRequest<S> for Bare
where
    Door: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let checked = Checked::new(request, &Door::from_ref(state)).await?;
        Ok(Self {
            origin: checked.origin,
            json: checked.json,
            path: checked.path,
        })
    }
}

impl<T, S> FromRequest<S> for Signed<T>
where
    T: IncomingRequest,
    Door: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let checked = Checked::new(request, &Door::from_ref(state)).await?;
        let Checked { parts, json, .. } = checked;
        let path: Vec<&str> = checked.path.iter().map(String::as_str).collect();
        let is_read = is_read(&parts.method);
        let text: &[u8] = match is_read || !json.iter().all(u8::is_ascii_whitespace) {
            true => &json,
            false => b"{}",
        };
        let request = http::Request::from_parts(parts, text);
        let body = T::try_from_http_request_inner(request, &path)?;
        Ok(Self {
            body,
            origin: checked.origin,
            json,
        })
    }
}

/// A request whose signature is good.
struct Checked {
    parts: Parts,
    path: Vec<String>,
    json: Bytes,
    origin: OwnedServerName,
}

impl Checked {
    async fn new(mut request: Request, door: &Door) -> Result<Self, ApiError> {
        let path: RawPathParams = request
            .extract_parts()
            .await
            .map_err(|_| ApiError::invalid_param("path is not valid percent-encoded UTF-8"))?;
        let (parts, body) = request.into_parts();
        let json = match is_read(&parts.method) {
            true => Bytes::new(),
            false => read_json(body, BODY_BYTES_MAX).await?,
        };
        Ok(Self {
            origin: door.origin(&parts, &json).await?,
            path: path.iter().map(|(_, value)| value.to_owned()).collect(),
            parts,
            json,
        })
    }
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}
