//! The suite finds faults: each of these stores does one thing wrong.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::FutureExt;

use super::{Instance, Stop, Subject, run};
use crate::{
    Backend, Batch, BoxFuture, KeyRange, Limits, MemoryBackend, Op, Position, Result, Snapshot,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// None: the suite passes.
    Nothing,
    /// Expectations are not checked.
    NoExpect,
    /// Now and then a commit is acknowledged and not written.
    LostCommit,
    /// Snapshots show the present.
    LiveSnapshot,
    /// A snapshot claims a newer position than it shows.
    EarlyPosition,
    /// Backward ranges come forward.
    NoReverse,
    /// A clean restart skips positions.
    SkipsPositions,
    /// A crash loses what was synced.
    ForgetsAll,
    /// Who follows some tables is woken for all.
    WakesForAll,
}

#[derive(Clone)]
struct Faulty {
    fault: Fault,
    store: MemoryBackend,
    commits: Arc<AtomicU64>,
}

struct FaultySnapshot {
    fault: Fault,
    store: MemoryBackend,
    taken: Arc<dyn Snapshot>,
}

impl Faulty {
    fn new(fault: Fault, store: MemoryBackend) -> Self {
        Self {
            fault,
            store,
            commits: Arc::default(),
        }
    }
}

impl Subject for Fault {
    fn create(&self) -> BoxFuture<'_, Box<dyn Instance>> {
        Box::pin(async {
            let store: Box<dyn Instance> = Box::new(Faulty::new(*self, MemoryBackend::new()));
            store
        })
    }
}

impl Instance for Faulty {
    fn backend(&self) -> &dyn Backend {
        self
    }

    fn restart(self: Box<Self>, stop: Stop) -> BoxFuture<'static, Option<Box<dyn Instance>>> {
        Box::pin(async move {
            let found = match (stop, self.fault) {
                (Stop::Clean, Fault::SkipsPositions) => self.store.crash(),
                (Stop::Clean, _) => self.store.restart(),
                (Stop::Crash, Fault::ForgetsAll) => MemoryBackend::new(),
                (Stop::Crash, _) => self.store.crash(),
            };
            let store: Box<dyn Instance> = Box::new(Faulty::new(self.fault, found));
            Some(store)
        })
    }
}

impl Backend for Faulty {
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<dyn Snapshot>>> {
        Box::pin(async {
            let snapshot: Arc<dyn Snapshot> = Arc::new(FaultySnapshot {
                fault: self.fault,
                store: self.store.clone(),
                taken: self.store.snapshot().await?,
            });
            Ok(snapshot)
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Position>> {
        Box::pin(async move {
            let count = self.commits.fetch_add(1, Ordering::Relaxed);
            let drops = |op: &Op| match self.fault {
                Fault::NoExpect => matches!(op, Op::Expect { .. }),
                Fault::LostCommit => count % 50 == 49,
                _ => false,
            };
            let mut changed = Batch::new();
            for op in batch.ops().iter().filter(|op| !drops(op)) {
                changed.push(op.clone());
            }
            self.store.commit(changed).await
        })
    }

    fn wait_past(&self, seen: Position) -> BoxFuture<'_, Result<Position>> {
        self.store.wait_past(seen)
    }

    fn wait_past_in<'a>(
        &'a self,
        tables: &'a [u8],
        seen: Position,
    ) -> BoxFuture<'a, Result<Position>> {
        match self.fault {
            Fault::WakesForAll => self.store.wait_past(seen),
            _ => self.store.wait_past_in(tables, seen),
        }
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }
}

impl FaultySnapshot {
    async fn shown(&self) -> Result<Arc<dyn Snapshot>> {
        if self.fault == Fault::LiveSnapshot {
            self.store.snapshot().await
        } else {
            Ok(self.taken.clone())
        }
    }
}

impl Snapshot for FaultySnapshot {
    fn position(&self) -> Position {
        let position = self.taken.position();
        if self.fault == Fault::EarlyPosition {
            position.next()
        } else {
            position
        }
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move { self.shown().await?.get(key).await })
    }

    fn get_many<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(async move { self.shown().await?.get_many(keys).await })
    }

    fn range<'a>(
        &'a self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>>> {
        let reverse = reverse && self.fault != Fault::NoReverse;
        Box::pin(async move { self.shown().await?.range(range, reverse, limit).await })
    }
}

#[tokio::test]
async fn planted_faults_are_found() {
    let passes = async |fault: Fault| AssertUnwindSafe(run(&fault)).catch_unwind().await.is_ok();
    assert!(passes(Fault::Nothing).await);
    for fault in [
        Fault::NoExpect,
        Fault::LostCommit,
        Fault::LiveSnapshot,
        Fault::EarlyPosition,
        Fault::NoReverse,
        Fault::SkipsPositions,
        Fault::ForgetsAll,
        Fault::WakesForAll,
    ] {
        assert!(!passes(fault).await, "{fault:?} went unnoticed");
    }
}
