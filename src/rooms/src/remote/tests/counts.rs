//! What waits in the inboxes is counted right, whatever is faster: the answer to a transaction or the room's task.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hearth_store::{Backend, Batch, BoxFuture, Limits, MemoryBackend, Position, Result, Snapshot};

use super::fixture::{House, message, server, user};
use crate::remote::inboxes::WAITING_PER_ORIGIN_IN_ROOM_MAX;

/// Answers some commits late, when others have long seen what they wrote.
struct Tardy {
    store: MemoryBackend,
    is_next_late: AtomicBool,
}

impl Tardy {
    /// A server on such a store.
    fn house() -> (House, Arc<Self>) {
        let store = MemoryBackend::new();
        let tardy = Arc::new(Self {
            store: store.clone(),
            is_next_late: AtomicBool::new(false),
        });
        (House::through(store, tardy.clone()), tardy)
    }
}

impl Backend for Tardy {
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<dyn Snapshot>>> {
        self.store.snapshot()
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Position>> {
        Box::pin(async move {
            let is_late = self.is_next_late.swap(false, Ordering::Relaxed);
            let committed = self.store.commit(batch).await;
            if is_late {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            committed
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
        self.store.wait_past_in(tables, seen)
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }
}

#[tokio::test(start_paused = true)]
async fn s06_what_is_settled_before_the_transaction_is_answered_takes_no_place_for_ever() {
    let (house, tardy) = Tardy::house();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let first = house.next(&room, &message(&bob, "first")).await;
    let second = house
        .after(&room, &message(&bob, "second"), &[&first])
        .await;
    house.send("far", &[&first]).await;
    tardy.is_next_late.store(true, Ordering::Relaxed);
    house.send("far", &[&second]).await;
    house.settle().await;
    assert_eq!(house.waiting(&room).await, 0);
    let number = house.number(&room).await;
    let most = WAITING_PER_ORIGIN_IN_ROOM_MAX - 1;
    let is_full = house.rooms.0.intakes.is_full(number, &server("far"), most);
    assert!(!is_full, "events are counted that do not wait any more");
}

#[tokio::test(start_paused = true)]
async fn a_transaction_is_looked_at_though_its_sender_does_not_wait_for_the_answer() {
    let (house, tardy) = Tardy::house();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let event = house.next(&room, &message(&bob, "hello")).await;
    tardy.is_next_late.store(true, Ordering::Relaxed);
    let soon = Duration::from_millis(1);
    let given_up = tokio::time::timeout(soon, house.send("far", &[&event])).await;
    assert!(given_up.is_err());
    house.settle().await;
    assert_eq!(house.waiting(&room).await, 0);
    assert!(house.standing(event.event_id()).await.is_some());
}
