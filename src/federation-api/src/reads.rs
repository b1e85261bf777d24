//! Reads of rooms: states, events, history, the tree of a space.

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use hearth_http::{ApiError, RawJson, route};
use hearth_rooms::serve::{Direction, Missing};
use hearth_rooms::{Children, RoomSummary, Rooms};
use hearth_types::Clock;
use ruma::api::Direction as Way;
use ruma::api::federation::authorization::get_event_authorization;
use ruma::api::federation::backfill::get_backfill;
use ruma::api::federation::event::{
    get_event, get_event_by_timestamp, get_missing_events, get_room_state, get_room_state_ids,
};
use ruma::api::federation::space::get_hierarchy;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::error::rooms_error;
use crate::query::chunk;
use crate::{Parts, Signed};

pub(crate) fn router() -> Router<Parts> {
    let router = route::<get_room_state::v1::Request, _, _, _>(Router::new(), state);
    let router = route::<get_room_state_ids::v1::Request, _, _, _>(router, state_ids);
    let router = route::<get_event::v1::Request, _, _, _>(router, event);
    let router = route::<get_event_authorization::v1::Request, _, _, _>(router, event_auth);
    let router = route::<get_backfill::v1::Request, _, _, _>(router, backfill);
    let router = route::<get_missing_events::v1::Request, _, _, _>(router, missing_events);
    let router = route::<get_hierarchy::v1::Request, _, _, _>(router, hierarchy);
    route::<get_event_by_timestamp::v1::Request, _, _, _>(router, timestamp_to_event)
}

/// GET /_matrix/federation/v1/hierarchy/{roomId}
async fn hierarchy(
    State(rooms): State<Rooms>,
    request: Signed<get_hierarchy::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let which = match body.suggested_only {
        true => Children::Suggested,
        false => Children::All,
    };
    let served = rooms.hierarchy_for(&request.origin, &body.room_id, which);
    let served = served.await.map_err(rooms_error)?;
    let mut room = summarized(&served.room.summary);
    room["children_state"] = json!(served.room.children);
    let children: Vec<Value> = served.children.iter().map(summarized).collect();
    let answer = json!({
        "room": room,
        "children": children,
        "inaccessible_children": served.inaccessible,
    });
    Ok(RawJson(Bytes::from(answer.to_string())))
}

fn summarized(summary: &RoomSummary) -> Value {
    let mut shown = chunk(&summary.listing);
    for (field, value) in [
        ("room_version", &summary.version),
        ("encryption", &summary.encryption),
    ] {
        if let Some(value) = value {
            shown[field] = Value::from(value.as_str());
        }
    }
    shown["allowed_room_ids"] = json!(summary.allowed);
    shown
}

/// GET /_matrix/federation/v1/state/{roomId}
async fn state(
    State(rooms): State<Rooms>,
    request: Signed<get_room_state::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let answer = rooms.state_for(&request.origin, &body.room_id, &body.event_id);
    Ok(RawJson(Bytes::from(answer.await.map_err(rooms_error)?)))
}

/// GET /_matrix/federation/v1/state_ids/{roomId}
async fn state_ids(
    State(rooms): State<Rooms>,
    request: Signed<get_room_state_ids::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let answer = rooms.state_ids_for(&request.origin, &body.room_id, &body.event_id);
    Ok(RawJson(Bytes::from(answer.await.map_err(rooms_error)?)))
}

/// GET /_matrix/federation/v1/event/{eventId}
async fn event(
    State(rooms): State<Rooms>,
    State(clock): State<Arc<dyn Clock>>,
    request: Signed<get_event::v1::Request>,
) -> Result<RawJson, ApiError> {
    let event = rooms.event_for(&request.origin, &request.body.event_id);
    let event = event.await.map_err(rooms_error)?;
    let now = clock.now().0;
    let origin = rooms.server_name();
    Ok(RawJson(Bytes::from(format!(
        "{{\"origin\":\"{origin}\",\"origin_server_ts\":{now},\"pdus\":[{event}]}}"
    ))))
}

/// GET /_matrix/federation/v1/event_auth/{roomId}/{eventId}
async fn event_auth(
    State(rooms): State<Rooms>,
    request: Signed<get_event_authorization::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let answer = rooms.event_auth_for(&request.origin, &body.room_id, &body.event_id);
    Ok(RawJson(Bytes::from(answer.await.map_err(rooms_error)?)))
}

/// GET /_matrix/federation/v1/backfill/{roomId}
async fn backfill(
    State(rooms): State<Rooms>,
    State(clock): State<Arc<dyn Clock>>,
    request: Signed<get_backfill::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let limit = usize::try_from(u64::from(body.limit)).unwrap_or(usize::MAX);
    let pdus = rooms.backfill_for(&request.origin, &body.room_id, &body.v, limit);
    let pdus = pdus.await.map_err(rooms_error)?;
    let now = clock.now().0;
    let origin = rooms.server_name();
    Ok(RawJson(Bytes::from(format!(
        "{{\"origin\":\"{origin}\",\"origin_server_ts\":{now},\"pdus\":{pdus}}}"
    ))))
}

/// POST /_matrix/federation/v1/get_missing_events/{roomId}
async fn missing_events(
    State(rooms): State<Rooms>,
    request: Signed<get_missing_events::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = request.body;
    let missing = Missing {
        earliest: body.earliest_events,
        latest: body.latest_events,
        limit: usize::try_from(u64::from(body.limit)).unwrap_or(usize::MAX),
        min_depth: u64::from(body.min_depth),
    };
    let events = rooms.missing_events_for(&request.origin, &body.room_id, &missing);
    let events = events.await.map_err(rooms_error)?;
    Ok(RawJson(Bytes::from(format!("{{\"events\":{events}}}"))))
}

/// GET /_matrix/federation/v1/timestamp_to_event/{roomId}
async fn timestamp_to_event(
    State(rooms): State<Rooms>,
    request: Signed<get_event_by_timestamp::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let direction = match body.dir {
        Way::Forward => Direction::Forward,
        Way::Backward => Direction::Backward,
    };
    let at = (u64::from(body.ts.get()), direction);
    let found = rooms.event_at_for(&request.origin, &body.room_id, at);
    let (event_id, ts) = found.await.map_err(rooms_error)?;
    let answer = json!({ "event_id": event_id, "origin_server_ts": ts });
    Ok(RawJson(Bytes::from(answer.to_string())))
}
