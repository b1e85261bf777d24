//! Users and rooms at the border: who of other servers may be let in, what an invited one is shown, which rooms are only
//! known from outside.

use hearth_data::{RoomNo, members, rooms};
use hearth_event::{Pdu, client};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, UserId};
use serde_json::value::RawValue;

use crate::Result;
use crate::membership::STRIPPED;
use crate::restricted::fulfils_condition;
use crate::stage::Stage;

/// Whether a user of another server may be let in by a restricted rule, or needs not to be.
pub(crate) async fn may_enter_restricted(stage: &mut Stage<'_>, user: &UserId) -> Result<bool> {
    stage
        .load(&[
            ("m.room.create", ""),
            ("m.room.join_rules", ""),
            ("m.room.member", user.as_str()),
        ])
        .await?;
    let is_in = matches!(
        stage.view.membership(user),
        Some(MembershipState::Join | MembershipState::Invite)
    );
    let Some(rule) = stage.view.pdu("m.room.join_rules", "").cloned() else {
        return Ok(is_in);
    };
    Ok(is_in || fulfils_condition(stage.snapshot, user, &rule).await?)
}

/// What an invited user of another server is shown of the room, in federation format.
pub(crate) async fn invite_state(
    stage: &mut Stage<'_>,
    member: &Pdu,
) -> Result<Vec<Box<RawValue>>> {
    let sender = member.sender().to_owned();
    let mut keys = STRIPPED.to_vec();
    keys.push(("m.room.member", sender.as_str()));
    stage.load(&keys).await?;
    let events = keys
        .iter()
        .filter_map(|(kind, key)| stage.view.pdu(kind, key));
    Ok(events.map(client::federation).collect())
}

/// The id of a room, if a user is invited there or knocks.
pub(crate) async fn pending(
    snapshot: &dyn hearth_store::Snapshot,
    room: RoomNo,
    user: &UserId,
) -> Result<Option<OwnedRoomId>> {
    let row = members::user_room(snapshot, user.as_str(), room).await?;
    let is_pending = row.is_some_and(|row| {
        matches!(
            row.membership,
            MembershipState::Invite | MembershipState::Knock
        )
    });
    match is_pending {
        true => Ok(rooms::head(snapshot, room).await?.map(|head| head.room_id)),
        false => Ok(None),
    }
}
