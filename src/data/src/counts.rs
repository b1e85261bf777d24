//! Checkpoints of unread counts: what was found when a user's rules were applied to a room's events, so that only
//! later events have to be looked at. Derived: what is lost is found out again. Written by `sync`.

use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::COUNTS;
use crate::{Place, Result, RoomNo};

/// An event that notifies a user and that she has not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unread {
    /// Its place.
    pub place: Place,
    /// Its thread: an index into [`CountRow::threads`]; `None` for the main timeline.
    pub thread: Option<u32>,
    /// Whether it highlights.
    pub highlight: bool,
}

/// A checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountRow {
    /// All events up to this position were looked at.
    pub upto: u64,
    /// What is unread, by place.
    pub unread: Vec<Unread>,
    /// The roots of the threads in `unread`.
    pub threads: Vec<String>,
}

rows!(CountRow = 1);

impl CountRow {
    /// The position up to which all events were looked at.
    pub fn position(&self) -> Position {
        Position(self.upto)
    }
}

/// A user's checkpoint in a room.
pub async fn checkpoint(
    snapshot: &dyn Snapshot,
    user: &str,
    room: RoomNo,
) -> Result<Option<CountRow>> {
    COUNTS.get(snapshot, &(user.to_owned(), room)).await
}

/// Writes a checkpoint.
pub fn put(batch: &mut Batch, user: &str, room: RoomNo, row: &CountRow) {
    COUNTS.put(batch, &(user.to_owned(), room), row);
}
