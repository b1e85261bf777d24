//! The log that followers read: one row per commit, saying what it changed. Sync answers never scan it.

use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::CHANGES;
use crate::{EventNo, Result, RoomNo};

/// Something that happened, in terms of who has to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A live event of the room.
    Event {
        /// The room.
        room: RoomNo,
        /// The event.
        event: EventNo,
    },
    /// A user's membership in a room (also one of another server's users).
    Member {
        /// The room.
        room: RoomNo,
        /// The user.
        user: String,
        /// Whether she is joined now.
        joined: bool,
    },
    /// A receipt in the room; for a private one only its user looks.
    Receipt {
        /// The room.
        room: RoomNo,
        /// Whose private receipt it is, if it is one.
        private_to: Option<String>,
    },
    /// Account data, tags, push rules, read markers of a user.
    AccountData {
        /// The user.
        user: String,
    },
    /// A profile.
    Profile {
        /// The user.
        user: String,
    },
    /// Device keys of a user.
    DeviceList {
        /// The user.
        user: String,
    },
    /// Messages to devices of a user.
    ToDevice {
        /// The user.
        user: String,
    },
}

/// All that one commit changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeRow(pub Vec<Change>);
rows!(ChangeRow = 1);

/// Writes the log row of a batch. At most once per batch: the row's key is the commit's position.
pub fn record(batch: &mut Batch, changes: Vec<Change>) {
    if !changes.is_empty() {
        CHANGES.put_at_position(batch, &(), &(), &ChangeRow(changes));
    }
}

/// The log after `from` up to and including `to`, at most `limit` rows, oldest first.
pub async fn since(
    snapshot: &dyn Snapshot,
    from: Position,
    to: Position,
    limit: usize,
) -> Result<Vec<(Position, Vec<Change>)>> {
    let range = CHANGES.between(&((), from.next()), &((), to.next()));
    let rows = CHANGES.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(((), position, ()), row)| (position, row.0))
        .collect())
}

/// Removes the log up to and including `to`.
pub fn trim(batch: &mut Batch, to: Position) {
    CHANGES.delete_range(
        batch,
        CHANGES.between(&((), Position::ZERO), &((), to.next())),
    );
}
