//! The summary section: what a client without all members needs to name the room.

use hearth_data::members::{self, MemberRow};
use hearth_data::{StateId, rooms};
use hearth_event::Pdu;
use ruma::events::room::member::MembershipState;
use serde::Deserialize;

use super::Round;
use crate::Result;
use crate::json::JsonWriter;
use crate::room::RoomReader;

/// How many heroes there are.
const HEROES_MAX: usize = 5;
/// How many members are looked at to find the first ones to come.
const MEMBERS_SEEN_MAX: usize = 100;

/// The state events that name a room.
const NAMING: [&str; 2] = ["m.room.name", "m.room.canonical_alias"];

/// A room's summary.
pub(super) struct Summary {
    /// `None` if the room has a name of its own.
    named_by: Option<Vec<String>>,
    pub(super) heroes: Vec<String>,
    joined: u64,
    invited: u64,
}

impl Summary {
    pub(super) fn write(&self, json: &mut JsonWriter) {
        json.key("summary");
        json.begin_object();
        if let Some(heroes) = &self.named_by {
            json.key("m.heroes");
            json.begin_array();
            for hero in heroes {
                json.text(hero);
            }
            json.end_array();
        }
        json.key("m.joined_member_count");
        json.number(self.joined);
        json.key("m.invited_member_count");
        json.number(self.invited);
        json.end_object();
    }
}

/// The summary as of the snapshot.
pub(super) async fn section(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    state: StateId,
) -> Result<Summary> {
    let head = rooms::head(reader.snapshot, reader.no).await?;
    let (joined, invited) = head.map_or((0, 0), |head| (head.joined, head.invited));
    let named_by = if has_name(reader, state).await? {
        None
    } else {
        Some(heroes(round, reader).await?)
    };
    Ok(Summary {
        heroes: named_by.clone().unwrap_or_default(),
        named_by,
        joined,
        invited,
    })
}

/// Whether the summary may differ between two states, for clients that are not told the state events it comes from.
pub(super) async fn is_new(
    reader: &RoomReader<'_>,
    (before, end): (StateId, StateId),
) -> Result<bool> {
    if before == end {
        return Ok(false);
    }
    for change in reader.view().diff(before, end).await? {
        if let Some(number) = change.after.or(change.before)
            && let Some((_, _, pdu)) = reader.stored(number).await?
            && (pdu.kind() == "m.room.member" || NAMING.contains(&pdu.kind()))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn has_name(reader: &RoomReader<'_>, state: StateId) -> Result<bool> {
    #[derive(Deserialize)]
    struct Content {
        name: Option<String>,
        alias: Option<String>,
    }
    let is_named = |pdu: Pdu| {
        let content = pdu.content_as::<Content>();
        content.is_ok_and(|content| {
            let text = content.name.or(content.alias);
            text.is_some_and(|text| !text.is_empty())
        })
    };
    for kind in NAMING {
        if reader.state_event(state, kind).await?.is_some_and(is_named) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first members to come, without the user: joined and invited ones, or if there are none, those who left.
async fn heroes(round: &Round<'_>, reader: &RoomReader<'_>) -> Result<Vec<String>> {
    let rows = members::members_after(reader.snapshot, reader.no, "", MEMBERS_SEEN_MAX).await?;
    let others = rows.into_iter().filter(|(user, _)| user != round.user());
    let (mut present, mut gone): (Vec<_>, Vec<_>) =
        others.partition(|(_, row)| is_present(&row.membership));
    gone.retain(|(_, row)| row.membership != MembershipState::Knock);
    let chosen = if present.is_empty() {
        &mut gone
    } else {
        &mut present
    };
    chosen.sort_unstable_by_key(|(_, row): &(String, MemberRow)| (row.position, row.event));
    Ok(chosen
        .drain(..)
        .take(HEROES_MAX)
        .map(|(user, _)| user)
        .collect())
}

fn is_present(membership: &MembershipState) -> bool {
    matches!(membership, MembershipState::Join | MembershipState::Invite)
}
