//! Joins by a restricted rule: who may come in because of another room, and who lets her in.

use hearth_data::{members, rooms};
use hearth_event::Pdu;
use hearth_event::canonical::Value;
use hearth_store::Snapshot;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, UserId};

use crate::Result;
use crate::stage::Stage;
use crate::summary::allowed_rooms;

/// Most users that are asked to authorise a restricted join.
const AUTHORISERS_MAX: usize = 100;

/// Whether a user is joined in one of the rooms that a restricted join rule names.
pub(crate) async fn fulfils_condition(
    snapshot: &dyn Snapshot,
    user: &UserId,
    rule: &Pdu,
) -> Result<bool> {
    for room_id in allowed_rooms(rule) {
        let Some(room) = rooms::number(snapshot, &room_id).await? else {
            continue;
        };
        let row = members::member(snapshot, room, user.as_str()).await?;
        if row.is_some_and(|row| row.membership == MembershipState::Join) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A joined local user who may invite: the creators, then those whom the power levels name.
pub(crate) async fn authoriser(stage: &mut Stage<'_>) -> Result<Option<String>> {
    let Some(power) = stage.view.power() else {
        return Ok(None);
    };
    let mut candidates: Vec<OwnedUserId> = power.creators().to_vec();
    candidates.extend(stage.view.create().map(|create| create.sender().to_owned()));
    if let Some(levels) = stage.view.pdu("m.room.power_levels", "") {
        let content = levels.content_object();
        let users = content.get("users").and_then(Value::as_object);
        let named = users.into_iter().flatten();
        candidates.extend(named.filter_map(|(user, _)| UserId::parse(user.as_str()).ok()));
    }
    candidates.retain(|user| stage.inner.is_local(user) && power.can_invite(user));
    candidates.truncate(AUTHORISERS_MAX);
    for user in candidates {
        stage.load(&[("m.room.member", user.as_str())]).await?;
        if stage.view.membership(&user) == Some(MembershipState::Join) {
            return Ok(Some(user.to_string()));
        }
    }
    Ok(None)
}
