//! What a sync reads of the store does not depend on what did not change.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hearth_store::{
    Backend, Batch, BoxFuture, Error, KeyRange, Limits, MemoryBackend, Position, Result, Snapshot,
};
use serde_json::Value;

use crate::house::{House, ask, bodies, joined};

/// The memory store, counting reads.
pub(crate) struct Counting {
    pub(crate) store: Arc<MemoryBackend>,
    pub(crate) reads: Arc<AtomicU64>,
    pub(crate) failing: Arc<AtomicU64>,
}

impl Counting {
    /// Fails as often as it was told to.
    fn fail(&self) -> Result<()> {
        let next = |left: u64| left.checked_sub(1);
        let failing = self
            .failing
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        match failing {
            Ok(_) => Err(Error::Engine("for a moment".into())),
            Err(_) => Ok(()),
        }
    }
}

struct CountingSnapshot {
    snapshot: Arc<dyn Snapshot>,
    reads: Arc<AtomicU64>,
}

impl Backend for Counting {
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<dyn Snapshot>>> {
        Box::pin(async {
            self.fail()?;
            let counting: Arc<dyn Snapshot> = Arc::new(CountingSnapshot {
                snapshot: self.store.snapshot().await?,
                reads: self.reads.clone(),
            });
            Ok(counting)
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Position>> {
        self.store.commit(batch)
    }

    fn wait_past(&self, seen: Position) -> BoxFuture<'_, Result<Position>> {
        self.store.wait_past(seen)
    }

    fn wait_past_in<'a>(
        &'a self,
        tables: &'a [u8],
        seen: Position,
    ) -> BoxFuture<'a, Result<Position>> {
        self.store.wait_past_in(tables, seen)
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }
}

impl Snapshot for CountingSnapshot {
    fn position(&self) -> Position {
        self.snapshot.position()
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.snapshot.get(key)
    }

    fn get_many<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        self.reads.fetch_add(keys.len() as u64, Ordering::Relaxed);
        self.snapshot.get_many(keys)
    }

    fn range<'a>(
        &'a self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.snapshot.range(range, reverse, limit)
    }
}

/// Reads of (a sync without news, one with a new event) of a user in so many rooms.
async fn reads_in_rooms(count: usize) -> (u64, u64) {
    let house = House::new();
    let mut rooms = Vec::new();
    for _ in 0..count {
        rooms.push(house.room_of(&["ann", "bob"]).await);
    }
    let mut seen = house.initial("ann").await;
    // The first one after a start looks at all rooms; from here on they are followed.
    seen = house.since("ann", &seen).await;
    let quiet = reads(&house, &mut seen).await;
    house.say("bob", &rooms[0], "warm").await;
    house.since("ann", &seen).await;
    house.say("bob", &rooms[0], "news").await;
    seen = house.since("ann", &seen).await;
    house.say("bob", &rooms[0], "more news").await;
    let one = reads(&house, &mut seen).await;
    assert_eq!(bodies(joined(&seen, &rooms[0])), ["more news"]);
    (quiet, one)
}

async fn reads(house: &House, seen: &mut Value) -> u64 {
    // Lets the follower do its own reads first.
    tokio::task::yield_now().await;
    house.caught_up().await;
    let before = house.reads.load(Ordering::Relaxed);
    *seen = ask(
        &house.sync,
        "ann",
        Some(seen),
        crate::house::Options::default(),
    )
    .await;
    house.reads.load(Ordering::Relaxed) - before
}

#[tokio::test]
async fn a_sync_costs_the_same_in_few_and_in_many_rooms() {
    let few = reads_in_rooms(3).await;
    let many = reads_in_rooms(60).await;
    assert_eq!(few, many);
    let (quiet, one) = many;
    assert_eq!(quiet, 0);
    assert!(one <= 4, "{one} reads for one event");
}

/// Reads of the first sync of somebody whose room so many have joined since she made it.
async fn reads_after_joins(count: u64) -> u64 {
    let house = House::new();
    let room = house.public_room("ann").await;
    for number in 0..count {
        house.join(&format!("guest{number}"), &room).await;
    }
    // Nothing is at hand of what was read while they joined.
    let sync = house.fresh_sync();
    let before = house.reads.load(Ordering::Relaxed);
    let options = crate::house::Options::default();
    let answer = ask(&sync, "ann", None, options).await;
    let summary = &joined(&answer, &room)["summary"];
    assert_eq!(summary["m.joined_member_count"], count + 1);
    house.reads.load(Ordering::Relaxed) - before
}

#[tokio::test]
async fn the_first_sync_after_many_joins_costs_the_same_for_each() {
    let few = reads_after_joins(40).await;
    let many = reads_after_joins(160).await;
    assert!(
        many <= 5 * few,
        "{few} reads after 40 joins, {many} after 160"
    );
}
