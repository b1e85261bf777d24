//! Unread counts.

use hearth_rooms::ephemeral::{ReceiptKind, ReceiptThread};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::house::{House, Options, ask, joined, unread};

async fn counts(house: &House, name: &str, room: &RoomId) -> (u64, u64) {
    unread(joined(&house.initial(name).await, room))
}

fn thread_reply(root: &ruma::EventId, body: &str) -> Value {
    json!({
        "msgtype": "m.text", "body": body,
        "m.relates_to": {"rel_type": "m.thread", "event_id": root}
    })
}

#[tokio::test]
async fn an_event_and_its_count_come_in_the_same_answer() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    let mut seen = house.initial("ann").await;
    for n in 1..=3 {
        house.say("bob", &room, &n.to_string()).await;
        seen = house.since("ann", &seen).await;
        assert_eq!(unread(joined(&seen, &room)), (n, 0));
    }
    assert_eq!(counts(&house, "bob", &room).await, (0, 0));
    // What a reader finds that remembers nothing is the same.
    let fresh = ask(&house.fresh_sync(), "ann", None, Options::default()).await;
    assert_eq!(unread(joined(&fresh, &room)), (3, 0));
}

#[tokio::test]
async fn receipts_and_own_messages_clear_and_older_receipts_do_not_rewind() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    let mut events = Vec::new();
    for n in 0..4 {
        events.push(house.say("bob", &room, &n.to_string()).await);
    }
    assert_eq!(counts(&house, "ann", &room).await, (4, 0));
    house.read("ann", &room, &events[2]).await;
    assert_eq!(counts(&house, "ann", &room).await, (1, 0));
    let older = (
        ReceiptKind::ReadPrivate,
        ReceiptThread::Unthreaded,
        &*events[0],
    );
    house.receipt("ann", &room, older).await;
    assert_eq!(counts(&house, "ann", &room).await, (1, 0));
    let seen = house.initial("ann").await;
    let newer = (
        ReceiptKind::ReadPrivate,
        ReceiptThread::Unthreaded,
        &*events[3],
    );
    house.receipt("ann", &room, newer).await;
    let after = house.since("ann", &seen).await;
    assert_eq!(unread(joined(&after, &room)), (0, 0));
    house.say("bob", &room, "again").await;
    house.say("ann", &room, "my answer").await;
    assert_eq!(counts(&house, "ann", &room).await, (0, 0));
}

#[tokio::test]
async fn a_join_does_not_count_what_was_before() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    house.say("bob", &room, "old").await;
    house.join("cat", &room).await;
    assert_eq!(counts(&house, "cat", &room).await, (0, 0));
    house.say("bob", &room, "new").await;
    assert_eq!(counts(&house, "cat", &room).await, (1, 0));
    house.leave("cat", &room).await;
    house.say("bob", &room, "away").await;
    house.join("cat", &room).await;
    assert_eq!(counts(&house, "cat", &room).await, (0, 0));
}

#[tokio::test]
async fn mentions_highlight_and_redacted_events_do_not_count() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    let mention = json!({
        "msgtype": "m.text", "body": "ann!",
        "m.mentions": {"user_ids": ["@ann:house"]}
    });
    let event = house.send("bob", &room, "m.room.message", mention).await;
    house.say("bob", &room, "x").await;
    assert_eq!(counts(&house, "ann", &room).await, (2, 1));
    assert_eq!(counts(&house, "cat", &room).await, (2, 0));
    house.redact("bob", &room, &event).await;
    assert_eq!(counts(&house, "ann", &room).await, (1, 0));
}

#[tokio::test]
async fn threads_are_counted_apart_only_when_asked() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    let root = house.say("bob", &room, "root").await;
    house
        .send("bob", &room, "m.room.message", thread_reply(&root, "1"))
        .await;
    house
        .send("cat", &room, "m.room.message", thread_reply(&root, "2"))
        .await;
    let options = Options {
        filter: Some(json!({"room": {"timeline": {"unread_thread_notifications": true}}})),
        ..Options::default()
    };
    let apart = house.sync_with("ann", None, options.clone()).await;
    let section = joined(&apart, &room);
    assert_eq!(unread(section), (1, 0));
    let thread = &section["unread_thread_notifications"][root.as_str()];
    assert_eq!(thread["notification_count"], 2);
    assert_eq!(counts(&house, "ann", &room).await, (3, 0));
    // Reading the main timeline leaves the thread as it is.
    house
        .receipt(
            "ann",
            &room,
            (ReceiptKind::Read, ReceiptThread::Main, &root),
        )
        .await;
    let apart = house.sync_with("ann", None, options).await;
    assert_eq!(unread(joined(&apart, &room)), (0, 0));
    assert_eq!(counts(&house, "ann", &room).await, (2, 0));
}

#[tokio::test]
async fn counts_survive_a_start_beyond_a_checkpoint() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    let mut last = None;
    for n in 0..150 {
        last = Some(house.say("bob", &room, &n.to_string()).await);
        if n % 50 == 0 {
            house.initial("ann").await;
        }
    }
    assert_eq!(counts(&house, "ann", &room).await, (150, 0));
    let fresh = house.fresh_sync();
    let answer = ask(&fresh, "ann", None, Options::default()).await;
    assert_eq!(unread(joined(&answer, &room)), (150, 0));
    house.read("ann", &room, &last.unwrap()).await;
    let answer = ask(&fresh, "ann", None, Options::default()).await;
    assert_eq!(unread(joined(&answer, &room)), (0, 0));
}

/// (main, thread) as (notifications, highlights).
async fn apart(house: &House, room: &RoomId, root: &ruma::EventId) -> [(u64, u64); 2] {
    let options = Options {
        filter: Some(json!({"room": {"timeline": {"unread_thread_notifications": true}}})),
        ..Options::default()
    };
    let answer = house.sync_with("bob", None, options).await;
    let section = joined(&answer, room);
    let thread = &section["unread_thread_notifications"][root.as_str()];
    let number = |key: &str| thread[key].as_u64().unwrap_or(0);
    let thread = (number("notification_count"), number("highlight_count"));
    [unread(section), thread]
}

/// The timeline and the receipts of Complement's `TestThreadedReceipts`, with `m.mentions` for ids in bodies
/// (decision 016).
#[tokio::test]
async fn threads_count_as_the_conformance_suite_has_it() {
    let house = House::new();
    let room = house.room_of(&["alice", "bob"]).await;
    let mention = |mut content: Value| {
        content["m.mentions"] = json!({"user_ids": ["@bob:house"]});
        content
    };
    let send = async |content: Value| house.send("alice", &room, "m.room.message", content).await;
    let a = house.say("alice", &room, "Hello world!").await;
    let b = send(thread_reply(&a, "Start thread!")).await;
    send(mention(thread_reply(&a, "Thread response!"))).await;
    let d = send(mention(json!({"msgtype": "m.text", "body": "Hello!"}))).await;
    send(thread_reply(&a, "End thread")).await;
    let reference = json!({"rel_type": "m.reference", "event_id": a});
    let f =
        send(json!({"msgtype": "m.text", "body": "Reference!", "m.relates_to": reference})).await;
    let annotation = json!({"rel_type": "m.annotation", "event_id": f, "key": "test"});
    let annotation = json!({"m.relates_to": annotation});
    let g = house
        .send("alice", &room, "m.room.reaction", annotation)
        .await;
    let thread = ReceiptThread::Thread(a.clone());
    assert_eq!(counts(&house, "bob", &room).await, (6, 2));
    assert_eq!(apart(&house, &room, &a).await, [(3, 1), (3, 1)]);
    for (thread, event, total, expected) in [
        (ReceiptThread::Main, &a, (5, 2), [(2, 1), (3, 1)]),
        (thread.clone(), &b, (4, 2), [(2, 1), (2, 1)]),
        (ReceiptThread::Unthreaded, &d, (2, 0), [(1, 0), (1, 0)]),
        (thread, &g, (1, 0), [(1, 0), (0, 0)]),
    ] {
        house
            .receipt("bob", &room, (ReceiptKind::Read, thread, event))
            .await;
        assert_eq!(counts(&house, "bob", &room).await, total);
        assert_eq!(apart(&house, &room, &a).await, expected);
    }
}

#[tokio::test]
async fn what_a_filter_hides_is_counted_and_the_counts_are_told() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let nothing = Options {
        filter: Some(json!({"room": {"timeline": {"types": []}}})),
        ..Options::default()
    };
    let first = house.sync_with("ann", None, nothing.clone()).await;
    house.say("bob", &room, "unseen").await;
    let seen = house.sync_with("ann", Some(&first), nothing.clone()).await;
    assert_eq!(unread(joined(&seen, &room)), (1, 0));
    // What changes no count is no news to this client.
    house.send("bob", &room, "org.example", json!({})).await;
    let quiet = house.sync_with("ann", Some(&seen), nothing).await;
    assert!(quiet.get("rooms").is_none(), "{quiet}");
}

#[tokio::test]
async fn whom_one_ignores_is_not_counted_from_that_moment_on() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    house.say("bob", &room, "1").await;
    house.say("cat", &room, "2").await;
    let mut seen = house.initial("ann").await;
    assert_eq!(unread(joined(&seen, &room)), (2, 0));
    for (ignored, expected) in [(json!({"@bob:house": {}}), (1, 0)), (json!({}), (2, 0))] {
        let list = json!({"ignored_users": ignored});
        house.set_data("ann", "", "m.ignored_user_list", list).await;
        seen = house.since("ann", &seen).await;
        assert_eq!(unread(joined(&seen, &room)), expected);
        let fresh = ask(&house.fresh_sync(), "ann", None, Options::default()).await;
        assert_eq!(unread(joined(&fresh, &room)), expected);
    }
}
