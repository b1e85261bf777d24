//! Taking messages out of a room's history for good, and what is remembered of that.
//!
//! The timeline is emptied from its beginning, chunk by chunk. Below a room's *floor* only what has to stay is left:
//! state events, and redactions that say why one of those lost its content. Which messages have come to their end is
//! the caller's business.

use std::collections::{HashMap, HashSet};

use hearth_event::Pdu;
use hearth_event::relations::relation;
use hearth_store::Snapshot;
use hearth_types::UnixMs;
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::append::{RoomBatch, Standing};
use crate::relations::{self, Annotation, RelationRow, ThreadRow};
use crate::row::rows;
use crate::tables::{
    ANNOTATIONS, EARLY_REDACTIONS, EVENT_IDS, RELATIONS, RETENTION, ROOM_POSITIONS, THREADS,
    THREADS_AT, TIMELINE, TXNS, WHEREABOUTS,
};
use crate::timeline::Placed;
use crate::{EventNo, Place, Result, RoomNo, gaps};

/// The relation that makes a thread.
const THREAD: &str = "m.thread";
/// Most commits' rows that are looked through for an event's own: as many events as one commit has.
const POSITIONS_MAX: usize = 1_000;
/// Most events of a thread that are looked at to find the newest one left.
const THREAD_SCAN_MAX: usize = 1_000;

/// How far a room's history was emptied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetentionRow {
    /// No message is left below this place, where a chunk begins.
    pub floor: Place,
    /// Events that were taken out.
    pub dropped: u64,
    /// All that stood below `seen_upto` had come by this moment, whatever the events say of their time.
    pub seen_at: UnixMs,
    /// See there.
    pub seen_upto: Place,
}

rows!(RetentionRow = 1);

impl Default for RetentionRow {
    fn default() -> Self {
        Self {
            floor: Place::MIN,
            dropped: 0,
            seen_at: UnixMs(0),
            seen_upto: Place::MIN,
        }
    }
}

/// How far a room's history was emptied.
pub async fn retention(snapshot: &dyn Snapshot, room: RoomNo) -> Result<RetentionRow> {
    Ok(RETENTION.get(snapshot, &room).await?.unwrap_or_default())
}

/// A message, with all that has to be known to take it out.
#[derive(Debug)]
struct Doomed {
    placed: Placed,
    /// Which event of its commit it is, if it has a row among the positions.
    index: Option<u32>,
    /// Its own thread.
    thread: Option<ThreadRow>,
    is_target: bool,
    /// To what it relates.
    relates_to: Option<(EventNo, RelationRow)>,
    annotation: Option<Annotation>,
    /// The target that it redacted before that was here.
    early: Option<OwnedEventId>,
    txns: Vec<String>,
    sender: String,
}

/// Messages of a room that go in one commit.
#[derive(Debug)]
pub struct Dropping {
    doomed: Vec<Doomed>,
    /// Threads that stay, as they are and as they will be.
    threads: Vec<(EventNo, ThreadRow, Option<ThreadRow>)>,
}

impl Dropping {
    /// Loads what belongs to these messages. `txn_paths` says under which transactions a message may have been sent.
    pub async fn load(
        snapshot: &dyn Snapshot,
        room: RoomNo,
        messages: Vec<(Placed, Pdu)>,
        txn_paths: impl Fn(&Pdu, &str) -> Vec<String>,
    ) -> Result<Self> {
        let mut doomed = Vec::with_capacity(messages.len());
        for (placed, pdu) in messages {
            let mut found = Doomed::load(snapshot, room, placed, &pdu).await?;
            if let Some(txn) = &found.placed.row.txn {
                found.txns = txn_paths(&pdu, &txn.txn_id);
            }
            doomed.push(found);
        }
        let threads = threads_left(snapshot, room, &doomed).await?;
        Ok(Self { doomed, threads })
    }

    /// Whether it is about no message.
    pub fn is_empty(&self) -> bool {
        self.doomed.is_empty()
    }

    /// How many messages it is about.
    pub fn len(&self) -> usize {
        self.doomed.len()
    }

    /// Takes the messages out.
    pub fn write(self, to: &mut RoomBatch) {
        for doomed in &self.doomed {
            doomed.write(to);
        }
        let room = to.room;
        for (root, before, after) in self.threads {
            relations::replace_thread(to.ops(), room, root, &before, after.as_ref());
        }
    }
}

/// Notes how far a room was emptied. Gaps that would be filled below the floor are closed: nobody asks others for what
/// would not be kept.
pub async fn put(
    to: &mut RoomBatch,
    snapshot: &dyn Snapshot,
    before: &RetentionRow,
    row: &RetentionRow,
) -> Result<()> {
    let room = to.room;
    if row.floor > before.floor {
        for (above, gap) in gaps::all(snapshot, room).await? {
            if gap.next < row.floor {
                gaps::remove(to.ops(), room, above);
            }
        }
    }
    RETENTION.put(to.ops(), &room, row);
    Ok(())
}

impl Doomed {
    async fn load(
        snapshot: &dyn Snapshot,
        room: RoomNo,
        placed: Placed,
        pdu: &Pdu,
    ) -> Result<Self> {
        let number = placed.row.event;
        let thread = relations::thread(snapshot, room, number).await?;
        let targets = RELATIONS.prefix(&(room, number));
        let is_target = !RELATIONS.range(snapshot, targets, 1).await?.is_empty();
        let mut doomed = Self {
            index: index_of(snapshot, room, &placed).await?,
            thread,
            is_target,
            relates_to: None,
            annotation: None,
            early: None,
            txns: Vec::new(),
            sender: pdu.sender().to_string(),
            placed,
        };
        if let Some(relation) = relation(pdu) {
            doomed.relate(snapshot, room, &relation.event_id).await?;
        }
        if let Some(target) = pdu.redacts() {
            let early = relations::early_redaction(snapshot, room, target).await?;
            doomed.early = (early == Some(number)).then(|| target.to_owned());
        }
        Ok(doomed)
    }

    async fn relate(
        &mut self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        target: &ruma::EventId,
    ) -> Result<()> {
        let found = crate::timeline::find(snapshot, target).await?;
        let Some(target) = found.filter(|found| found.room == room) else {
            return Ok(());
        };
        let key = (room, target.event, self.placed.place);
        let Some(row) = RELATIONS.get(snapshot, &key).await? else {
            return Ok(());
        };
        if let Some(key) = &row.key {
            let annotation = Annotation {
                target: target.event,
                sender: row.sender.clone(),
                kind: row.kind.clone(),
                key: key.clone(),
            };
            let by = relations::annotation(snapshot, room, &annotation).await?;
            self.annotation = (by == Some(self.placed.row.event)).then_some(annotation);
        }
        self.relates_to = Some((target.event, row));
        Ok(())
    }

    fn write(&self, to: &mut RoomBatch) {
        let (room, place, row) = (to.room, self.placed.place, &self.placed.row);
        let batch = to.ops();
        TIMELINE.delete(batch, &(room, place));
        WHEREABOUTS.delete(batch, &(room, row.event));
        EVENT_IDS.delete(batch, &row.event_id.to_string());
        if let Some(index) = self.index {
            ROOM_POSITIONS.delete(batch, &(room, row.position, index));
        }
        if self.is_target {
            RELATIONS.delete_range(batch, RELATIONS.prefix(&(room, row.event)));
            ANNOTATIONS.delete_range(batch, ANNOTATIONS.prefix(&(room, row.event)));
        }
        if let Some(thread) = &self.thread {
            THREADS.delete(batch, &(room, row.event));
            THREADS_AT.delete(batch, &(room, thread.latest_place, row.event));
        }
        if let Some((target, _)) = &self.relates_to {
            RELATIONS.delete(batch, &(room, *target, place));
        }
        if let Some(annotation) = &self.annotation {
            relations::remove_annotation(batch, room, annotation);
        }
        if let Some(target) = &self.early {
            EARLY_REDACTIONS.delete(batch, &(room, target.to_string()));
        }
        if let Some(txn) = &row.txn {
            for path in &self.txns {
                let key = (self.sender.clone(), txn.device.clone(), path.clone());
                TXNS.delete(batch, &key);
            }
        }
        gaps::remove(batch, room, place);
    }
}

/// Which event of its commit an event is.
async fn index_of(snapshot: &dyn Snapshot, room: RoomNo, placed: &Placed) -> Result<Option<u32>> {
    if placed.row.standing != Standing::Accepted || !placed.place.is_live() {
        return Ok(None);
    }
    let range = ROOM_POSITIONS.prefix(&(room, placed.row.position));
    let rows = ROOM_POSITIONS.range(snapshot, range, POSITIONS_MAX).await?;
    let found = rows.into_iter().find(|(_, place)| *place == placed.place);
    Ok(found.map(|((_, _, index), _)| index))
}

/// The threads that stay but lose events, as they are and as they will be.
async fn threads_left(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    doomed: &[Doomed],
) -> Result<Vec<(EventNo, ThreadRow, Option<ThreadRow>)>> {
    let gone: HashSet<EventNo> = doomed
        .iter()
        .map(|doomed| doomed.placed.row.event)
        .collect();
    let mut lost: HashMap<EventNo, u64> = HashMap::new();
    for (root, relation) in doomed
        .iter()
        .filter_map(|doomed| doomed.relates_to.as_ref())
    {
        if relation.rel_type == THREAD && !gone.contains(root) {
            *lost.entry(*root).or_default() += 1;
        }
    }
    let mut left = Vec::with_capacity(lost.len());
    for (root, lost) in lost {
        let Some(before) = relations::thread(snapshot, room, root).await? else {
            continue;
        };
        let places = Place::MIN..Place::MAX;
        let rows = relations::backward(snapshot, room, root, places, THREAD_SCAN_MAX).await?;
        let newest = rows
            .into_iter()
            .find(|(_, row)| row.rel_type == THREAD && !gone.contains(&row.event));
        let after = newest.map(|(place, row)| ThreadRow {
            latest: row.event,
            latest_place: place,
            count: before.count.saturating_sub(lost),
        });
        left.push((root, before, after));
    }
    Ok(left)
}
