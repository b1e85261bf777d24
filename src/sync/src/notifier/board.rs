//! What the notifier remembers: connected users with the rooms that changed for them, and these rooms' members.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hearth_data::RoomNo;
use hearth_data::changes::Change;
use hearth_store::Position;
use hearth_types::UnixMs;
use tokio::sync::Notify;

use super::glance::{Glance, News};
use super::recent::{Faces, Recent};
use super::tail::{Newest, Stretch, Tail};
use crate::SyncToken;
use crate::room::Event;

/// How many users are remembered; beyond, those who have not asked for the longest time are forgotten.
const USERS_MAX: usize = 20_000;
/// How many of them are forgotten at once.
const FORGOTTEN_AT_ONCE: usize = 64;

pub(super) type UserName = Arc<str>;

/// A user whose presence changed.
#[derive(Debug)]
pub(super) struct PresenceChange {
    pub(super) user: String,
    pub(super) version: u64,
    /// The rooms that she is joined to, unless she is connected.
    pub(super) rooms: Option<Vec<RoomNo>>,
}

/// What each stretch of the log did to the rooms that are watched, and the events redacted in it.
type Tails = BTreeMap<RoomNo, (Stretch, Vec<Arc<Event>>)>;

/// What a stretch of the log takes to be understood, read before it is taken in.
#[derive(Debug, Default)]
pub(super) struct Stretches {
    pub(super) tails: Tails,
    /// In which rooms those are whose device lists changed.
    pub(super) rooms_of: HashMap<String, Vec<RoomNo>>,
}

/// Users and rooms. A plain value: no store, no waiting.
#[derive(Debug)]
pub(crate) struct Board {
    seen: Position,
    /// The version of presences up to which all were told.
    presences_seen: u64,
    users: HashMap<UserName, Connected>,
    rooms: HashMap<RoomNo, Watched>,
    /// One entry per event at hand, oldest first; tells whose turn it is to be forgotten.
    events: VecDeque<RoomNo>,
    events_held: usize,
    events_max: usize,
}

#[derive(Debug)]
struct Watched {
    members: HashSet<UserName>,
    newest: Newest,
}

#[derive(Debug)]
struct Connected {
    wake: Arc<Notify>,
    joined: HashSet<RoomNo>,
    recent: Recent<RoomNo, Position>,
    faces: Faces,
    /// All changes after this position are remembered; `None` while the rooms are being read.
    complete_after: Option<Position>,
    data_at: Position,
    membership_at: Position,
    lists_at: Position,
    keys_at: Position,
    to_device_at: Position,
    /// While the rooms are being read: those whose membership changed meanwhile.
    overridden: HashSet<RoomNo>,
    used: UnixMs,
}

impl Board {
    pub(crate) fn new(events_max: usize) -> Self {
        Self {
            seen: Position::ZERO,
            presences_seen: 0,
            users: HashMap::new(),
            rooms: HashMap::new(),
            events: VecDeque::new(),
            events_held: 0,
            events_max,
        }
    }

    pub(super) fn start_at(&mut self, position: Position, presences: u64) {
        self.seen = position;
        self.presences_seen = presences;
    }

    pub(super) fn is_watched(&self, room: RoomNo) -> bool {
        self.rooms.contains_key(&room)
    }

    /// Takes in a stretch of the log up to a position. Answers whom to wake, each once.
    pub(super) fn apply(
        &mut self,
        rows: &[(Position, Vec<Change>)],
        stretches: Stretches,
        upto: Position,
    ) -> Vec<Arc<Notify>> {
        let mut woken = HashSet::new();
        for (position, changes) in rows {
            for change in changes {
                self.apply_change(*position, change, &stretches, &mut woken);
            }
        }
        for (room, (stretch, redacted)) in stretches.tails {
            self.extend(room, stretch, &redacted);
        }
        self.seen = upto;
        woken
            .iter()
            .filter_map(|user| self.users.get(user))
            .map(|user| user.wake.clone())
            .collect()
    }

    fn apply_change(
        &mut self,
        position: Position,
        change: &Change,
        stretches: &Stretches,
        woken: &mut HashSet<UserName>,
    ) {
        match change {
            Change::Event { room, .. } => {
                // Watched only since the stretches were loaded: this event is not at hand.
                if !stretches.tails.contains_key(room)
                    && let Some(watched) = self.rooms.get_mut(room)
                {
                    self.events_held -= watched.newest.forget_before(position);
                }
                self.touch_members(*room, position, woken);
            }
            Change::State { room } => {
                // Events of before may be on another state now.
                if let Some(watched) = self.rooms.get_mut(room) {
                    self.events_held -= watched.newest.forget_before(position);
                }
                self.touch_members(*room, position, woken);
            }
            Change::Receipt { room, private_to } => {
                if let Some(watched) = self.rooms.get_mut(room) {
                    watched.newest.receipts_at = position;
                }
                match private_to {
                    None => self.touch_members(*room, position, woken),
                    Some(user) => self.touch_member(*room, user, position, woken),
                }
            }
            Change::Member { room, user, joined } => {
                self.member_changed(*room, user, *joined, position);
                self.mark(user, woken);
            }
            Change::AccountData { user } => {
                if let Some(connected) = self.users.get_mut(user.as_str()) {
                    connected.data_at = position;
                }
                self.mark(user, woken);
            }
            Change::Profile { .. }
            | Change::Relay { .. }
            | Change::Expelled { .. }
            | Change::Outbound { .. }
            | Change::Handed { .. } => {}
            Change::DeviceList { user } => self.list_changed(user, position, stretches, woken),
            Change::ToDevice { user } => {
                if let Some(connected) = self.users.get_mut(user.as_str()) {
                    connected.to_device_at = position;
                }
                self.mark(user, woken);
            }
            Change::Keys { user } => {
                if let Some(connected) = self.users.get_mut(user.as_str()) {
                    connected.keys_at = position;
                }
                self.mark(user, woken);
            }
        }
    }

    fn touch_members(&mut self, room: RoomNo, position: Position, woken: &mut HashSet<UserName>) {
        let Some(watched) = self.rooms.get(&room) else {
            return;
        };
        for user in &watched.members {
            if let Some(connected) = self.users.get_mut(user) {
                connected.recent.touch(room, position);
                woken.insert(user.clone());
            }
        }
    }

    /// Whoever shares a room with the user is told, and she herself.
    fn list_changed(
        &mut self,
        user: &str,
        position: Position,
        stretches: &Stretches,
        woken: &mut HashSet<UserName>,
    ) {
        let rooms = stretches.rooms_of.get(user).into_iter().flatten();
        let mut told: HashSet<UserName> = rooms
            .filter_map(|room| self.rooms.get(room))
            .flat_map(|watched| watched.members.iter().cloned())
            .collect();
        told.extend(self.users.get_key_value(user).map(|(name, _)| name.clone()));
        // A device that went took its keys with it.
        if let Some(connected) = self.users.get_mut(user) {
            connected.keys_at = position;
        }
        for name in told {
            if let Some(connected) = self.users.get_mut(&name) {
                connected.lists_at = position;
                woken.insert(name);
            }
        }
    }

    fn touch_member(
        &mut self,
        room: RoomNo,
        user: &str,
        position: Position,
        woken: &mut HashSet<UserName>,
    ) {
        if let Some(connected) = self.users.get_mut(user)
            && connected.joined.contains(&room)
        {
            connected.recent.touch(room, position);
            self.mark(user, woken);
        }
    }

    fn mark(&self, user: &str, woken: &mut HashSet<UserName>) {
        if let Some((name, _)) = self.users.get_key_value(user) {
            woken.insert(name.clone());
        }
    }

    fn member_changed(&mut self, room: RoomNo, user: &str, joined: bool, position: Position) {
        if joined {
            self.introduce(room, user, position);
        }
        let Some((name, _)) = self.users.get_key_value(user) else {
            return;
        };
        let name = name.clone();
        let Some(connected) = self.users.get_mut(user) else {
            return;
        };
        connected.membership_at = position;
        if joined && !connected.joined.contains(&room) {
            // Keys that changed while she was away are news to her now.
            connected.lists_at = position;
        }
        if connected.complete_after.is_none() {
            connected.overridden.insert(room);
        }
        if joined {
            connected.joined.insert(room);
            connected.recent.touch(room, position);
            self.watch(room, name);
        } else {
            connected.joined.remove(&room);
            connected.recent.remove(&room);
            self.unwatch(room, user);
        }
    }

    /// The members of a room shall be told of the presence of one who is joined, and of keys that changed while she was
    /// away.
    fn introduce(&mut self, room: RoomNo, user: &str, position: Position) {
        let Some(watched) = self
            .rooms
            .get(&room)
            .filter(|watched| !watched.members.contains(user))
        else {
            return;
        };
        let name: UserName = match self.users.get_key_value(user) {
            Some((name, _)) => name.clone(),
            None => user.into(),
        };
        for member in &watched.members {
            if let Some(connected) = self.users.get_mut(member) {
                connected.faces.meet(name.clone(), position);
                connected.lists_at = position;
            }
        }
    }

    /// Takes in changes of presence up to a version: for each user the rooms that she is joined to, `None` if she is
    /// connected. Answers whom to wake, each once.
    pub(super) fn apply_presences(
        &mut self,
        changes: &[PresenceChange],
        upto: u64,
    ) -> Vec<Arc<Notify>> {
        let mut woken = HashSet::new();
        for change in changes {
            let known = self.users.get_key_value(change.user.as_str());
            let name: UserName =
                known.map_or_else(|| change.user.as_str().into(), |(name, _)| name.clone());
            let rooms = match (&change.rooms, known) {
                (Some(rooms), _) => rooms.clone(),
                (None, Some((_, connected))) => connected.joined.iter().copied().collect(),
                (None, None) => Vec::new(),
            };
            let watched = rooms.iter().filter_map(|room| self.rooms.get(room));
            let members: HashSet<&UserName> =
                watched.flat_map(|watched| &watched.members).collect();
            for member in members.into_iter().filter(|member| **member != name) {
                if let Some(connected) = self.users.get_mut(member) {
                    connected.faces.change(name.clone(), change.version);
                    woken.insert(member.clone());
                }
            }
        }
        self.presences_seen = upto;
        let users = woken.iter().filter_map(|user| self.users.get(user));
        users.map(|user| user.wake.clone()).collect()
    }

    pub(super) fn presences_seen(&self) -> u64 {
        self.presences_seen
    }

    /// Whose presence is news to a user; `None` if it is not remembered so far back.
    pub(super) fn faces(
        &self,
        user: &str,
        version: u64,
        position: Position,
    ) -> Option<Vec<UserName>> {
        self.users.get(user)?.faces.since(version, position)
    }

    /// The rooms that a user is joined to, if she is connected.
    pub(super) fn rooms_of(&self, user: &str) -> Option<Vec<RoomNo>> {
        let connected = self.users.get(user)?;
        connected.complete_after?;
        Some(connected.joined.iter().copied().collect())
    }

    /// The connected members of a room.
    pub(super) fn members_of(&self, room: RoomNo) -> Vec<UserName> {
        let members = self.rooms.get(&room).map(|watched| &watched.members);
        members.into_iter().flatten().cloned().collect()
    }

    fn watch(&mut self, room: RoomNo, user: UserName) {
        let seen = self.seen;
        let watched = self.rooms.entry(room).or_insert_with(|| Watched {
            members: HashSet::new(),
            newest: Newest::new(seen),
        });
        watched.members.insert(user);
    }

    fn unwatch(&mut self, room: RoomNo, user: &str) {
        let Some(watched) = self.rooms.get_mut(&room) else {
            return;
        };
        watched.members.remove(user);
        if watched.members.is_empty() {
            self.events_held -= watched.newest.len();
            self.rooms.remove(&room);
        }
    }

    fn extend(&mut self, room: RoomNo, stretch: Stretch, redacted: &[Arc<Event>]) {
        let Some(watched) = self.rooms.get_mut(&room) else {
            return;
        };
        for event in redacted {
            watched.newest.replace(event);
        }
        let added = stretch.events.len();
        let more = watched.newest.extend(stretch);
        self.events_held = self.events_held.saturating_add_signed(more);
        self.events.extend(std::iter::repeat_n(room, added));
        // Entries may outlive what they stand for (a room that is no longer watched): bounded all the same.
        while self.events_held > self.events_max || self.events.len() > 2 * self.events_max {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            if self.events_held > self.events_max
                && let Some(watched) = self.rooms.get_mut(&oldest)
            {
                self.events_held -= watched.newest.drop_oldest();
            }
        }
    }

    pub(super) fn wakes_of(&self, room: RoomNo) -> Vec<Arc<Notify>> {
        let members = self
            .rooms
            .get(&room)
            .into_iter()
            .flat_map(|watched| &watched.members);
        members
            .filter_map(|user| self.users.get(user))
            .map(|user| user.wake.clone())
            .collect()
    }

    /// What wakes a user who is connected.
    pub(super) fn touch_user(&mut self, user: &str, now: UnixMs) -> Option<Arc<Notify>> {
        let connected = self.users.get_mut(user)?;
        connected.used = now;
        connected.complete_after.map(|_| connected.wake.clone())
    }

    /// From now on changes of the user's memberships are noted.
    pub(super) fn begin_connect(&mut self, user: &str, now: UnixMs) -> Arc<Notify> {
        if self.users.len() >= USERS_MAX {
            self.forget_oldest();
        }
        let (seen, presences_seen) = (self.seen, self.presences_seen);
        let connected = self.users.entry(user.into()).or_insert_with(|| Connected {
            wake: Arc::default(),
            joined: HashSet::new(),
            recent: Recent::default(),
            faces: Faces::new(presences_seen, seen),
            complete_after: None,
            data_at: seen,
            membership_at: seen,
            lists_at: seen,
            keys_at: seen,
            to_device_at: seen,
            overridden: HashSet::new(),
            used: now,
        });
        connected.wake.clone()
    }

    /// The rooms that the user was joined to at some moment after `begin_connect`.
    pub(super) fn end_connect(&mut self, user: &str, joined: Vec<RoomNo>) {
        let Some((name, _)) = self.users.get_key_value(user) else {
            return;
        };
        let name = name.clone();
        let seen = self.seen;
        let Some(connected) = self.users.get_mut(user) else {
            return;
        };
        if connected.complete_after.is_some() {
            return;
        }
        connected.complete_after = Some(seen);
        connected.faces = Faces::new(self.presences_seen, seen);
        connected.data_at = connected.data_at.max(seen);
        connected.membership_at = connected.membership_at.max(seen);
        connected.lists_at = connected.lists_at.max(seen);
        connected.keys_at = connected.keys_at.max(seen);
        connected.to_device_at = connected.to_device_at.max(seen);
        let overridden = std::mem::take(&mut connected.overridden);
        let rooms: Vec<RoomNo> = joined
            .into_iter()
            .filter(|room| !overridden.contains(room))
            .collect();
        connected.joined.extend(&rooms);
        for room in rooms {
            self.watch(room, name.clone());
        }
    }

    pub(super) fn news(&self, user: &str, since: Position) -> News {
        let Some(connected) = self.users.get(user) else {
            return News::Unknown;
        };
        match connected.complete_after {
            Some(complete_after) if since >= complete_after => News::Known {
                rooms: connected.recent.since(since),
                has_data: connected.data_at > since,
                has_memberships: connected.membership_at > since,
                has_lists: connected.lists_at > since,
                has_keys: connected.keys_at > since,
            },
            _ => News::Unknown,
        }
    }

    /// What is known of a user after a sync token.
    pub(super) fn glance(&self, user: &str, since: SyncToken) -> Glance {
        Glance {
            news: self.news(user, since.right_until()),
            faces: self.faces(user, since.presence, since.position),
            has_to_device: self.has_to_device(user, since.to_device()),
        }
    }

    /// Whether there may be messages to the user's devices after a position.
    pub(super) fn has_to_device(&self, user: &str, since: Position) -> bool {
        self.users.get(user).is_none_or(|connected| {
            let is_known = connected.complete_after.is_some_and(|after| since >= after);
            !is_known || connected.to_device_at > since
        })
    }

    pub(super) fn watched(&self) -> Vec<RoomNo> {
        self.rooms.keys().copied().collect()
    }

    pub(super) fn joined_of(&self, user: &str, mut rooms: Vec<RoomNo>) -> Vec<RoomNo> {
        match self.users.get(user) {
            Some(connected) => rooms.retain(|room| connected.joined.contains(room)),
            None => rooms.clear(),
        }
        rooms
    }

    pub(super) fn tail(&self, room: RoomNo, since: Position, to: Position) -> Tail {
        self.rooms
            .get(&room)
            .map(|watched| watched.newest.between(since, to))
            .unwrap_or_default()
    }

    /// Forgets users who have not asked for some time.
    pub(super) fn forget_idle(&mut self, now: UnixMs, idle_max: Duration) {
        let idle = self
            .users
            .iter()
            .filter(|(_, user)| now.since(user.used) > idle_max);
        let idle: Vec<UserName> = idle.map(|(name, _)| name.clone()).collect();
        for user in idle {
            self.forget(&user);
        }
    }

    fn forget_oldest(&mut self) {
        let mut by_use: Vec<(UnixMs, UserName)> = self
            .users
            .iter()
            .map(|(name, user)| (user.used, name.clone()))
            .collect();
        by_use.sort_unstable();
        for (_, user) in by_use.into_iter().take(FORGOTTEN_AT_ONCE) {
            self.forget(&user);
        }
    }

    fn forget(&mut self, user: &str) {
        let Some(connected) = self.users.remove(user) else {
            return;
        };
        for room in connected.joined {
            self.unwatch(room, user);
        }
        // A long-poll that still waits finds out that it has to connect again.
        connected.wake.notify_waiters();
    }
}
