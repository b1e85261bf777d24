//! Room state. The paths without a state key, with and without the slash, are those of the empty key.

use axum::Router;
use axum::extract::{FromRef, State};
use bytes::Bytes;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route, route_at};
use hearth_rooms::{NewState, Rooms, StateFormat};
use ruma::api::client::state::get_state_event_for_key::v3::StateEventFormat;
use ruma::api::client::state::{get_state_event_for_key, get_state_events, send_state_event};

use super::error::rooms_error;
use super::{content, event_id, list, raw, sender_at};

/// The paths of the empty state key.
const WITHOUT_KEY: [&str; 4] = [
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
    "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
];

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = route::<get_state_events::v3::Request, _, _, _>(Router::new(), state);
    let router = route::<get_state_event_for_key::v3::Request, _, _, _>(router, state_event);
    let router = route::<send_state_event::v3::Request, _, _, _>(router, put_state);
    WITHOUT_KEY.into_iter().fold(router, |router, path| {
        let router =
            route_at::<get_state_event_for_key::v3::Request, _, _, _>(router, path, state_event);
        route_at::<send_state_event::v3::Request, _, _, _>(router, path, put_state)
    })
}

/// GET /_matrix/client/v3/rooms/{roomId}/state
async fn state(
    State(rooms): State<Rooms>,
    request: Ruma<get_state_events::v3::Request>,
) -> Result<RawJson, ApiError> {
    let events = rooms
        .state(&request.caller()?.user, &request.body.room_id)
        .await;
    Ok(RawJson(Bytes::from(list(&events.map_err(rooms_error)?))))
}

/// GET /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
async fn state_event(
    State(rooms): State<Rooms>,
    request: Ruma<get_state_event_for_key::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let body = &request.body;
    let format = match body.format {
        StateEventFormat::Event => StateFormat::Event,
        _ => StateFormat::Content,
    };
    let kind = body.event_type.to_string();
    let key = (kind.as_str(), body.state_key.as_str());
    let event = rooms.state_event(user, &body.room_id, key, format).await;
    Ok(raw(event.map_err(rooms_error)?))
}

/// PUT /_matrix/client/v3/rooms/{roomId}/state/{eventType}/{stateKey}
async fn put_state(
    State(rooms): State<Rooms>,
    request: Ruma<send_state_event::v3::Request>,
) -> Result<RawJson, ApiError> {
    let state = NewState {
        kind: request.body.event_type.to_string(),
        state_key: request.body.state_key.clone(),
        content: content(&request.json)?,
    };
    let sender = sender_at(&request, request.body.timestamp)?;
    let set = rooms.put_state(&sender, &request.body.room_id, state).await;
    Ok(event_id(&set.map_err(rooms_error)?))
}
