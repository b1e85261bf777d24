//! Errors as a client sees them.

use std::error::Error as StdError;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use ruma::api::error::DeserializationError;
use serde_json::{Map, Value};

/// An error answer: status, `errcode`, `error` and whatever the endpoint adds.
///
/// Domain crates do not know it; an API crate maps each domain error to it in one function.
#[derive(Debug)]
pub struct ApiError(Box<Parts>);

// Boxed, because an error rides in every `Result` of every handler.
#[derive(Debug)]
struct Parts {
    status: StatusCode,
    fields: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ApiError {
    /// An error with the given `errcode` and human-readable `error`.
    pub fn new(status: StatusCode, errcode: &str, message: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("errcode".to_owned(), Value::from(errcode));
        fields.insert("error".to_owned(), Value::from(message.into()));
        Self(Box::new(Parts {
            status,
            fields,
            headers: Vec::new(),
        }))
    }

    /// An answer in the form of an error whose body is not that of an error: the 401 of user-interactive
    /// authentication, which has `errcode` only after a failed stage.
    pub fn from_fields(status: StatusCode, fields: Map<String, Value>) -> Self {
        Self(Box::new(Parts {
            status,
            fields,
            headers: Vec::new(),
        }))
    }

    /// Adds a field to the JSON body.
    #[must_use]
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.0.fields.insert(field.to_owned(), value.into());
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The `errcode`; empty where the body has none.
    pub fn errcode(&self) -> &str {
        self.0
            .fields
            .get("errcode")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// 400 `M_BAD_JSON`: valid JSON of the wrong shape.
    pub fn bad_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_BAD_JSON", message)
    }

    /// 400 `M_NOT_JSON`: not JSON at all.
    pub fn not_json(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_NOT_JSON", message)
    }

    /// 400 `M_INVALID_PARAM`.
    pub fn invalid_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    /// 400 `M_MISSING_PARAM`.
    pub fn missing_param(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", message)
    }

    /// 400 `M_UNKNOWN`: refused, and no errcode of the spec says why.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", message)
    }

    /// 401 `M_MISSING_TOKEN`.
    pub fn missing_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "M_MISSING_TOKEN",
            "Missing access token",
        )
    }

    /// 401 `M_UNKNOWN_TOKEN`. `soft_logout` is only told when the device survives.
    pub fn unknown_token() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "M_UNKNOWN_TOKEN",
            "Unknown access token",
        )
    }

    /// 401 `M_USER_LOCKED`.
    pub fn user_locked() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "M_USER_LOCKED",
            "This account has been locked",
        )
        .with("soft_logout", true)
    }

    /// 403 `M_USER_SUSPENDED`.
    pub fn user_suspended() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "M_USER_SUSPENDED",
            "This account has been suspended",
        )
    }

    /// 403 `M_GUEST_ACCESS_FORBIDDEN`: not for guests.
    pub fn guest_access_forbidden() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "M_GUEST_ACCESS_FORBIDDEN",
            "Guests cannot do this",
        )
    }

    /// 403 `M_FORBIDDEN`.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", message)
    }

    /// 404 `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    /// 404 `M_UNRECOGNIZED`: a path that this server does not have.
    pub fn unrecognized() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "M_UNRECOGNIZED",
            "Unrecognized request",
        )
    }

    /// 405 `M_UNRECOGNIZED`: a known path, but not with this method.
    pub fn wrong_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "M_UNRECOGNIZED",
            "This path does not take this method",
        )
    }

    /// 413 `M_TOO_LARGE`.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "M_TOO_LARGE", message)
    }

    /// 429 `M_LIMIT_EXCEEDED` with `Retry-After`, and `retry_after_ms` for older clients.
    pub fn limit_exceeded(retry_after: Duration) -> Self {
        // Rounded up, so that a client that waits exactly so long gets through.
        let seconds = retry_after
            .as_secs()
            .saturating_add(u64::from(retry_after.subsec_nanos() > 0))
            .max(1);
        let millis = u64::try_from(retry_after.as_millis())
            .unwrap_or(u64::MAX)
            .max(1);
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "M_LIMIT_EXCEEDED",
            "Too many requests",
        )
        .with("retry_after_ms", millis)
        .with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// 500 `M_UNKNOWN`. The cause is logged here, as this is where it is handled; the client learns nothing of it.
    pub fn internal(cause: &(dyn StdError + 'static)) -> Self {
        tracing::error!(error = %chain(cause), "a request failed inside the server");
        Self::internal_unlogged()
    }

    /// 503 `M_UNKNOWN`: right now it does not work (the disk is full, the server is stopping); trying again may help.
    pub fn unavailable(cause: &(dyn StdError + 'static)) -> Self {
        tracing::warn!(error = %chain(cause), "a request could not be served at this time");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "M_UNKNOWN",
            "The server cannot do this at the moment",
        )
    }

    pub(crate) fn internal_unlogged() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "M_UNKNOWN",
            "Internal server error",
        )
    }
}

/// An error with all its causes, on one line.
fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let Parts {
            status,
            fields,
            headers,
        } = *self.0;
        let body = Value::Object(fields).to_string();
        let mut response = (status, body).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        for (name, value) in headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The body has been found to be valid JSON before ruma sees it, so what remains is its shape.
impl From<DeserializationError> for ApiError {
    fn from(error: DeserializationError) -> Self {
        let message = error.to_string();
        match error {
            DeserializationError::Json(error) if error.is_syntax() || error.is_eof() => {
                Self::not_json(message)
            }
            DeserializationError::Json(_) => Self::bad_json(message),
            // Also what a missing body field is in endpoints with a hand-written parser.
            _ if message.starts_with("missing field") => Self::missing_param(message),
            _ => Self::invalid_param(message),
        }
    }
}
