//! Whose device lists changed for a reader, for `/sync` and `/keys/changes`.
//!
//! *changed*: who shares a room with the reader now and either changed her keys since or did not share one before; the
//! reader herself if her own list changed or she came into her first room; and those whose key she signed. *left*: who shared
//! a room before and shares none now. Memberships are those of the rooms' current states at both ends of the stretch, so
//! that they are right however the state came about.

use std::collections::{BTreeSet, HashMap, HashSet};

use hearth_data::e2ee::device_lists::changed_since;
use hearth_data::e2ee::keys::signed_since;
use hearth_data::members::{self, MemberRow};
use hearth_data::{RoomNo, StateId, rooms, tables as t};
use hearth_event::visibility::Membership;
use hearth_store::{Position, Snapshot};
use ruma::events::room::member::MembershipState;

use crate::Result;
use crate::json::JsonWriter;
use crate::notifier::News;
use crate::room::RoomReader;
use crate::service::Inner;

/// How many changed lists are looked at for one answer; there is one row per user.
const LISTS_MAX: usize = 100_000;
/// How many rooms or members are read at once.
const ROWS_AT_ONCE: usize = 1_000;
/// How many changes of the reader's memberships are read; there is one row per room.
const MEMBERSHIPS_MAX: usize = 100_000;
/// Of how many users who come to a room it is found out whether they shared another one before; beyond, they are told as
/// changed, which costs clients a query and nothing else.
const COMERS_MAX: usize = 10_000;
/// In how many rooms a user's membership is looked up at once.
const LOOKUPS_AT_ONCE: usize = 64;

/// Whose lists changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DeviceLists {
    pub(crate) changed: BTreeSet<String>,
    pub(crate) left: BTreeSet<String>,
}

impl DeviceLists {
    pub(crate) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.left.is_empty()
    }

    /// `{"changed": [...], "left": [...]}`
    pub(crate) fn write(&self, json: &mut JsonWriter) {
        json.begin_object();
        for (name, users) in [("changed", &self.changed), ("left", &self.left)] {
            json.key(name);
            json.begin_array();
            for user in users {
                json.text(user);
            }
            json.end_array();
        }
        json.end_object();
    }
}

/// A stretch of positions as a user lives through it.
pub(crate) struct ListsAsk<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) snapshot: &'a dyn Snapshot,
    pub(crate) user: &'a str,
    pub(crate) from: Position,
    pub(crate) to: Position,
    /// What is remembered of it; without, every room is looked at.
    pub(crate) news: &'a News,
}

/// Who came to share a room with the reader, and who ceased to share one of them.
#[derive(Default)]
struct Moves {
    came: BTreeSet<String>,
    went: BTreeSet<String>,
    /// Rooms that the reader was joined to at one end of the stretch only.
    joined: HashSet<RoomNo>,
    left: HashSet<RoomNo>,
}

/// Whose lists changed for a user.
pub(crate) async fn device_lists(ask: &ListsAsk<'_>) -> Result<DeviceLists> {
    let mut lists = DeviceLists::default();
    let keys = ask.keys_changed().await?;
    let moves = ask.moves().await?;
    lists.changed.extend(ask.signed().await?);
    if keys.is_empty() && moves.came.is_empty() && moves.went.is_empty() {
        return Ok(lists);
    }
    let sharing = Sharing::load(ask, &moves).await?;
    for user in keys {
        if user == ask.user || sharing.shares(&user, End::To).await? {
            lists.changed.insert(user);
        }
    }
    let are_few = moves.came.len() <= COMERS_MAX;
    for user in &moves.came {
        if lists.changed.contains(user) || !sharing.shares(user, End::To).await? {
            continue;
        }
        if !are_few || !sharing.shares(user, End::From).await? {
            lists.changed.insert(user.clone());
        }
    }
    for user in moves.went {
        // Who was gone before and came back in between shares a room again: told above, if at all.
        if !sharing.shares(&user, End::To).await? && sharing.shares(&user, End::From).await? {
            lists.left.insert(user);
        }
    }
    Ok(lists)
}

impl ListsAsk<'_> {
    async fn keys_changed(&self) -> Result<Vec<String>> {
        if matches!(
            self.news,
            News::Known {
                has_lists: false,
                ..
            }
        ) {
            return Ok(Vec::new());
        }
        let changed = changed_since(self.snapshot, self.from, self.to, LISTS_MAX).await?;
        Ok(changed.into_iter().map(|(_, user)| user).collect())
    }

    async fn signed(&self) -> Result<Vec<String>> {
        if matches!(
            self.news,
            News::Known {
                has_keys: false,
                ..
            }
        ) {
            return Ok(Vec::new());
        }
        let stretch = (self.from, self.to);
        Ok(signed_since(self.snapshot, self.user, stretch, LISTS_MAX).await?)
    }

    /// The rooms in which somebody may have moved.
    async fn rooms(&self) -> Result<BTreeSet<RoomNo>> {
        let mut rooms = BTreeSet::new();
        match self.news {
            News::Known {
                rooms: news,
                has_memberships,
                ..
            } => {
                rooms.extend(news);
                if !has_memberships {
                    return Ok(rooms);
                }
            }
            News::Unknown => rooms.extend(joined_rooms(self.snapshot, self.user).await?.keys()),
        }
        // Each room stands here once, at its newest change, which may be after the stretch.
        let (snapshot, from) = (self.snapshot, self.from);
        let moved =
            members::rooms_changed(snapshot, self.user, from, Position::MAX, MEMBERSHIPS_MAX);
        rooms.extend(moved.await?.into_iter().map(|(_, room)| room));
        Ok(rooms)
    }

    async fn moves(&self) -> Result<Moves> {
        let mut moves = Moves::default();
        for room in self.rooms().await? {
            let is_same = matches!(self.news, News::Known { .. })
                && self
                    .inner
                    .notifier
                    .tail(room, self.from, self.to)
                    .is_state_same;
            if is_same {
                continue;
            }
            if let Some(reader) = self.inner.room(self.snapshot, room).await? {
                self.moves_in(&reader, &mut moves).await?;
            }
        }
        moves.went.remove(self.user);
        Ok(moves)
    }

    async fn moves_in(&self, reader: &RoomReader<'_>, moves: &mut Moves) -> Result<()> {
        let before = rooms::state_at(self.snapshot, reader.no, self.from).await?;
        let after = rooms::state_at(self.snapshot, reader.no, self.to).await?;
        if before == after {
            return Ok(());
        }
        match (
            is_joined(reader, before, self.user).await?,
            is_joined(reader, after, self.user).await?,
        ) {
            (true, true) => {
                for (user, joined) in moved(reader, before, after).await? {
                    match joined {
                        true => moves.came.insert(user),
                        false => moves.went.insert(user),
                    };
                }
            }
            (false, true) => {
                moves.joined.insert(reader.no);
                moves.came.extend(joined_members(reader, after).await?);
            }
            (true, false) => {
                moves.left.insert(reader.no);
                moves.went.extend(joined_members(reader, before).await?);
            }
            (false, false) => {}
        }
        Ok(())
    }
}

async fn is_joined(reader: &RoomReader<'_>, state: StateId, user: &str) -> Result<bool> {
    if state == StateId::EMPTY {
        return Ok(false);
    }
    Ok(reader.member(state, user).await?.membership == Membership::Join)
}

/// Who is joined in one state and not in another: the user, and whether she is in the later one.
async fn moved(
    reader: &RoomReader<'_>,
    before: StateId,
    after: StateId,
) -> Result<HashMap<String, bool>> {
    let mut joined: HashMap<String, (bool, bool)> = HashMap::new();
    for change in reader.view().diff(before, after).await? {
        for (number, is_after) in [(change.before, false), (change.after, true)] {
            let Some(number) = number else { continue };
            let Some((_, _, pdu)) = reader.stored(number).await? else {
                continue;
            };
            let Some(user) = pdu.state_key().filter(|_| pdu.kind() == "m.room.member") else {
                continue;
            };
            let is_join = Membership::of(&pdu) == Some(Membership::Join);
            let sides = joined.entry(user.to_owned()).or_default();
            match is_after {
                true => sides.1 = is_join,
                false => sides.0 = is_join,
            }
        }
    }
    let moved = joined.into_iter().filter(|(_, (was, is))| was != is);
    Ok(moved.map(|(user, (_, is))| (user, is)).collect())
}

/// Who is joined in a state: those of now, and what differs.
async fn joined_members(reader: &RoomReader<'_>, state: StateId) -> Result<HashSet<String>> {
    let mut joined = HashSet::new();
    let mut after = String::new();
    loop {
        let page = members::members_after(reader.snapshot, reader.no, &after, ROWS_AT_ONCE).await?;
        let is_last = page.len() < ROWS_AT_ONCE;
        if let Some((user, _)) = page.last() {
            after.clone_from(user);
        }
        let now = page
            .into_iter()
            .filter(|(_, row)| row.membership == MembershipState::Join);
        joined.extend(now.map(|(user, _)| user));
        if is_last {
            break;
        }
    }
    let Some(head) = rooms::head(reader.snapshot, reader.no).await? else {
        return Ok(joined);
    };
    for (user, is_there) in moved(reader, head.state, state).await? {
        match is_there {
            true => joined.insert(user),
            false => joined.remove(&user),
        };
    }
    Ok(joined)
}

/// The rooms that a local user is joined to now, each with the commit of her membership.
async fn joined_rooms(snapshot: &dyn Snapshot, user: &str) -> Result<HashMap<RoomNo, Position>> {
    let mut joined = HashMap::new();
    let mut after = RoomNo(0);
    loop {
        let page = members::rooms_of(snapshot, user, after, ROWS_AT_ONCE).await?;
        let is_last = page.len() < ROWS_AT_ONCE;
        after = page.last().map_or(after, |(room, _)| *room);
        let rooms = page
            .into_iter()
            .filter(|(_, row)| row.membership == MembershipState::Join);
        joined.extend(rooms.map(|(room, row)| (room, row.position)));
        if is_last {
            return Ok(joined);
        }
    }
}

/// An end of the stretch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    From,
    To,
}

/// Who shares a room with the reader at either end.
struct Sharing<'a> {
    ask: &'a ListsAsk<'a>,
    from: HashSet<RoomNo>,
    to: HashSet<RoomNo>,
}

impl<'a> Sharing<'a> {
    async fn load(ask: &'a ListsAsk<'a>, moves: &Moves) -> Result<Self> {
        let now: HashSet<RoomNo> = joined_rooms(ask.snapshot, ask.user)
            .await?
            .into_keys()
            .collect();
        // Where nothing moved her in the stretch, she is where she is now, unless she moved after it.
        let mut to = now;
        if ask.to < ask.snapshot.position() {
            let later = members::rooms_changed(
                ask.snapshot,
                ask.user,
                ask.to,
                Position::MAX,
                MEMBERSHIPS_MAX,
            );
            for (_, room) in later.await? {
                let state = rooms::state_at(ask.snapshot, room, ask.to).await?;
                let reader = ask.inner.room(ask.snapshot, room).await?;
                let was_joined = match &reader {
                    Some(reader) => is_joined(reader, state, ask.user).await?,
                    None => false,
                };
                match was_joined {
                    true => to.insert(room),
                    false => to.remove(&room),
                };
            }
        }
        let mut from: HashSet<RoomNo> = to.difference(&moves.joined).copied().collect();
        from.extend(&moves.left);
        Ok(Self { ask, from, to })
    }

    async fn shares(&self, user: &str, end: End) -> Result<bool> {
        let mine = match end {
            End::From => &self.from,
            End::To => &self.to,
        };
        let theirs = members::rooms_of(self.ask.snapshot, user, RoomNo(0), ROWS_AT_ONCE).await?;
        let candidates: Vec<RoomNo> = match theirs.is_empty() || theirs.len() == ROWS_AT_ONCE {
            // A user of another server, or of very many rooms.
            true => mine.iter().copied().collect(),
            false => theirs
                .into_iter()
                .map(|(room, _)| room)
                .filter(|room| mine.contains(room))
                .collect(),
        };
        for rooms in candidates.chunks(LOOKUPS_AT_ONCE) {
            let keys: Vec<_> = rooms.iter().map(|room| (*room, user.to_owned())).collect();
            let rows = t::MEMBERS.get_many(self.ask.snapshot, &keys).await?;
            for (room, row) in rooms.iter().zip(rows) {
                if let Some(row) = row
                    && self.was_joined(*room, user, &row, end).await?
                {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether a user was joined to a room at an end of the stretch, given her membership of now.
    async fn was_joined(
        &self,
        room: RoomNo,
        user: &str,
        row: &MemberRow,
        end: End,
    ) -> Result<bool> {
        let at = match end {
            End::From => self.ask.from,
            End::To => self.ask.to,
        };
        if row.position <= at {
            return Ok(row.membership == MembershipState::Join);
        }
        let Some(reader) = self.ask.inner.room(self.ask.snapshot, room).await? else {
            return Ok(false);
        };
        let state = rooms::state_at(self.ask.snapshot, room, at).await?;
        is_joined(&reader, state, user).await
    }
}
