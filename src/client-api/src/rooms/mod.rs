//! The endpoints of `rooms`: making rooms, being in them, sending and reading events, names and the directory,
//! receipts, typing and presence.

mod create;
mod directory;
mod ephemeral;
mod error;
mod events;
mod members;
mod membership;
mod people;
mod presence;
mod reports;
mod services;
mod spaces;
mod state;

pub(crate) use error::rooms_error;

use axum::Router;
use axum::extract::FromRef;
use bytes::Bytes;
use hearth_appservice::AppServices;
use hearth_http::{ApiError, Gate, RawJson, Ruma};
use hearth_rooms::{Rooms, Sender};
use hearth_types::{Caller, UnixMs};
use ruma::{EventId, MilliSecondsSinceUnixEpoch};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// All endpoints of this module.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    hearth_federation::Client: FromRef<S>,
    AppServices: FromRef<S>,
{
    Router::new()
        .merge(create::router())
        .merge(directory::router())
        .merge(ephemeral::router())
        .merge(events::router())
        .merge(members::router())
        .merge(membership::router())
        .merge(people::router())
        .merge(reports::router())
        .merge(services::router())
        .merge(spaces::router())
        .merge(presence::router())
        .merge(state::router())
}

/// What `GET /capabilities` says of rooms: `m.room_versions`.
pub fn room_versions(rooms: &Rooms) -> Value {
    let available: serde_json::Map<String, Value> = hearth_rooms::supported_versions()
        .map(|version| (version.to_owned(), "stable".into()))
        .collect();
    json!({ "default": rooms.default_version().as_str(), "available": available })
}

/// Who asks, for requests that a suspended user may not make.
fn active<T>(request: &Ruma<T>) -> Result<&Caller, ApiError> {
    let caller = request.caller()?;
    match caller.is_suspended {
        true => Err(ApiError::user_suspended()),
        false => Ok(caller),
    }
}

/// Who writes, for requests that a suspended user may not make.
fn sender<T>(request: &Ruma<T>) -> Result<Sender, ApiError> {
    active(request).map(Sender::from)
}

/// The same with the time that an application service gives for the event; others cannot give one.
fn sender_at<T>(
    request: &Ruma<T>,
    timestamp: Option<MilliSecondsSinceUnixEpoch>,
) -> Result<Sender, ApiError> {
    let is_service = request
        .caller
        .as_ref()
        .is_some_and(|caller| caller.service.is_some());
    Ok(Sender {
        at: timestamp
            .filter(|_| is_service)
            .map(|timestamp| UnixMs(timestamp.get().into())),
        ..sender(request)?
    })
}

fn answer(body: &Value) -> RawJson {
    RawJson(Bytes::from(body.to_string()))
}

/// `{}`
fn done() -> RawJson {
    RawJson(Bytes::from_static(b"{}"))
}

/// `{"event_id": …}`
fn event_id(event_id: &EventId) -> RawJson {
    answer(&json!({ "event_id": event_id }))
}

/// A JSON text as it is.
fn raw(json: Box<RawValue>) -> RawJson {
    RawJson(Bytes::from(Box::<str>::from(json).into_string()))
}

/// A list of JSON texts.
fn list(items: &[Box<RawValue>]) -> String {
    let items: Vec<&str> = items.iter().map(|item| item.get()).collect();
    format!("[{}]", items.join(","))
}

/// A body that is the content of an event, as it came; an empty body stands for an empty object.
fn content(json: &Bytes) -> Result<Box<RawValue>, ApiError> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(RawValue::from_string("{}".to_owned()).unwrap_or_default());
    }
    serde_json::from_slice(json).map_err(|error| ApiError::bad_json(error.to_string()))
}

#[cfg(test)]
mod tests;
