use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use hearth_data::append::{EventRow, Standing};
use hearth_data::changes::{Change, record};
use hearth_data::federation::{destination, outbox, put_edu};
use hearth_data::gaps::GapRow;
use hearth_data::rooms::RoomHead;
use hearth_data::row::Json;
use hearth_data::tables as t;
use hearth_data::timeline::Whereabouts;
use hearth_data::{EventNo, Place, RoomNo, StateId, gaps};
use hearth_ports::BoxFuture;
use hearth_store::{Batch, MemoryBackend};
use hearth_types::ManualClock;
use ruma::{OwnedEventId, OwnedUserId, RoomVersionId};
use serde_json::Value;

use super::*;
use crate::fake::{Here, NOW, Others, Seen, name};

/// Nobody ever types.
struct Silence;

impl TypingSource for Silence {
    fn version(&self) -> u64 {
        0
    }
    fn changed_since(&self, _: u64) -> Vec<(u64, u64)> {
        Vec::new()
    }
    fn room_version(&self, _: u64) -> u64 {
        0
    }
    fn users(&self, _: u64) -> Vec<OwnedUserId> {
        Vec::new()
    }
    fn wait_past(&self, _: u64) -> BoxFuture<'_, u64> {
        Box::pin(std::future::pending())
    }
}

impl PresenceSource for Silence {
    fn version(&self) -> u64 {
        0
    }
    fn changed_since(&self, _: u64) -> Vec<(OwnedUserId, u64)> {
        Vec::new()
    }
    fn presence(&self, _: &ruma::UserId) -> Option<hearth_ports::Presence> {
        None
    }
    fn wait_past(&self, _: u64) -> BoxFuture<'_, u64> {
        Box::pin(std::future::pending())
    }
}

/// A server with a sender, and others that answer as the number says (0: not at all).
struct House {
    here: Here,
    status: Arc<AtomicU16>,
}

impl House {
    fn new() -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let answers = status.clone();
        let others = Others::new(move |_| match answers.load(Ordering::SeqCst) {
            0 => None,
            status => Some((status, r#"{"errcode":"M_X","pdus":{}}"#.to_owned())),
        });
        let here = Here::new(others);
        Self { here, status }
    }

    fn store(&self) -> &Arc<MemoryBackend> {
        &self.here.store
    }

    fn clock(&self) -> &ManualClock {
        &self.here.clock
    }

    /// A sender that runs until the token is cancelled.
    fn start(&self) -> (Sender, CancellationToken, TaskTracker) {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let others = self.here.others.clone();
        let client = Client::new(
            Arc::new(others),
            self.here.resolver.clone(),
            self.here.own.clone(),
            crate::Policy::on(&[], &[]),
        );
        let sender = Sender::new(SenderParts {
            store: self.here.store.clone(),
            client,
            clock: self.here.clock.clone(),
            ids: Arc::new(Ids::seeded(3)),
            typing: Arc::new(Silence),
            presence: Arc::new(Silence),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        });
        let running = sender.clone();
        tasks.spawn(async move { running.run().await });
        (sender, shutdown, tasks)
    }

    async fn stop(&self, shutdown: CancellationToken, tasks: TaskTracker) {
        shutdown.cancel();
        tasks.close();
        tasks.wait().await;
    }

    async fn members(&self, room: u64, servers: &[(&str, i64)]) {
        let mut batch = Batch::new();
        for (server, joined) in servers {
            t::ROOM_SERVERS.add(&mut batch, &(RoomNo(room), (*server).to_owned()), *joined);
            t::SERVER_ROOMS.add(&mut batch, &((*server).to_owned(), RoomNo(room)), *joined);
        }
        self.store().commit(batch).await.unwrap();
    }

    /// An event, as `rooms` would commit it.
    async fn event(&self, room: u64, number: u64, sender: &str) {
        self.event_with(room, number, sender, &[]).await;
    }

    async fn event_with(&self, room: u64, number: u64, sender: &str, further: &[Change]) {
        let json = serde_json::json!({
            "sender": sender, "type": "m.room.message", "content": { "n": number, "room": room },
        });
        self.written(room, number, json, further).await;
    }

    async fn written(&self, room: u64, number: u64, json: Value, further: &[Change]) {
        let mut batch = Batch::new();
        let (room, event, place) = (RoomNo(room), EventNo(number), Place(number.cast_signed()));
        let row = EventRow {
            event,
            event_id: OwnedEventId::try_from(format!("${number}")).unwrap(),
            standing: Standing::Accepted,
            state_before: StateId::EMPTY,
            state_after: StateId::EMPTY,
            redacted_by: None,
            txn: None,
            json: json.to_string().into(),
            position: Position::ZERO,
        };
        let head = RoomHead::new("!r:here.example".try_into().unwrap(), RoomVersionId::V11);
        t::WHEREABOUTS.put(&mut batch, &(room, event), &Whereabouts::Placed(place));
        t::TIMELINE.put_position(&mut batch, &(room, place), &row);
        t::ROOM_POSITIONS.put_at_position(&mut batch, &room, &0, &place);
        t::ROOM_HEADS.put_position(&mut batch, &room, &head);
        let mut changes = vec![Change::Event { room, event }];
        changes.extend_from_slice(further);
        record(&mut batch, changes);
        self.store().commit(batch).await.unwrap();
    }

    async fn edu(&self, server: &str, text: &str) {
        let mut batch = Batch::new();
        let change = put_edu(&mut batch, server, 0, &Json::from_text(text)).unwrap();
        record(&mut batch, vec![change]);
        self.store().commit(batch).await.unwrap();
    }

    /// Waits for so many requests in all.
    async fn requests(&self, count: usize) -> Vec<Seen> {
        for _ in 0..10_000 {
            let seen = self.here.others.seen();
            if seen.len() >= count {
                return seen;
            }
            tokio::task::yield_now().await;
        }
        panic!(
            "{count} requests were expected: {:?}",
            self.here.others.seen()
        );
    }

    /// The other server answers again and shows life: the events that it is told then, after so many requests.
    async fn told_when_back(&self, sender: &Sender, tried: usize) -> Vec<u64> {
        self.status.store(200, Ordering::SeqCst);
        self.clock().advance(Duration::from_millis(3_500));
        sender.alive(&name("b:1"));
        self.settle().await;
        let seen = self.here.others.seen();
        seen[tried..].iter().flat_map(numbers).collect()
    }

    /// Lets everything run that can.
    async fn settle(&self) {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    }
}

fn body(seen: &Seen) -> Value {
    serde_json::from_slice(&seen.body).unwrap()
}

/// The numbers of the events of a request.
fn numbers(seen: &Seen) -> Vec<u64> {
    let body = body(seen);
    let pdus = body["pdus"].as_array().unwrap().iter();
    pdus.map(|pdu| pdu["content"]["n"].as_u64().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_local_user_goes_to_every_other_server_of_the_room() {
    let house = House::new();
    house
        .members(
            1,
            &[("here.example", 1), ("b:1", 1), ("c:1", 2), ("gone:1", 0)],
        )
        .await;
    let (_, shutdown, tasks) = house.start();
    house.settle().await;
    house.event(1, 1, "@a:here.example").await;
    house.event(1, 2, "@b:b:1").await;
    let seen = house.requests(2).await;
    house.settle().await;
    assert_eq!(
        house.here.others.seen().len(),
        2,
        "others' events are theirs to send"
    );
    let mut to: Vec<&str> = seen.iter().map(|seen| seen.authority.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["b:1", "c:1"]);
    assert!(seen.iter().all(|seen| numbers(seen) == [1]));
    assert_eq!(body(&seen[0])["origin"], "here.example");
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_join_that_another_server_has_taken_over_is_not_sent_again() {
    let house = House::new();
    house.members(1, &[("b:1", 1)]).await;
    let (_, shutdown, tasks) = house.start();
    house.settle().await;
    let handed = Change::Handed {
        room: RoomNo(1),
        event: EventNo(1),
    };
    house.event_with(1, 1, "@a:here.example", &[handed]).await;
    house.event(1, 2, "@a:here.example").await;
    let seen = house.requests(1).await;
    house.settle().await;
    assert_eq!(numbers(&seen[0]), [2]);
    assert_eq!(house.here.others.seen().len(), 1);
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_join_by_way_of_us_is_sent_on_to_all_but_the_server_that_asked() {
    let house = House::new();
    house.members(1, &[("b:1", 1), ("c:1", 1)]).await;
    let (_, shutdown, tasks) = house.start();
    house.settle().await;
    let join = serde_json::json!({
        "sender": "@n:b:1", "state_key": "@n:b:1", "type": "m.room.member",
        "content": { "n": 1, "membership": "join" },
    });
    let relay = Change::Relay {
        room: RoomNo(1),
        event: EventNo(1),
        from: "b:1".to_owned(),
    };
    house.written(1, 1, join, &[relay]).await;
    let seen = house.requests(1).await;
    house.settle().await;
    assert_eq!(seen[0].authority, "c:1");
    assert_eq!(house.here.others.seen().len(), 1);
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_gets_the_newest_event_of_each_room_when_it_shows_life() {
    let house = House::new();
    house.members(1, &[("b:1", 1)]).await;
    house.members(2, &[("b:1", 1)]).await;
    let (sender, shutdown, tasks) = house.start();
    house.settle().await;
    house.status.store(0, Ordering::SeqCst);
    for number in 1..=20 {
        house.event(1, number, "@a:here.example").await;
    }
    house.event(2, 1, "@a:here.example").await;
    house.settle().await;
    let tried = house.here.others.seen().len();
    assert!((1..4).contains(&tried), "{tried} attempts");
    let snapshot = house.store().snapshot().await.unwrap();
    assert!(destination(&*snapshot, "b:1").await.unwrap().is_some());
    let last = house.told_when_back(&sender, tried).await;
    assert!(last.ends_with(&[20, 1]), "{last:?}");
    assert!(last.len() <= 24, "{last:?}");
    let snapshot = house.store().snapshot().await.unwrap();
    assert_eq!(destination(&*snapshot, "b:1").await.unwrap(), None);
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_hears_of_a_leave_that_is_not_before_the_join_after_it() {
    let house = House::new();
    house.members(1, &[("b:1", 1)]).await;
    let (sender, shutdown, tasks) = house.start();
    house.settle().await;
    house.status.store(0, Ordering::SeqCst);
    for number in [1, 2, 3, 4] {
        house.event(1, number, "@a:here.example").await;
    }
    house.settle().await;
    let tried = house.here.others.seen().len();
    let mut batch = Batch::new();
    let row = GapRow {
        next: Place(2),
        floor: Place(2),
        awaited: Vec::new(),
    };
    gaps::put(&mut batch, RoomNo(1), Place(3), &row);
    house.store().commit(batch).await.unwrap();
    let last = house.told_when_back(&sender, tried).await;
    assert!(last.ends_with(&[2, 4]), "{last:?}");
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn edus_are_kept_over_a_restart_until_acknowledged_and_sent_in_order() {
    let house = House::new();
    house.status.store(0, Ordering::SeqCst);
    let (_, shutdown, tasks) = house.start();
    house.settle().await;
    for number in 1..=150 {
        house
            .edu(
                "b:1",
                &format!(r#"{{"edu_type":"x","content":{{"n":{number}}}}}"#),
            )
            .await;
    }
    house.settle().await;
    house.stop(shutdown, tasks).await;
    let before = house.here.others.seen().len();
    house.status.store(200, Ordering::SeqCst);
    house.clock().advance(Duration::from_secs(3_600));
    let (_, shutdown, tasks) = house.start();
    house.settle().await;
    let seen = house.here.others.seen();
    let edus: Vec<u64> = seen[before..]
        .iter()
        .flat_map(|seen| body(seen)["edus"].as_array().unwrap().clone())
        .map(|edu| edu["content"]["n"].as_u64().unwrap())
        .collect();
    assert_eq!(edus, (1..=150).collect::<Vec<_>>());
    let snapshot = house.store().snapshot().await.unwrap();
    assert!(outbox(&*snapshot, "b:1", 10).await.unwrap().is_empty());
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn s05_one_item_that_a_server_refuses_does_not_stop_the_others() {
    let house = House::new();
    let others = Others::new(|seen| {
        let is_bad = String::from_utf8_lossy(&seen.body).contains("\"n\":3,");
        let answer = r#"{"errcode":"M_BAD_JSON","error":"bad","pdus":{}}"#.to_owned();
        Some((if is_bad { 400 } else { 200 }, answer))
    });
    let house = House {
        here: Here::new(others),
        ..house
    };
    house.members(1, &[("b:1", 1)]).await;
    let (_, shutdown, tasks) = house.start();
    house.settle().await;
    for number in 1..=6 {
        house.event(1, number, "@a:here.example").await;
    }
    house.settle().await;
    let seen = house.here.others.seen();
    let good = seen.iter().map(numbers).filter(|sent| !sent.contains(&3));
    let mut good: Vec<u64> = good.flatten().collect();
    good.sort_unstable();
    assert_eq!(good, [1, 2, 4, 5, 6]);
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_not_acknowledged_before_a_stop_is_sent_after_it() {
    let house = House::new();
    house.members(1, &[("b:1", 1), ("c:1", 1)]).await;
    let (_, shutdown, tasks) = house.start();
    house.settle().await;
    house.event(1, 1, "@a:here.example").await;
    house.requests(2).await;
    house.stop(shutdown, tasks).await;
    // While it is stopped nothing reads the log.
    house.event(1, 2, "@a:here.example").await;
    let (_, shutdown, tasks) = house.start();
    let seen = house.requests(4).await;
    let sent: Vec<Vec<u64>> = seen[2..].iter().map(numbers).collect();
    assert!(sent.iter().all(|sent| sent.ends_with(&[2])), "{sent:?}");
    house.stop(shutdown, tasks).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_sender_writes_nothing() {
    let house = House::new();
    house.members(1, &[("b:1", 1)]).await;
    let (_, shutdown, tasks) = house.start();
    house.event(1, 1, "@a:here.example").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let before = house.store().snapshot().await.unwrap().position();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let after = house.store().snapshot().await.unwrap().position();
    assert_eq!(before, after);
    assert_eq!(house.here.clock.now(), UnixMs(NOW));
    house.stop(shutdown, tasks).await;
}
