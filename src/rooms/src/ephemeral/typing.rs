//! Who is typing. In memory only: a restart forgets it, and so do clients after a few seconds.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hearth_data::RoomNo;
use hearth_ports::{BoxFuture, TypingSource};
use hearth_types::UnixMs;
use ruma::{OwnedUserId, RoomId, UserId};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Error, Result, Rooms};

/// Longest time that one notification counts, whatever the client asks for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(120);

/// Most users of a room whose typing is kept; more are not noted.
const USERS_MAX: usize = 100;

/// Most rooms that are kept; beyond, those where nobody types any more are dropped, oldest first.
const ROOMS_MAX: usize = 10_000;

/// Who is typing where. Cheap to clone; all clones are one.
///
/// Every change raises the version, which starts at the clock's milliseconds, so that a version from before a restart
/// is below all versions after it.
#[derive(Clone)]
pub struct Typing(Arc<Inner>);

struct Inner {
    // Held for a few map operations, never over an await.
    state: Mutex<State>,
    version: watch::Sender<u64>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Default)]
struct State {
    rooms: HashMap<RoomNo, Room>,
    // The newest change of each room.
    by_version: BTreeMap<u64, RoomNo>,
    is_expiring: bool,
}

struct Room {
    version: u64,
    users: BTreeMap<OwnedUserId, Instant>,
}

impl Typing {
    /// Nobody is typing.
    pub fn new(now: UnixMs, tasks: TaskTracker, shutdown: CancellationToken) -> Self {
        let (version, _) = watch::channel(now.0);
        Self(Arc::new(Inner {
            state: Mutex::default(),
            version,
            tasks,
            shutdown,
        }))
    }

    /// The version of the newest change.
    pub fn version(&self) -> u64 {
        *self.0.version.borrow()
    }

    /// Wakes at each change with the new version.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.version.subscribe()
    }

    /// The rooms with a change after `version`, oldest change first, each with the version of its newest change.
    pub fn changed_since(&self, version: u64) -> Vec<(RoomNo, u64)> {
        let state = self.state();
        let changed = state.by_version.range(version.saturating_add(1)..);
        changed.map(|(version, room)| (*room, *version)).collect()
    }

    /// The version of a room's newest change; 0 if nobody typed there lately.
    pub fn room_version(&self, room: RoomNo) -> u64 {
        self.state().rooms.get(&room).map_or(0, |room| room.version)
    }

    /// Who is typing in a room, by user id.
    pub fn users(&self, room: RoomNo) -> Vec<OwnedUserId> {
        let now = Instant::now();
        let state = self.state();
        let users = state
            .rooms
            .get(&room)
            .into_iter()
            .flat_map(|room| &room.users);
        users
            .filter(|(_, until)| **until > now)
            .map(|(user, _)| user.clone())
            .collect()
    }

    /// Notes that a user is typing for so long from now.
    pub fn start(&self, room: RoomNo, user: OwnedUserId, timeout: Duration) {
        let until = Instant::now() + timeout.min(TIMEOUT_MAX);
        let mut state = self.state();
        let users = &state.rooms.get(&room);
        let known = users.and_then(|room| room.users.get(&user)).is_some();
        let count = users.map_or(0, |room| room.users.len());
        if !known && count >= USERS_MAX {
            return;
        }
        if known {
            // Only the end moves: nothing that anybody is told.
            if let Some(room) = state.rooms.get_mut(&room) {
                room.users.insert(user, until);
            }
        } else {
            self.change(&mut state, room, |users| {
                users.insert(user, until);
            });
        }
        if !std::mem::replace(&mut state.is_expiring, true) {
            let this = self.clone();
            self.0.tasks.spawn(async move { this.expire().await });
        }
    }

    /// Notes that a user is not typing any more.
    pub fn stop(&self, room: RoomNo, user: &OwnedUserId) {
        let mut state = self.state();
        let is_typing = state
            .rooms
            .get(&room)
            .is_some_and(|room| room.users.contains_key(user));
        if is_typing {
            self.change(&mut state, room, |users| {
                users.remove(user);
            });
        }
    }

    /// Waits for a change after `seen`.
    async fn changed_past(&self, seen: u64) -> u64 {
        let mut versions = self.subscribe();
        let newer = versions.wait_for(|version| *version > seen).await;
        // The sender lives as long as this handle.
        newer.map_or(seen, |version| *version)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(
        &self,
        state: &mut State,
        number: RoomNo,
        change: impl FnOnce(&mut BTreeMap<OwnedUserId, Instant>),
    ) {
        let version = self.version() + 1;
        let room = state.rooms.entry(number).or_insert_with(|| Room {
            version,
            users: BTreeMap::new(),
        });
        change(&mut room.users);
        let before = std::mem::replace(&mut room.version, version);
        state.by_version.remove(&before);
        state.by_version.insert(version, number);
        if state.rooms.len() > ROOMS_MAX {
            state.forget_oldest();
        }
        self.0.version.send_replace(version);
    }

    /// Ends what has timed out; ends itself when nobody is typing.
    async fn expire(self) {
        loop {
            let Some(next) = self.expire_due() else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.0.shutdown.cancelled() => return,
            }
        }
    }

    /// Removes who has timed out; answers when the next one does.
    fn expire_due(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.state();
        let mut next: Option<Instant> = None;
        let mut due = Vec::new();
        for (number, room) in &state.rooms {
            for until in room.users.values() {
                if *until <= now {
                    due.push(*number);
                } else {
                    next = Some(next.map_or(*until, |next| next.min(*until)));
                }
            }
        }
        due.dedup();
        for room in due {
            self.change(&mut state, room, |users| {
                users.retain(|_, until| *until > now)
            });
        }
        state.is_expiring = next.is_some();
        next
    }
}

impl State {
    fn forget_oldest(&mut self) {
        let oldest = self
            .by_version
            .iter()
            .find(|(_, room)| {
                self.rooms
                    .get(room)
                    .is_some_and(|room| room.users.is_empty())
            })
            .map(|(version, room)| (*version, *room));
        if let Some((version, room)) = oldest {
            self.by_version.remove(&version);
            self.rooms.remove(&room);
        }
    }
}

impl TypingSource for Typing {
    fn version(&self) -> u64 {
        self.version()
    }

    fn changed_since(&self, version: u64) -> Vec<(u64, u64)> {
        let changed = self.changed_since(version).into_iter();
        changed.map(|(room, version)| (room.0, version)).collect()
    }

    fn room_version(&self, room: u64) -> u64 {
        self.room_version(RoomNo(room))
    }

    fn users(&self, room: u64) -> Vec<OwnedUserId> {
        self.users(RoomNo(room))
    }

    fn wait_past(&self, seen: u64) -> BoxFuture<'_, u64> {
        Box::pin(self.changed_past(seen))
    }
}

impl Rooms {
    /// Notes that a joined user is typing for so long, or, with `None`, not any more.
    pub async fn set_typing(
        &self,
        user: &UserId,
        room_id: &RoomId,
        timeout: Option<Duration>,
    ) -> Result<()> {
        let reader = self.reader(user, room_id).await?;
        if !reader.is_joined() {
            return Err(Error::NotInRoom);
        }
        self.presences().active(user);
        match timeout {
            Some(timeout) => self.typing().start(reader.room, user.to_owned(), timeout),
            None => self.typing().stop(reader.room, &user.to_owned()),
        }
        Ok(())
    }
}
