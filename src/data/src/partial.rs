//! Rooms whose state is known but for most members, as it came with a join.

use hearth_store::{Batch, Snapshot};
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::PARTIAL_ROOMS;
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

rows!(PartialRow = 1);

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

/// The state is whole.
pub fn remove(batch: &mut Batch, room: RoomNo) {
    PARTIAL_ROOMS.delete(batch, &room);
}
