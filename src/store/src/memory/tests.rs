//! The memory backend's own properties; what all backends share is in `conformance`.

use std::sync::Arc;

use super::{Fault, MemoryBackend};
use crate::conformance::{self, Instance, Stop, Subject};
use crate::{Backend, Batch, BoxFuture, Error, Op, Position};

struct Memory;

impl Subject for Memory {
    fn create(&self) -> BoxFuture<'_, Box<dyn Instance>> {
        Box::pin(async {
            let store: Box<dyn Instance> = Box::new(MemoryBackend::new());
            store
        })
    }
}

impl Instance for MemoryBackend {
    fn backend(&self) -> &dyn Backend {
        self
    }

    fn restart(self: Box<Self>, stop: Stop) -> BoxFuture<'static, Option<Box<dyn Instance>>> {
        Box::pin(async move {
            let found = match stop {
                Stop::Clean => MemoryBackend::restart(&self),
                Stop::Crash => self.crash(),
            };
            let store: Box<dyn Instance> = Box::new(found);
            Some(store)
        })
    }
}

#[tokio::test]
async fn it_conforms() {
    conformance::run(&Memory).await;
}

fn put(batch: &mut Batch, key: &'static [u8]) {
    batch.push(Op::Put {
        key: key.into(),
        value: "v".into(),
    });
}

fn synced(key: &'static [u8]) -> Batch {
    let mut batch = Batch::new();
    put(&mut batch, key);
    batch
}

fn buffered(key: &'static [u8]) -> Batch {
    let mut batch = Batch::buffered();
    put(&mut batch, key);
    batch
}

async fn holds(store: &MemoryBackend, key: &[u8]) -> bool {
    let snapshot = store.snapshot().await.unwrap();
    snapshot.get(key).await.unwrap().is_some()
}

#[tokio::test]
async fn a_crash_drops_what_was_not_synced_and_skips_positions() {
    let store = MemoryBackend::new();
    store.commit(buffered(b"\x01a")).await.unwrap();
    store.commit(synced(b"\x01b")).await.unwrap();
    let last = store.commit(buffered(b"\x01c")).await.unwrap();
    let found = store.crash();
    assert!(matches!(
        store.commit(synced(b"\x01d")).await,
        Err(Error::Closed)
    ));
    assert!(holds(&found, b"\x01a").await, "synced with the next one");
    assert!(holds(&found, b"\x01b").await);
    assert!(!holds(&found, b"\x01c").await);
    assert!(found.snapshot().await.unwrap().position() > last);
    assert!(found.commit(synced(b"\x01d")).await.unwrap() > last.next());
}

#[tokio::test]
async fn a_planned_crash_strikes_before_or_after_the_commit_is_durable() {
    for (fault, survives) in [(Fault::CrashBefore, false), (Fault::CrashAfter, true)] {
        let store = MemoryBackend::new();
        store.plan_fault(1, fault);
        store.commit(synced(b"\x01a")).await.unwrap();
        let answer = store.commit(synced(b"\x01b")).await;
        assert!(matches!(answer, Err(Error::Closed)));
        let found = store.crash();
        assert!(holds(&found, b"\x01a").await);
        assert_eq!(holds(&found, b"\x01b").await, survives);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_commits_until_there_is_space() {
    let store = MemoryBackend::new();
    store.plan_fault(0, Fault::NoSpace { commits: 2 });
    for _ in 0..2 {
        let answer = store.commit(synced(b"\x01a")).await;
        assert!(matches!(answer, Err(Error::NoSpace)));
        assert!(!holds(&store, b"\x01a").await);
    }
    assert_eq!(
        store.commit(synced(b"\x01a")).await.unwrap(),
        Position(1),
        "nothing was half-done"
    );
}

#[tokio::test]
async fn closing_wakes_followers() {
    let store = Arc::new(MemoryBackend::new());
    let waiting = store.wait_past(Position::ZERO);
    let closing = async {
        tokio::task::yield_now().await;
        store.restart()
    };
    let (answer, _) = futures_util::join!(waiting, closing);
    assert!(matches!(answer, Err(Error::Closed)));
}
