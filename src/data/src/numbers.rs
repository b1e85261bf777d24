//! The short numbers by which rows speak of rooms, events and states.

use hearth_store::{Key, KeyError};
use serde::{Deserialize, Serialize};

/// A room's number on this store. Given once, when the room is first heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RoomNo(pub u64);

/// An event's identity in its room, given to every event including outliers and rejected ones. Never an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventNo(pub u64);

/// A state of a room: the number of a row from which the whole map can be read. Zero is the empty state.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct StateId(pub u64);

/// An event's place in the order of a room's history. Live events count up from 1; backfilled ones fill gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place(pub i64);

impl StateId {
    /// The state before the create event.
    pub const EMPTY: Self = Self(0);
}

impl Place {
    /// Before all history.
    pub const MIN: Self = Self(i64::MIN);
    /// After all history.
    pub const MAX: Self = Self(i64::MAX);

    /// The chunk of the timeline in which the place lies: 256 places each, the first seven bytes of its key.
    pub fn chunk(self) -> i64 {
        self.0 >> 8
    }

    /// The place where a chunk begins.
    pub fn of_chunk(chunk: i64) -> Self {
        Self(chunk << 8)
    }

    /// How many places stay free for history that is missing.
    pub const GAP: i64 = 1 << 32;

    /// Whether a live event stands here, not one of the past that was fetched later. Live places and gaps take turns.
    pub fn is_live(self) -> bool {
        self.0 > 0 && (self.0 / Self::GAP) % 2 == 0
    }

    /// The first live place beyond a gap that begins at this place.
    #[must_use]
    pub fn beyond_gap(self) -> Self {
        let block = self.0.max(0) / Self::GAP;
        Self((block - block % 2 + 2).saturating_mul(Self::GAP))
    }

    /// Whether history is or was missing right before the live event that stands here.
    pub fn is_beyond_gap(self) -> bool {
        self.0 > 0 && self.0 % (2 * Self::GAP) == 0
    }

    /// The place after this one, for exclusive bounds; saturates.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Key for RoomNo {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        u64::decode(bytes).map(Self)
    }
}

impl Key for EventNo {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        u64::decode(bytes).map(Self)
    }
}

impl Key for StateId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        u64::decode(bytes).map(Self)
    }
}

impl Key for Place {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        i64::decode(bytes).map(Self)
    }
}
