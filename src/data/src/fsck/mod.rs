//! `hearth fsck`: reads every row back and checks every invariant that ties rows together.
//!
//! [`fsck`] makes a [`Report`] of one snapshot. It changes nothing and goes on after a problem. Memory is bounded by the
//! largest state of a room, not by the store; a store is read about twice.

mod accounts;
mod decode;
mod e2ee;
mod events;
mod indexes;
mod links;
mod media;
mod retention;
mod rooms;
mod social;
mod states;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use hearth_event::{Pdu, RoomVersion};
use hearth_store::{Error, Key, KeyRange, Snapshot, Table, Value};

use crate::append::EventRow;
use crate::reach::ReachCache;
use crate::retention::RetentionRow;
use crate::rooms::RoomHead;
use crate::state::{HashKey, States};
use crate::{EventNo, Place, Result, RoomNo, meta, timeline};

/// How many rows are read at once.
const PAGE: usize = 512;

/// How many problems are kept in words; all are counted.
const PROBLEMS_MAX: usize = 1_000;

/// For decoded state and auth links.
const CACHE_BYTES: u64 = 16 << 20;

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Each row belongs to a known table.
    KnownTable,
    /// Each row can be read as what its table holds.
    Readable,
    /// What the store says about itself is there.
    Meta,
    /// A room's id and number lead to each other; each room with rows has a head.
    RoomNumber,
    /// The head's extremities are accepted events with the id and state that it says; its counters are ahead.
    Head,
    /// The last row of the log of current states is the head's state.
    CurrentState,
    /// Each event number below the head's counter has exactly one row, which says that number.
    EventNumber,
    /// An event's id leads to its row, and each id's row has that id.
    EventId,
    /// The JSON of an event makes its id, and its content hash fits or the event is redacted.
    EventJson,
    /// An event's states are there and hold what it says.
    EventState,
    /// Each live accepted event has one row in the index of positions, and each of these rows has its event.
    Position,
    /// The rows of the state structure are whole: pointers, counts, fingerprints, changes.
    StateNodes,
    /// An entry of a state is an event of that type and state key.
    StateEntry,
    /// The auth links are those of the event, its generation fits.
    AuthLinks,
    /// Gaps of history, and what is noted of partial state, belong to events that are here.
    Gaps,
    /// Members, their memberships and the head's counts are those of the current state.
    Members,
    /// The servers of a room are those of its joined members.
    Servers,
    /// A local user's rows mirror the room's member rows.
    UserRooms,
    /// Relations, annotations and threads point to events, and threads count right.
    Relations,
    /// Where a room's history was emptied of messages, none is left, and none comes back.
    Retention,
    /// Transactions point to events.
    Transactions,
    /// Aliases and the directory point to rooms, and back.
    Aliases,
    /// Each receipt has one row in its index, and the other way round.
    Receipts,
    /// Devices, tokens, account data and their indexes belong together.
    Accounts,
    /// Media, their blobs, thumbnails, users' lists and sums belong together.
    Media,
    /// Keys, messages to devices and backups belong to devices and users that are there, and are counted right.
    Encryption,
    /// Friends, their direct chats and private groups belong together and point to rooms.
    Social,
    /// The log of changes names events that exist.
    Changes,
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What should hold.
    pub invariant: Invariant,
    /// Where, and what was found.
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.invariant, self.detail)
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// What is being checked.
    pub table: &'static str,
    /// Rows read so far, in all.
    pub rows: u64,
    /// Problems found so far.
    pub problems: u64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Rows in the store.
    pub rows: u64,
    /// Their keys and values, in bytes.
    pub bytes: u64,
    /// Number of problems.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether everything holds.
    pub fn is_clean(&self) -> bool {
        self.problem_count == 0
    }
}

/// Checks the whole store. Fails only if the store cannot be read at all; what is wrong in it stands in the report.
pub async fn fsck(
    snapshot: &dyn Snapshot,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report> {
    let mut check = Check::new(snapshot, progress).await?;
    check.all_rows().await?;
    check.meta().await?;
    check.rooms().await?;
    check.events().await?;
    check.emptied_rooms().await?;
    check.states().await?;
    check.auth_links().await?;
    check.indexes().await?;
    check.accounts().await?;
    check.media().await?;
    check.e2ee().await?;
    check.social().await?;
    Ok(check.report)
}

/// A check that is going on.
struct Check<'a> {
    snapshot: &'a dyn Snapshot,
    states: States,
    reach: ReachCache,
    server_name: Option<String>,
    report: Report,
    rows_read: u64,
    progress: &'a mut (dyn FnMut(Progress) + Send),
    // The room that the last rows were of.
    head: Option<(RoomNo, Option<RoomHead>)>,
    // The same for how far it was emptied.
    emptied: Option<(RoomNo, RetentionRow)>,
}

impl<'a> Check<'a> {
    async fn new(
        snapshot: &'a dyn Snapshot,
        progress: &'a mut (dyn FnMut(Progress) + Send),
    ) -> Result<Self> {
        let secret = meta::load(snapshot, meta::HASH_KEY)
            .await
            .unwrap_or_default();
        let secret = secret
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or_default();
        let name = meta::load(snapshot, meta::SERVER_NAME)
            .await
            .unwrap_or_default();
        Ok(Self {
            snapshot,
            states: States::new(HashKey::new(secret), CACHE_BYTES),
            reach: ReachCache::new(CACHE_BYTES),
            server_name: name.and_then(|bytes| String::from_utf8(bytes).ok()),
            report: Report::default(),
            rows_read: 0,
            progress,
            head: None,
            emptied: None,
        })
    }

    fn problem(&mut self, invariant: Invariant, detail: impl Into<String>) {
        self.report.problem_count += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            let detail = detail.into();
            self.report.problems.push(Problem { invariant, detail });
        }
    }

    /// Notes a problem unless it holds.
    fn hold(&mut self, holds: bool, invariant: Invariant, detail: impl FnOnce() -> String) {
        if !holds {
            self.problem(invariant, detail());
        }
    }

    /// What was read; a row that cannot be read is noted and counts as absent.
    fn read<T: Default>(&mut self, result: Result<T>, invariant: Invariant) -> Result<T> {
        match result {
            Ok(found) => Ok(found),
            Err(error @ Error::Corrupt { .. }) => {
                self.problem(invariant, error.to_string());
                Ok(T::default())
            }
            Err(error) => Err(error),
        }
    }

    /// One row; one that cannot be read was noted before and counts as absent.
    async fn row<K: Key, V: Value>(&mut self, table: &Table<K, V>, key: &K) -> Result<Option<V>> {
        match table.get(self.snapshot, key).await {
            Err(Error::Corrupt { .. }) => Ok(None),
            other => other,
        }
    }

    /// The next rows of a table, which move `from` on; none at its end. Rows that cannot be read are left out: they
    /// were noted before.
    async fn page<K: Key, V: Value>(
        &mut self,
        table: &Table<K, V>,
        range: &mut KeyRange,
    ) -> Result<Option<Vec<(K, V)>>> {
        let rows = self.raw_page(table.info().name, range).await?;
        if rows.is_empty() {
            return Ok(None);
        }
        let decoded = rows
            .iter()
            .filter_map(|(key, value)| table.decode_row(key, value).ok());
        Ok(Some(decoded.collect()))
    }

    async fn raw_page(
        &mut self,
        table: &'static str,
        range: &mut KeyRange,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let rows = self.snapshot.range(range.clone(), false, PAGE).await?;
        if let Some((last, _)) = rows.last() {
            range.from = [last, &b"\0"[..]].concat().into();
        }
        self.rows_read += rows.len() as u64;
        (self.progress)(Progress {
            table,
            rows: self.rows_read,
            problems: self.report.problem_count,
        });
        Ok(rows)
    }

    async fn room_head(&mut self, room: RoomNo) -> Result<Option<RoomHead>> {
        if self.head.as_ref().is_none_or(|(cached, _)| *cached != room) {
            let head = self.row(&crate::tables::ROOM_HEADS, &room).await?;
            self.head = Some((room, head));
        }
        Ok(self.head.as_ref().and_then(|(_, head)| head.clone()))
    }

    async fn event(
        &mut self,
        room: RoomNo,
        event: EventNo,
    ) -> Result<Option<(Option<Place>, EventRow)>> {
        match timeline::event(self.snapshot, room, event).await {
            Err(Error::Corrupt { .. }) => Ok(None),
            other => other,
        }
    }

    /// An event by its number, parsed.
    async fn pdu(&mut self, room: RoomNo, event: EventNo) -> Result<Option<Pdu>> {
        let (Some(head), Some((_, row))) =
            (self.room_head(room).await?, self.event(room, event).await?)
        else {
            return Ok(None);
        };
        let version = RoomVersion::new(&head.version);
        Ok(version.and_then(|version| timeline::pdu(version, &head.room_id, &row).ok()))
    }
}
