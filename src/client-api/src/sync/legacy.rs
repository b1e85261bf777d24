//! What clients read with before there was `/sync`: `/initialSync` and `/events`. Answers are those of `sync` in the old
//! form; nobody needs them fast.

use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use bytes::Bytes;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route, route_at};
use hearth_rooms::{Publish, Rooms};
use hearth_sync::Token;
use hearth_sync::ask::{
    EventAsk, PeekAsk, Reader, RoomInitialAsk, StateUntil, StateWanted, SyncAsk,
};
use ruma::RoomId;
use ruma::api::client::peeking::{get_current_state, listen_to_new_events};
use ruma::api::client::room::get_room_event;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::api_error;
use super::{reader, token};
use crate::unparsed::Unparsed;

/// How many messages of each room `/initialSync` gives when the client does not say.
const LIMIT_DEFAULT: u64 = 10;
/// How many it gives at most.
const LIMIT_MAX: u64 = 100;
/// How long `/events` waits when the client does not say.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// The endpoints for which ruma has no type.
const INITIAL_SYNC: [&str; 2] = [
    "/_matrix/client/r0/initialSync",
    "/_matrix/client/v3/initialSync",
];
const EVENT: [&str; 2] = [
    "/_matrix/client/r0/events/{event_id}",
    "/_matrix/client/v3/events/{event_id}",
];

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    hearth_sync::Sync: FromRef<S>,
{
    let router = route::<get_current_state::v3::Request, _, _, _>(Router::new(), room_initial);
    let router = route::<listen_to_new_events::v3::Request, _, _, _>(router, events);
    let router = INITIAL_SYNC.into_iter().fold(router, |router, path| {
        route_at::<Get, _, _, _>(router, path, initial)
    });
    EVENT.into_iter().fold(router, |router, path| {
        route_at::<Get, _, _, _>(router, path, event)
    })
}

/// An endpoint with GET and an access token, whatever its path.
type Get = get_room_event::v3::Request;

#[derive(Deserialize)]
struct Written {
    limit: Option<u64>,
    archived: Option<bool>,
    from: Option<String>,
    timeout: Option<u64>,
    room_id: Option<String>,
}

type WrittenQuery = Result<Query<Written>, QueryRejection>;

fn written(query: WrittenQuery) -> Result<Written, ApiError> {
    let Query(written) = query.map_err(|error| ApiError::invalid_param(error.body_text()))?;
    Ok(written)
}

/// GET `/_matrix/client/v3/rooms/{roomId}/initialSync`
async fn room_initial(
    State(sync): State<hearth_sync::Sync>,
    query: WrittenQuery,
    request: Ruma<get_current_state::v3::Request>,
) -> Result<RawJson, ApiError> {
    let ask = RoomInitialAsk {
        reader: reader(request.caller()?),
        limit: written(query)?.limit,
        room_id: request.body.room_id,
    };
    sync.room_initial(ask).await.map(RawJson).map_err(api_error)
}

/// GET `/_matrix/client/v3/events/{eventId}`
async fn event(
    State(sync): State<hearth_sync::Sync>,
    request: Ruma<Unparsed<Get>>,
) -> Result<RawJson, ApiError> {
    let ask = EventAsk {
        reader: reader(request.caller()?),
        room_id: None,
        event_id: request.body.path::<ruma::OwnedEventId>(0)?,
    };
    sync.event(ask).await.map(RawJson).map_err(api_error)
}

/// GET `/_matrix/client/v3/events`: of all rooms that one is in, or of one that one may read.
async fn events(
    State(sync): State<hearth_sync::Sync>,
    query: WrittenQuery,
    request: Ruma<Unparsed<listen_to_new_events::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let written = written(query)?;
    let reader = reader(request.caller()?);
    let from = token(written.from.as_deref())?;
    let timeout = written
        .timeout
        .map_or(TIMEOUT_DEFAULT, Duration::from_millis);
    if let Some(room_id) = written.room_id {
        let room_id = RoomId::parse(room_id);
        let ask = PeekAsk {
            reader,
            room_id: room_id.map_err(|_| ApiError::invalid_param("`room_id` is not a room id"))?,
            from,
            timeout,
        };
        return sync.peek(ask).await.map(RawJson).map_err(api_error);
    }
    let since = match from {
        Some(from) => from,
        None => Token::Sync(sync.now().await.map_err(api_error)?),
    };
    let ask = ask((reader, Some(since)), LIMIT_MAX, timeout);
    let answer = parsed(&sync.v3(ask).await.map_err(api_error)?)?;
    let chunk: Vec<Value> = happened(&answer);
    Ok(body(&json!({
        "start": since.to_string(),
        "end": answer["next_batch"],
        "chunk": chunk,
    })))
}

/// GET `/_matrix/client/v3/initialSync`
async fn initial(
    State(sync): State<hearth_sync::Sync>,
    State(rooms): State<Rooms>,
    query: WrittenQuery,
    request: Ruma<Unparsed<Get>>,
) -> Result<RawJson, ApiError> {
    let written = written(query)?;
    let limit = written.limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX);
    let reader = reader(request.caller()?);
    let mut ask = ask((reader, None), limit, Duration::ZERO);
    if written.archived == Some(true) {
        let filter = json!({
            "room": { "include_leave": true, "timeline": { "limit": limit } },
        });
        ask.filter = Some(filter.to_string());
    }
    let answer = parsed(&sync.v3(ask).await.map_err(api_error)?)?;
    let mut shown = Vec::new();
    for (membership, section) in [("join", "join"), ("invite", "invite"), ("leave", "leave")] {
        for (room_id, room) in object(&answer["rooms"][section]) {
            let mut room = initial_room(room_id, room, &answer["next_batch"]);
            room["membership"] = membership.into();
            if let Ok(room_id) = RoomId::parse(room_id.as_str()) {
                let publication = rooms.publication(&room_id).await;
                let is_public = matches!(publication, Ok(Publish::Public));
                room["visibility"] = if is_public { "public" } else { "private" }.into();
            }
            shown.push(room);
        }
    }
    Ok(body(&json!({
        "end": answer["next_batch"],
        "rooms": shown,
        "presence": list(&answer["presence"]["events"]),
        "account_data": list(&answer["account_data"]["events"]),
    })))
}

/// A room of `/sync` in the form of `/initialSync`.
fn initial_room(room_id: &str, room: &Value, end: &Value) -> Value {
    let mut shown = json!({ "room_id": room_id });
    let stripped = list(&room["invite_state"]["events"]);
    let invite = stripped
        .iter()
        .rfind(|event| event["content"]["membership"] == "invite");
    if let Some(invite) = invite {
        shown["invite"] = in_room(invite, room_id);
        return shown;
    }
    let timeline = &room["timeline"];
    let events = |events: &Value| -> Vec<Value> {
        let events = list(events).iter();
        events.map(|event| in_room(event, room_id)).collect()
    };
    let chunk = events(&timeline["events"]);
    // The state section ends where the timeline begins; the old form wants the state of now.
    let mut state = events(&room["state"]["events"]);
    for event in chunk.iter().filter(|event| event["state_key"].is_string()) {
        let is_replaced =
            |old: &Value| old["type"] == event["type"] && old["state_key"] == event["state_key"];
        state.retain(|old| !is_replaced(old));
        state.push(event.clone());
    }
    shown["messages"] = json!({ "chunk": chunk, "start": timeline["prev_batch"], "end": end });
    shown["state"] = state.into();
    shown["account_data"] = list(&room["account_data"]["events"]).to_vec().into();
    shown
}

/// All that an incremental sync tells, as one list.
fn happened(answer: &Value) -> Vec<Value> {
    let mut chunk = Vec::new();
    for section in ["join", "leave"] {
        for (room_id, room) in object(&answer["rooms"][section]) {
            for part in ["state", "timeline", "ephemeral"] {
                let events = list(&room[part]["events"]).iter();
                chunk.extend(events.map(|event| in_room(event, room_id)));
            }
        }
    }
    for (room_id, room) in object(&answer["rooms"]["invite"]) {
        let events = list(&room["invite_state"]["events"]).iter();
        let invites = events.filter(|event| event["content"]["membership"] == "invite");
        chunk.extend(invites.map(|event| in_room(event, room_id)));
    }
    chunk.extend(list(&answer["presence"]["events"]).iter().cloned());
    chunk
}

fn in_room(event: &Value, room_id: &str) -> Value {
    let mut event = event.clone();
    event["room_id"] = room_id.into();
    event
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn ask((reader, since): (Reader, Option<Token>), limit: u64, timeout: Duration) -> SyncAsk {
    SyncAsk {
        reader,
        since,
        filter: Some(json!({ "room": { "timeline": { "limit": limit } } }).to_string()),
        state_wanted: StateWanted::Changes,
        state_until: StateUntil::TimelineStart,
        timeout,
    }
}

fn parsed(json: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(json).map_err(|error| ApiError::internal(&error))
}

fn body(value: &Value) -> RawJson {
    RawJson(Bytes::from(value.to_string()))
}
