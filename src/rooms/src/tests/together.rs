//! Many at once, and crashes.

use std::collections::{BTreeMap, HashSet};

use futures_util::future::join_all;
use hearth_event::Pdu;
use hearth_store::Fault;
use ruma::OwnedEventId;
use ruma::events::room::member::MembershipState;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::fixture::{House, public, raw, sender, text, user};
use crate::{Error, NewEvent, NewRoom};

fn body(pdu: &Pdu) -> Option<String> {
    crate::content::text(pdu, "body")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_senders_in_one_room_are_all_there_once_and_each_in_order() {
    const SENDERS: usize = 16;
    const EACH: usize = 25;
    let house = House::new();
    let room = house.public_room("alice").await;
    for number in 0..SENDERS {
        house
            .join(&format!("u{number}"), &room)
            .await
            .expect("a join");
    }
    let commits = house.store.commits();
    let sending = (0..SENDERS).map(async |number| {
        let name = format!("u{number}");
        for count in 0..EACH {
            let body = format!("{name} {count}");
            house.say(&name, &room, &body).await.expect("a message");
        }
    });
    join_all(sending).await;
    assert!(
        house.store.commits() - commits < (SENDERS * EACH) as u64,
        "sends share commits"
    );
    let history = house.history(&room).await;
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (_, pdu) in &history {
        if let Some(body) = body(pdu) {
            seen.entry(pdu.sender().to_string()).or_default().push(body);
        }
    }
    assert_eq!(seen.len(), SENDERS);
    for (user, bodies) in seen {
        let name = user.trim_start_matches('@').trim_end_matches(":house");
        let expected: Vec<String> = (0..EACH).map(|count| format!("{name} {count}")).collect();
        assert_eq!(bodies, expected);
    }
    // One line of history: each event follows the one before.
    for pair in history.windows(2) {
        assert_eq!(pair[1].1.prev_events(), [pair[0].1.event_id().to_owned()]);
    }
    house.fsck().await;
}

#[tokio::test]
async fn one_transaction_sent_many_times_at_once_is_one_event() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let sends = (0..100).map(|number| {
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: raw(text("once")),
            txn_id: Some(format!("txn {}", number % 3)),
        };
        let (house, room) = (&house, &room);
        async move {
            house
                .rooms
                .send(&sender("alice"), room, event)
                .await
                .expect("a message")
        }
    });
    let answers: HashSet<OwnedEventId> = join_all(sends).await.into_iter().collect();
    assert_eq!(answers.len(), 3);
    let history = house.history(&room).await;
    let sent = history
        .iter()
        .filter(|(_, pdu)| pdu.kind() == "m.room.message");
    assert_eq!(sent.count(), 3);
}

#[tokio::test]
async fn requests_of_one_group_see_what_those_before_them_did() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let said = house.say("alice", &room, "x").await.expect("a message");
    let relation = json!({"rel_type": "m.annotation", "event_id": said, "key": "+"});
    let reaction = json!({"m.relates_to": relation});
    // All are asked for before the worker begins, so they are decided in one commit.
    let commits = house.store.commits();
    let (joined, said, left, late, one, two) = tokio::join!(
        house.join("bob", &room),
        house.say("bob", &room, "hello"),
        house.leave("bob", &room),
        house.say("bob", &room, "too late"),
        house.send("alice", &room, "m.reaction", reaction.clone()),
        house.send("alice", &room, "m.reaction", reaction),
    );
    joined.expect("a join");
    said.expect("a message");
    left.expect("a leave");
    assert!(matches!(late, Err(Error::Forbidden(_))));
    one.expect("a reaction");
    assert!(matches!(two, Err(Error::DuplicateAnnotation)));
    assert_eq!(house.store.commits(), commits + 1);
    house.fsck().await;
}

#[tokio::test]
async fn a_message_and_its_redaction_can_be_of_one_commit() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let topic = json!({"topic": "a"});
    let first = house
        .put("alice", &room, "m.room.topic", topic.clone())
        .await
        .expect("a topic");
    let (redacted, again) = tokio::join!(
        house.redact("alice", &room, &first),
        house.put("alice", &room, "m.room.topic", topic.clone()),
    );
    redacted.expect("a redaction");
    assert_ne!(
        again.expect("a topic"),
        first,
        "the first one says nothing any more"
    );
    assert_eq!(
        house
            .state("alice", &room, "m.room.topic")
            .await
            .expect("a topic"),
        topic
    );
    house.fsck().await;
}

#[tokio::test]
async fn a_batch_larger_than_the_store_takes_is_split() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let joins = (0..200).map(|number| {
        let (house, room) = (&house, &room);
        async move { house.join(&format!("u{number}"), room).await }
    });
    for join in join_all(joins).await {
        join.expect("a join");
    }
    assert_eq!(house.head(&room).await.1.joined, 201);
    let large = "x".repeat(60_000);
    let sends = (0..200).map(|_| house.say("alice", &room, &large));
    for said in join_all(sends).await {
        said.expect("a message");
    }
    house.fsck().await;
}

#[tokio::test]
async fn a_full_disk_refuses_and_the_room_goes_on_when_there_is_space() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house
        .say("alice", &room, "before")
        .await
        .expect("a message");
    house.store.plan_fault(0, Fault::NoSpace { commits: 1 });
    let full = house.say("alice", &room, "lost").await;
    assert!(matches!(full, Err(Error::Store(_))));
    house.say("alice", &room, "after").await.expect("a message");
    let history = house.history(&room).await;
    let bodies: Vec<String> = history.iter().filter_map(|(_, pdu)| body(pdu)).collect();
    assert_eq!(bodies, ["before", "after"]);
}

#[tokio::test]
async fn nothing_that_was_acknowledged_is_lost_or_doubled_by_crashes() {
    let mut house = House::new();
    let room = house.public_room("alice").await;
    let mut acknowledged = Vec::new();
    for round in 0..20_u64 {
        let fault = match round % 2 {
            0 => Fault::CrashBefore,
            _ => Fault::CrashAfter,
        };
        house.store.plan_fault(round % 5, fault);
        let mut unsure = None;
        for count in 0.. {
            let event = NewEvent {
                kind: "m.room.message".to_owned(),
                content: raw(text(&format!("{round} {count}"))),
                txn_id: Some(format!("{round} {count}")),
            };
            match house
                .rooms
                .send(&sender("alice"), &room, event.clone())
                .await
            {
                Ok(event_id) => acknowledged.push(event_id),
                Err(error) => {
                    assert!(matches!(error, Error::Stopping), "{error:?}");
                    unsure = Some(event);
                    break;
                }
            }
        }
        house = house.crash();
        house.tick();
        // As a client does: the same request once more, with the same transaction id.
        let again = unsure.expect("a request without an answer");
        let event_id = house
            .rooms
            .send(&sender("alice"), &room, again)
            .await
            .expect("a message");
        acknowledged.push(event_id);
    }
    let history = house.history(&room).await;
    let sent = history
        .iter()
        .filter(|(_, pdu)| pdu.kind() == "m.room.message");
    let sent: Vec<OwnedEventId> = sent.map(|(_, pdu)| pdu.event_id().to_owned()).collect();
    assert_eq!(sent, acknowledged);
    house.fsck().await;
}

#[tokio::test]
async fn invites_that_a_crash_cut_off_are_sent_by_the_next_start() {
    let house = House::new();
    house.public_room("alice").await;
    let room = NewRoom {
        invite: vec![user("bob"), user("carol")],
        ..public()
    };
    // The room's commit passes, that of the invites does not.
    house.store.plan_fault(1, Fault::CrashBefore);
    let cut_off = house.rooms.create(&user("alice"), room).await;
    assert!(cut_off.is_err(), "{cut_off:?}");
    let house = house.crash();
    let rooms = house
        .rooms
        .joined_rooms(&user("alice"))
        .await
        .expect("a read");
    let room = rooms.last().expect("the room was committed").clone();
    assert_eq!(house.membership("bob", &room).await, None);
    let shutdown = CancellationToken::new();
    let (rooms, token) = (house.rooms.clone(), shutdown.clone());
    let worker = house
        .tasks
        .spawn(async move { rooms.run_jobs(token).await });
    use hearth_store::Backend;
    while house.membership("carol", &room).await.is_none() {
        let seen = house.snapshot().await.position();
        if house.membership("carol", &room).await.is_none() {
            house.store.wait_past(seen).await.expect("progress");
        }
    }
    shutdown.cancel();
    worker.await.expect("a worker");
    assert_eq!(
        house.membership("bob", &room).await,
        Some(MembershipState::Invite)
    );
    house.fsck().await;
}

#[tokio::test]
async fn the_head_of_a_room_does_not_grow_with_its_members() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let rows = |house: &House| {
        house
            .store
            .table_bytes(hearth_data::tables::ROOM_HEADS.info().id)
    };
    house.say("alice", &room, "x").await.expect("a message");
    let small = rows(&house);
    for number in 0..300 {
        house
            .join(&format!("u{number}"), &room)
            .await
            .expect("a join");
    }
    // The one row that every write rewrites does not grow with the room.
    assert!(rows(&house) <= small + 16, "{} and {small}", rows(&house));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_on_one_store_decide_again_when_the_other_was_first() {
    const EACH: usize = 40;
    let one = House::new();
    let room = one.public_room("alice").await;
    one.join("bob", &room).await.expect("a join");
    let two = House::on(one.store.clone());
    two.say("bob", &room, "I am here").await.expect("a message");
    // What the first one keeps in memory is old now.
    one.say("alice", &room, "me too").await.expect("a message");
    let sending = async |house: &House, name: &str| {
        for count in 0..EACH {
            let body = format!("{name} {count}");
            house.say(name, &room, &body).await.expect("a message");
        }
    };
    tokio::join!(sending(&one, "alice"), sending(&two, "bob"));
    let left = one.leave("bob", &room).await;
    left.expect("a leave");
    let late = two.say("bob", &room, "too late").await;
    assert!(matches!(late, Err(Error::Forbidden(_))), "{late:?}");
    let history = one.history(&room).await;
    let said = history.iter().filter(|(_, pdu)| body(pdu).is_some());
    assert_eq!(said.count(), 2 * EACH + 2);
    one.fsck().await;
}
