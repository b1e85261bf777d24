//! The presence section: those who share a room with the user, and are there, or were and are not any more.

use std::collections::BTreeSet;
use std::sync::Arc;

use hearth_data::{RoomNo, members};
use hearth_ports::Presence;
use ruma::UserId;
use ruma::events::room::member::MembershipState;
use ruma::presence::PresenceState;
use serde_json::value::RawValue;

use super::Round;
use crate::Result;
use crate::json::JsonWriter;

/// How many users are looked at when it is not remembered whose presence changed: those whose presence changed last.
const LOOKED_AT_MAX: usize = 1_000;
/// How many members of a room that is new to the client are looked at besides the connected ones.
const MEMBERS_MAX: usize = 1_000;
/// The only type there is.
const TYPE: &str = "m.presence";

/// The presence events to tell. The user's own presence is none of them ("the presence status of other users").
pub(super) async fn section(
    round: &Round<'_>,
    faces: Option<Vec<Arc<str>>>,
    joined_anew: &[RoomNo],
) -> Result<Vec<Box<RawValue>>> {
    let filter = &round.filter.presence;
    if !filter.wants_type(TYPE) || filter.wants_nothing() {
        return Ok(Vec::new());
    }
    let mut users = changed(round, faces).await?;
    for room in joined_anew {
        users.extend(members_of(round, *room).await?);
    }
    users.remove(round.user());
    let mut events = Vec::new();
    for user in users.iter().filter(|user| filter.wants_sender(user)) {
        let Ok(user) = <&UserId>::try_from(&**user) else {
            continue;
        };
        let presence = round.inner.parts.presences.presence(user);
        // Who was never there is offline to those who hear nothing.
        let presence = presence.filter(|presence| {
            round.since.is_some()
                || presence.state != PresenceState::Offline
                || presence.status_msg.is_some()
        });
        events.extend(presence.map(|presence| event(round, user, &presence)));
    }
    Ok(events)
}

/// The users whose presence changed since, or who came into one of the rooms.
async fn changed(round: &Round<'_>, faces: Option<Vec<Arc<str>>>) -> Result<BTreeSet<Arc<str>>> {
    let notifier = &round.inner.notifier;
    let candidates = match faces {
        Some(faces) => faces,
        None => {
            // Also whoever came into one of the rooms meanwhile, which is not remembered.
            let all = round.inner.parts.presences.changed_since(0);
            let newest = all.iter().rev().take(LOOKED_AT_MAX);
            newest.map(|(user, _)| user.as_str().into()).collect()
        }
    };
    let mut users = BTreeSet::new();
    for user in candidates {
        if notifier
            .shares_room(round.snapshot, round.user(), &user)
            .await?
        {
            users.insert(user);
        }
    }
    Ok(users)
}

async fn members_of(round: &Round<'_>, room: RoomNo) -> Result<Vec<Arc<str>>> {
    let mut users = round.inner.notifier.members_of(room);
    let rows = members::members_after(round.snapshot, room, "", MEMBERS_MAX).await?;
    let joined = rows
        .into_iter()
        .filter(|(_, row)| row.membership == MembershipState::Join);
    users.extend(joined.map(|(user, _)| Arc::from(user)));
    Ok(users)
}

fn event(round: &Round<'_>, user: &UserId, presence: &Presence) -> Box<RawValue> {
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("type");
    json.text(TYPE);
    json.key("sender");
    json.text(user.as_str());
    json.key("content");
    json.begin_object();
    json.key("presence");
    json.text(presence.state.as_str());
    if let Some(at) = presence.last_active {
        json.key("last_active_ago");
        let ago = round.now.since(at).as_millis();
        json.number(u64::try_from(ago).unwrap_or(u64::MAX));
    }
    if presence.is_currently_active() {
        json.key("currently_active");
        json.boolean(true);
    }
    if let Some(status) = &presence.status_msg {
        json.key("status_msg");
        json.text(status);
    }
    json.end_object();
    json.end_object();
    json.finish_raw()
}
