//! What has come to its end is shown to nobody, before it is taken out and after, and readers do not notice when that is.

use std::time::Duration;

use hearth_event::retention::{Bounds, Lifetime};
use hearth_sync::Error;
use hearth_sync::ask::{
    ContextAsk, Direction, EventAsk, RelationDepth, RelationsAsk, TimestampAsk,
};
use ruma::{EventId, RoomId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::history::{all, messages, page, parsed};
use crate::house::{House, bodies, joined, reader, unread};

const LIFETIME: Duration = Duration::from_secs(3_600);

async fn brief_room(house: &House) -> ruma::OwnedRoomId {
    let room = house.room_of(&["ann", "bob"]).await;
    let content = json!({"max_lifetime": 3_600_000});
    house.put("ann", &room, "m.room.retention", content).await;
    room
}

fn house() -> House {
    House::keeping(Bounds {
        default: Lifetime::FOREVER,
        min: Lifetime::millis(60_000),
        max: Lifetime::FOREVER,
    })
}

fn is_gone<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::NoSuchEvent))
}

async fn event(house: &House, room: &RoomId, id: &EventId) -> Result<Value, Error> {
    let ask = EventAsk {
        reader: reader("ann"),
        room_id: Some(room.to_owned()),
        event_id: id.to_owned(),
    };
    house.sync.event(ask).await.map(|bytes| parsed(&bytes))
}

async fn context(house: &House, room: &RoomId, id: &EventId) -> Result<Value, Error> {
    let ask = ContextAsk {
        reader: reader("ann"),
        room_id: room.to_owned(),
        event_id: id.to_owned(),
        limit: Some(100),
        filter: None,
    };
    house.sync.context(ask).await.map(|bytes| parsed(&bytes))
}

async fn relations(house: &House, room: &RoomId, id: &EventId) -> Result<Value, Error> {
    let ask = RelationsAsk {
        reader: reader("ann"),
        room_id: room.to_owned(),
        event_id: id.to_owned(),
        rel_type: None,
        event_type: None,
        page: page(Direction::Backward, None, 50),
        depth: RelationDepth::Direct,
    };
    house.sync.relations(ask).await.map(|bytes| parsed(&bytes))
}

/// The event nearest to a time on its way to the present.
async fn next_after(house: &House, room: &RoomId, ts: u64) -> Value {
    let ask = TimestampAsk {
        reader: reader("ann"),
        room_id: room.to_owned(),
        ts,
        direction: Direction::Forward,
    };
    parsed(&house.sync.timestamp_to_event(ask).await.unwrap())["event_id"].take()
}

#[tokio::test]
async fn what_has_ended_is_not_shown_before_it_is_taken_out_and_after() {
    let house = house();
    let room = brief_room(&house).await;
    let mut old = Vec::new();
    for number in 0..300 {
        old.push(house.say("bob", &room, &number.to_string()).await);
    }
    let reaction =
        json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": old[7], "key": "a"}});
    house.send("ann", &room, "m.reaction", reaction).await;
    let since = house.initial("ann").await;
    house.clock.advance(LIFETIME / 2);
    let topic = house
        .put("ann", &room, "m.room.topic", json!({"topic": "t"}))
        .await;
    let young = house.say("bob", &room, "young").await;
    let thread = json!({"msgtype": "m.text", "body": "reply",
        "m.relates_to": {"rel_type": "m.thread", "event_id": old[9]}});
    house.send("bob", &room, "m.room.message", thread).await;
    house.clock.advance(LIFETIME / 2 + Duration::from_secs(1));

    let mut seen = Vec::new();
    for is_taken_out in [false, true] {
        if is_taken_out {
            let dropped = house.rooms.retain(&CancellationToken::new()).await.unwrap();
            assert!(dropped >= 240, "{dropped}");
        }
        for id in [&old[0], &old[7], &old[299]] {
            assert!(is_gone(event(&house, &room, id).await), "{id}");
            assert!(is_gone(context(&house, &room, id).await), "{id}");
            assert!(is_gone(relations(&house, &room, id).await), "{id}");
        }
        assert!(event(&house, &room, &topic).await.is_ok());
        let around = context(&house, &room, &young).await.unwrap();
        let before = around["events_before"].as_array().unwrap();
        assert!(
            before.iter().all(|event| event["state_key"].is_string()),
            "{before:?}"
        );
        let first = house.initial("ann").await;
        let shown = joined(&first, &room);
        assert_eq!(bodies(shown), ["young", "reply"]);
        assert_eq!(unread(shown), (2, 0));
        let later = house.since("ann", &since).await;
        assert_eq!(bodies(joined(&later, &room)), ["young", "reply"]);
        for direction in [Direction::Backward, Direction::Forward] {
            let mut found = all(&house, "ann", &room, direction).await;
            found.sort();
            assert_eq!(found, ["reply", "young"]);
        }
        seen.push(next_after(&house, &room, 1_700_000_000_000 + 1).await);
        assert_eq!(seen[0], *seen.last().unwrap());
    }
    // A client that pages on from where it was finds what is left.
    let from = since["next_batch"].clone();
    let older = messages(
        &house,
        "ann",
        &room,
        page(Direction::Backward, Some(&from), 50),
    );
    assert_eq!(older.await.unwrap()["chunk"], json!([]));
    let newer = messages(
        &house,
        "ann",
        &room,
        page(Direction::Forward, Some(&from), 50),
    );
    assert_eq!(newer.await.unwrap()["chunk"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_room_that_wants_to_keep_longer_shows_again_what_is_still_there() {
    let house = house();
    let room = brief_room(&house).await;
    house.say("bob", &room, "hello").await;
    house.clock.advance(LIFETIME * 2);
    assert_eq!(
        all(&house, "ann", &room, Direction::Backward).await,
        Vec::<String>::new()
    );
    house.put("ann", &room, "m.room.retention", json!({})).await;
    assert_eq!(
        all(&house, "ann", &room, Direction::Backward).await,
        ["hello"]
    );
}
