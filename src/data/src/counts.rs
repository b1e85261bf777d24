//! Checkpoints of unread counts: what was found when a user's rules were applied to a room's events, so that only
//! later events have to be looked at. Derived: what is lost is found out again. Written by `sync`.

use bytes::Bytes;
use hearth_store::{Batch, Position, Snapshot, Value, ValueError};
use serde::{Deserialize, Serialize};

use crate::row::{decode_row, encode_row};
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
    /// Its sender, if it is withheld from those who ignore her: an index into [`CountRow::senders`].
    pub sender: Option<u32>,
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
    /// The senders in `unread`.
    pub senders: Vec<String>,
}

const VERSION: u8 = 2;

impl Value for CountRow {
    fn encode(&self) -> Vec<u8> {
        encode_row(VERSION, self)
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        // The first version did not know senders: what it knew is found out again.
        if bytes.first() == Some(&1) {
            return Ok(Self::default());
        }
        decode_row(VERSION, bytes)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_first_version_are_counted_anew() {
        let old = Bytes::from_static(&[1, 7, 1, 2, 0, 1, 0]);
        assert_eq!(CountRow::decode(&old).unwrap(), CountRow::default());
        let row = CountRow {
            upto: 7,
            unread: vec![Unread {
                place: Place(1),
                thread: None,
                highlight: true,
                sender: Some(0),
            }],
            threads: Vec::new(),
            senders: vec!["@a:x".to_owned()],
        };
        assert_eq!(CountRow::decode(&row.encode().into()).unwrap(), row);
    }
}
