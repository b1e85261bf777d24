//! States against an obvious model, and what they cost on disk and in rows read.

mod cost;
mod model;
mod rows;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use hearth_store::{Backend, Batch, BoxFuture, KeyRange, MemoryBackend, Position, Snapshot};

use super::{HashKey, KeyedEvent, StateWriter, States};
use crate::{EventNo, RoomNo, StateId};

const ROOM: RoomNo = RoomNo(7);

/// A room on a memory store whose states are made one commit at a time.
struct Room {
    store: MemoryBackend,
    states: States,
    next: u64,
    ops_max: usize,
}

impl Room {
    fn new() -> Self {
        Self {
            store: MemoryBackend::new(),
            states: states(),
            next: 1,
            ops_max: 0,
        }
    }

    async fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.store.snapshot().await.unwrap()
    }

    async fn set(&mut self, base: StateId, changes: &[KeyedEvent<'_>]) -> StateId {
        let snapshot = self.snapshot().await;
        let mut writer = StateWriter::new(&self.states, ROOM, snapshot.as_ref(), self.next);
        let state = writer.set(base, changes).await.unwrap();
        let mut batch = Batch::new();
        self.next = writer.flush(&mut batch);
        self.ops_max = self.ops_max.max(batch.ops().len());
        self.store.commit(batch).await.unwrap();
        state
    }

    async fn join(&mut self, base: StateId, member: usize, event: usize) -> StateId {
        let user = format!("@user{member}:hearth.example");
        self.set(
            base,
            &[("m.room.member", &user, Some(EventNo(event as u64)))],
        )
        .await
    }

    fn table_bytes(&self) -> u64 {
        self.store.table_bytes(crate::tables::STATE_NODES.info().id)
    }
}

fn states() -> States {
    States::new(HashKey::new(*b"0123456789abcdef"), 1 << 20)
}

/// A snapshot that counts what is read through it.
struct Counting {
    inner: Arc<dyn Snapshot>,
    rows: AtomicUsize,
    calls: AtomicUsize,
}

impl Counting {
    fn new(inner: Arc<dyn Snapshot>) -> Self {
        Self {
            inner,
            rows: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        }
    }

    /// Rows and calls since the last time.
    fn take(&self) -> (usize, usize) {
        (
            self.rows.swap(0, Ordering::Relaxed),
            self.calls.swap(0, Ordering::Relaxed),
        )
    }

    fn count(&self, rows: usize) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
    }
}

impl Snapshot for Counting {
    fn position(&self) -> Position {
        self.inner.position()
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, hearth_store::Result<Option<Bytes>>> {
        self.count(1);
        self.inner.get(key)
    }

    fn get_many<'a>(
        &'a self,
        keys: &'a [Bytes],
    ) -> BoxFuture<'a, hearth_store::Result<Vec<Option<Bytes>>>> {
        self.count(keys.len());
        self.inner.get_many(keys)
    }

    fn range<'a>(
        &'a self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, hearth_store::Result<Vec<(Bytes, Bytes)>>> {
        Box::pin(async move {
            let rows = self.inner.range(range, reverse, limit).await?;
            self.count(rows.len());
            Ok(rows)
        })
    }
}
