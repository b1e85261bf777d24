//! Effects across domains: written in the batch that causes them, done by a worker of the crate that owns the effect.

use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::JOBS;
use crate::{EventNo, Result, RoomNo};

/// Which worker does a job; the first part of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Owner {
    /// The crate `rooms`.
    Rooms = 1,
    /// The crate `accounts`.
    Accounts = 2,
}

/// A job. Doing one twice must end as doing it once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobRow {
    /// Rooms: a user's display name or avatar changed; renew the member events of all rooms joined.
    SpreadProfile {
        /// The user.
        user: String,
    },
    /// Rooms: a deactivated user leaves all rooms.
    LeaveAllRooms {
        /// The user.
        user: String,
        /// Whether her past events are to be redacted for new members (`erase`).
        erase: bool,
    },
    /// Rooms: the invites that follow a createRoom.
    Invites {
        /// The room.
        room: RoomNo,
        /// Who invites.
        sender: String,
        /// Whom.
        users: Vec<String>,
        /// Whether it is a direct chat.
        is_direct: bool,
    },
    /// Rooms: a room says that another replaced it, or the other way round; settings follow those who are in both.
    Upgraded {
        /// The old room.
        from: String,
        /// The new room.
        to: String,
        /// Only this user's.
        user: Option<String>,
    },
    /// Rooms: a room does not want guests any more.
    GuestsLeave {
        /// The room.
        room: RoomNo,
    },
    /// Accounts: what a user has set for a room she has set for the one that replaced it.
    CarryOver {
        /// The user.
        user: String,
        /// The old room.
        from: String,
        /// The new room.
        to: String,
    },
    /// Rooms: a user who left by herself is in a room again, without having come: servers that have not heard of it said
    /// so, and resolution followed them. She leaves once more.
    LeaveAgain {
        /// The room.
        room: RoomNo,
        /// The user.
        user: String,
        /// The join that she left after.
        join: EventNo,
    },
}
rows!(JobRow = 1);

/// Writes a job. `index` tells jobs of one batch apart.
pub fn put(batch: &mut Batch, owner: Owner, index: u32, job: &JobRow) {
    JOBS.put_at_position(batch, &(owner as u8), &index, job);
}

/// The oldest jobs of an owner after a cursor (start with `(Position::ZERO, 0)`), at most `limit`.
pub async fn after(
    snapshot: &dyn Snapshot,
    owner: Owner,
    cursor: (Position, u32),
    limit: usize,
) -> Result<Vec<((Position, u32), JobRow)>> {
    let end = (owner as u8) + 1;
    let range = JOBS.between(&(owner as u8, cursor.0, cursor.1.saturating_add(1)), &end);
    let rows = JOBS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, position, index), row)| ((position, index), row))
        .collect())
}

/// Whether a job is still to be done.
pub async fn is_open(snapshot: &dyn Snapshot, owner: Owner, key: (Position, u32)) -> Result<bool> {
    Ok(JOBS
        .get(snapshot, &(owner as u8, key.0, key.1))
        .await?
        .is_some())
}

/// Removes a job that is done.
pub fn done(batch: &mut Batch, owner: Owner, key: (Position, u32)) {
    JOBS.delete(batch, &(owner as u8, key.0, key.1));
}
