//! The newest part of a room that somebody watches, shared by all who are told of it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use hearth_data::{RoomNo, rooms, timeline};
use hearth_store::{Position, Snapshot};

use super::open;
use crate::Result;
use crate::room::Event;
use crate::service::Reading;

/// How many events are at hand per room.
pub(super) const ROOM_EVENTS_MAX: usize = 32;
/// What an event takes in memory, roughly, in bytes.
const EVENT_BYTES: u64 = 4_096;

/// How many events are at hand in all.
pub(super) fn events_max(bytes_max: u64) -> usize {
    usize::try_from(bytes_max / EVENT_BYTES).unwrap_or(usize::MAX)
}

/// What one stretch of the log did to a room.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// The newest events with their positions, oldest first.
    pub(super) events: Vec<(Position, Arc<Event>)>,
    /// Not all events of the stretch are among them.
    pub(super) has_more: bool,
    /// The last change of the current state.
    pub(super) state_at: Option<Position>,
}

/// What is known of a room between two positions without asking the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// All events that became visible in between, oldest first, if they are at hand.
    pub(crate) events: Option<Vec<(Position, Arc<Event>)>>,
    /// The current state is known not to have changed.
    pub(crate) is_state_same: bool,
    /// No receipt is known to have changed.
    pub(crate) are_receipts_same: bool,
}

/// A room with connected members.
#[derive(Debug)]
pub(super) struct Newest {
    /// Nothing is known of what was before.
    pub(super) since: Position,
    pub(super) state_at: Position,
    pub(super) receipts_at: Position,
    /// All events after this position are in `events`.
    events_after: Position,
    events: VecDeque<(Position, Arc<Event>)>,
}

impl Newest {
    pub(super) fn new(since: Position) -> Self {
        Self {
            since,
            state_at: since,
            receipts_at: since,
            events_after: since,
            events: VecDeque::new(),
        }
    }

    /// Takes in what a stretch of the log did. Answers how many events more are at hand than before.
    pub(super) fn extend(&mut self, stretch: Stretch) -> isize {
        let before = self.events.len();
        if let Some(at) = stretch.state_at {
            self.state_at = self.state_at.max(at);
        }
        if stretch.has_more {
            self.events.clear();
            self.events_after = stretch
                .events
                .first()
                .map_or(self.events_after, |(at, _)| *at);
        }
        for (position, event) in stretch.events {
            // The event of the position that was cut in two is left out with it.
            if position > self.events_after {
                self.events.push_back((position, event));
            }
        }
        while self.events.len() > ROOM_EVENTS_MAX {
            self.drop_oldest();
        }
        self.events.len().cast_signed() - before.cast_signed()
    }

    /// Forgets the oldest event and all of the same position. Answers how many those were.
    pub(super) fn drop_oldest(&mut self) -> usize {
        let before = self.events.len();
        if let Some((position, _)) = self.events.pop_front() {
            self.events_after = position;
            while self.events.front().is_some_and(|(at, _)| *at == position) {
                self.events.pop_front();
            }
        }
        before - self.events.len()
    }

    /// Nothing is known any more of what happened up to a position.
    pub(super) fn forget_before(&mut self, position: Position) -> usize {
        let dropped = self.events.len();
        self.events.clear();
        self.events_after = position;
        self.state_at = position;
        dropped
    }

    /// Puts the present form of an event that was redacted in its place.
    pub(super) fn replace(&mut self, event: &Arc<Event>) {
        let id = &event.row.event_id;
        let old = self
            .events
            .iter_mut()
            .find(|(_, old)| old.row.event_id == *id);
        if let Some((_, old)) = old {
            *old = event.clone();
        }
    }

    pub(super) fn between(&self, since: Position, to: Position) -> Tail {
        let is_known = since >= self.since;
        let events = || {
            let newest_first = self.events.iter().rev();
            let newest_first = newest_first.skip_while(|(at, _)| *at > to);
            let between = newest_first.take_while(|(at, _)| *at > since);
            let mut between: Vec<_> = between.cloned().collect();
            between.reverse();
            between
        };
        Tail {
            events: (since >= self.events_after).then(events),
            is_state_same: is_known && since >= self.state_at,
            are_receipts_same: is_known && since >= self.receipts_at,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

/// What a stretch of the log did to a room, and the events that were redacted in it.
pub(super) async fn load(
    reading: &Reading,
    snapshot: &dyn Snapshot,
    room: RoomNo,
    stretch: Range<Position>,
) -> Result<(Stretch, Vec<Arc<Event>>)> {
    let Some(reader) = open(reading, snapshot, room).await? else {
        return Ok(Default::default());
    };
    let (from, to) = (stretch.start, stretch.end);
    let placed = timeline::visible_since(snapshot, room, from, to, ROOM_EVENTS_MAX + 1).await?;
    let mut loaded = Stretch {
        has_more: placed.len() > ROOM_EVENTS_MAX,
        state_at: rooms::state_changed(snapshot, room, from, to).await?,
        events: Vec::with_capacity(placed.len()),
    };
    let mut redacted = Vec::new();
    for (position, placed) in placed.into_iter().rev() {
        if let Some(event) = reader.placed(placed).await? {
            if let Some(target) = event.pdu.redacts()
                && let Some(found) = timeline::find(snapshot, target).await?
                && found.room == room
            {
                redacted.extend(reader.event(found.event).await?);
            }
            loaded.events.push((position, event));
        }
    }
    Ok((loaded, redacted))
}
