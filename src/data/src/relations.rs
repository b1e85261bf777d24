//! Relations between events, and threads.

use hearth_store::{Batch, Snapshot};
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::{ANNOTATIONS, EARLY_REDACTIONS, RELATIONS, THREADS, THREADS_AT};
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

/// The room, the target, and (sender, event type, `key`).
pub type AnnotationKey = (RoomNo, EventNo, (String, String, String));

/// An annotation: a user makes each only once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Annotation {
    /// The annotated event.
    pub target: EventNo,
    /// Who annotates.
    pub sender: String,
    /// The event type.
    pub kind: String,
    /// The `key`.
    pub key: String,
}

rows!(RelationRow = 1, ThreadRow = 1, EventNo = 1);

fn annotation_key(room: RoomNo, annotation: &Annotation) -> AnnotationKey {
    let Annotation {
        target,
        sender,
        kind,
        key,
    } = annotation.clone();
    (room, target, (sender, kind, key))
}

/// The event with which a user annotated another, if it stands.
pub async fn annotation(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    annotation: &Annotation,
) -> Result<Option<EventNo>> {
    ANNOTATIONS
        .get(snapshot, &annotation_key(room, annotation))
        .await
}

/// Notes an annotation.
pub fn put_annotation(batch: &mut Batch, room: RoomNo, annotation: &Annotation, event: EventNo) {
    ANNOTATIONS.put(batch, &annotation_key(room, annotation), &event);
}

/// Forgets an annotation that was redacted.
pub fn remove_annotation(batch: &mut Batch, room: RoomNo, annotation: &Annotation) {
    ANNOTATIONS.delete(batch, &annotation_key(room, annotation));
}

/// Removes the relation of an event that was redacted.
pub fn remove(batch: &mut Batch, room: RoomNo, target: EventNo, place: Place) {
    RELATIONS.delete(batch, &(room, target, place));
}

/// Writes a thread that has lost an event, or removes it with its last one.
pub fn replace_thread(
    batch: &mut Batch,
    room: RoomNo,
    root: EventNo,
    before: &ThreadRow,
    after: Option<&ThreadRow>,
) {
    match after {
        Some(after) => put_thread(batch, room, root, Some(before), after),
        None => {
            THREADS_AT.delete(batch, &(room, before.latest_place, root));
            THREADS.delete(batch, &(room, root));
        }
    }
}

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

/// A redaction that came before its target.
pub async fn early_redaction(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    target: &ruma::EventId,
) -> Result<Option<EventNo>> {
    EARLY_REDACTIONS
        .get(snapshot, &(room, target.to_string()))
        .await
}

/// Keeps a redaction until its target comes.
pub fn put_early_redaction(
    batch: &mut Batch,
    room: RoomNo,
    target: &ruma::EventId,
    redaction: EventNo,
) {
    EARLY_REDACTIONS.put(batch, &(room, target.to_string()), &redaction);
}

/// Its target came.
pub fn remove_early_redaction(batch: &mut Batch, room: RoomNo, target: &ruma::EventId) {
    EARLY_REDACTIONS.delete(batch, &(room, target.to_string()));
}
