use std::time::Duration;

use hearth_data::append::Standing;
use hearth_data::receipts::{self, ReceiptKey};
use hearth_event::Pdu;
use hearth_store::Backend as _;
use hearth_types::UnixMs;
use ruma::{EventId, event_id};
use serde_json::json;

use super::fixture::{House, draft, message, server, user};
use crate::remote::inboxes::WAITING_PER_ORIGIN_IN_ROOM_MAX;
use crate::serve::RemoteReceipt;

const ACCEPTED: Option<Standing> = Some(Standing::Accepted);

#[tokio::test(start_paused = true)]
async fn state_set_on_two_sides_of_a_fork_is_resolved() {
    for version in ["6", "11", "12"] {
        let house = House::new();
        let bob = user("@bob:far");
        let room = house.room_with(version, &[&bob]).await;
        let fork = house.ends(&room).await;
        let fork: Vec<&Pdu> = fork.iter().collect();
        let topic = |text: &str| draft(&bob, ("m.room.topic", Some("")), &json!({ "topic": text }));
        let there = house.after(&room, &topic("there"), &fork).await;
        let member = draft(
            &bob,
            ("m.room.member", Some(bob.as_str())),
            &json!({ "membership": "join", "displayname": "Bob" }),
        );
        let named = house.after(&room, &member, &fork).await;
        let put = json!({ "topic": "here" });
        house.put(&room, "m.room.topic", put).await;
        house.send("far", &[&there, &named]).await;
        house.settle().await;
        assert_eq!(house.waiting(&room).await, 0, "{version}");
        assert_eq!(house.standing(there.event_id()).await, ACCEPTED);
        assert_eq!(house.standing(named.event_id()).await, ACCEPTED);
        assert_eq!(house.ends(&room).await.len(), 3);
        // Sent by the server itself on all ends, it brings them together.
        house.say(&room, "hello").await;
        assert_eq!(house.ends(&room).await.len(), 1);
        house.fsck().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_came_before_what_it_refers_to_waits_for_it() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let first = house.next(&room, &message(&bob, "first")).await;
    let second = house
        .after(&room, &message(&bob, "second"), &[&first])
        .await;
    let third = house
        .after(&room, &message(&bob, "third"), &[&second])
        .await;
    house.send("far", &[&third, &second]).await;
    house.settle().await;
    assert_eq!(house.waiting(&room).await, 2);
    assert_eq!(house.standing(second.event_id()).await, None);
    // Nobody gives the first one to who asks, but it is sent.
    house.send("far", &[&first]).await;
    house.settle().await;
    for event in [&first, &second, &third] {
        assert_eq!(house.standing(event.event_id()).await, ACCEPTED);
    }
    assert_eq!(house.waiting(&room).await, 0);
    house.fsck().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_sends_too_fast_is_held_up_and_loses_nothing() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let number = house.number(&room).await;
    let intakes = &house.rooms.0.intakes;
    for _ in 0..WAITING_PER_ORIGIN_IN_ROOM_MAX {
        intakes.add(number, "far");
    }
    let event = house.next(&room, &message(&bob, "the last")).await;
    let events = [&event];
    let sent = house.send("far", &events);
    let freed = async {
        house.settle().await;
        assert_eq!(house.standing(event.event_id()).await, None);
        intakes.withdraw(number, "far");
    };
    tokio::join!(sent, freed);
    house.settle().await;
    assert_eq!(house.standing(event.event_id()).await, ACCEPTED);
    // Whoever does not get space in time is told so.
    intakes.add(number, "far");
    let more = house.next(&room, &message(&bob, "more")).await;
    let answer = house.offer("far", &[&more]).await.unwrap();
    let refusal = answer.0[0].1.as_deref();
    assert_eq!(refusal, Some("too many events are waiting"));
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_kept_over_a_crash_and_fetched_when_somebody_has_it() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let first = house.next(&room, &message(&bob, "first")).await;
    let second = house
        .after(&room, &message(&bob, "second"), &[&first])
        .await;
    house.send("far", &[&second]).await;
    house.settle().await;
    let house = house.crash();
    house.rooms.resume_intakes().await.unwrap();
    house.settle().await;
    assert_eq!(house.waiting(&room).await, 1);
    house.others.before(second.event_id(), &[&first]);
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(house.standing(first.event_id()).await, ACCEPTED);
    assert_eq!(house.standing(second.event_id()).await, ACCEPTED);
    assert_eq!(house.waiting(&room).await, 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_for_which_nobody_ever_has_what_it_lacks_is_let_go() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let first = house.next(&room, &message(&bob, "first")).await;
    let second = house
        .after(&room, &message(&bob, "second"), &[&first])
        .await;
    house.send("far", &[&second]).await;
    tokio::time::sleep(Duration::from_secs(6 * 86_400)).await;
    assert_eq!(house.waiting(&room).await, 1);
    tokio::time::sleep(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(house.waiting(&room).await, 0);
    assert_eq!(house.standing(second.event_id()).await, None);
    // Each time for the key, the events missing before it, that one event and the state there.
    let asked = house.others.asked().len();
    assert!(asked <= 5 * 180, "{asked} questions");
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_key_is_not_known_yet_waits_for_the_key() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let event = house.next(&room, &message(&bob, "hello")).await;
    house.others.keys_known("far", false);
    house.send("far", &[&event]).await;
    house.settle().await;
    assert_eq!(house.standing(event.event_id()).await, None);
    assert_eq!(house.waiting(&room).await, 1);
    house.others.keys_known("far", true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(house.standing(event.event_id()).await, ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn s06_a_server_that_does_not_answer_holds_up_its_own_events_only() {
    let house = House::new();
    let (bob, carol) = (user("@bob:slow"), user("@carol:good"));
    house.others.is_silent("slow");
    let mut rooms = Vec::new();
    // More rooms than are read at the same time.
    for _ in 0..70 {
        let room = house.room_with("11", &[&bob, &carol]).await;
        let first = house.next(&room, &message(&bob, "first")).await;
        let second = house
            .after(&room, &message(&bob, "second"), &[&first])
            .await;
        house.send("slow", &[&second]).await;
        rooms.push(room);
    }
    house.settle().await;
    for room in &rooms {
        let hello = house.next(room, &message(&carol, "hello")).await;
        house.send("good", &[&hello]).await;
        house.settle().await;
        assert_eq!(house.standing(hello.event_id()).await, ACCEPTED);
        assert_eq!(house.waiting(room).await, 1);
    }
    let asked = house.others.asked();
    let slow = asked.iter().filter(|asked| asked.starts_with("slow "));
    // It is not asked for more at once than it may hold up.
    assert_eq!(slow.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_read_does_not_refuse_the_others() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let good = house.next(&room, &message(&bob, "good")).await;
    let mut pdus = vec![super::fixture::raw(&json!({ "room_id": room }))];
    pdus.push(super::fixture::json_of(&good));
    pdus.push(super::fixture::raw(&json!(17)));
    let txn = crate::remote::Transaction {
        txn_id: "1".to_owned(),
        pdus,
        ..Default::default()
    };
    let answer = house.rooms.receive(&server("far"), txn).await.unwrap();
    assert_eq!(answer.0, [(good.event_id().to_owned(), None)]);
    house.settle().await;
    assert_eq!(house.standing(good.event_id()).await, ACCEPTED);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_for_an_event_that_is_not_here_is_taken_and_does_not_go_backwards() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    let event = house.next(&room, &message(&bob, "hello")).await;
    let far = server("far");
    let receive = async |event_id: &EventId, ts| {
        let receipt = RemoteReceipt {
            event_id: event_id.to_owned(),
            thread: None,
            ts: UnixMs(ts),
        };
        let received = house.rooms.receive_receipt(&far, &room, &bob, &receipt);
        received.await.unwrap();
    };
    let read = async || {
        let key = ReceiptKey {
            user: bob.to_string(),
            kind: "m.read".to_owned(),
            thread: String::new(),
        };
        let (number, snapshot) = (
            house.number(&room).await,
            house.store.snapshot().await.unwrap(),
        );
        let row = receipts::receipt(&*snapshot, number, &key).await.unwrap();
        row.map(|row| row.event_id)
    };
    receive(event.event_id(), 20).await;
    assert_eq!(read().await.as_deref(), Some(event.event_id()));
    // Of two of which one is not here the later counts, of two that are here the one for the later event.
    let long_ago = event_id!("$long_ago");
    receive(long_ago, 10).await;
    assert_eq!(read().await.as_deref(), Some(event.event_id()));
    house.send("far", &[&event]).await;
    house.settle().await;
    receive(event.event_id(), 30).await;
    let next = house.next(&room, &message(&bob, "and again")).await;
    house.send("far", &[&next]).await;
    house.settle().await;
    receive(next.event_id(), 25).await;
    assert_eq!(read().await.as_deref(), Some(next.event_id()));
    receive(event.event_id(), 40).await;
    assert_eq!(read().await.as_deref(), Some(next.event_id()));
}
