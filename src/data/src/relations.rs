//! Relations between events, and threads.

use hearth_store::{Batch, Snapshot};
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::{RELATIONS, THREADS, THREADS_AT};
use crate::{EventNo, Place, Result, RoomNo};

/// An event that relates to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationRow {
    /// The relating event.
    pub event: EventNo,
    /// `rel_type`.
    pub rel_type: String,
    /// Its event type.
    pub kind: String,
    /// Its sender.
    pub sender: String,
    /// The `key` of an annotation.
    pub key: Option<String>,
}

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadRow {
    /// The newest event of the thread.
    pub latest: EventNo,
    /// Its place.
    pub latest_place: Place,
    /// Events in the thread without the root.
    pub count: u64,
}

rows!(RelationRow = 1, ThreadRow = 1);

/// The events that relate to one, with `from <= place < to`, newest first, at most `limit`.
pub async fn backward(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    target: EventNo,
    places: std::ops::Range<Place>,
    limit: usize,
) -> Result<Vec<(Place, RelationRow)>> {
    let range = RELATIONS.between(&(room, target, places.start), &(room, target, places.end));
    let rows = RELATIONS.range_reverse(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, place), row)| (place, row))
        .collect())
}

/// The events that relate to one, with `from <= place < to`, oldest first, at most `limit`.
pub async fn forward(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    target: EventNo,
    places: std::ops::Range<Place>,
    limit: usize,
) -> Result<Vec<(Place, RelationRow)>> {
    let range = RELATIONS.between(&(room, target, places.start), &(room, target, places.end));
    let rows = RELATIONS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, place), row)| (place, row))
        .collect())
}

/// A thread by its root.
pub async fn thread(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    root: EventNo,
) -> Result<Option<ThreadRow>> {
    THREADS.get(snapshot, &(room, root)).await
}

/// Threads by their latest event before a place, newest first, at most `limit`.
pub async fn threads_before(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    before: Place,
    limit: usize,
) -> Result<Vec<(Place, EventNo)>> {
    let range = THREADS_AT.between(&(room, Place::MIN), &(room, before));
    let rows = THREADS_AT.range_reverse(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, place, root), ())| (place, root))
        .collect())
}

/// Writes a thread and moves its index row.
pub fn put_thread(
    batch: &mut Batch,
    room: RoomNo,
    root: EventNo,
    before: Option<&ThreadRow>,
    row: &ThreadRow,
) {
    if let Some(before) = before {
        THREADS_AT.delete(batch, &(room, before.latest_place, root));
    }
    THREADS.put(batch, &(room, root), row);
    THREADS_AT.put(batch, &(room, row.latest_place, root), &());
}
