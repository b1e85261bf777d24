//! Messages that have come to their end are taken out of the store, a chunk of the timeline at a time.
//!
//! A chunk goes when every message in it has ended, so readers, who are shown nothing that has ended, never see it go.
//! What stays: state events, the room's extremities, and redactions that say why a state event lost its content.
//! Each commit is a whole small step on the room's head as it was loaded; where it ended, the next begins, also after a crash.

use std::time::Duration;

use hearth_data::append::{EventRow, RoomBatch};
use hearth_data::retention::{self, Dropping, RetentionRow};
use hearth_data::timeline::{self, Placed};
use hearth_data::{EventNo, Place, RoomNo, partial, rooms};
use hearth_event::Pdu;
use hearth_event::retention::{Bounds, Lifetime, Policy, RETENTION};
use hearth_types::UnixMs;
use tokio_util::sync::CancellationToken;

use crate::read::Look;
use crate::{Error, Result, Rooms};

/// Most messages that go in one commit.
const DROPPED_AT_ONCE: usize = 32;
/// Most events of a chunk that are looked at: a chunk has no more places.
const CHUNK_MAX: usize = 256;
/// How many rooms are taken from the store at once.
const ROOMS_PAGE: usize = 64;
/// How often a room is looked at anew because it was written to meanwhile; then it has to wait for the next round.
const CONFLICTS_MAX: u32 = 16;
/// The longest and the shortest time between two rounds.
const PAUSE_MAX: Duration = Duration::from_secs(60 * 60);
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// What one step has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing is to be done now.
    Rest,
    /// So many messages went; there may be more.
    Dropped(u64),
}

/// A stretch of history and what has come to its end in it.
#[derive(Debug, Default)]
struct Plan {
    /// Messages that go now.
    doomed: Vec<(Placed, Pdu)>,
    /// Whether nothing that has to go is left in the chunk then.
    is_last: bool,
}

impl Plan {
    fn has(&self, event: EventNo) -> bool {
        let mut doomed = self.doomed.iter();
        doomed.any(|(placed, _)| placed.row.event == event)
    }
}

impl Rooms {
    /// Takes out what has come to its end, round after round. Ends with `shutdown`, or at once if nothing ever ends.
    pub async fn run_retention(&self, shutdown: CancellationToken) {
        let Some(pause) = pause(&self.0.settings.retention) else {
            return;
        };
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            match self.retain(&shutdown).await {
                Ok(0) => {}
                Ok(dropped) => tracing::info!(dropped, "took out messages that had ended"),
                Err(Error::Stopping) => return,
                Err(error) => tracing::warn!(%error, "could not take out messages that ended"),
            }
        }
    }

    /// One round through all rooms. Answers how many messages went.
    ///
    /// # Errors
    ///
    /// What the store cannot do. A room that cannot be read is left out, with a line in the log.
    pub async fn retain(&self, shutdown: &CancellationToken) -> Result<u64> {
        let mut dropped = 0;
        let mut after = RoomNo(0);
        loop {
            let snapshot = self.snapshot().await?;
            let page = rooms::heads_after(&*snapshot, after, ROOMS_PAGE).await?;
            drop(snapshot);
            let Some((last, _)) = page.last() else {
                return Ok(dropped);
            };
            after = *last;
            for (room, _) in page {
                match self.retain_room(room, shutdown).await {
                    Ok(count) => dropped += count,
                    Err(Error::Stopping) => return Err(Error::Stopping),
                    // One bad room must not keep the others from theirs.
                    Err(error) => {
                        tracing::warn!(room.no = room.0, %error, "could not empty a room");
                    }
                }
            }
        }
    }

    async fn retain_room(&self, room: RoomNo, shutdown: &CancellationToken) -> Result<u64> {
        let (mut dropped, mut conflicts) = (0, 0);
        while !shutdown.is_cancelled() {
            match self.retain_step(room).await {
                Ok(Step::Rest) => break,
                Ok(Step::Dropped(count)) => (dropped, conflicts) = (dropped + count, 0),
                Err(error) if is_conflict(&error) && conflicts < CONFLICTS_MAX => conflicts += 1,
                Err(error) if is_conflict(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(dropped)
    }

    pub(crate) async fn retain_step(&self, room: RoomNo) -> Result<Step> {
        let Some(look) = self.look(self.snapshot().await?, room).await? else {
            return Ok(Step::Rest);
        };
        let lifetime = look.lifetime(&self.0.settings.retention).await?;
        // Of a room that is still coming in, it is not known what is needed.
        if lifetime == Lifetime::FOREVER || partial::partial(&*look.snapshot, room).await?.is_some()
        {
            return Ok(Step::Rest);
        }
        let row = retention::retention(&*look.snapshot, room).await?;
        let ended = Ended {
            before: lifetime.ended_before(self.0.clock.now()),
            row: &row,
        };
        let Some(chunk) = look.chunk_to_empty(row.floor, &ended).await? else {
            return self.note_seen(look, &row, &ended).await;
        };
        let plan = look.plan(chunk, &ended).await?;
        let next = match plan.is_last && look.is_passed(chunk).await? {
            true => Place::of_chunk(chunk + 1),
            false => row.floor,
        };
        if plan.doomed.is_empty() && next == row.floor {
            return self.note_seen(look, &row, &ended).await;
        }
        let dropping = Dropping::load(&*look.snapshot, room, plan.doomed, txn_paths).await?;
        let count = dropping.len() as u64;
        let after = RetentionRow {
            floor: next,
            dropped: row.dropped + count,
            ..row.clone()
        };
        let mut batch = RoomBatch::new(room, Some(look.head.clone()), look.head.clone());
        dropping.write(&mut batch);
        retention::put(&mut batch, &*look.snapshot, &row, &after).await?;
        let (batch, _) = batch.finish();
        self.0.store.commit(batch).await?;
        if count > 0 {
            tracing::debug!(room.no = room.0, count, "took out messages of a chunk");
        }
        Ok(Step::Dropped(count))
    }

    /// Notes up to where history is here now. When that moment has come to its end, so has all that was here, whatever
    /// it says of its time: else a clock in the future would keep a chunk for ever.
    async fn note_seen(&self, look: Look, row: &RetentionRow, ended: &Ended<'_>) -> Result<Step> {
        let is_used_up = row.seen_at < ended.before || row.seen_at == UnixMs(0);
        if !is_used_up {
            return Ok(Step::Rest);
        }
        let after = RetentionRow {
            seen_at: self.0.clock.now(),
            seen_upto: Place(look.head.next_place),
            ..row.clone()
        };
        let mut batch = RoomBatch::new(look.room, Some(look.head.clone()), look.head.clone());
        retention::put(&mut batch, &*look.snapshot, row, &after).await?;
        let (batch, _) = batch.finish();
        self.0.store.commit(batch).await?;
        Ok(Step::Rest)
    }
}

fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Store(error) if matches!(**error, hearth_store::Error::Conflict))
}

/// How long between two rounds: a fraction of the shortest time that anything is kept.
fn pause(bounds: &Bounds) -> Option<Duration> {
    let shortest = bounds.min.as_millis()?;
    Some(Duration::from_millis(shortest / 4).clamp(PAUSE_MIN, PAUSE_MAX))
}

/// The transactions with which a client may have sent an event.
fn txn_paths(pdu: &Pdu, txn_id: &str) -> Vec<String> {
    let (room_id, kind) = (pdu.room_id(), pdu.kind());
    let mut paths = vec![format!("send/{room_id}/{kind}/{txn_id}")];
    if let Some(target) = pdu.redacts() {
        paths.push(format!("redact/{room_id}/{target}/{txn_id}"));
    }
    paths
}

/// What has come to its end.
struct Ended<'a> {
    before: UnixMs,
    row: &'a RetentionRow,
}

impl Ended<'_> {
    fn has(&self, place: Place, pdu: &Pdu) -> bool {
        let came_long_ago = place < self.row.seen_upto && self.row.seen_at < self.before;
        pdu.origin_server_ts() < self.before || came_long_ago
    }
}

impl Look {
    /// How long the messages of the room are kept.
    pub(crate) async fn lifetime(&self, bounds: &Bounds) -> Result<Lifetime> {
        if !bounds.is_any() {
            return Ok(Lifetime::FOREVER);
        }
        let event = self.state_event(self.head.state, RETENTION, "").await?;
        let policy = event.map(|(event, _)| Policy::of(&event));
        Ok(bounds.lifetime(policy.unwrap_or_default()))
    }

    /// The first chunk from the floor on, unless its first event is a message that has not ended.
    async fn chunk_to_empty(&self, floor: Place, ended: &Ended<'_>) -> Result<Option<i64>> {
        let first = timeline::forward(&*self.snapshot, self.room, floor, Place::MAX, 1).await?;
        let Some(first) = first.into_iter().next() else {
            return Ok(None);
        };
        let pdu = self.pdu(&first.row)?;
        let waits = !pdu.is_state() && !ended.has(first.place, &pdu);
        Ok((!waits).then_some(first.place.chunk()))
    }

    /// What goes of a chunk: nothing as long as one of its messages has not ended.
    async fn plan(&self, chunk: i64, ended: &Ended<'_>) -> Result<Plan> {
        let (from, to) = (Place::of_chunk(chunk), Place::of_chunk(chunk + 1));
        let rows = timeline::forward(&*self.snapshot, self.room, from, to, CHUNK_MAX).await?;
        let mut plan = Plan {
            doomed: Vec::new(),
            is_last: true,
        };
        for placed in rows {
            let pdu = self.pdu(&placed.row)?;
            if pdu.is_state() {
                continue;
            }
            if !ended.has(placed.place, &pdu) {
                return Ok(Plan::default());
            }
            if self.is_extremity(&placed.row) || plan.has(placed.row.event) {
                continue;
            }
            match self.redacted(&placed.row, &pdu).await? {
                _ if plan.doomed.len() >= DROPPED_AT_ONCE => plan.is_last = false,
                Some((target, found)) if found.is_state() || self.is_extremity(&target.row) => {}
                // It came before what it redacts, which goes with it.
                Some((target, found)) if !plan.has(target.row.event) => {
                    if !ended.has(target.place, &found) {
                        plan.is_last = false;
                        continue;
                    }
                    plan.doomed.extend([(target, found), (placed, pdu)]);
                }
                _ => plan.doomed.push((placed, pdu)),
            }
        }
        Ok(plan)
    }

    fn is_extremity(&self, row: &EventRow) -> bool {
        let mut extremities = self.head.extremities.iter();
        extremities.any(|extremity| extremity.event == row.event)
    }

    /// The event of the timeline that lost its content by this one.
    async fn redacted(&self, row: &EventRow, pdu: &Pdu) -> Result<Option<(Placed, Pdu)>> {
        let Some(target) = pdu.redacts() else {
            return Ok(None);
        };
        let found = timeline::find(&*self.snapshot, target).await?;
        let Some(found) = found.filter(|found| found.room == self.room) else {
            return Ok(None);
        };
        match timeline::event(&*self.snapshot, self.room, found.event).await? {
            Some((Some(place), target)) if target.redacted_by == Some(row.event) => {
                let pdu = self.pdu(&target)?;
                Ok(Some((Placed { place, row: target }, pdu)))
            }
            _ => Ok(None),
        }
    }

    /// Whether no event will ever come into a chunk, and none in it may have to go later.
    async fn is_passed(&self, chunk: i64) -> Result<bool> {
        if chunk >= Place(self.head.next_place).chunk() {
            return Ok(false);
        }
        for extremity in &self.head.extremities {
            let found = timeline::event(&*self.snapshot, self.room, extremity.event).await?;
            if found.is_some_and(|(place, _)| place.is_some_and(|place| place.chunk() == chunk)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
