//! A store in memory: for the tests of everything above the boundary.
//!
//! [`MemoryBackend`] has the smallest limits of all backends, so that what passes here passes everywhere, and its
//! snapshots share structure with the map that goes on, so that taking one costs nothing. It can do what disks do to
//! us: lose what was not synced ([`MemoryBackend::crash`]), stop in the middle of a commit, and be full ([`Fault`]).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    Backend, Batch, BoxFuture, Durability, Error, KeyRange, Limits, Op, Position, Progress, Result,
    Snapshot,
};

/// The limits of a distributed engine, the smallest that we plan for.
const LIMITS: Limits = Limits {
    batch_bytes_max: 5_000_000,
    batch_ops_max: 1_000,
};

/// How far positions jump at a restart after a crash; small, so that tests can read them.
const CRASH_STEP: u64 = 1_000;

type Rows = OrdMap<Bytes, Bytes>;

/// What shall go wrong at a later commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The store stops at the commit; the batch is lost.
    CrashBefore,
    /// The store stops at the commit; the batch is durable, but its writer never hears so.
    CrashAfter,
    /// The disk is full for this many commits from there on.
    NoSpace {
        /// How many commits fail.
        commits: u64,
    },
}

/// A store in memory. Cloning gives another handle on the same store.
#[derive(Clone)]
pub struct MemoryBackend {
    shared: Arc<Shared>,
}

struct Shared {
    // Held for a few map operations, never over an await.
    state: Mutex<State>,
    progress: Progress,
}

struct State {
    newest: Arc<MemorySnapshot>,
    // What a crash leaves: the rows as of the last synced commit.
    durable: Rows,
    closed: bool,
    // The fault and the commits that still pass before it strikes.
    fault: Option<(u64, Fault)>,
    commits: u64,
}

struct MemorySnapshot {
    rows: Rows,
    position: Position,
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("MemoryBackend")
            .field("position", &state.newest.position)
            .field("rows", &state.newest.rows.len())
            .finish()
    }
}

impl MemoryBackend {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_rows(Rows::new(), Position::ZERO)
    }

    /// Stops this store as a power loss would (every later call answers [`Error::Closed`]) and returns what is found
    /// at the next start: all synced commits and everything before them, nothing else.
    #[must_use]
    pub fn crash(&self) -> Self {
        let mut state = self.state();
        self.close_locked(&mut state);
        let position = Position(state.newest.position.0 + CRASH_STEP);
        Self::with_rows(state.durable.clone(), position)
    }

    /// Stops this store in order and returns what is found at the next start: everything.
    #[must_use]
    pub fn restart(&self) -> Self {
        let mut state = self.state();
        self.close_locked(&mut state);
        Self::with_rows(state.newest.rows.clone(), state.newest.position)
    }

    /// Lets `after` more commits pass and then does this to the next one. Replaces an earlier plan.
    pub fn plan_fault(&self, after: u64, fault: Fault) {
        self.state().fault = Some((after, fault));
    }

    /// How many commits were written since this handle's start.
    pub fn commits(&self) -> u64 {
        self.state().commits
    }

    /// Keys and values of a table, in bytes.
    pub fn table_bytes(&self, table: u8) -> u64 {
        let rows = self.state().newest.rows.clone();
        rows.range::<_, Bytes>(&Bytes::copy_from_slice(&[table])..)
            .take_while(|(key, _)| key.first() == Some(&table))
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum()
    }

    fn with_rows(rows: Rows, position: Position) -> Self {
        let newest = Arc::new(MemorySnapshot {
            rows: rows.clone(),
            position,
        });
        let state = State {
            newest,
            durable: rows,
            closed: false,
            fault: None,
            commits: 0,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                progress: Progress::new(position),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is replaced in one assignment, so a panic elsewhere cannot leave it half-changed.
        self.shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn close_locked(&self, state: &mut State) {
        state.closed = true;
        self.shared.progress.close();
    }

    fn commit_now(&self, batch: Batch) -> Result<Position> {
        if batch.bytes() > LIMITS.batch_bytes_max || batch.ops().len() > LIMITS.batch_ops_max {
            return Err(Error::BatchTooLarge {
                bytes: batch.bytes(),
                ops: batch.ops().len(),
            });
        }
        let mut state = self.state();
        if state.closed {
            return Err(Error::Closed);
        }
        let fault = state.due_fault();
        match fault {
            Some(Fault::NoSpace { .. }) => return Err(Error::NoSpace),
            Some(Fault::CrashBefore) => {
                self.close_locked(&mut state);
                return Err(Error::Closed);
            }
            Some(Fault::CrashAfter) | None => {}
        }
        let position = state.newest.position.next();
        let durability = batch.durability();
        let tables: Vec<u8> = batch.ops().iter().flat_map(Op::tables).collect();
        let rows = applied(&state.newest.rows, batch, position)?;
        if durability == Durability::Synced {
            state.durable = rows.clone();
        }
        state.newest = Arc::new(MemorySnapshot { rows, position });
        state.commits += 1;
        if fault == Some(Fault::CrashAfter) {
            state.durable = state.newest.rows.clone();
            self.close_locked(&mut state);
            return Err(Error::Closed);
        }
        // Under the lock, so that progress never goes backwards.
        self.shared.progress.advance(position, tables);
        Ok(position)
    }
}

impl State {
    fn due_fault(&mut self) -> Option<Fault> {
        let (after, fault) = self.fault?;
        if after > 0 {
            self.fault = Some((after - 1, fault));
            return None;
        }
        self.fault = match fault {
            Fault::NoSpace { commits } if commits > 1 => Some((
                0,
                Fault::NoSpace {
                    commits: commits - 1,
                },
            )),
            _ => None,
        };
        Some(fault)
    }
}

/// The rows after a batch, or the reason why nothing happens.
fn applied(before: &Rows, batch: Batch, position: Position) -> Result<Rows> {
    for op in batch.ops() {
        if let Op::Expect { key, value } = op
            && before.get(key) != value.as_ref()
        {
            return Err(Error::Conflict);
        }
    }
    let mut rows = before.clone();
    let place = position.0.to_be_bytes();
    for op in batch.into_ops() {
        match op {
            Op::Put { key, value } => {
                rows.insert(key, value);
            }
            Op::PutAtPosition {
                prefix,
                suffix,
                value,
            } => {
                rows.insert([&prefix[..], &place, &suffix].concat().into(), value);
            }
            Op::PutPosition { key, value } => {
                rows.insert(key, [&value[..], &place].concat().into());
            }
            Op::Add { key, delta } => {
                let count = crate::counter(&key, rows.get(&key).map(Bytes::as_ref))?;
                let count = count.wrapping_add(delta);
                rows.insert(key, Bytes::copy_from_slice(&count.to_be_bytes()));
            }
            Op::Delete { key } => {
                rows.remove(&key);
            }
            Op::DeleteRange { from, to } => {
                let doomed: Vec<Bytes> = keys_between(&rows, &from, &to);
                for key in doomed {
                    rows.remove(&key);
                }
            }
            Op::Expect { .. } => {}
        }
    }
    Ok(rows)
}

fn keys_between(rows: &Rows, from: &Bytes, to: &Bytes) -> Vec<Bytes> {
    if from >= to {
        return Vec::new();
    }
    rows.range::<_, Bytes>(from..to)
        .map(|(key, _)| key.clone())
        .collect()
}

impl Backend for MemoryBackend {
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<dyn Snapshot>>> {
        Box::pin(async {
            let state = self.state();
            if state.closed {
                return Err(Error::Closed);
            }
            let snapshot: Arc<dyn Snapshot> = state.newest.clone();
            Ok(snapshot)
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Position>> {
        Box::pin(async { self.commit_now(batch) })
    }

    fn wait_past(&self, seen: Position) -> BoxFuture<'_, Result<Position>> {
        Box::pin(self.shared.progress.wait_past(seen))
    }

    fn wait_past_in<'a>(
        &'a self,
        tables: &'a [u8],
        seen: Position,
    ) -> BoxFuture<'a, Result<Position>> {
        Box::pin(self.shared.progress.wait_past_in(tables, seen))
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}

impl Snapshot for MemorySnapshot {
    fn position(&self) -> Position {
        self.position
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async { Ok(self.rows.get(key).cloned()) })
    }

    fn get_many<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(async { Ok(keys.iter().map(|key| self.rows.get(key).cloned()).collect()) })
    }

    fn range<'a>(
        &'a self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>>> {
        Box::pin(async move {
            if range.from >= range.to {
                return Ok(Vec::new());
            }
            let rows = self.rows.range::<_, Bytes>(&range.from..&range.to);
            let owned = |(key, value): (&Bytes, &Bytes)| (key.clone(), value.clone());
            Ok(if reverse {
                rows.rev().take(limit).map(owned).collect()
            } else {
                rows.take(limit).map(owned).collect()
            })
        })
    }
}

#[cfg(test)]
mod tests;
