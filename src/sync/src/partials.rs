//! Rooms of which only a part of the state is known. Mostly there are none, which is remembered: every room of every
//! answer asks.

use std::sync::atomic::{AtomicU64, Ordering};

use hearth_data::{RoomNo, partial, tables};
use hearth_store::{Backend, Position, Snapshot};

use crate::Result;

/// Remembers up to when there were none.
#[derive(Debug, Default)]
pub(crate) struct Partials {
    /// There were none at the position before this one; 0: not known.
    none_before: AtomicU64,
}

impl Partials {
    /// Whether a room is known in part only. The log must have been followed up to the snapshot.
    pub(crate) async fn is_partial(
        &self,
        (store, snapshot): (&dyn Backend, &dyn Snapshot),
        room: RoomNo,
    ) -> Result<bool> {
        if self.are_none(store) {
            return Ok(false);
        }
        if partial::after(snapshot, RoomNo(0), 1).await?.is_empty() {
            let none_before = snapshot.position().next().0;
            self.none_before.fetch_max(none_before, Ordering::Relaxed);
            return Ok(false);
        }
        Ok(partial::partial(snapshot, room).await?.is_some())
    }

    /// Whether there were none, and none has come since.
    fn are_none(&self, store: &dyn Backend) -> bool {
        let Some(position) = self.none_before.load(Ordering::Relaxed).checked_sub(1) else {
            return false;
        };
        let tables = [tables::PARTIAL_ROOMS.info().id];
        !store.is_written_past(&tables, Position(position))
    }
}
