//! One task that follows the log: it remembers for each connected user which rooms changed when, keeps the newest
//! events of their rooms at hand, and wakes exactly those concerned.
//!
//! A sync first connects its user, then takes a snapshot and waits until this task has got as far ([`Notifier::reach`]),
//! so what it is told is never older than what it reads.

mod board;
mod glance;
mod recent;
mod tail;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hearth_data::changes::{self, Change};
use hearth_data::members::MemberRow;
use hearth_data::tables::MEMBERS;
use hearth_data::{RoomNo, members};
use hearth_ports::{PresenceSource, TypingSource};
use hearth_store::{Backend, Batch, Position, Snapshot};
use hearth_types::Clock;
use ruma::events::room::member::MembershipState;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) use board::Board;
use board::{PresenceChange, Stretches};
pub(crate) use glance::{Glance, News};
pub(crate) use tail::Tail;

use crate::room::RoomReader;
use crate::service::Reading;
use crate::{Error, Result, SyncToken};

/// How many rows of the log are taken at once.
const ROWS_AT_ONCE: usize = 256;
/// How many positions of the log are kept behind what was followed, for a person who looks.
const LOG_KEPT: u64 = 10_000;
/// After how many rows the log is trimmed.
const TRIM_EVERY: u64 = 1_000;
/// Pause after the store failed.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How long a sync waits for the follower to catch up with its snapshot.
const BEHIND_MAX: Duration = Duration::from_secs(10);
/// How often idle users are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
/// After how long without a sync a user is forgotten. Longer than any long-poll.
const IDLE_MAX: Duration = Duration::from_secs(1_800);
/// How many rooms are loaded at once while a user is connected.
const ROOMS_AT_ONCE: usize = 1_000;
/// How often changes of presence are told: those in between are told together.
const PRESENCES_EVERY: Duration = Duration::from_millis(250);
/// How many changes of presence are told at once.
const PRESENCES_AT_ONCE: usize = 1_000;

/// One task that follows the log and wakes the local users concerned. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Notifier(Arc<Shared>);

struct Shared {
    store: Arc<dyn Backend>,
    typing: Arc<dyn TypingSource>,
    presences: Arc<dyn PresenceSource>,
    clock: Arc<dyn Clock>,
    reading: Arc<Reading>,
    /// Held for map operations only, never over an await.
    board: Mutex<Board>,
    seen: watch::Sender<Position>,
}

impl Notifier {
    pub(crate) fn new(parts: &crate::Parts, reading: Arc<Reading>) -> Self {
        Self(Arc::new(Shared {
            store: parts.store.clone(),
            typing: parts.typing.clone(),
            presences: parts.presences.clone(),
            clock: parts.clock.clone(),
            reading,
            board: Mutex::new(Board::new(tail::events_max(parts.settings.cache_bytes_max))),
            seen: watch::Sender::new(Position::ZERO),
        }))
    }

    /// Follows the log until shutdown. Without it no sync is answered. To be run once.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut typing_seen = self.0.typing.version();
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut rows_since_trim = 0;
        let mut presences_from = Instant::now();
        while let Err(error) = self.start().await {
            tracing::warn!(%error, "could not begin to follow the log");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
        }
        loop {
            let seen = *self.0.seen.borrow();
            let followed = tokio::select! {
                () = shutdown.cancelled() => return,
                moved = self.0.store.wait_past(seen) => match moved {
                    Ok(_) => self.follow(&mut rows_since_trim).await,
                    Err(error) => Err(error.into()),
                },
                version = self.0.typing.wait_past(typing_seen) => {
                    self.typing_changed(typing_seen);
                    typing_seen = version;
                    Ok(())
                }
                () = self.presence_due(presences_from) => {
                    presences_from = Instant::now() + PRESENCES_EVERY;
                    self.presences_changed().await
                }
                _ = sweep.tick() => {
                    self.sweep();
                    Ok(())
                }
            };
            match followed {
                Ok(()) => {}
                Err(Error::Store(hearth_store::Error::Closed)) => return,
                Err(error) => {
                    tracing::warn!(%error, "following the log failed; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(RETRY_AFTER) => {}
                    }
                }
            }
        }
    }

    /// Nobody is connected, so what happened before is of no concern.
    async fn start(&self) -> Result<()> {
        let position = self.0.store.snapshot().await?.position();
        let presences = self.0.presences.version();
        self.board().start_at(position, presences);
        self.0.seen.send_replace(position);
        Ok(())
    }

    async fn follow(&self, rows_since_trim: &mut u64) -> Result<()> {
        let snapshot = self.0.store.snapshot().await?;
        let to = snapshot.position();
        loop {
            let seen = *self.0.seen.borrow();
            if seen >= to {
                break;
            }
            let rows = changes::since(&*snapshot, seen, to, ROWS_AT_ONCE).await?;
            let upto = match rows.last() {
                Some((position, _)) if rows.len() == ROWS_AT_ONCE => *position,
                _ => to,
            };
            let mut stretches = Stretches {
                rooms_of: self.rooms_of_changed(&*snapshot, &rows).await?,
                ..Stretches::default()
            };
            for room in self.watched_rooms(&rows) {
                stretches.tails.insert(
                    room,
                    tail::load(&self.0.reading, &*snapshot, room, seen..upto).await?,
                );
            }
            let wakes = self.board().apply(&rows, stretches, upto);
            self.0.seen.send_replace(upto);
            for wake in wakes {
                wake.notify_waiters();
            }
            *rows_since_trim += rows.len() as u64;
        }
        if *rows_since_trim >= TRIM_EVERY && to.0 > LOG_KEPT {
            *rows_since_trim = 0;
            let mut batch = Batch::buffered();
            changes::trim(&mut batch, Position(to.0 - LOG_KEPT));
            self.0.store.commit(batch).await?;
        }
        Ok(())
    }

    /// In which rooms those are whose device lists changed. Of users of other servers only the rooms are found in which
    /// somebody is connected.
    async fn rooms_of_changed(
        &self,
        snapshot: &dyn Snapshot,
        rows: &[(Position, Vec<Change>)],
    ) -> Result<HashMap<String, Vec<RoomNo>>> {
        let mut rooms_of = HashMap::new();
        for change in rows.iter().flat_map(|(_, changes)| changes) {
            let Change::DeviceList { user } = change else {
                continue;
            };
            if rooms_of.contains_key(user) {
                continue;
            }
            let mut rooms = joined_rooms(snapshot, user).await?;
            if rooms.is_empty() {
                rooms = self.watched_with(snapshot, user, |_| true).await?;
            }
            rooms_of.insert(user.clone(), rooms);
        }
        Ok(rooms_of)
    }

    fn watched_rooms(&self, rows: &[(Position, Vec<Change>)]) -> HashSet<RoomNo> {
        let board = self.board();
        let changes = rows.iter().flat_map(|(_, changes)| changes);
        changes
            .filter_map(|change| match change {
                Change::Event { room, .. } if board.is_watched(*room) => Some(*room),
                _ => None,
            })
            .collect()
    }

    fn typing_changed(&self, since: u64) {
        let rooms = self.0.typing.changed_since(since);
        let wakes = {
            let board = self.board();
            let rooms = rooms.into_iter().map(|(room, _)| RoomNo(room));
            rooms
                .flat_map(|room| board.wakes_of(room))
                .collect::<Vec<_>>()
        };
        for wake in wakes {
            wake.notify_waiters();
        }
    }

    /// Waits until there are changes of presence to be told, not before a moment.
    async fn presence_due(&self, from: Instant) {
        let seen = self.board().presences_seen();
        self.0.presences.wait_past(seen).await;
        tokio::time::sleep_until(from).await;
    }

    async fn presences_changed(&self) -> Result<()> {
        let since = self.board().presences_seen();
        // Before the changes are asked for: one that comes after it is told next time.
        let mut upto = self.0.presences.version();
        let mut newer = self.0.presences.changed_since(since);
        newer.retain(|(_, version)| *version <= upto);
        if newer.len() > PRESENCES_AT_ONCE {
            newer.truncate(PRESENCES_AT_ONCE);
            upto = newer.last().map_or(upto, |(_, version)| *version);
        }
        let mut changes = Vec::with_capacity(newer.len());
        let mut snapshot = None;
        for (user, version) in newer {
            let is_connected = self.board().rooms_of(user.as_str()).is_some();
            let rooms = if is_connected {
                None
            } else {
                let snapshot = match &snapshot {
                    Some(snapshot) => snapshot,
                    None => snapshot.insert(self.0.store.snapshot().await?),
                };
                Some(self.rooms_around(&**snapshot, user.as_str()).await?)
            };
            let user = user.to_string();
            changes.push(PresenceChange {
                user,
                version,
                rooms,
            });
        }
        let wakes = self.board().apply_presences(&changes, upto);
        for wake in wakes {
            wake.notify_waiters();
        }
        Ok(())
    }

    /// The version of presences up to which users were told.
    pub(crate) fn presences_seen(&self) -> u64 {
        self.board().presences_seen()
    }

    /// What is known of a user after a sync token.
    pub(crate) fn glance(&self, user: &str, since: SyncToken) -> Glance {
        self.board().glance(user, since)
    }

    /// The connected members of a room.
    pub(crate) fn members_of(&self, room: RoomNo) -> Vec<Arc<str>> {
        self.board().members_of(room)
    }

    /// Whether a user is joined to a room that the reader, who is connected, is joined to.
    pub(crate) async fn shares_room(
        &self,
        snapshot: &dyn Snapshot,
        reader: &str,
        user: &str,
    ) -> Result<bool> {
        let known = self.board().rooms_of(user);
        let rooms = match known {
            Some(rooms) => rooms,
            None => self.rooms_around(snapshot, user).await?,
        };
        Ok(!self.joined_of(reader, rooms).is_empty())
    }

    /// The rooms that a user is joined to. Of one of another server no list is kept: of hers those that connected users
    /// are in, which are all that matter here.
    async fn rooms_around(&self, snapshot: &dyn Snapshot, user: &str) -> Result<Vec<RoomNo>> {
        let rooms = joined_rooms(snapshot, user).await?;
        if !rooms.is_empty() {
            return Ok(rooms);
        }
        let is_joined = |row: &MemberRow| row.membership == MembershipState::Join;
        self.watched_with(snapshot, user, is_joined).await
    }

    /// The rooms of connected users in which a user has a membership of some kind.
    async fn watched_with(
        &self,
        snapshot: &dyn Snapshot,
        user: &str,
        is_wanted: impl Fn(&MemberRow) -> bool,
    ) -> Result<Vec<RoomNo>> {
        let mut rooms = Vec::new();
        let watched = self.board().watched();
        for some in watched.chunks(ROOMS_AT_ONCE) {
            let keys: Vec<_> = some.iter().map(|room| (*room, user.to_owned())).collect();
            let rows = MEMBERS.get_many(snapshot, &keys).await?;
            let found = some.iter().zip(rows);
            let wanted = found.filter(|(_, row)| row.as_ref().is_some_and(&is_wanted));
            rooms.extend(wanted.map(|(room, _)| *room));
        }
        Ok(rooms)
    }

    fn sweep(&self) {
        let now = self.0.clock.now();
        self.board().forget_idle(now, IDLE_MAX);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log is followed up to a position.
    pub(crate) async fn reach(&self, position: Position) -> Result<()> {
        if *self.0.seen.borrow() >= position {
            return Ok(());
        }
        let mut seen = self.0.seen.subscribe();
        match tokio::time::timeout(BEHIND_MAX, seen.wait_for(|seen| *seen >= position)).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::Behind),
        }
    }

    /// Makes the user one whose rooms are followed, if she is not, and answers what wakes her.
    pub(crate) async fn connect(&self, user: &str) -> Result<Arc<Notify>> {
        let now = self.0.clock.now();
        if let Some(wake) = self.board().touch_user(user, now) {
            return Ok(wake);
        }
        let wake = self.board().begin_connect(user, now);
        let snapshot = self.0.store.snapshot().await?;
        // What was followed while the rooms are read here is noted as it comes; the rest is in this snapshot.
        self.reach(snapshot.position()).await?;
        let joined = joined_rooms(&*snapshot, user).await?;
        self.board().end_connect(user, joined);
        Ok(wake)
    }

    /// What changed for a user since a position.
    pub(crate) fn news(&self, user: &str, since: Position) -> News {
        self.board().news(user, since)
    }

    /// Whether account data of the user may have changed since a position.
    pub(crate) fn has_data_since(&self, user: &str, since: Position) -> bool {
        match self.news(user, since) {
            News::Known { has_data, .. } => has_data,
            News::Unknown => true,
        }
    }

    /// Whether what the user's devices have of keys may have changed since a position.
    pub(crate) fn has_keys_since(&self, user: &str, since: Position) -> bool {
        match self.news(user, since) {
            News::Known { has_keys, .. } => has_keys,
            News::Unknown => true,
        }
    }

    /// Which of these rooms the user is joined to, as far as the log was followed.
    pub(crate) fn joined_of(&self, user: &str, rooms: Vec<RoomNo>) -> Vec<RoomNo> {
        self.board().joined_of(user, rooms)
    }

    /// What is at hand of a room's newest part.
    pub(crate) fn tail(&self, room: RoomNo, since: Position, to: Position) -> Tail {
        self.board().tail(room, since, to)
    }
}

/// The rooms that a user of this server is joined to.
async fn joined_rooms(snapshot: &dyn Snapshot, user: &str) -> Result<Vec<RoomNo>> {
    let mut joined = Vec::new();
    let mut after = RoomNo(0);
    loop {
        let rooms = members::rooms_of(snapshot, user, after, ROOMS_AT_ONCE).await?;
        let is_last = rooms.len() < ROOMS_AT_ONCE;
        after = rooms.last().map_or(after, |(room, _)| *room);
        let now_joined = rooms
            .into_iter()
            .filter(|(_, row)| row.membership == MembershipState::Join);
        joined.extend(now_joined.map(|(room, _)| room));
        if is_last {
            return Ok(joined);
        }
    }
}

/// Opens a room for the follower.
async fn open<'a>(
    reading: &'a Reading,
    snapshot: &'a dyn Snapshot,
    room: RoomNo,
) -> Result<Option<RoomReader<'a>>> {
    RoomReader::open(snapshot, room, reading).await
}
