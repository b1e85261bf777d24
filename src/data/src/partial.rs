//! Rooms whose state is known but for most members, as it came with a join.

use hearth_store::{Batch, Position, Snapshot};
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::row::{positioned_rows, rows};
use crate::tables::{PARTIAL_ROOMS, PARTIAL_STAYS, WHOLE_ROOMS};
use crate::{EventNo, Result, RoomNo, StateId};

/// How a room came to have partial state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartialRow {
    /// Our join.
    pub join: OwnedEventId,
    /// Its number.
    pub event: EventNo,
    /// The state before it, as far as it came.
    pub state: StateId,
    /// The resident that let us in.
    pub resident: String,
    /// The servers in the room as the resident says.
    pub servers: Vec<String>,
}

/// The rest of a room's state came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholeRow {
    /// By which join it had begun with a part.
    pub event: EventNo,
    /// The commit that wrote it.
    #[serde(skip)]
    pub position: Position,
}

rows!(PartialRow = 1);
positioned_rows!(WholeRow = 1);

/// Most stays of a room that are kept because they ended before its state was whole.
pub const STAYS_MAX: usize = 8;

/// Whether, and how, a room's state is partial.
pub async fn partial(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Option<PartialRow>> {
    PARTIAL_ROOMS.get(snapshot, &room).await
}

/// Rooms with partial state after a room (exclusive; start with `RoomNo(0)`), at most `limit`.
pub async fn after(
    snapshot: &dyn Snapshot,
    after: RoomNo,
    limit: usize,
) -> Result<Vec<(RoomNo, PartialRow)>> {
    let from = RoomNo(after.0.saturating_add(1));
    let range = PARTIAL_ROOMS.between(&from, &RoomNo(u64::MAX));
    PARTIAL_ROOMS.range(snapshot, range, limit).await
}

/// Marks a room.
pub fn put(batch: &mut Batch, room: RoomNo, row: &PartialRow) {
    PARTIAL_ROOMS.put(batch, &room, row);
}

/// Stays in a room that ended before its state was whole, oldest first.
pub async fn stays(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Vec<PartialRow>> {
    let range = PARTIAL_STAYS.prefix(&room);
    let rows = PARTIAL_STAYS.range(snapshot, range, STAYS_MAX).await?;
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Keeps a stay that ended before the room's state was whole. Of more than [`STAYS_MAX`] the caller keeps no further one.
pub fn put_stay(batch: &mut Batch, room: RoomNo, row: &PartialRow) {
    PARTIAL_STAYS.put(batch, &(room, row.event), row);
}

/// The states of a stay are whole, or never will be.
pub fn end_stay(batch: &mut Batch, room: RoomNo, join: EventNo) {
    PARTIAL_STAYS.delete(batch, &(room, join));
}

/// The state is whole.
pub fn end(batch: &mut Batch, room: RoomNo, row: &PartialRow) {
    PARTIAL_ROOMS.delete(batch, &room);
    let row = WholeRow {
        event: row.event,
        position: Position::ZERO,
    };
    WHOLE_ROOMS.put_position(batch, &room, &row);
}

/// The commit by which the rest of a room's state came the last time; zero if it was always whole.
pub async fn whole_at(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Position> {
    let row = WHOLE_ROOMS.get(snapshot, &room).await?;
    Ok(row.map_or(Position::ZERO, |row| row.position))
}
