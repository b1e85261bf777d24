//! Joins by a restricted rule: who may come in because of another room, and who lets her in.

use hearth_data::{RoomNo, members};
use hearth_event::canonical::Value;
use hearth_event::{Pdu, PowerLevels};
use hearth_store::Snapshot;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, UserId};

use crate::read::followed;
use crate::stage::Stage;
use crate::summary::allowed_rooms;
use crate::{Inner, Result};

/// Most users that are asked to authorise a restricted join.
const AUTHORISERS_MAX: usize = 100;
/// How many of them are no more than members.
const OTHERS_MAX: usize = 10;
/// How many members are looked through for these.
const MEMBER_PAGE: usize = 500;
const MEMBER_PAGES_MAX: usize = 20;

/// Whether a user is joined in one of the rooms that a restricted join rule names, and that this server follows: of others
/// it only knows who was in them once.
pub(crate) async fn fulfils_condition(
    snapshot: &dyn Snapshot,
    user: &UserId,
    rule: &Pdu,
) -> Result<bool> {
    for room_id in allowed_rooms(rule) {
        let Some(room) = followed(snapshot, &room_id).await? else {
            continue;
        };
        let row = members::member(snapshot, room, user.as_str()).await?;
        if row.is_some_and(|row| row.membership == MembershipState::Join) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A joined local user who may invite.
pub(crate) async fn authoriser(stage: &mut Stage<'_>) -> Result<Option<String>> {
    let Some(power) = stage.view.power() else {
        return Ok(None);
    };
    let create = stage.view.create().map(|create| create.sender().to_owned());
    let levels = stage.view.pdu("m.room.power_levels", "").cloned();
    let place = (stage.snapshot, stage.room());
    let candidates = inviters(stage.inner, place, &power, (create, levels.as_ref())).await?;
    for user in candidates {
        stage.load(&[("m.room.member", user.as_str())]).await?;
        if stage.view.membership(&user) == Some(MembershipState::Join) {
            return Ok(Some(user.to_string()));
        }
    }
    Ok(None)
}

/// Local users who may invite, joined or not: the creators, then those whom the power levels name, then, where everybody
/// may, some of the members.
pub(crate) async fn inviters(
    inner: &Inner,
    (snapshot, room): (&dyn Snapshot, RoomNo),
    power: &PowerLevels,
    (creator, levels): (Option<OwnedUserId>, Option<&Pdu>),
) -> Result<Vec<OwnedUserId>> {
    let mut candidates: Vec<OwnedUserId> = power.creators().to_vec();
    candidates.extend(creator);
    if let Some(levels) = levels {
        let content = levels.content_object();
        let users = content.get("users").and_then(Value::as_object);
        let named = users.into_iter().flatten();
        candidates.extend(named.filter_map(|(user, _)| UserId::parse(user.as_str()).ok()));
    }
    let may = |user: &OwnedUserId| inner.is_local(user) && power.can_invite(user);
    candidates.retain(may);
    candidates.truncate(AUTHORISERS_MAX);
    let mut after = String::new();
    for _ in 0..MEMBER_PAGES_MAX {
        let page = members::members_after(snapshot, room, &after, MEMBER_PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after.clone_from(last);
        let joined = page
            .iter()
            .filter(|(_, row)| row.membership == MembershipState::Join);
        let others = joined.filter_map(|(user, _)| UserId::parse(user.as_str()).ok());
        let before = candidates.len();
        candidates.extend(others.filter(may).take(OTHERS_MAX));
        if candidates.len() > before || page.len() < MEMBER_PAGE {
            break;
        }
    }
    Ok(candidates)
}
