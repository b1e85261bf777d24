//! Group commit: the one thread that writes.
//!
//! While a group is being synced, the next batches wait in the queue; they become the next group. So one sync of the
//! log carries as many commits as arrived during the one before, and a lone writer waits for one sync only.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hearth_store::{Batch, Durability, Error, KeyRange, Op, Position, Progress, Result, counter};
use rocksdb::{ReadOptions, WriteBatch};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::database::{Database, PositionRow, WalSync, engine, put_position};
use crate::overlay::{Overlay, Seen};
use crate::statistics::count;
use crate::view::{DISK_READS_MAX, RocksSnapshot, View};

/// Batches that wait; further writers wait for a place.
pub(crate) const QUEUE_MAX: usize = 1_024;

/// Batches of one group.
const GROUP_BATCHES_MAX: usize = 512;

/// Keys and values of one group, in bytes; a single larger batch is a group of its own.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How far ahead positions are reserved. A crash skips up to this many; there are 2^64.
const CEILING_STEP: u64 = 1_000_000;

/// Rows that a range deletion removes one by one. RocksDB's range tombstones slow down every read near them until
/// they are compacted away, so they are left to the ranges that are worth it.
const DELETE_SINGLY_MAX: usize = 128;

/// What the writing thread is asked.
pub(crate) enum Request {
    Commit {
        batch: Batch,
        answer: oneshot::Sender<Result<Position>>,
    },
    /// Everything before this is committed, then the thread ends.
    Close { answer: oneshot::Sender<Result<()>> },
}

/// What readers and followers see.
pub(crate) struct Published {
    // Held for one clone or assignment.
    newest: Mutex<Option<Arc<RocksSnapshot>>>,
    pub(crate) progress: Progress,
    disk_reads: Arc<Semaphore>,
}

impl Published {
    pub(crate) fn new(database: Arc<Database>, position: Position) -> Self {
        let published = Self {
            newest: Mutex::new(None),
            progress: Progress::new(position),
            disk_reads: Arc::new(Semaphore::new(DISK_READS_MAX)),
        };
        published.publish(database, position);
        published
    }

    /// The newest snapshot; `None` once the store is closed.
    pub(crate) fn newest(&self) -> Option<Arc<RocksSnapshot>> {
        self.lock().clone()
    }

    /// Lets go of the database; nothing is published afterwards.
    pub(crate) fn close(&self) {
        *self.lock() = None;
        self.progress.close();
    }

    /// Shows readers the store as it is now. Followers are woken by `progress`.
    fn publish(&self, database: Arc<Database>, position: Position) {
        let snapshot = RocksSnapshot::new(View::new(database, position), self.disk_reads.clone());
        let old = self.lock().replace(Arc::new(snapshot));
        // Not under the lock: the last holder of a snapshot has to release it in the engine.
        drop(old);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<RocksSnapshot>>> {
        // Only whole values are assigned, so a panic elsewhere leaves a valid one.
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing thread's state.
pub(crate) struct Committer {
    database: Arc<Database>,
    published: Arc<Published>,
    queue: mpsc::Receiver<Request>,
    // The last position given out. Positions of a group that failed are not given out again either: its record may
    // be in the log although the write was answered with an error.
    last: u64,
    ceiling: u64,
    sync: WalSync,
}

/// A batch that was accepted into the group, and who waits for it.
struct Accepted {
    answer: oneshot::Sender<Result<Position>>,
    position: Position,
}

/// A batch that was refused, and who waits for it.
struct Refused {
    answer: oneshot::Sender<Result<Position>>,
    error: Error,
}

impl Committer {
    /// Takes over the positions: after a clean stop exactly, after anything else from the ceiling, which nobody has
    /// seen a position beyond.
    pub(crate) fn start(
        database: Arc<Database>,
        queue: mpsc::Receiver<Request>,
        sync: WalSync,
    ) -> Result<Self> {
        let last = match database.load_position()? {
            None => 0,
            Some(PositionRow::Exact(last)) => last,
            Some(PositionRow::Ceiling(ceiling)) => ceiling,
        };
        let ceiling = last + CEILING_STEP;
        let mut batch = WriteBatch::default();
        put_position(&mut batch, PositionRow::Ceiling(ceiling));
        // Synced before the first commit, and it takes away the mark of the clean stop.
        database.write(batch, sync)?;
        let published = Arc::new(Published::new(database.clone(), Position(last)));
        Ok(Self {
            database,
            published,
            queue,
            last,
            ceiling,
            sync,
        })
    }

    pub(crate) fn published(&self) -> Arc<Published> {
        self.published.clone()
    }

    /// Writes until it is told to close, or nobody is left who could ask.
    pub(crate) fn run(mut self) {
        while let Some(request) = self.queue.blocking_recv() {
            let (group, close) = self.gather(request);
            if !group.is_empty() {
                self.commit(group);
            }
            if let Some(answer) = close {
                self.queue.close();
                let result = self.stop();
                // The database must be let go before the answer, which says that it is.
                drop(self);
                reply(answer, result);
                return;
            }
        }
    }

    /// The first request and those that wait behind it.
    fn gather(&mut self, first: Request) -> (Vec<Waiting>, Option<oneshot::Sender<Result<()>>>) {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            match request {
                Request::Close { answer } => return (group, Some(answer)),
                Request::Commit { batch, answer } => {
                    bytes += batch.bytes();
                    group.push(Waiting { batch, answer });
                }
            }
            if group.len() >= GROUP_BATCHES_MAX || bytes >= GROUP_BYTES_MAX {
                break;
            }
            // The two errors, empty and nobody left to ask, both mean that the group is complete.
            next = self.queue.try_recv().ok();
        }
        (group, None)
    }

    /// Writes a group, publishes it, and answers everybody.
    fn commit(&mut self, group: Vec<Waiting>) {
        let mut overlay = Overlay::default();
        let mut accepted = Vec::with_capacity(group.len());
        let mut refused = Vec::new();
        let mut sync = WalSync::No;
        for Waiting { batch, answer } in group {
            let position = Position(self.last + 1 + accepted.len() as u64);
            let durability = batch.durability();
            match self.stage(&overlay, batch, position) {
                Ok(changes) => {
                    overlay.absorb(changes);
                    accepted.push(Accepted { answer, position });
                    if durability == Durability::Synced {
                        sync = self.sync;
                    }
                }
                Err(error) => refused.push(Refused { answer, error }),
            }
        }
        if !accepted.is_empty() {
            self.write_and_answer(&overlay, accepted, sync);
        }
        // Only now: who was refused because of a batch of this group finds it published when loading again.
        for Refused { answer, error } in refused {
            let counters = &self.database.counters;
            let counter = if error.is_conflict() {
                &counters.conflicts
            } else {
                &counters.failures
            };
            count(counter, 1);
            reply(answer, Err(error));
        }
    }

    fn write_and_answer(&mut self, overlay: &Overlay, accepted: Vec<Accepted>, sync: WalSync) {
        let batches = accepted.len() as u64;
        self.last += batches;
        let written = self.write(overlay, sync);
        let counters = &self.database.counters;
        match written {
            Ok(()) => {
                count(&counters.groups, 1);
                count(&counters.commits, batches);
                self.published
                    .publish(self.database.clone(), Position(self.last));
                for Accepted { answer, position } in accepted {
                    reply(answer, Ok(position));
                }
                // Last: who wrote is waited for by somebody, who follows works for later.
                self.published
                    .progress
                    .advance(Position(self.last), overlay.tables());
            }
            Err(error) => {
                count(&counters.failures, batches);
                tracing::error!(%error, batches, "could not write a group of commits");
                let error = Arc::new(error);
                for Accepted { answer, .. } in accepted {
                    reply(answer, Err(shared_failure(&error)));
                }
            }
        }
    }

    fn write(&mut self, overlay: &Overlay, mut sync: WalSync) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (from, to) in overlay.cleared() {
            let range = KeyRange {
                from: from.clone(),
                to: to.clone(),
            };
            for part in self.database.parts(&range) {
                let family = self.database.family(&part.from)?;
                batch.delete_range_cf(family, &part.from, &part.to);
            }
        }
        for (key, value) in overlay.rows() {
            let family = self.database.family(key)?;
            match value {
                Some(value) => batch.put_cf(family, key, value),
                None => batch.delete_cf(family, key),
            }
        }
        let mut ceiling = self.ceiling;
        if self.last + CEILING_STEP / 2 > ceiling {
            // Long before the old ceiling is reached, so no position beyond what is synced is ever given out.
            ceiling = self.last + CEILING_STEP;
            put_position(&mut batch, PositionRow::Ceiling(ceiling));
            sync = self.sync;
        }
        let began = Instant::now();
        self.database.write(batch, sync)?;
        if sync == WalSync::Yes {
            count(&self.database.counters.synced_groups, 1);
            self.database.counters.synced_write(began.elapsed());
        }
        self.ceiling = ceiling;
        Ok(())
    }

    /// Writes where positions stand exactly; this sync also covers every buffered commit.
    fn stop(&mut self) -> Result<()> {
        let mut batch = WriteBatch::default();
        put_position(&mut batch, PositionRow::Exact(self.last));
        self.database.write(batch, WalSync::Yes)
    }

    /// What a batch changes on top of the store and the group so far, or why it must not be written.
    fn stage(&self, group: &Overlay, batch: Batch, position: Position) -> Result<Overlay> {
        for op in batch.ops() {
            if let Op::Expect { key, value } = op
                && self.look(&[group], key)? != *value
            {
                return Err(Error::Conflict);
            }
        }
        let place = position.0.to_be_bytes();
        let mut own = Overlay::default();
        for op in batch.into_ops() {
            match op {
                Op::Put { key, value } => self.set(&mut own, key, Some(value))?,
                Op::PutAtPosition {
                    prefix,
                    suffix,
                    value,
                } => {
                    let key = [&prefix[..], &place, &suffix].concat();
                    self.set(&mut own, key.into(), Some(value))?;
                }
                Op::PutPosition { key, value } => {
                    let value = [&value[..], &place].concat();
                    self.set(&mut own, key, Some(value.into()))?;
                }
                Op::Add { key, delta } => {
                    let row = self.look(&[&own, group], &key)?;
                    let sum = counter(&key, row.as_deref())?.wrapping_add(delta);
                    let value = Bytes::copy_from_slice(&sum.to_be_bytes());
                    own.set(key, Some(value));
                }
                Op::Delete { key } => self.set(&mut own, key, None)?,
                Op::DeleteRange { from, to } => self.delete_range(group, &mut own, from, to)?,
                Op::Expect { .. } => {}
            }
        }
        Ok(own)
    }

    fn set(&self, own: &mut Overlay, key: Bytes, value: Option<Bytes>) -> Result<()> {
        // A key without a table fails its batch here, not the whole group later.
        self.database.family(&key)?;
        own.set(key, value);
        Ok(())
    }

    fn delete_range(
        &self,
        group: &Overlay,
        own: &mut Overlay,
        from: Bytes,
        to: Bytes,
    ) -> Result<()> {
        let range = KeyRange { from, to };
        let mut doomed = Vec::new();
        for part in self.database.parts(&range) {
            let family = self.database.family(&part.from)?;
            let mut options = ReadOptions::default();
            options.set_iterate_lower_bound(part.from);
            options.set_iterate_upper_bound(part.to);
            let mut cursor = self.database.db.raw_iterator_cf_opt(family, options);
            cursor.seek_to_first();
            while let Some(key) = cursor.key() {
                doomed.push(Bytes::copy_from_slice(key));
                if doomed.len() > DELETE_SINGLY_MAX {
                    own.clear(range.from, range.to);
                    return Ok(());
                }
                cursor.next();
            }
            cursor.status().map_err(engine)?;
        }
        if range.from < range.to {
            doomed.extend(group.keys_between(&range.from, &range.to).cloned());
            doomed.extend(own.keys_between(&range.from, &range.to).cloned());
        }
        for key in doomed {
            own.set(key, None);
        }
        Ok(())
    }

    /// A row as the overlays, the later one first, and the store have it.
    fn look(&self, overlays: &[&Overlay], key: &[u8]) -> Result<Option<Bytes>> {
        for overlay in overlays {
            if let Seen::Is(row) = overlay.look(key) {
                return Ok(row.cloned());
            }
        }
        let family = self.database.family(key)?;
        let row = self.database.db.get_pinned_cf(family, key);
        let row = row.map_err(engine)?;
        Ok(row.map(|row| Bytes::copy_from_slice(&row)))
    }
}

impl Drop for Committer {
    /// Whatever ends the thread, a panic included, ends the waiting of followers.
    fn drop(&mut self) {
        self.published.close();
    }
}

/// A batch and who waits for it.
struct Waiting {
    batch: Batch,
    answer: oneshot::Sender<Result<Position>>,
}

/// Answers a writer. Who has dropped the future does not want the answer; the commit stands all the same.
fn reply<T>(to: oneshot::Sender<Result<T>>, value: Result<T>) {
    if to.send(value).is_err() {
        tracing::trace!("nobody waits for this commit any more");
    }
}

/// One failure told to every writer of a group.
fn shared_failure(error: &Arc<Error>) -> Error {
    match **error {
        Error::NoSpace => Error::NoSpace,
        _ => Error::Engine(Box::new(GroupFailure(error.clone()))),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the group of this commit was not written")]
struct GroupFailure(#[source] Arc<Error>);
