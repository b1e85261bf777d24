//! Who is in a room, and in which rooms one is.

use axum::Router;
use axum::extract::{FromRef, State};
use bytes::Bytes;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{At, MemberFilter, Rooms};
use hearth_sync::Token;
use ruma::api::client::membership::{get_member_events, joined_members, joined_rooms};
use serde_json::{Map, Value, json};

use super::error::rooms_error;
use super::{answer, list};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = route::<get_member_events::v3::Request, _, _, _>(Router::new(), members);
    let router = route::<joined_members::v3::Request, _, _, _>(router, joined);
    route::<joined_rooms::v3::Request, _, _, _>(router, rooms_joined)
}

/// GET /_matrix/client/v3/rooms/{roomId}/members
async fn members(
    State(rooms): State<Rooms>,
    request: Ruma<get_member_events::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let body = &request.body;
    let at = body.at.as_deref().map(at).transpose()?;
    let filter = MemberFilter {
        at,
        membership: body.membership.clone(),
        not_membership: body.not_membership.clone(),
    };
    let members = rooms.members(user, &body.room_id, filter).await;
    let chunk = list(&members.map_err(rooms_error)?);
    Ok(RawJson(Bytes::from(format!(r#"{{"chunk":{chunk}}}"#))))
}

fn at(token: &str) -> Result<At, ApiError> {
    match token.parse() {
        Ok(Token::Sync(token)) => Ok(At::Position(token.position)),
        // A `prev_batch` stands for the sync that gave it, not for the start of its timeline.
        Ok(Token::Gap { position, .. }) => Ok(At::Position(position)),
        Ok(Token::History(place)) => Ok(At::Place(place)),
        Err(_) => Err(ApiError::invalid_param(
            "`at` is not a token of this server",
        )),
    }
}

/// GET /_matrix/client/v3/rooms/{roomId}/joined_members
async fn joined(
    State(rooms): State<Rooms>,
    request: Ruma<joined_members::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let members = rooms.joined_members(user, &request.body.room_id).await;
    let members = members.map_err(rooms_error)?.into_iter().map(|member| {
        // null is not a string. The address is always there, as Complement asks; an empty one is none, as in profiles.
        let names = [
            ("display_name", member.displayname),
            ("avatar_url", Some(member.avatar_url.unwrap_or_default())),
        ];
        let shown = names
            .into_iter()
            .filter_map(|(name, text)| Some((name.to_owned(), text?.into())));
        (member.user.to_string(), Value::Object(shown.collect()))
    });
    let joined: Map<String, Value> = members.collect();
    Ok(answer(&json!({ "joined": joined })))
}

/// GET /_matrix/client/v3/joined_rooms
async fn rooms_joined(
    State(rooms): State<Rooms>,
    request: Ruma<joined_rooms::v3::Request>,
) -> Result<RawJson, ApiError> {
    let joined = rooms.joined_rooms(&request.caller()?.user).await;
    Ok(answer(
        &json!({ "joined_rooms": joined.map_err(rooms_error)? }),
    ))
}
