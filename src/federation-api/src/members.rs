//! How other servers' users come into rooms and leave them.

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::put;
use bytes::Bytes;
use hearth_event::canonical::quote;
use hearth_http::{ApiError, RawJson, route};
use hearth_ports::remote::{MemberKind, Members};
use hearth_rooms::Rooms;
use hearth_rooms::remote::InviteIn;
use hearth_rooms::serve::Template;
use ruma::api::federation::membership::{
    prepare_join_event, prepare_knock_event, prepare_leave_event,
};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::rooms_error;
use crate::signed::Bare;
use crate::{Parts, Signed};

pub(crate) fn router() -> Router<Parts> {
    let router = route::<prepare_join_event::v1::Request, _, _, _>(Router::new(), make_join);
    let router = route::<prepare_knock_event::v1::Request, _, _, _>(router, make_knock);
    route::<prepare_leave_event::v1::Request, _, _, _>(router, make_leave)
        .route(
            "/_matrix/federation/v1/send_join/{roomId}/{eventId}",
            put(send_join_v1),
        )
        .route(
            "/_matrix/federation/v2/send_join/{roomId}/{eventId}",
            put(send_join),
        )
        .route(
            "/_matrix/federation/v1/send_leave/{roomId}/{eventId}",
            put(send_leave_v1),
        )
        .route(
            "/_matrix/federation/v2/send_leave/{roomId}/{eventId}",
            put(send_leave),
        )
        .route(
            "/_matrix/federation/v1/send_knock/{roomId}/{eventId}",
            put(send_knock),
        )
        .route(
            "/_matrix/federation/v1/invite/{roomId}/{eventId}",
            put(invite_v1),
        )
        .route(
            "/_matrix/federation/v2/invite/{roomId}/{eventId}",
            put(invite),
        )
        .route(
            "/_matrix/federation/v1/exchange_third_party_invite/{roomId}",
            put(exchange_third_party_invite),
        )
}

#[derive(Deserialize)]
struct JoinQuery {
    #[serde(default)]
    omit_members: Option<String>,
}

/// PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}
async fn send_join(
    State(rooms): State<Rooms>,
    Query(query): Query<JoinQuery>,
    request: Bare,
) -> Result<RawJson, ApiError> {
    let members = match query.omit_members.as_deref() {
        Some("true") => Members::Omit,
        _ => Members::All,
    };
    Ok(RawJson(Bytes::from(
        joined(&rooms, &request, members).await?,
    )))
}

/// PUT /_matrix/federation/v1/send_join/{roomId}/{eventId}: no longer in the specification; an array of status and body.
async fn send_join_v1(State(rooms): State<Rooms>, request: Bare) -> Result<RawJson, ApiError> {
    let answer = joined(&rooms, &request, Members::All).await?;
    Ok(RawJson(Bytes::from(format!("[200,{answer}]"))))
}

async fn joined(rooms: &Rooms, request: &Bare, members: Members) -> Result<String, ApiError> {
    let (room_id, event_id, event) = member_event(request)?;
    let accepted = rooms
        .accept_join(&request.origin, &room_id, &event_id, event)
        .await;
    let accepted = accepted.map_err(rooms_error)?;
    let answer = rooms.join_answer(accepted.room, accepted.before, &accepted.event, members);
    answer.await.map_err(rooms_error)
}

/// PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}
async fn send_leave(State(rooms): State<Rooms>, request: Bare) -> Result<RawJson, ApiError> {
    let (room_id, event_id, event) = member_event(&request)?;
    let accepted = rooms
        .accept_leave(&request.origin, &room_id, &event_id, event)
        .await;
    accepted.map_err(rooms_error)?;
    Ok(RawJson(Bytes::from_static(b"{}")))
}

/// PUT /_matrix/federation/v1/send_leave/{roomId}/{eventId}: no longer in the specification.
async fn send_leave_v1(rooms: State<Rooms>, request: Bare) -> Result<RawJson, ApiError> {
    send_leave(rooms, request).await?;
    Ok(RawJson(Bytes::from_static(b"[200,{}]")))
}

/// PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}
async fn send_knock(State(rooms): State<Rooms>, request: Bare) -> Result<RawJson, ApiError> {
    let (room_id, event_id, event) = member_event(&request)?;
    let accepted = rooms
        .accept_knock(&request.origin, &room_id, &event_id, event)
        .await;
    let state = accepted.map_err(rooms_error)?;
    Ok(RawJson(Bytes::from(format!(
        "{{\"knock_room_state\":{state}}}"
    ))))
}

#[derive(Deserialize)]
struct Invite<'a> {
    room_version: String,
    #[serde(borrow)]
    event: &'a RawValue,
    #[serde(default)]
    invite_room_state: Vec<Box<RawValue>>,
}

/// PUT /_matrix/federation/v2/invite/{roomId}/{eventId}
async fn invite(State(rooms): State<Rooms>, request: Bare) -> Result<RawJson, ApiError> {
    let body: Invite<'_> = read(&request.json)?;
    let invited = InviteIn {
        version: &body.room_version,
        event: body.event,
        state: body.invite_room_state,
    };
    let (room_id, event_id): (OwnedRoomId, OwnedEventId) = (request.path(0)?, request.path(1)?);
    let event = rooms
        .accept_invite(&request.origin, &room_id, &event_id, invited)
        .await;
    let event = event.map_err(rooms_error)?;
    Ok(RawJson(Bytes::from(format!(
        "{{\"event\":{}}}",
        event.get()
    ))))
}

#[derive(Deserialize)]
struct InviteV1<'a> {
    #[serde(borrow, default)]
    unsigned: Option<Unsigned<'a>>,
}

#[derive(Deserialize)]
struct Unsigned<'a> {
    #[serde(borrow, default)]
    invite_room_state: Option<Vec<&'a RawValue>>,
}

/// PUT /_matrix/federation/v1/invite/{roomId}/{eventId}: the event alone; for rooms of versions 1 and 2.
async fn invite_v1(State(rooms): State<Rooms>, request: Bare) -> Result<RawJson, ApiError> {
    let (room_id, event_id, event) = member_event(&request)?;
    let body: InviteV1<'_> = read(&request.json)?;
    let state = body
        .unsigned
        .and_then(|unsigned| unsigned.invite_room_state);
    let invited = InviteIn {
        version: "1",
        event,
        state: state.into_iter().flatten().map(ToOwned::to_owned).collect(),
    };
    let event = rooms
        .accept_invite(&request.origin, &room_id, &event_id, invited)
        .await;
    let event = event.map_err(rooms_error)?;
    Ok(RawJson(Bytes::from(format!(
        "[200,{{\"event\":{}}}]",
        event.get()
    ))))
}

/// PUT /_matrix/federation/v1/exchange_third_party_invite/{roomId}
async fn exchange_third_party_invite(
    State(rooms): State<Rooms>,
    request: Bare,
) -> Result<RawJson, ApiError> {
    let room_id: OwnedRoomId = request.path(0)?;
    let event = read(&request.json)?;
    let exchanged = rooms.exchange_third_party_invite(&request.origin, &room_id, event);
    exchanged.await.map_err(rooms_error)?;
    Ok(RawJson(Bytes::from_static(b"{}")))
}

/// Room, event id and event of a request whose body is an event.
fn member_event(request: &Bare) -> Result<(OwnedRoomId, OwnedEventId, &RawValue), ApiError> {
    Ok((request.path(0)?, request.path(1)?, read(&request.json)?))
}

fn read<'a, T: Deserialize<'a>>(json: &'a Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(json).map_err(|error| ApiError::bad_json(error.to_string()))
}

/// GET /_matrix/federation/v1/make_join/{roomId}/{userId}
async fn make_join(
    State(rooms): State<Rooms>,
    request: Signed<prepare_join_event::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let versions = names(&body.ver);
    let whose = (&*body.room_id, &*body.user_id);
    let template = rooms.member_template(&request.origin, MemberKind::Join, whose, &versions);
    Ok(template_answer(&template.await.map_err(rooms_error)?))
}

/// GET /_matrix/federation/v1/make_knock/{roomId}/{userId}
async fn make_knock(
    State(rooms): State<Rooms>,
    request: Signed<prepare_knock_event::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let versions = names(&body.ver);
    let whose = (&*body.room_id, &*body.user_id);
    let template = rooms.member_template(&request.origin, MemberKind::Knock, whose, &versions);
    Ok(template_answer(&template.await.map_err(rooms_error)?))
}

/// GET /_matrix/federation/v1/make_leave/{roomId}/{userId}
async fn make_leave(
    State(rooms): State<Rooms>,
    request: Signed<prepare_leave_event::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let whose = (&*body.room_id, &*body.user_id);
    let template = rooms.member_template(&request.origin, MemberKind::Leave, whose, &[]);
    Ok(template_answer(&template.await.map_err(rooms_error)?))
}

fn names(versions: &[RoomVersionId]) -> Vec<String> {
    versions.iter().map(ToString::to_string).collect()
}

fn template_answer(template: &Template) -> RawJson {
    let version = quote(template.room_version.as_str());
    let event = &template.event;
    RawJson(Bytes::from(format!(
        "{{\"room_version\":{version},\"event\":{event}}}"
    )))
}
