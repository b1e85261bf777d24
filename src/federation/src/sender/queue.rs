//! What waits for one server, in memory, and what is known of how far it is.

use std::collections::VecDeque;

use bytes::Bytes;
use hearth_data::federation::DestinationRow;
use hearth_data::{EventNo, RoomNo};
use hearth_store::Position;
use hearth_types::UnixMs;

use super::transaction::{EDUS_MAX, PDUS_MAX};

/// Most events that wait in memory for a server; with more it is behind, and gets the newest event of each room
/// instead.
pub(crate) const QUEUE_MAX: usize = 4 * PDUS_MAX;
/// Most passing EDUs (typing, receipts) that wait; of more the oldest are dropped.
const PASSING_MAX: usize = EDUS_MAX / 2;

/// An event that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Queued {
    /// The commit that made it visible.
    pub(crate) at: Position,
    /// Its room.
    pub(crate) room: RoomNo,
    /// Its number there.
    pub(crate) event: EventNo,
}

/// A transaction that was sent and not answered: to be sent again as it is, under the same id.
#[derive(Clone, Debug)]
pub(crate) struct Unanswered {
    pub(crate) txn_id: String,
    pub(crate) body: Bytes,
    pub(crate) taken: Taken,
}

/// What a transaction took from the queue.
#[derive(Clone, Debug, Default)]
pub(crate) struct Taken {
    /// How many of the first events.
    pub(crate) events: usize,
    /// The last EDU of the outbox.
    pub(crate) outbox: Option<(Position, u32)>,
    /// PDUs and EDUs in all.
    pub(crate) items: usize,
}

/// The state of a destination. All decisions about it are made here, without waiting.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Events in the order of their positions.
    events: VecDeque<Queued>,
    /// Passing EDUs by a key of which only the newest counts.
    passing: VecDeque<(String, Bytes)>,
    /// There may be EDUs in the outbox.
    pub(crate) has_outbox: bool,
    /// It has not got everything after this position; what is queued is not all.
    behind: Option<Position>,
    /// It is just catching up: what happens meanwhile is queued.
    is_catching_up: bool,
    pub(crate) failures: u32,
    pub(crate) retry_at: UnixMs,
    pub(crate) tried_at: UnixMs,
    /// There is a row in the store that says so.
    pub(crate) is_stored: bool,
    /// A task is sending.
    pub(crate) is_running: bool,
    pub(crate) unanswered: Option<Unanswered>,
    /// How many items a transaction may have; lowered while the server refuses larger ones.
    pub(crate) items_max: usize,
}

/// What is to be done for a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Todo {
    /// Nothing.
    Rest,
    /// Nothing until then.
    Wait(UnixMs),
    /// Find the newest events above this position.
    CatchUp(Position),
    /// Send what is queued.
    Send,
}

impl Queue {
    pub(crate) fn empty() -> Self {
        Self {
            items_max: PDUS_MAX + EDUS_MAX,
            ..Self::default()
        }
    }

    /// As it was left when the server stopped.
    pub(crate) fn restored(row: &DestinationRow) -> Self {
        Self {
            behind: Some(Position(row.cursor)),
            failures: row.failures,
            retry_at: row.retry_at,
            is_stored: true,
            ..Self::empty()
        }
    }

    /// What is stored of it, if it is behind.
    pub(crate) fn row(&self) -> Option<DestinationRow> {
        self.behind.map(|cursor| DestinationRow {
            cursor: cursor.0,
            failures: self.failures,
            retry_at: self.retry_at,
        })
    }

    /// Everything up to here was sent and acknowledged, or stands in the store as not.
    pub(crate) fn done_up_to(&self, seen: Position) -> Position {
        match self.events.front() {
            Some(oldest) if self.behind.is_none() => Position(oldest.at.0.saturating_sub(1)),
            _ if self.behind.is_some() && !self.is_stored => self.behind.unwrap_or(seen).min(seen),
            _ => seen,
        }
    }

    /// Takes an event in. Of a server that is behind only its newest events will be looked up.
    pub(crate) fn push(&mut self, event: Queued) {
        if self.behind.is_some() && !self.is_catching_up {
            return;
        }
        if self.events.len() < QUEUE_MAX {
            self.events.push_back(event);
            return;
        }
        self.fall_behind();
    }

    /// What is queued is let go: it will be caught up.
    pub(crate) fn fall_behind(&mut self) {
        if let Some(oldest) = self.events.front()
            && self.behind.is_none()
        {
            self.behind = Some(Position(oldest.at.0.saturating_sub(1)));
        }
        self.is_catching_up = false;
        self.events.clear();
    }

    /// Takes an EDU in of which only the newest with its key counts.
    pub(crate) fn push_passing(&mut self, key: String, edu: Bytes) {
        if self.failures > 0 {
            // Who cannot be reached does not care later who was typing.
            return;
        }
        self.passing.retain(|(known, _)| *known != key);
        if self.passing.len() == PASSING_MAX {
            self.passing.pop_front();
        }
        self.passing.push_back((key, edu));
    }

    pub(crate) fn events(&self) -> impl Iterator<Item = &Queued> {
        self.events.iter()
    }

    pub(crate) fn take_passing(&mut self) -> Vec<Bytes> {
        self.passing.drain(..).map(|(_, edu)| edu).collect()
    }

    pub(crate) fn todo(&self, now: UnixMs) -> Todo {
        let is_idle = self.events.is_empty() && self.passing.is_empty() && !self.has_outbox;
        if self.behind.is_none() && is_idle && self.unanswered.is_none() {
            return Todo::Rest;
        }
        if self.failures > 0 && self.retry_at > now {
            return Todo::Wait(self.retry_at);
        }
        match self.behind {
            Some(cursor)
                if !self.is_catching_up && self.events.is_empty() && self.unanswered.is_none() =>
            {
                Todo::CatchUp(cursor)
            }
            _ => Todo::Send,
        }
    }

    /// From now on what happens is queued again; then the store is looked at.
    pub(crate) fn begin_catch_up(&mut self) {
        self.is_catching_up = true;
        self.events.clear();
    }

    /// The newest events of each room up to `upto`, in the order of their positions, before what was queued since. Of
    /// very many the oldest are sent first, and then it is looked again.
    pub(crate) fn caught_up(&mut self, mut newest: Vec<Queued>, upto: Position) {
        if !self.is_catching_up {
            // So much happened meanwhile that it fell behind again.
            return;
        }
        if newest.is_empty() {
            self.is_catching_up = false;
            self.behind = None;
            return;
        }
        self.behind = Some(self.behind.unwrap_or(upto));
        if newest.len() + self.events.len() > QUEUE_MAX / 2 {
            newest.truncate(QUEUE_MAX / 2);
            self.is_catching_up = false;
            self.events = newest.into();
            return;
        }
        for event in newest.into_iter().rev() {
            self.events.push_front(event);
        }
    }

    /// The server has acknowledged what a transaction took.
    pub(crate) fn succeeded(&mut self, taken: &Taken) {
        let mut last = None;
        for _ in 0..taken.events {
            last = self.events.pop_front().or(last);
        }
        self.failures = 0;
        self.retry_at = UnixMs(0);
        self.items_max = (self.items_max * 2).min(PDUS_MAX + EDUS_MAX);
        if self.behind.is_none() {
            return;
        }
        if self.is_catching_up && self.events.is_empty() {
            self.behind = None;
            self.is_catching_up = false;
        } else if let Some(last) = last {
            self.behind = self.behind.max(Some(last.at));
        }
    }

    /// It could not be reached, or failed.
    pub(crate) fn failed(&mut self, seen: Position, retry_at: UnixMs) {
        self.failures = self.failures.saturating_add(1);
        self.retry_at = retry_at;
        self.passing.clear();
        self.fall_behind();
        // Also where nothing was queued but EDUs: so that it is tried again after a restart.
        self.behind = Some(self.behind.unwrap_or(seen));
    }

    /// It refused a transaction as such. Answers whether that had a single item, which is then let go.
    pub(crate) fn refused(&mut self, taken: &Taken) -> bool {
        if taken.items > 1 {
            self.items_max = (taken.items / 2).max(1);
            return false;
        }
        self.succeeded(taken);
        self.items_max = 1;
        true
    }
}

#[cfg(test)]
mod tests;
