//! Rooms as a whole: numbers, heads, aliases, the directory.

use hearth_store::{Batch, Position, Snapshot};
use ruma::{OwnedEventId, OwnedRoomId, RoomVersionId};
use serde::{Deserialize, Serialize};

use crate::row::{positioned_rows, rows};
use crate::tables::{ALIASES, PUBLIC_ROOMS, ROOM_ALIASES, ROOM_HEADS, ROOM_NUMBERS, ROOM_STATES};
use crate::{EventNo, Result, RoomNo, StateId};

/// An event that no other refers to as its predecessor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extremity {
    /// Its number.
    pub event: EventNo,
    /// Its id.
    pub event_id: OwnedEventId,
    /// The state after it.
    pub state_after: StateId,
}

/// The truth about a room, and the token that every write of the room expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomHead {
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Its version.
    pub version: RoomVersionId,
    /// The forward extremities.
    pub extremities: Vec<Extremity>,
    /// The current state.
    pub state: StateId,
    /// The next event's number.
    pub next_event: u64,
    /// The next number for rows of the state structure.
    pub next_state: u64,
    /// The next place of a live event.
    pub next_place: i64,
    /// The greatest depth of an extremity.
    pub depth: u64,
    /// Joined members in the current state.
    pub joined: u64,
    /// Invited members in the current state.
    pub invited: u64,
    /// Joined members of this server; when none is left nobody here reads the room on.
    pub joined_local: u64,
    /// The commit that last wrote this row.
    #[serde(skip)]
    pub position: Position,
}

positioned_rows!(RoomHead = 1);

impl RoomHead {
    /// The head of a room without any event.
    pub fn new(room_id: OwnedRoomId, version: RoomVersionId) -> Self {
        Self {
            room_id,
            version,
            extremities: Vec::new(),
            state: StateId::EMPTY,
            next_event: 1,
            next_state: 1,
            next_place: 1,
            depth: 0,
            joined: 0,
            invited: 0,
            joined_local: 0,
            position: Position::ZERO,
        }
    }
}

rows!(RoomNo = 1, StateId = 1, AliasRow = 1);

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AliasRow {
    /// The room's id.
    pub room_id: OwnedRoomId,
    /// Who made the alias.
    pub creator: String,
}

/// The number of a room that this store knows.
pub async fn number(snapshot: &dyn Snapshot, room_id: &ruma::RoomId) -> Result<Option<RoomNo>> {
    ROOM_NUMBERS.get(snapshot, &room_id.to_string()).await
}

/// The head of a room.
pub async fn head(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Option<RoomHead>> {
    ROOM_HEADS.get(snapshot, &room).await
}

/// The heads of rooms after a room (exclusive; start with `RoomNo(0)`), at most `limit`.
pub async fn heads_after(
    snapshot: &dyn Snapshot,
    after: RoomNo,
    limit: usize,
) -> Result<Vec<(RoomNo, RoomHead)>> {
    let from = RoomNo(after.0.saturating_add(1));
    let range = ROOM_HEADS.between(&from, &RoomNo(u64::MAX));
    ROOM_HEADS.range(snapshot, range, limit).await
}

/// The current state as it was at a position: the empty one before the room's first event.
pub async fn state_at(snapshot: &dyn Snapshot, room: RoomNo, at: Position) -> Result<StateId> {
    let range = ROOM_STATES.between(&(room, Position::ZERO), &(room, at.next()));
    let newest = ROOM_STATES.range_reverse(snapshot, range, 1).await?;
    Ok(newest.first().map_or(StateId::EMPTY, |(_, state)| *state))
}

/// The state that a room had after the first commit of which this store knows.
pub async fn first_state(snapshot: &dyn Snapshot, room: RoomNo) -> Result<StateId> {
    let oldest = ROOM_STATES
        .range(snapshot, ROOM_STATES.prefix(&room), 1)
        .await?;
    Ok(oldest.first().map_or(StateId::EMPTY, |(_, state)| *state))
}

/// Where an alias leads.
pub async fn alias(snapshot: &dyn Snapshot, alias: &str) -> Result<Option<AliasRow>> {
    ALIASES.get(snapshot, &alias.to_owned()).await
}

/// The local aliases of a room, at most `limit`.
pub async fn aliases(snapshot: &dyn Snapshot, room: RoomNo, limit: usize) -> Result<Vec<String>> {
    let rows = ROOM_ALIASES
        .range(snapshot, ROOM_ALIASES.prefix(&room), limit)
        .await?;
    Ok(rows.into_iter().map(|((_, alias), ())| alias).collect())
}

/// Published rooms after a room, at most `limit`.
pub async fn published_after(
    snapshot: &dyn Snapshot,
    after: RoomNo,
    limit: usize,
) -> Result<Vec<RoomNo>> {
    let range = PUBLIC_ROOMS.between(&RoomNo(after.0.saturating_add(1)), &RoomNo(u64::MAX));
    Ok(PUBLIC_ROOMS
        .range(snapshot, range, limit)
        .await?
        .into_iter()
        .map(|(room, ())| room)
        .collect())
}

/// Whether a room is published in the directory.
pub async fn is_published(snapshot: &dyn Snapshot, room: RoomNo) -> Result<bool> {
    Ok(PUBLIC_ROOMS.get(snapshot, &room).await?.is_some())
}

/// Gives a new room its number; fails with `Conflict` if the id has one.
pub fn put_number(batch: &mut Batch, room_id: &ruma::RoomId, room: RoomNo) {
    let key = room_id.to_string();
    ROOM_NUMBERS.expect(batch, &key, None);
    ROOM_NUMBERS.put(batch, &key, &room);
}

/// Lets an alias lead to a room. `before` is the row as loaded with the number of its room; fails with `Conflict` if
/// it no longer stands.
pub fn put_alias(
    batch: &mut Batch,
    room: RoomNo,
    alias: &str,
    before: Option<(RoomNo, &AliasRow)>,
    row: &AliasRow,
) {
    let key = alias.to_owned();
    ALIASES.expect(batch, &key, before.map(|(_, row)| row));
    ALIASES.put(batch, &key, row);
    if let Some((before, _)) = before {
        ROOM_ALIASES.delete(batch, &(before, key.clone()));
    }
    ROOM_ALIASES.put(batch, &(room, key), &());
}

/// Removes an alias; fails with `Conflict` if `before` no longer stands.
pub fn remove_alias(batch: &mut Batch, room: RoomNo, alias: &str, before: &AliasRow) {
    let key = alias.to_owned();
    ALIASES.expect(batch, &key, Some(before));
    ALIASES.delete(batch, &key);
    ROOM_ALIASES.delete(batch, &(room, key));
}

/// Publishes a room in the directory.
pub fn publish(batch: &mut Batch, room: RoomNo) {
    PUBLIC_ROOMS.put(batch, &room, &());
}

/// Takes a room out of the directory.
pub fn unpublish(batch: &mut Batch, room: RoomNo) {
    PUBLIC_ROOMS.delete(batch, &room);
}

/// When the current state last changed after `from` up to `to`.
pub async fn state_changed(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    from: Position,
    to: Position,
) -> Result<Option<Position>> {
    let range = ROOM_STATES.between(&(room, from.next()), &(room, to.next()));
    let newest = ROOM_STATES.range_reverse(snapshot, range, 1).await?;
    Ok(newest.first().map(|((_, position, ()), _)| *position))
}
