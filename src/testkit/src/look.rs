//! What a server's store says, for comparison: past most of its reading code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hearth_data::append::{EventRow, Standing};
use hearth_data::state::{HashKey, States};
use hearth_data::{Place, RoomNo, StateId, fsck, gaps, members, partial, rooms, timeline};
use hearth_event::{Pdu, RoomVersion};
use hearth_store::{Backend, Position, Snapshot};
use ruma::events::room::member::MembershipState;
use ruma::{EventId, OwnedRoomId, RoomId, UserId};

use crate::Node;
use crate::node::HASH_SECRET;
use crate::sim::USERS;

/// The state of a room, by type and state key.
pub(crate) type State = BTreeMap<(String, String), String>;

/// A room in which users of the server are.
pub(crate) struct Residence {
    /// The events of the current state.
    pub(crate) state: BTreeSet<String>,
    /// Events that are there with a place in the history, and how they stand.
    pub(crate) placed: BTreeMap<String, Standing>,
    /// Whether a part of the history is known to be missing.
    pub(crate) has_gaps: bool,
}

/// Memberships by state and user.
type Known = BTreeMap<(StateId, String), Option<String>>;

/// A room as the store has it.
struct Room {
    snapshot: Arc<dyn Snapshot>,
    states: States,
    number: RoomNo,
    id: OwnedRoomId,
    version: RoomVersion,
    joined_local: u64,
    state: StateId,
}

impl Room {
    async fn open(node: &Node, id: &RoomId) -> Option<Self> {
        let snapshot = node.store.snapshot().await.unwrap();
        let number = rooms::number(&*snapshot, id).await.unwrap()?;
        let head = rooms::head(&*snapshot, number).await.unwrap()?;
        Some(Self {
            snapshot,
            states: States::new(HashKey::new(HASH_SECRET), 1 << 20),
            number,
            id: id.to_owned(),
            version: RoomVersion::new(&head.version).unwrap(),
            joined_local: head.joined_local,
            state: head.state,
        })
    }

    fn pdu(&self, row: &EventRow) -> Pdu {
        timeline::pdu(self.version, &self.id, row).unwrap()
    }

    async fn state(&self) -> Vec<EventRow> {
        let view = self.states.view(self.number, &*self.snapshot);
        let entries = view.entries(self.state).await.unwrap();
        let numbers: Vec<_> = entries.iter().map(|entry| entry.event).collect();
        let rows = timeline::events(&*self.snapshot, self.number, &numbers).await;
        rows.unwrap()
    }

    /// A user's membership in the state at a position; `None` if there is no member event.
    async fn membership(&self, at: Position, user: &str, known: &mut Known) -> Option<String> {
        let (snapshot, room) = (&*self.snapshot, self.number);
        let state = rooms::state_at(snapshot, room, at).await.unwrap();
        let key = (state, user.to_owned());
        if let Some(known) = known.get(&key) {
            return known.clone();
        }
        let membership = self.membership_in(state, user).await;
        known.insert(key, membership.clone());
        membership
    }

    async fn membership_in(&self, state: StateId, user: &str) -> Option<String> {
        let (_, membership) = self.member(state, user).await?;
        Some(membership)
    }

    /// A user's member event in a state, and the membership in it.
    async fn member(&self, state: StateId, user: &str) -> Option<(EventRow, String)> {
        let (snapshot, room) = (&*self.snapshot, self.number);
        let view = self.states.view(room, snapshot);
        let number = view.lookup(state, "m.room.member", user).await.unwrap()?;
        let (_, row) = timeline::event(snapshot, room, number).await.unwrap()?;
        let event: serde_json::Value = serde_json::from_slice(&row.json).unwrap();
        let membership = event["content"]["membership"].as_str()?.to_owned();
        Some((row, membership))
    }

    /// Accepted events by the commit that made them visible.
    async fn news(&self) -> Vec<(Position, Pdu)> {
        let (from, to) = (Position::ZERO, Position(u64::MAX - 1));
        let news = timeline::visible_since(&*self.snapshot, self.number, from, to, usize::MAX);
        let news = news.await.unwrap().into_iter();
        news.filter(|(_, placed)| placed.row.standing == Standing::Accepted)
            .map(|(at, placed)| (at, self.pdu(&placed.row)))
            .collect()
    }
}

impl Node {
    /// The membership of a user of this server that her clients are told, which needs no knowledge of the room.
    pub async fn told_membership(
        &self,
        user: &UserId,
        room_id: &RoomId,
    ) -> Option<MembershipState> {
        let snapshot = self.store.snapshot().await.unwrap();
        let room = rooms::number(&*snapshot, room_id).await.unwrap()?;
        let row = members::user_room(&*snapshot, user.as_str(), room).await;
        row.unwrap().map(|row| row.membership)
    }

    /// A room as this server has it; `None` if nobody of this server is in it.
    pub(crate) async fn residence(&self, room_id: &RoomId) -> Option<Residence> {
        let room = Room::open(self, room_id).await?;
        if room.joined_local == 0 {
            return None;
        }
        let state = room.state().await;
        let (from, to) = (Place::MIN, Place::MAX);
        let placed = timeline::forward(&*room.snapshot, room.number, from, to, usize::MAX);
        let placed = placed.await.unwrap().into_iter();
        let gaps = gaps::all(&*room.snapshot, room.number).await.unwrap();
        Some(Residence {
            state: state.iter().map(|row| row.event_id.to_string()).collect(),
            placed: placed
                .map(|placed| (placed.row.event_id.to_string(), placed.row.standing))
                .collect(),
            has_gaps: !gaps.is_empty(),
        })
    }

    /// Whether only a part of a room's state is here.
    pub(crate) async fn is_partial(&self, room_id: &RoomId) -> bool {
        let Some(room) = Room::open(self, room_id).await else {
            return false;
        };
        let row = partial::partial(&*room.snapshot, room.number).await;
        row.unwrap().is_some()
    }

    /// Whether this server holds all users of another to be out of a room although it knows how that one has them come
    /// in: their leaves and bans do not follow these joins, resolution chose them, or that one had to soft-fail them, as
    /// their senders had left when they came. By the specification nothing more is told to that server, so that it goes on
    /// by itself.
    pub(crate) async fn holds_out(&self, other: &Self, room_id: &RoomId) -> bool {
        let (Some(here), Some(there)) = (
            Room::open(self, room_id).await,
            Room::open(other, room_id).await,
        ) else {
            return false;
        };
        for user in USERS {
            let user = other.user(user);
            let joined = there.member(there.state, user.as_str()).await;
            let Some((join, _)) = joined.filter(|(_, membership)| membership == "join") else {
                continue;
            };
            let Some((out, membership)) = here.member(here.state, user.as_str()).await else {
                return false;
            };
            let before = here.member(out.state_before, user.as_str()).await;
            let follows = before.is_some_and(|(before, _)| before.event_id == join.event_id);
            let is_refused = other.standing(&out.event_id).await == Some(Standing::SoftFailed);
            let knows = self.standing(&join.event_id).await.is_some();
            if membership == "join" || (follows && !is_refused) || !knows {
                return false;
            }
        }
        true
    }

    /// The current state of a room by key.
    pub(crate) async fn state(&self, room_id: &RoomId) -> Option<State> {
        let room = Room::open(self, room_id).await?;
        let rows = room.state().await;
        let keyed = rows.iter().map(|row| {
            let pdu = room.pdu(row);
            let (kind, key) = pdu.state_key_pair().unwrap();
            let key = (kind.to_owned(), key.to_owned());
            (key, row.event_id.to_string())
        });
        Some(keyed.collect())
    }

    /// Events that were taken although their senders were known not to be in the room when they came.
    pub(crate) async fn uninvited(&self, room_id: &RoomId) -> Vec<String> {
        let Some(room) = Room::open(self, room_id).await else {
            return Vec::new();
        };
        let news = room.news().await;
        let moved = news.iter().filter_map(|(at, pdu)| {
            let (kind, user) = pdu.state_key_pair()?;
            (kind == "m.room.member").then_some((*at, user))
        });
        let moved: BTreeSet<(Position, &str)> = moved.collect();
        let mut uninvited = Vec::new();
        let mut known = Known::new();
        for (at, pdu) in &news {
            let sender = pdu.sender().as_str();
            // Who comes or goes in the same commit may have spoken in between.
            if pdu.is_state() || moved.contains(&(*at, sender)) {
                continue;
            }
            let before = room.membership(Position(at.0 - 1), sender, &mut known);
            let before = before.await;
            let after = room.membership(*at, sender, &mut known).await;
            let is_out = |membership: &Option<String>| {
                let membership = membership.as_deref();
                membership.is_some_and(|membership| membership != "join")
            };
            if is_out(&before) && is_out(&after) {
                let id = pdu.event_id();
                uninvited.push(format!("{id} of {sender} ({before:?}, {after:?})"));
            }
        }
        uninvited
    }

    /// Whether a room has an event with a place in its history, and how it stands.
    pub async fn standing(&self, event_id: &EventId) -> Option<Standing> {
        let (place, row) = self.kept(event_id).await?;
        place.map(|_| row.standing)
    }

    /// The text of an event that is kept.
    pub(crate) async fn text(&self, event_id: &EventId) -> Option<String> {
        let (_, row) = self.kept(event_id).await?;
        Some(String::from_utf8_lossy(&row.json).into_owned())
    }

    async fn kept(&self, event_id: &EventId) -> Option<(Option<Place>, EventRow)> {
        let snapshot = self.store.snapshot().await.unwrap();
        let found = timeline::find(&*snapshot, event_id).await.unwrap()?;
        let event = timeline::event(&*snapshot, found.room, found.event).await;
        event.unwrap()
    }

    /// Every invariant of the store that does not hold.
    pub async fn problems(&self) -> Vec<String> {
        let snapshot = self.store.snapshot().await.unwrap();
        let report = fsck::fsck(&*snapshot, &mut |_| {}).await.unwrap();
        report.problems.iter().map(ToString::to_string).collect()
    }
}
