//! The log that followers read: one row per commit, saying what it changed. Sync answers never scan it.

use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::meta::MetaRow;
use crate::row::rows;
use crate::tables::{CHANGES, META};
use crate::{EventNo, Result, RoomNo};

/// Up to where the log was trimmed, in `META`.
const TRIMMED_TO: &str = "changes_trimmed_to";

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
    /// A live event of another server's user that this server has to tell others of: it was asked to, by `/send_join`
    /// and the like. Comes with an `Event`.
    Relay {
        /// The room.
        room: RoomNo,
        /// The event.
        event: EventNo,
        /// The server that sent it, which need not be told.
        from: String,
    },
    /// An EDU that is kept for another server.
    Outbound {
        /// The server.
        server: String,
    },
    /// What only the user is told of keys: how many one-time keys a device has, which fallback keys were used, whom she
    /// vouched for.
    Keys {
        /// The user.
        user: String,
    },
    /// A live event of a user here that another server has taken over, to tell all others of it: a join by `/send_join`.
    /// Comes with an `Event`.
    Handed {
        /// The room.
        room: RoomNo,
        /// The event.
        event: EventNo,
    },
    /// A member event of a user here that another server seems not to know: its user has joined in spite of it.
    Expelled {
        /// The room.
        room: RoomNo,
        /// The member event.
        event: EventNo,
    },
    /// A room's current state, without an event of now: the rest of a state came, or what was taken before is decided
    /// otherwise.
    State {
        /// The room.
        room: RoomNo,
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

/// Up to where the log has been removed: a follower that has not come so far has missed something.
pub async fn trimmed_to(snapshot: &dyn Snapshot) -> Result<Position> {
    let row = META.get(snapshot, &TRIMMED_TO.to_owned()).await?;
    let bytes = row.and_then(|row| row.0.try_into().ok());
    Ok(bytes.map_or(Position::ZERO, |bytes| Position(u64::from_be_bytes(bytes))))
}

/// Removes the log up to and including `to`.
pub fn trim(batch: &mut Batch, to: Position) {
    let row = MetaRow(to.0.to_be_bytes().to_vec());
    META.put(batch, &TRIMMED_TO.to_owned(), &row);
    CHANGES.delete_range(
        batch,
        CHANGES.between(&((), Position::ZERO), &((), to.next())),
    );
}
