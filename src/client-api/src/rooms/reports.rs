//! Reporting rooms, events and users to the administrators.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Error, Rooms};
use ruma::api::client::reporting::report_user;
use ruma::api::client::room::{report_content, report_room};
use ruma::{OwnedRoomId, OwnedUserId};
use serde_json::{Map, Value};

use super::done;
use super::error::rooms_error;
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = route::<report_room::v3::Request, _, _, _>(Router::new(), room);
    let router = route::<report_content::v3::Request, _, _, _>(router, event);
    route::<report_user::v3::Request, _, _, _>(router, user)
}

/// Whether a report has to say why.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Required,
    Optional,
}

fn reason(json: &[u8], needed: Reason) -> Result<String, ApiError> {
    let body: Map<String, Value> = match json.iter().all(u8::is_ascii_whitespace) {
        true => Map::new(),
        false => {
            serde_json::from_slice(json).map_err(|error| ApiError::bad_json(error.to_string()))?
        }
    };
    match body.get("reason") {
        Some(Value::String(reason)) => Ok(reason.clone()),
        None if needed == Reason::Required => Err(ApiError::missing_param("Missing reason")),
        None | Some(Value::Null) if needed == Reason::Optional => Ok(String::new()),
        _ => Err(ApiError::bad_json("reason is not a string")),
    }
}

/// POST /_matrix/client/v3/rooms/{roomId}/report
async fn room(
    State(rooms): State<Rooms>,
    request: Ruma<Unparsed<report_room::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let reporter = &request.caller()?.user;
    let room_id: OwnedRoomId = request.body.path(0)?;
    let reason = reason(&request.json, Reason::Required)?;
    let reported = rooms.report_room(reporter, &room_id, &reason).await;
    reported.map_err(|error| match error {
        Error::NoSuchRoom => ApiError::not_found("The room was not found"),
        error => rooms_error(error),
    })?;
    Ok(done())
}

/// POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}
async fn event(
    State(rooms): State<Rooms>,
    request: Ruma<Unparsed<report_content::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let reporter = &request.caller()?.user;
    let room_id: OwnedRoomId = request.body.path(0)?;
    let event_id: ruma::OwnedEventId = request.body.path(1)?;
    let reason = reason(&request.json, Reason::Optional)?;
    let reported = rooms.report_event(reporter, (&room_id, &event_id), &reason);
    reported.await.map_err(rooms_error)?;
    Ok(done())
}

/// POST /_matrix/client/v3/users/{userId}/report
async fn user(
    State(rooms): State<Rooms>,
    request: Ruma<Unparsed<report_user::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let reporter = &request.caller()?.user;
    let user: OwnedUserId = request.body.path(0)?;
    let reason = reason(&request.json, Reason::Required)?;
    let reported = rooms.report_user(reporter, &user, &reason).await;
    reported.map_err(rooms_error)?;
    Ok(done())
}
