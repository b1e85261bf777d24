//! Which rooms an answer speaks of, and in which section.

use std::collections::{BTreeSet, HashMap, HashSet};

use hearth_data::members::{self, UserRoomRow};
use hearth_data::{RoomNo, receipts, rooms, timeline};
use hearth_store::Position;
use ruma::OwnedRoomId;
use ruma::events::room::member::MembershipState;
use serde_json::value::RawValue;

use super::joined::JoinedAsk;
use super::{DataChanged, Round, invited, joined, left};
use crate::Result;
use crate::json::JsonWriter;
use crate::notifier::News;

/// How many rooms are read at once.
const ROOMS_AT_ONCE: usize = 1_000;
/// How many changes of membership are read for one answer; there is one row per room.
const MEMBERSHIPS_MAX: usize = 100_000;

/// The rooms of an answer, ready to be written.
#[derive(Default)]
pub(super) struct Sections {
    join: Vec<(OwnedRoomId, String)>,
    invite: Vec<(OwnedRoomId, String)>,
    knock: Vec<(OwnedRoomId, String)>,
    leave: Vec<(OwnedRoomId, String)>,
    /// Rooms that are new to a client that knows others.
    pub(super) joined_anew: Vec<RoomNo>,
    /// Timelines showed state events after this that are not the state.
    pub(super) misled_since: Option<Position>,
}

impl Sections {
    pub(super) fn is_empty(&self) -> bool {
        self.join.is_empty()
            && self.invite.is_empty()
            && self.knock.is_empty()
            && self.leave.is_empty()
    }

    pub(super) fn write(&self, json: &mut JsonWriter) {
        json.begin_object();
        let sections = [
            ("join", &self.join),
            ("invite", &self.invite),
            ("knock", &self.knock),
            ("leave", &self.leave),
        ];
        for (name, rooms) in sections {
            if rooms.is_empty() {
                continue;
            }
            json.key(name);
            json.begin_object();
            for (room_id, room) in rooms {
                json.key(room_id.as_str());
                json.raw(room);
            }
            json.end_object();
        }
        json.end_object();
    }
}

/// Room account data of an answer, by room id.
type RoomData = HashMap<String, Vec<Box<RawValue>>>;

/// All rooms that have something to tell.
pub(super) async fn sections(
    round: &Round<'_>,
    news: News,
    changed: &DataChanged,
) -> Result<Sections> {
    let data = &changed.rooms;
    let mut sections = Sections::default();
    let is_initial = round.since.is_none();
    let moved: HashSet<RoomNo> = if is_initial {
        HashSet::new()
    } else {
        memberships_changed(round, &news).await?
    };
    let is_full = is_initial || round.state_wanted == crate::ask::StateWanted::Full;
    // Whom she ignores makes a difference for the counts of every room.
    let rooms = if is_full || changed.is_ignoring_anew {
        all_rooms(round).await?
    } else {
        changed_rooms(round, news, data, &moved).await?
    };
    for (room, row) in rooms {
        let Some(reader) = round.room(room).await? else {
            continue;
        };
        if !round.filter.room.wants(reader.name.id.as_str()) {
            continue;
        }
        let has_moved = moved.contains(&room);
        let id = reader.name.id.clone();
        match row.membership {
            MembershipState::Join => {
                let ask = JoinedAsk {
                    row: &row,
                    data: data.get(id.as_str()).map_or(&[], Vec::as_slice),
                    is_ignoring_anew: changed.is_ignoring_anew,
                    has_moved,
                };
                if let Some(section) = joined::section(round, &reader, ask).await? {
                    if section.is_new && !is_initial {
                        sections.joined_anew.push(room);
                    }
                    let misled = [sections.misled_since, section.misled_since];
                    sections.misled_since = misled.into_iter().flatten().min();
                    sections.join.push((id, section.json));
                }
            }
            MembershipState::Invite if is_initial || has_moved => {
                let json = invited::invite(round, &reader, &row).await?;
                sections.invite.extend(json.map(|json| (id, json)));
            }
            MembershipState::Knock if is_initial || has_moved => {
                let json = invited::knock(round, &reader, &row).await?;
                sections.knock.extend(json.map(|json| (id, json)));
            }
            MembershipState::Leave | MembershipState::Ban
                if has_moved || (is_initial && is_told_anew(round, &row)) =>
            {
                let json = left::section(round, &reader, &row).await?;
                sections.leave.extend(json.map(|json| (id, json)));
            }
            _ => {}
        }
    }
    Ok(sections)
}

/// Whether a new client is told of a room that the user is no longer in: one that she left only if the filter wants that,
/// one that she is banned from always (decision 077).
fn is_told_anew(round: &Round<'_>, row: &UserRoomRow) -> bool {
    round.filter.room.include_leave || row.membership == MembershipState::Ban
}

type Rooms = Vec<(RoomNo, UserRoomRow)>;

async fn all_rooms(round: &Round<'_>) -> Result<Rooms> {
    let mut all = Rooms::new();
    let mut after = RoomNo(0);
    loop {
        let page = members::rooms_of(round.snapshot, round.user(), after, ROOMS_AT_ONCE).await?;
        let is_last = page.len() < ROOMS_AT_ONCE;
        after = page.last().map_or(after, |(room, _)| *room);
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}

async fn memberships_changed(round: &Round<'_>, news: &News) -> Result<HashSet<RoomNo>> {
    if matches!(
        news,
        News::Known {
            has_memberships: false,
            ..
        }
    ) {
        return Ok(HashSet::new());
    }
    let (from, to) = (round.since_position(), round.to.position);
    let moved =
        members::rooms_changed(round.snapshot, round.user(), from, to, MEMBERSHIPS_MAX).await?;
    Ok(moved.into_iter().map(|(_, room)| room).collect())
}

/// The rooms of an incremental answer: only those in which something happened.
async fn changed_rooms(
    round: &Round<'_>,
    news: News,
    data: &RoomData,
    moved: &HashSet<RoomNo>,
) -> Result<Rooms> {
    let News::Known { rooms, .. } = news else {
        return changed_rooms_slowly(round, data, moved).await;
    };
    let mut numbers: BTreeSet<RoomNo> = rooms.into_iter().chain(moved.iter().copied()).collect();
    let typing = round.inner.parts.typing.changed_since(round.since_typing());
    if !typing.is_empty() {
        let typing = typing.into_iter().map(|(room, _)| RoomNo(room)).collect();
        numbers.extend(round.inner.notifier.joined_of(round.user(), typing));
    }
    for room_id in data.keys() {
        if let Ok(room_id) = ruma::RoomId::parse(room_id.as_str()) {
            numbers.extend(rooms::number(round.snapshot, &room_id).await?);
        }
    }
    let mut found = Rooms::with_capacity(numbers.len());
    for room in numbers {
        let row = members::user_room(round.snapshot, round.user(), room).await?;
        found.extend(row.map(|row| (room, row)));
    }
    Ok(found)
}

/// The same when it is not remembered so far back: looks at each room of the user.
async fn changed_rooms_slowly(
    round: &Round<'_>,
    data: &RoomData,
    moved: &HashSet<RoomNo>,
) -> Result<Rooms> {
    let typing = round.inner.parts.typing.changed_since(round.since_typing());
    let typing: HashSet<u64> = typing.into_iter().map(|(room, _)| room).collect();
    let mut changed = Rooms::new();
    for (room, row) in all_rooms(round).await? {
        let is_joined = row.membership == MembershipState::Join;
        let is_changed = moved.contains(&room)
            || (is_joined && (typing.contains(&room.0) || has_changed(round, room).await?));
        let is_changed = is_changed
            || (!data.is_empty()
                && is_joined
                && round
                    .room(room)
                    .await?
                    .is_some_and(|reader| data.contains_key(reader.name.id.as_str())));
        if is_changed {
            changed.push((room, row));
        }
    }
    Ok(changed)
}

async fn has_changed(round: &Round<'_>, room: RoomNo) -> Result<bool> {
    let from = round
        .since
        .map_or(Position::ZERO, |since| since.right_until());
    let to = round.to.position;
    let snapshot = round.snapshot;
    Ok(!timeline::positions_since(snapshot, room, from, to, 1)
        .await?
        .is_empty()
        || !receipts::changed(snapshot, room, from, to, 1)
            .await?
            .is_empty()
        || rooms::state_changed(snapshot, room, from, to)
            .await?
            .is_some())
}
