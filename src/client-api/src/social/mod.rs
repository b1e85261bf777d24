//! Friends and groups: the endpoints of `spec/social.yaml`.

mod endpoints;
mod error;
mod friends;
mod groups;
mod shown;

use axum::Router;
use axum::extract::FromRef;
use bytes::Bytes;
use hearth_http::{ApiError, Gate, RawJson};
use hearth_social::Social;
use serde_json::Value;

/// The name under which `/versions` tells of them.
pub(crate) const FEATURE: &str = "chat.hearth.social";

/// Longest text to search for, in characters.
const SEARCH_CHARS_MAX: usize = 255;
/// Longest token of a page, in characters.
const TOKEN_CHARS_MAX: usize = 1_000;

/// All endpoints of this module.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Social: FromRef<S>,
{
    Router::new()
        .merge(friends::router())
        .merge(groups::router())
}

fn answer(body: &Value) -> RawJson {
    RawJson(Bytes::from(body.to_string()))
}

/// How many entries are asked for: a number from 1 on. A larger one than can be given is not an error.
fn limit(text: Option<&str>) -> Result<Option<usize>, ApiError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<usize>() {
        Ok(0) => Err(ApiError::invalid_param("`limit` is at least 1")),
        Ok(limit) => Ok(Some(limit)),
        Err(_) if is_number => Ok(Some(usize::MAX)),
        Err(_) => Err(ApiError::invalid_param("`limit` is not a number")),
    }
}

/// A text of a query that is not too long.
fn text(
    text: Option<String>,
    (name, chars_max): (&str, usize),
) -> Result<Option<String>, ApiError> {
    match text {
        Some(text) if text.chars().count() > chars_max => Err(ApiError::invalid_param(format!(
            "`{name}` has at most {chars_max} characters"
        ))),
        text => Ok(text),
    }
}

fn search(found: Option<String>) -> Result<Option<String>, ApiError> {
    text(found, ("search", SEARCH_CHARS_MAX))
}

fn from(found: Option<String>) -> Result<Option<String>, ApiError> {
    text(found, ("from", TOKEN_CHARS_MAX))
}
