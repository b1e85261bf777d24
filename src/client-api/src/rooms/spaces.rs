//! What can be known of rooms from outside: summaries, the tree of a space, rooms shared with somebody.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Children, Error, HierarchyQuery, RoomSummary, Rooms};
use ruma::api::client::membership::get_mutual_rooms;
use ruma::api::client::room::get_summary;
use ruma::api::client::space::get_hierarchy;
use serde_json::{Value, json};

use super::answer;
use super::directory::listing;
use super::error::rooms_error;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = route::<get_summary::v1::Request, _, _, _>(Router::new(), summary);
    let router = route::<get_hierarchy::v1::Request, _, _, _>(router, hierarchy);
    route::<get_mutual_rooms::v1::Request, _, _, _>(router, mutual_rooms)
}

/// GET /_matrix/client/v1/room_summary/{roomIdOrAlias}
async fn summary(
    State(rooms): State<Rooms>,
    request: Ruma<get_summary::v1::Request>,
) -> Result<RawJson, ApiError> {
    let user = request.caller.as_ref().map(|caller| &*caller.user);
    let summary = rooms
        .summary(user, &request.body.room_id_or_alias, &request.body.via)
        .await;
    let summary = summary.map_err(|error| match error {
        Error::NoServerInRoom => ApiError::not_found("Room not found"),
        error => rooms_error(error),
    })?;
    let mut shown = summarized(&summary);
    if let Some(membership) = &summary.membership {
        shown["membership"] = membership.as_str().into();
    }
    Ok(answer(&shown))
}

fn summarized(summary: &RoomSummary) -> Value {
    let mut shown = listing(&summary.listing);
    if let Some(version) = &summary.version {
        shown["room_version"] = version.as_str().into();
    }
    if let Some(encryption) = &summary.encryption {
        shown["encryption"] = encryption.as_str().into();
    }
    if !summary.allowed.is_empty() {
        shown["allowed_room_ids"] = json!(summary.allowed);
    }
    shown
}

/// GET /_matrix/client/v1/rooms/{roomId}/hierarchy
async fn hierarchy(
    State(rooms): State<Rooms>,
    request: Ruma<get_hierarchy::v1::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let body = &request.body;
    let query = HierarchyQuery {
        children: match body.suggested_only {
            true => Children::Suggested,
            false => Children::All,
        },
        max_depth: body.max_depth.map(u64::from),
        limit: body.limit.map(u64::from),
        from: body.from.clone(),
    };
    let page = rooms.hierarchy(user, &body.room_id, &query).await;
    let page = page.map_err(rooms_error)?;
    let shown = page.rooms.iter().map(|room| {
        let mut shown = summarized(&room.summary);
        shown["children_state"] = json!(room.children);
        shown
    });
    let mut body = json!({ "rooms": shown.collect::<Vec<_>>() });
    if let Some(next) = page.next {
        body["next_batch"] = next.into();
    }
    Ok(answer(&body))
}

/// GET /_matrix/client/v1/mutual_rooms
async fn mutual_rooms(
    State(rooms): State<Rooms>,
    request: Ruma<get_mutual_rooms::v1::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let body = &request.body;
    let mutual = rooms.mutual_rooms(user, &body.user_id, body.from.as_deref());
    let mutual = mutual.await.map_err(rooms_error)?;
    let mut shown = json!({ "joined": mutual.joined, "count": mutual.count });
    if let Some(next) = mutual.next {
        shown["next_batch"] = next.into();
    }
    Ok(answer(&shown))
}
