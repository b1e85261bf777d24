//! Joining, leaving, inviting and the like.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_appservice::AppServices;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Rooms, TargetChange};
use http::StatusCode;
use ruma::api::client::knock::knock_room;
use ruma::api::client::membership::invite_user::v3::InvitationRecipient;
use ruma::api::client::membership::{
    ban_user, forget_room, invite_user, join_room_by_id, join_room_by_id_or_alias, kick_user,
    leave_room, unban_user,
};
use ruma::{RoomId, RoomOrAliasId, UserId};
use serde_json::json;

use super::error::rooms_error;
use super::services::is_made;
use super::{active, answer, content, done};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    AppServices: FromRef<S>,
{
    let router = route::<join_room_by_id::v3::Request, _, _, _>(Router::new(), join);
    let router = route::<join_room_by_id_or_alias::v3::Request, _, _, _>(router, join_any);
    let router = route::<knock_room::v3::Request, _, _, _>(router, knock);
    let router = route::<invite_user::v3::Request, _, _, _>(router, invite);
    let router = route::<leave_room::v3::Request, _, _, _>(router, leave);
    let router = route::<kick_user::v3::Request, _, _, _>(router, kick);
    let router = route::<ban_user::v3::Request, _, _, _>(router, ban);
    let router = route::<unban_user::v3::Request, _, _, _>(router, unban);
    route::<forget_room::v3::Request, _, _, _>(router, forget)
}

/// POST /_matrix/client/v3/rooms/{roomId}/join. What else the body says goes into the member event, as Complement asks.
async fn join(
    State(rooms): State<Rooms>,
    request: Ruma<join_room_by_id::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = active(&request)?;
    let room = <&RoomOrAliasId>::from(&*request.body.room_id);
    let further = content(&request.json)?;
    let with = (request.body.reason.clone(), Some(&*further));
    let joined = rooms.join_with(caller, room, with).await;
    Ok(answer(&json!({ "room_id": joined.map_err(rooms_error)? })))
}

/// POST /_matrix/client/v3/join/{roomIdOrAlias}
async fn join_any(
    State(rooms): State<Rooms>,
    State(services): State<AppServices>,
    request: Ruma<join_room_by_id_or_alias::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = active(&request)?;
    let room = &request.body.room_id_or_alias;
    let further = content(&request.json)?;
    let (reason, via) = (&request.body.reason, &request.body.via);
    let with = || (reason.clone(), Some(&*further));
    let mut joined = rooms.join_via(caller, room, via, with()).await;
    if is_made(&services, room, &joined).await {
        joined = rooms.join_via(caller, room, via, with()).await;
    }
    Ok(answer(&json!({ "room_id": joined.map_err(rooms_error)? })))
}

/// POST /_matrix/client/v3/knock/{roomIdOrAlias}
async fn knock(
    State(rooms): State<Rooms>,
    request: Ruma<knock_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &active(&request)?.user;
    let room = &request.body.room_id_or_alias;
    let reason = request.body.reason.clone();
    let knocked = rooms.knock_via(user, room, &request.body.via, reason).await;
    Ok(answer(&json!({ "room_id": knocked.map_err(rooms_error)? })))
}

/// POST /_matrix/client/v3/rooms/{roomId}/invite
async fn invite(
    State(rooms): State<Rooms>,
    request: Ruma<invite_user::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &active(&request)?.user;
    let InvitationRecipient::UserId(invited) = &request.body.recipient else {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "M_THREEPID_DENIED",
            "This server invites by user id only",
        ));
    };
    let change = (TargetChange::Invite, &*invited.user_id);
    change_other(
        &rooms,
        (user, &request.body.room_id),
        change,
        &invited.reason,
    )
    .await
}

/// POST /_matrix/client/v3/rooms/{roomId}/leave. A suspended user may leave.
async fn leave(
    State(rooms): State<Rooms>,
    request: Ruma<leave_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let left = rooms
        .leave(user, &request.body.room_id, request.body.reason.clone())
        .await;
    left.map_err(rooms_error)?;
    Ok(done())
}

/// POST /_matrix/client/v3/rooms/{roomId}/kick
async fn kick(
    State(rooms): State<Rooms>,
    request: Ruma<kick_user::v3::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let by = (&*active(&request)?.user, &*body.room_id);
    change_other(
        &rooms,
        by,
        (TargetChange::Kick, &body.user_id),
        &body.reason,
    )
    .await
}

/// POST /_matrix/client/v3/rooms/{roomId}/ban
async fn ban(
    State(rooms): State<Rooms>,
    request: Ruma<ban_user::v3::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let by = (&*active(&request)?.user, &*body.room_id);
    change_other(&rooms, by, (TargetChange::Ban, &body.user_id), &body.reason).await
}

/// POST /_matrix/client/v3/rooms/{roomId}/unban
async fn unban(
    State(rooms): State<Rooms>,
    request: Ruma<unban_user::v3::Request>,
) -> Result<RawJson, ApiError> {
    let body = &request.body;
    let by = (&*active(&request)?.user, &*body.room_id);
    change_other(
        &rooms,
        by,
        (TargetChange::Unban, &body.user_id),
        &body.reason,
    )
    .await
}

async fn change_other(
    rooms: &Rooms,
    (sender, room): (&UserId, &RoomId),
    change: (TargetChange, &UserId),
    reason: &Option<String>,
) -> Result<RawJson, ApiError> {
    let changed = rooms
        .change_other(sender, room, change, reason.clone())
        .await;
    changed.map_err(rooms_error)?;
    Ok(done())
}

/// POST /_matrix/client/v3/rooms/{roomId}/forget
async fn forget(
    State(rooms): State<Rooms>,
    request: Ruma<forget_room::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let forgotten = rooms.forget(user, &request.body.room_id).await;
    forgotten.map_err(rooms_error)?;
    Ok(done())
}
