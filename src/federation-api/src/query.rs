//! Questions about users, aliases and the directory.

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use bytes::Bytes;
use hearth_accounts::Accounts;
use hearth_http::{ApiError, RawJson, route};
use hearth_rooms::{RoomListing, RoomPage, RoomQuery, Rooms};
use http::StatusCode;
use ruma::api::federation::directory::{get_public_rooms, get_public_rooms_filtered};
use ruma::api::federation::query::{get_profile_information, get_room_information};
use ruma::directory::RoomTypeFilter;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{accounts_error, rooms_error};
use crate::{Parts, Signed};

pub(crate) fn router() -> Router<Parts> {
    let router = route::<get_room_information::v1::Request, _, _, _>(Router::new(), directory);
    let router = route::<get_profile_information::v1::Request, _, _, _>(router, profile);
    let router = route::<get_public_rooms::v1::Request, _, _, _>(router, public_rooms);
    let router = route::<get_public_rooms_filtered::v1::Request, _, _, _>(router, search_rooms);
    router.route("/_matrix/federation/v1/openid/userinfo", get(openid))
}

fn answer(value: &Value) -> RawJson {
    RawJson(Bytes::from(value.to_string()))
}

/// GET /_matrix/federation/v1/query/directory
async fn directory(
    State(rooms): State<Rooms>,
    request: Signed<get_room_information::v1::Request>,
) -> Result<RawJson, ApiError> {
    let target = rooms.resolve_alias(&request.body.room_alias).await;
    let target = target.map_err(rooms_error)?;
    Ok(answer(
        &json!({ "room_id": target.room_id, "servers": target.servers }),
    ))
}

/// GET /_matrix/federation/v1/query/profile
async fn profile(
    State(accounts): State<Accounts>,
    request: Signed<get_profile_information::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let profile = accounts.profile(&body.user_id).await;
    let profile = profile.map_err(|error| accounts_error(&error))?;
    let mut profile = profile.ok_or_else(|| ApiError::not_found("No such user"))?;
    if let Some(field) = &body.field {
        let value = profile.remove(field.as_str());
        profile = value
            .map(|value| Map::from_iter([(field.to_string(), value)]))
            .unwrap_or_default();
    }
    Ok(answer(&Value::Object(profile)))
}

/// GET /_matrix/federation/v1/publicRooms
async fn public_rooms(
    State(rooms): State<Rooms>,
    request: Signed<get_public_rooms::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = request.body;
    let query = RoomQuery {
        since: body.since,
        limit: body
            .limit
            .and_then(|limit| usize::try_from(u64::from(limit)).ok()),
        ..RoomQuery::default()
    };
    let page = rooms.published(&query).await.map_err(rooms_error)?;
    Ok(answer(&listed(page)))
}

/// POST /_matrix/federation/v1/publicRooms
async fn search_rooms(
    State(rooms): State<Rooms>,
    request: Signed<get_public_rooms_filtered::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = request.body;
    let types = (!body.filter.room_types.is_empty()).then(|| {
        let types = body.filter.room_types.iter();
        types.map(room_type).collect()
    });
    let query = RoomQuery {
        since: body.since,
        limit: body
            .limit
            .and_then(|limit| usize::try_from(u64::from(limit)).ok()),
        term: body.filter.generic_search_term,
        room_types: types,
    };
    let page = rooms.published(&query).await.map_err(rooms_error)?;
    Ok(answer(&listed(page)))
}

fn room_type(filter: &RoomTypeFilter) -> Option<String> {
    match filter {
        RoomTypeFilter::Default => None,
        other => other.as_str().map(ToOwned::to_owned),
    }
}

fn listed(page: RoomPage) -> Value {
    let mut answer = json!({
        "chunk": page.rooms.iter().map(chunk).collect::<Vec<_>>(),
        "total_room_count_estimate": page.total,
    });
    if let Some(next) = page.next {
        answer["next_batch"] = Value::from(next);
    }
    answer
}

pub(crate) fn chunk(room: &RoomListing) -> Value {
    let mut chunk = json!({
        "room_id": room.room_id,
        "num_joined_members": room.joined,
        "world_readable": room.is_world_readable,
        "guest_can_join": room.guests_can_join,
    });
    let alias = room.canonical_alias.as_ref().map(ToString::to_string);
    for (field, value) in [
        ("canonical_alias", &alias),
        ("name", &room.name),
        ("topic", &room.topic),
        ("avatar_url", &room.avatar_url),
        ("join_rule", &room.join_rule),
        ("room_type", &room.room_type),
    ] {
        if let Some(value) = value {
            chunk[field] = Value::from(value.as_str());
        }
    }
    chunk
}

#[derive(Deserialize)]
struct Token {
    access_token: Option<String>,
}

/// GET /_matrix/federation/v1/openid/userinfo: asked by services, unsigned.
async fn openid(
    State(accounts): State<Accounts>,
    Query(token): Query<Token>,
) -> Result<RawJson, ApiError> {
    let unauthorized =
        |errcode, message: &str| ApiError::new(StatusCode::UNAUTHORIZED, errcode, message);
    let token = token
        .access_token
        .ok_or_else(|| unauthorized("M_MISSING_TOKEN", "Missing access token"))?;
    let user = accounts.openid_user(&token).await;
    let user = user.map_err(|error| accounts_error(&error))?;
    let user =
        user.ok_or_else(|| unauthorized("M_UNKNOWN_TOKEN", "Unknown or expired access token"))?;
    Ok(answer(&json!({ "sub": user })))
}
