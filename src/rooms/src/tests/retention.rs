//! Messages that have come to their end go, and nothing else does.

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_data::retention;
use hearth_data::timeline;
use hearth_event::RoomVersion;
use hearth_event::retention::{Bounds, Lifetime, RETENTION};
use hearth_store::{Backend, Fault, MemoryBackend};
use ruma::{OwnedEventId, RoomId};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::fixture::{House, raw, sender, text};
use crate::{NewEvent, Result};

/// No room's messages go before.
const SHORTEST: Duration = Duration::from_secs(60);
/// A chunk has so many places.
const CHUNK: usize = 256;

fn bounds() -> Bounds {
    Bounds {
        default: Lifetime::FOREVER,
        min: Lifetime::millis(60_000),
        max: Lifetime::FOREVER,
    }
}

fn keeping(store: MemoryBackend) -> House {
    House::with(store, RoomVersion::V12, bounds())
}

async fn retain(house: &House) -> Result<u64> {
    house.rooms.retain(&CancellationToken::new()).await
}

/// A room that keeps its messages for a minute.
async fn brief_room(house: &House) -> ruma::OwnedRoomId {
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let content = json!({"max_lifetime": 60_000});
    let put = house.put("alice", &room, RETENTION, content).await;
    put.expect("a policy");
    room
}

async fn messages(house: &House, room: &RoomId) -> Vec<OwnedEventId> {
    let history = house.history(room).await;
    let messages = history.iter().filter(|(_, pdu)| !pdu.is_state());
    messages.map(|(row, _)| row.event_id.clone()).collect()
}

async fn states(house: &House, room: &RoomId) -> Vec<OwnedEventId> {
    let history = house.history(room).await;
    let states = history.iter().filter(|(_, pdu)| pdu.is_state());
    states.map(|(row, _)| row.event_id.clone()).collect()
}

async fn say_many(house: &House, room: &RoomId, count: usize) {
    for number in 0..count {
        let said = house.say("alice", room, &number.to_string()).await;
        said.expect("a message");
    }
}

async fn related(house: &House, room: &RoomId, kind: &str, relation: serde_json::Value) {
    let content = json!({"msgtype": "m.text", "body": "x", "m.relates_to": relation});
    let sent = house.send("bob", room, kind, content).await;
    sent.expect("an event that relates to another");
}

async fn react(house: &House, room: &RoomId, target: &OwnedEventId, key: &str) {
    let relation = json!({"rel_type": "m.annotation", "event_id": target, "key": key});
    related(house, room, "m.reaction", relation).await;
}

async fn reply(house: &House, room: &RoomId, root: &OwnedEventId) {
    let relation = json!({"rel_type": "m.thread", "event_id": root});
    related(house, room, "m.room.message", relation).await;
}

async fn say(house: &House, room: &RoomId, body: &str) -> OwnedEventId {
    house.say("alice", room, body).await.expect("a message")
}

async fn redact(house: &House, room: &RoomId, target: &OwnedEventId) {
    let redacted = house.redact("alice", room, target).await;
    redacted.expect("a redaction");
}

#[tokio::test]
async fn messages_that_ended_go_and_what_the_room_is_made_of_stays() {
    let house = keeping(MemoryBackend::new());
    let room = brief_room(&house).await;
    say_many(&house, &room, 2 * CHUNK).await;
    let topic = house
        .put("alice", &room, "m.room.topic", json!({"topic": "a"}))
        .await;
    topic.expect("a topic");
    let before = states(&house, &room).await;
    assert_eq!(
        retain(&house).await.expect("a round"),
        0,
        "nothing has ended"
    );
    house.clock.advance(SHORTEST + Duration::from_millis(1));
    let newest = house.say("bob", &room, "new").await.expect("a message");
    let dropped = retain(&house).await.expect("a round");
    // The chunk of the newest message has one that has not ended, so it is kept whole.
    assert_eq!(
        dropped + messages(&house, &room).await.len() as u64,
        2 * CHUNK as u64 + 1
    );
    assert!(dropped >= CHUNK as u64, "{dropped}");
    assert_eq!(messages(&house, &room).await.last(), Some(&newest));
    assert_eq!(states(&house, &room).await, before);
    house.fsck().await;
    assert_eq!(retain(&house).await.expect("a round"), 0, "all is done");
    // Life goes on.
    house.join("carol", &room).await.expect("a join");
    house.say("carol", &room, "hello").await.expect("a message");
    house.fsck().await;
}

#[tokio::test]
async fn a_room_that_does_not_say_keeps_all_and_a_policy_counts_only_within_bounds() {
    let house = keeping(MemoryBackend::new());
    let silent = house.public_room("alice").await;
    let hasty = house.public_room("alice").await;
    let content = json!({"max_lifetime": 1});
    house
        .put("alice", &hasty, RETENTION, content)
        .await
        .expect("a policy");
    for room in [&silent, &hasty] {
        say_many(&house, room, CHUNK).await;
    }
    house.clock.advance(SHORTEST / 2);
    assert_eq!(retain(&house).await.expect("a round"), 0);
    house.clock.advance(SHORTEST);
    assert!(retain(&house).await.expect("a round") > 0);
    assert_eq!(messages(&house, &silent).await.len(), CHUNK);
    house.fsck().await;

    let forever = House::new();
    let room = brief_room(&forever).await;
    say_many(&forever, &room, CHUNK).await;
    forever.clock.advance(SHORTEST * 1_000);
    assert_eq!(retain(&forever).await.expect("a round"), 0);
}

#[tokio::test]
async fn in_a_quiet_room_all_goes_but_the_last_event() {
    let house = keeping(MemoryBackend::new());
    let room = brief_room(&house).await;
    say_many(&house, &room, 10).await;
    let last = messages(&house, &room).await.pop();
    house.clock.advance(SHORTEST * 2);
    assert_eq!(retain(&house).await.expect("a round"), 9);
    assert_eq!(messages(&house, &room).await, Vec::from_iter(last));
    house.fsck().await;
    // The next event builds on it, after which it can go, too.
    house
        .put("alice", &room, "m.room.topic", json!({"topic": "a"}))
        .await
        .expect("a topic");
    assert_eq!(retain(&house).await.expect("a round"), 1);
    assert_eq!(messages(&house, &room).await, Vec::<OwnedEventId>::new());
    house.fsck().await;
}

#[tokio::test]
async fn what_belongs_to_a_message_goes_with_it() {
    let house = keeping(MemoryBackend::new());
    let room = brief_room(&house).await;
    let old = say(&house, &room, "old").await;
    let root = say(&house, &room, "root").await;
    let gone = say(&house, &room, "redacted").await;
    react(&house, &room, &old, "a").await;
    reply(&house, &room, &root).await;
    redact(&house, &room, &gone).await;
    let topic = house.put("alice", &room, "m.room.topic", json!({"topic": "secret"}));
    redact(&house, &room, &topic.await.expect("a topic")).await;
    let event = NewEvent {
        kind: "m.room.message".to_owned(),
        content: raw(text("once")),
        txn_id: Some("7".to_owned()),
    };
    let send = async || {
        house
            .rooms
            .send(&sender("alice"), &room, event.clone())
            .await
    };
    let once = send().await.expect("a message");
    say_many(&house, &room, CHUNK).await;
    house.clock.advance(SHORTEST * 2);
    // These relate to what has ended.
    react(&house, &room, &old, "b").await;
    reply(&house, &room, &root).await;
    assert!(retain(&house).await.expect("a round") > CHUNK as u64 - 20);
    house.fsck().await;
    for id in [&old, &root, &gone, &once] {
        let found = timeline::find(&*house.snapshot().await, id).await;
        assert_eq!(found.expect("a read"), None, "{id}");
    }
    // The redaction that emptied the topic stays as long as that.
    let kinds = house.kinds(&room).await;
    let redactions = kinds.iter().filter(|kind| *kind == "m.room.redaction");
    assert_eq!(redactions.count(), 1);
    // The request is forgotten with what it led to.
    assert_ne!(send().await.expect("a message"), once);
    house.fsck().await;
}

#[tokio::test]
async fn a_clock_in_the_future_keeps_a_chunk_no_longer_than_twice() {
    let house = keeping(MemoryBackend::new());
    let room = brief_room(&house).await;
    let (number, _) = house.head(&room).await;
    // What a server whose clock is wrong sends looks like this afterwards.
    house.clock.advance(SHORTEST * 1_000);
    let late = house
        .say("alice", &room, "from the future")
        .await
        .expect("a message");
    say_many(&house, &room, CHUNK).await;
    let house = keeping(house.store.clone());
    for (passed, is_there) in [(0, true), (1, false)] {
        retain(&house).await.expect("a round");
        let found = timeline::find(&*house.snapshot().await, &late)
            .await
            .expect("a read");
        assert_eq!(found.is_some(), is_there, "after {passed} lifetimes");
        house.clock.advance(SHORTEST + Duration::from_secs(1));
    }
    let row = retention::retention(&*house.snapshot().await, number)
        .await
        .expect("a read");
    assert!(row.dropped >= CHUNK as u64 - 8, "{row:?}");
    house.fsck().await;
}

#[tokio::test]
async fn a_crash_at_any_commit_leaves_a_sound_store_and_the_rest_goes_later() {
    let house = keeping(MemoryBackend::new());
    let room = brief_room(&house).await;
    let root = house.say("alice", &room, "root").await.expect("a message");
    for _ in 0..8 {
        related(
            &house,
            &room,
            "m.room.message",
            json!({"rel_type": "m.thread", "event_id": root}),
        )
        .await;
    }
    say_many(&house, &room, CHUNK).await;
    house.clock.advance(SHORTEST * 2);
    let kept = house.say("alice", &room, "new").await.expect("a message");
    let before = states(&house, &room).await;
    let (mut crashes, mut store) = (0, house.store.clone());
    loop {
        let house = keeping(store);
        house.clock.advance(SHORTEST * 2);
        // One step more each time, and the next is cut off: before it is written, or after.
        let fault = if crashes % 2 == 0 {
            Fault::CrashBefore
        } else {
            Fault::CrashAfter
        };
        house.store.plan_fault(1, fault);
        let result = retain(&house).await;
        if house.store.snapshot().await.is_ok() && result.is_ok() {
            store = house.store.clone();
            break;
        }
        store = house.store.crash();
        keeping(store.clone()).fsck().await;
        crashes += 1;
        assert!(crashes < 1_000, "it never ends");
    }
    assert!(crashes > 4, "{crashes} crashes");
    let house = keeping(store);
    assert_eq!(states(&house, &room).await, before);
    let left = messages(&house, &room).await;
    assert!(
        left.len() <= CHUNK && left.last() == Some(&kept),
        "{}",
        left.len()
    );
    house.fsck().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_write_meanwhile_lose_nothing() {
    let house = keeping(MemoryBackend::new());
    let room = brief_room(&house).await;
    let old = house.say("alice", &room, "old").await.expect("a message");
    say_many(&house, &room, CHUNK).await;
    house.clock.advance(SHORTEST * 2);
    let reacting = async {
        let mut sent = BTreeSet::new();
        for number in 0..60 {
            let relation =
                json!({"rel_type": "m.annotation", "event_id": old, "key": number.to_string()});
            let content = json!({"m.relates_to": relation});
            let reaction = house.send("bob", &room, "m.reaction", content).await;
            sent.insert(reaction.expect("a reaction"));
            tokio::task::yield_now().await;
        }
        sent
    };
    let emptying = async {
        let mut dropped = 0;
        for _ in 0..20 {
            dropped += retain(&house).await.expect("a round");
            tokio::task::yield_now().await;
        }
        dropped
    };
    let (sent, dropped) = tokio::join!(reacting, emptying);
    assert!(dropped > 0);
    let left = BTreeSet::from_iter(messages(&house, &room).await);
    assert!(sent.is_subset(&left));
    house.fsck().await;
}
