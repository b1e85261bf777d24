//! Aliases and the directory of published rooms.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_appservice::AppServices;
use hearth_federation::Client;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Error, Publish, RoomListing, RoomPage, RoomQuery, Rooms};
use ruma::ServerName;
use ruma::api::client::alias::{create_alias, delete_alias, get_alias};
use ruma::api::client::directory::{
    get_public_rooms, get_public_rooms_filtered, get_room_visibility, set_room_visibility,
};
use ruma::api::client::room::aliases;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::create::publish;
use super::error::rooms_error;
use super::services::{check_alias, is_made};
use super::{active, answer, done};
use crate::remote_error;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    Client: FromRef<S>,
    AppServices: FromRef<S>,
{
    let router = route::<create_alias::v3::Request, _, _, _>(Router::new(), put_alias);
    let router = route::<get_alias::v3::Request, _, _, _>(router, alias);
    let router = route::<delete_alias::v3::Request, _, _, _>(router, remove_alias);
    let router = route::<aliases::v3::Request, _, _, _>(router, room_aliases);
    let router = route::<get_room_visibility::v3::Request, _, _, _>(router, visibility);
    let router = route::<set_room_visibility::v3::Request, _, _, _>(router, set_visibility);
    let router = route::<get_public_rooms::v3::Request, _, _, _>(router, published);
    route::<get_public_rooms_filtered::v3::Request, _, _, _>(router, search)
}

/// PUT /_matrix/client/v3/directory/room/{roomAlias}
async fn put_alias(
    State(rooms): State<Rooms>,
    State(services): State<AppServices>,
    request: Ruma<create_alias::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = active(&request)?;
    let (user, body) = (&caller.user, &request.body);
    check_alias(&services, &body.room_alias, caller)?;
    let put = rooms.put_alias(user, &body.room_alias, &body.room_id).await;
    put.map_err(rooms_error)?;
    Ok(done())
}

/// GET /_matrix/client/v3/directory/room/{roomAlias}
async fn alias(
    State(rooms): State<Rooms>,
    State(services): State<AppServices>,
    request: Ruma<get_alias::v3::Request>,
) -> Result<RawJson, ApiError> {
    let alias = &*request.body.room_alias;
    let mut target = rooms.find_alias(alias).await;
    if is_made(&services, alias.into(), &target).await {
        target = rooms.find_alias(alias).await;
    }
    let target = target.map_err(rooms_error)?;
    Ok(answer(
        &json!({ "room_id": target.room_id, "servers": target.servers }),
    ))
}

/// DELETE /_matrix/client/v3/directory/room/{roomAlias}
async fn remove_alias(
    State(rooms): State<Rooms>,
    request: Ruma<delete_alias::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &active(&request)?.user;
    let removed = rooms.remove_alias(user, &request.body.room_alias).await;
    removed.map_err(rooms_error)?;
    Ok(done())
}

/// GET /_matrix/client/v3/rooms/{roomId}/aliases
async fn room_aliases(
    State(rooms): State<Rooms>,
    request: Ruma<aliases::v3::Request>,
) -> Result<RawJson, ApiError> {
    let aliases = rooms
        .aliases(&request.caller()?.user, &request.body.room_id)
        .await;
    Ok(answer(&json!({ "aliases": aliases.map_err(rooms_error)? })))
}

/// GET /_matrix/client/v3/directory/list/room/{roomId}
async fn visibility(
    State(rooms): State<Rooms>,
    request: Ruma<get_room_visibility::v3::Request>,
) -> Result<RawJson, ApiError> {
    let publication = rooms.publication(&request.body.room_id).await;
    let visibility = match publication.map_err(listing_error)? {
        Publish::Public => "public",
        Publish::Private => "private",
    };
    Ok(answer(&json!({ "visibility": visibility })))
}

/// PUT /_matrix/client/v3/directory/list/room/{roomId}
async fn set_visibility(
    State(rooms): State<Rooms>,
    request: Ruma<set_room_visibility::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = active(&request)?;
    let publish = publish(&request.body.visibility)?;
    let by = (&*caller.user, caller.is_admin);
    let set = rooms.publish(by, &request.body.room_id, publish).await;
    set.map_err(listing_error)?;
    Ok(done())
}

/// These endpoints say when there is no room.
fn listing_error(error: Error) -> ApiError {
    match error {
        Error::NoSuchRoom => ApiError::not_found("No such room"),
        error => rooms_error(error),
    }
}

/// GET /_matrix/client/v3/publicRooms
async fn published(
    State(rooms): State<Rooms>,
    State(federation): State<Client>,
    request: Ruma<get_public_rooms::v3::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    if let Some(server) = elsewhere(&rooms, body.server.as_deref()) {
        let page = (body.limit.map(u64::from), body.since.as_deref());
        return remote_page(&federation, server, page, None).await;
    }
    let query = RoomQuery {
        since: body.since.clone(),
        limit: body.limit.map(count),
        ..RoomQuery::default()
    };
    Ok(page(&rooms.published(&query).await.map_err(rooms_error)?))
}

/// POST /_matrix/client/v3/publicRooms
async fn search(
    State(rooms): State<Rooms>,
    State(federation): State<Client>,
    request: Ruma<get_public_rooms_filtered::v3::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    if let Some(server) = elsewhere(&rooms, body.server.as_deref()) {
        let page = (body.limit.map(u64::from), body.since.as_deref());
        let filter = serde_json::from_slice::<Filter<'_>>(&request.json);
        let filter = filter.ok().and_then(|filter| filter.filter);
        return remote_page(&federation, server, page, filter).await;
    }
    let types = &body.filter.room_types;
    let types = types
        .iter()
        .map(|kind| kind.as_str().map(ToOwned::to_owned));
    let types: Vec<Option<String>> = types.collect();
    let query = RoomQuery {
        since: body.since.clone(),
        limit: body.limit.map(count),
        term: body.filter.generic_search_term.clone(),
        room_types: (!types.is_empty()).then_some(types),
    };
    Ok(page(&rooms.published(&query).await.map_err(rooms_error)?))
}

fn count(limit: ruma::UInt) -> usize {
    usize::try_from(u64::from(limit)).unwrap_or(usize::MAX)
}

/// Another server whose directory is asked for.
fn elsewhere<'a>(rooms: &Rooms, server: Option<&'a ServerName>) -> Option<&'a ServerName> {
    server.filter(|server| *server != rooms.server_name())
}

/// The filter of a search, as the client wrote it.
#[derive(serde::Deserialize)]
struct Filter<'a> {
    #[serde(borrow)]
    filter: Option<&'a RawValue>,
}

/// A page of another server's directory.
async fn remote_page(
    federation: &Client,
    server: &ServerName,
    page: (Option<u64>, Option<&str>),
    filter: Option<&RawValue>,
) -> Result<RawJson, ApiError> {
    let found = federation.public_rooms(server, page, filter).await;
    let mut found = found.map_err(|error| remote_error(&error))?;
    if !found.get("chunk").is_some_and(Value::is_array) {
        found.insert("chunk".to_owned(), Value::Array(Vec::new()));
    }
    Ok(answer(&Value::Object(found)))
}

fn page(page: &RoomPage) -> RawJson {
    let chunk: Vec<Value> = page.rooms.iter().map(listing).collect();
    let mut body = json!({ "chunk": chunk, "total_room_count_estimate": page.total });
    if let Some(next) = &page.next {
        body["next_batch"] = next.as_str().into();
    }
    answer(&body)
}

pub(super) fn listing(room: &RoomListing) -> Value {
    let mut shown = Map::new();
    shown.insert("room_id".to_owned(), room.room_id.as_str().into());
    shown.insert("num_joined_members".to_owned(), room.joined.into());
    shown.insert("world_readable".to_owned(), room.is_world_readable.into());
    shown.insert("guest_can_join".to_owned(), room.guests_can_join.into());
    let alias = room.canonical_alias.as_ref().map(ToString::to_string);
    let texts = [
        ("canonical_alias", &alias),
        ("name", &room.name),
        ("topic", &room.topic),
        ("avatar_url", &room.avatar_url),
        ("join_rule", &room.join_rule),
        ("room_type", &room.room_type),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            shown.insert(field.to_owned(), text.as_str().into());
        }
    }
    Value::Object(shown)
}
