//! Pages of the past.

use std::time::Duration;

use hearth_rooms::TargetChange;
use hearth_sync::Error;
use hearth_sync::ask::{
    ContextAsk, Direction, MessagesAsk, Page, RelationDepth, RelationsAsk, ThreadsAsk,
    ThreadsIncluded, TimestampAsk,
};
use ruma::RoomId;
use serde_json::{Value, json};

use crate::house::{House, Options, joined, reader};

pub(crate) fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

pub(crate) fn page(direction: Direction, from: Option<&Value>, limit: u64) -> Page {
    Page {
        from: from.map(|token| token.as_str().unwrap().parse().unwrap()),
        to: None,
        direction,
        limit: Some(limit),
    }
}

pub(crate) async fn messages(
    house: &House,
    name: &str,
    room: &RoomId,
    page: Page,
) -> Result<Value, Error> {
    let ask = MessagesAsk {
        reader: reader(name),
        room_id: room.to_owned(),
        page,
        filter: Some(json!({"types": ["m.room.message"]}).to_string()),
    };
    house.sync.messages(ask).await.map(|bytes| parsed(&bytes))
}

pub(crate) fn bodies(chunk: &Value) -> Vec<String> {
    let events = chunk.as_array().unwrap().iter();
    events
        .map(|event| event["content"]["body"].as_str().unwrap().to_owned())
        .collect()
}

/// All messages, page by page, until there is no next one.
pub(crate) async fn all(
    house: &House,
    name: &str,
    room: &RoomId,
    direction: Direction,
) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), None);
    for _ in 0..100 {
        let answer = messages(house, name, room, page(direction, from.as_ref(), 7))
            .await
            .unwrap();
        found.extend(bodies(&answer["chunk"]));
        match answer.get("end") {
            Some(end) => from = Some(end.clone()),
            None => return found,
        }
    }
    panic!("paging does not end");
}

#[tokio::test]
async fn paging_gives_everything_once_in_both_directions() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let mut expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    for body in &expected {
        house.say("bob", &room, body).await;
    }
    assert_eq!(
        all(&house, "ann", &room, Direction::Forward).await,
        expected
    );
    expected.reverse();
    assert_eq!(
        all(&house, "ann", &room, Direction::Backward).await,
        expected
    );
}

#[tokio::test]
async fn what_a_limited_sync_left_out_is_before_its_prev_batch() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    for n in 0..9 {
        house.say("bob", &room, &n.to_string()).await;
    }
    let options = Options {
        filter: Some(json!({"room": {"timeline": {"limit": 2}}})),
        ..Options::default()
    };
    let seen = house.sync_with("ann", None, options).await;
    let prev = &joined(&seen, &room)["timeline"]["prev_batch"];
    let before = messages(
        &house,
        "ann",
        &room,
        page(Direction::Backward, Some(prev), 3),
    )
    .await;
    assert_eq!(bodies(&before.unwrap()["chunk"]), ["6", "5", "4"]);
    // A sync token stands for the end of what it knows.
    house.say("bob", &room, "later").await;
    let next = &seen["next_batch"];
    let after = messages(
        &house,
        "ann",
        &room,
        page(Direction::Forward, Some(next), 3),
    )
    .await;
    assert_eq!(bodies(&after.unwrap()["chunk"]), ["later"]);
    let back = messages(
        &house,
        "ann",
        &room,
        page(Direction::Backward, Some(next), 1),
    )
    .await;
    assert_eq!(bodies(&back.unwrap()["chunk"]), ["8"]);
}

#[tokio::test]
async fn s13_who_left_sees_up_to_the_leave_and_strangers_nothing() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    house.say("ann", &room, "before").await;
    house.leave("bob", &room).await;
    house.say("ann", &room, "after").await;
    assert_eq!(
        all(&house, "bob", &room, Direction::Forward).await,
        ["before"]
    );
    assert_eq!(
        all(&house, "bob", &room, Direction::Backward).await,
        ["before"]
    );
    let stranger = messages(&house, "eve", &room, page(Direction::Backward, None, 5)).await;
    assert!(matches!(stranger, Err(Error::NotInRoom)));
    let nowhere = RoomId::parse("!nowhere:house").unwrap();
    let unknown = messages(&house, "eve", &nowhere, page(Direction::Backward, None, 5)).await;
    assert!(matches!(unknown, Err(Error::NotInRoom)));
    house
        .change("ann", &room, TargetChange::Invite, "eve")
        .await;
    let invited = messages(&house, "eve", &room, page(Direction::Backward, None, 5)).await;
    assert!(matches!(invited, Err(Error::NotInRoom)));
}

#[tokio::test]
async fn history_for_members_only_hides_what_was_before_the_join() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    let visibility = json!({"history_visibility": "joined"});
    house
        .put("ann", &room, "m.room.history_visibility", visibility)
        .await;
    house.say("ann", &room, "before").await;
    house.join("bob", &room).await;
    house.say("ann", &room, "after").await;
    assert_eq!(
        all(&house, "bob", &room, Direction::Forward).await,
        ["after"]
    );
    let open = json!({"history_visibility": "world_readable"});
    house
        .put("ann", &room, "m.room.history_visibility", open)
        .await;
    house.say("ann", &room, "open").await;
    assert_eq!(
        all(&house, "eve", &room, Direction::Forward).await,
        ["open"]
    );
}

#[tokio::test]
async fn s12_what_was_replaced_is_told_only_to_those_who_may_see_it() {
    let house = House::new();
    let room = house.public_room("ann").await;
    let visibility = |value| json!({ "history_visibility": value });
    let put = async |kind: &str, content| house.put("ann", &room, kind, content).await;
    put("m.room.history_visibility", visibility("joined")).await;
    put("m.room.topic", json!({"topic": "secret"})).await;
    put("m.room.history_visibility", visibility("shared")).await;
    put("m.room.topic", json!({"topic": "open"})).await;
    house.join("bob", &room).await;
    let topic = async |name| {
        let ask = MessagesAsk {
            reader: reader(name),
            room_id: room.clone(),
            page: page(Direction::Backward, None, 50),
            filter: Some(json!({"types": ["m.room.topic"]}).to_string()),
        };
        let answer = parsed(&house.sync.messages(ask).await.unwrap());
        let mut chunk = answer["chunk"].as_array().unwrap().clone();
        chunk.remove(0)
    };
    let to_ann = topic("ann").await;
    assert_eq!(to_ann["unsigned"]["prev_content"]["topic"], "secret");
    assert_eq!(to_ann["unsigned"]["prev_sender"], "@ann:house");
    let to_bob = topic("bob").await;
    assert_eq!(to_bob["content"]["topic"], "open");
    assert!(to_bob["unsigned"].get("prev_content").is_none(), "{to_bob}");
    assert!(to_bob["unsigned"].get("prev_sender").is_none(), "{to_bob}");
    for limit in [1, 2, 3] {
        let filter = json!({"room": {"timeline": {"limit": limit}}});
        let options = Options {
            filter: Some(filter),
            ..Options::default()
        };
        let told = house.sync_with("bob", None, options).await;
        assert!(!told.to_string().contains("secret"), "{told}");
    }
}

#[tokio::test]
async fn a_page_with_events_has_an_end_and_the_empty_one_after_it_has_none() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    house.say("ann", &room, "0").await;
    house.say("ann", &room, "1").await;
    for (direction, expected) in [
        (Direction::Backward, ["1", "0"]),
        (Direction::Forward, ["0", "1"]),
    ] {
        let whole = messages(&house, "ann", &room, page(direction, None, 50)).await;
        let whole = whole.unwrap();
        assert_eq!(bodies(&whole["chunk"]), expected);
        assert!(whole["end"].is_string(), "{whole}");
        let beyond = page(direction, Some(&whole["end"]), 50);
        let beyond = messages(&house, "ann", &room, beyond).await.unwrap();
        assert_eq!(beyond["chunk"], json!([]));
        assert!(beyond.get("end").is_none(), "{beyond}");
    }
    // What is said later is found from there.
    let newest = messages(&house, "ann", &room, page(Direction::Forward, None, 50)).await;
    house.say("ann", &room, "2").await;
    let later = page(Direction::Forward, Some(&newest.unwrap()["end"]), 50);
    let later = messages(&house, "ann", &room, later).await.unwrap();
    assert_eq!(bodies(&later["chunk"]), ["2"]);
}

#[tokio::test]
async fn context_shows_both_sides_of_an_event() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let mut events = Vec::new();
    for n in 0..9 {
        events.push(house.say("bob", &room, &n.to_string()).await);
    }
    let ask = ContextAsk {
        reader: reader("ann"),
        room_id: room.clone(),
        event_id: events[4].clone(),
        limit: Some(4),
        filter: Some(json!({"lazy_load_members": true}).to_string()),
    };
    let answer = parsed(&house.sync.context(ask.clone()).await.unwrap());
    assert_eq!(answer["event"]["event_id"], json!(events[4]));
    assert_eq!(bodies(&answer["events_before"]), ["3", "2"]);
    assert_eq!(bodies(&answer["events_after"]), ["5", "6"]);
    let before = messages(
        &house,
        "ann",
        &room,
        page(Direction::Backward, Some(&answer["start"]), 2),
    );
    assert_eq!(bodies(&before.await.unwrap()["chunk"]), ["1", "0"]);
    let after = messages(
        &house,
        "ann",
        &room,
        page(Direction::Forward, Some(&answer["end"]), 2),
    );
    assert_eq!(bodies(&after.await.unwrap()["chunk"]), ["7", "8"]);
    let stranger = ContextAsk {
        reader: reader("eve"),
        ..ask
    };
    assert!(matches!(
        house.sync.context(stranger).await,
        Err(Error::NotInRoom)
    ));
}

#[tokio::test]
async fn relations_and_threads_are_listed_in_pages() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let root = house.say("ann", &room, "root").await;
    for n in 0..5 {
        let content = json!({
            "msgtype": "m.text", "body": n.to_string(),
            "m.relates_to": {"rel_type": "m.thread", "event_id": root}
        });
        house.send("bob", &room, "m.room.message", content).await;
    }
    let reaction =
        json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": root, "key": "+"}});
    house.send("bob", &room, "m.reaction", reaction).await;
    let ask = RelationsAsk {
        reader: reader("ann"),
        room_id: room.clone(),
        event_id: root.clone(),
        rel_type: Some("m.thread".to_owned()),
        event_type: None,
        page: page(Direction::Backward, None, 3),
        depth: RelationDepth::Direct,
    };
    let first = parsed(&house.sync.relations(ask.clone()).await.unwrap());
    assert_eq!(bodies(&first["chunk"]), ["4", "3", "2"]);
    let second = RelationsAsk {
        page: page(Direction::Backward, Some(&first["next_batch"]), 3),
        ..ask.clone()
    };
    let second = parsed(&house.sync.relations(second).await.unwrap());
    assert_eq!(bodies(&second["chunk"]), ["1", "0"]);
    assert!(second.get("next_batch").is_none());
    let any = RelationsAsk {
        rel_type: None,
        page: page(Direction::Forward, None, 50),
        ..ask
    };
    let any = parsed(&house.sync.relations(any).await.unwrap());
    assert_eq!(any["chunk"].as_array().unwrap().len(), 6);

    let threads = |include| ThreadsAsk {
        reader: reader("ann"),
        room_id: room.clone(),
        include,
        from: None,
        limit: None,
    };
    let all = parsed(
        &house
            .sync
            .threads(threads(ThreadsIncluded::All))
            .await
            .unwrap(),
    );
    let summary = &all["chunk"][0]["unsigned"]["m.relations"]["m.thread"];
    assert_eq!(summary["count"], 5);
    assert_eq!(summary["latest_event"]["content"]["body"], "4");
    assert_eq!(summary["current_user_participated"], true);
}

#[tokio::test]
async fn a_time_leads_to_the_nearest_event() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    house.say("ann", &room, "x").await;
    let at = |ts, direction| TimestampAsk {
        reader: reader("ann"),
        room_id: room.clone(),
        ts,
        direction,
    };
    let forward = house
        .sync
        .timestamp_to_event(at(0, Direction::Forward))
        .await
        .unwrap();
    assert!(parsed(&forward)["event_id"].is_string());
    let beyond = house
        .sync
        .timestamp_to_event(at(0, Direction::Backward))
        .await;
    assert!(matches!(beyond, Err(Error::NoSuchEvent)));
    let late = at(u64::MAX, Direction::Backward);
    let late = parsed(&house.sync.timestamp_to_event(late).await.unwrap());
    assert_eq!(late["origin_server_ts"], 1_700_000_000_000_u64);
}

#[tokio::test]
async fn of_several_events_of_one_time_the_nearest_in_the_order_of_events_is_found() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    let moment = 1_700_000_005_000_u64;
    for step in 0..3 {
        house.clock.advance(Duration::from_secs(5));
        if step == 0 {
            for text in ["first", "second", "third"] {
                house.say("ann", &room, text).await;
            }
        } else {
            house.say("ann", &room, "later").await;
        }
    }
    for (ts, direction, expected) in [
        (moment, Direction::Forward, "first"),
        (moment, Direction::Backward, "third"),
        (moment + 1, Direction::Backward, "third"),
        (moment - 1, Direction::Forward, "first"),
        (moment + 1, Direction::Forward, "later"),
    ] {
        let ask = TimestampAsk {
            reader: reader("ann"),
            room_id: room.clone(),
            ts,
            direction,
        };
        let found = parsed(&house.sync.timestamp_to_event(ask).await.unwrap());
        let whole = Options {
            filter: Some(json!({"room": {"timeline": {"limit": 50}}})),
            ..Options::default()
        };
        let seen = house.sync_with("ann", None, whole).await;
        let events = joined(&seen, &room)["timeline"]["events"]
            .as_array()
            .unwrap()
            .clone();
        let event = events
            .iter()
            .find(|event| event["event_id"] == found["event_id"]);
        assert_eq!(
            event.unwrap()["content"]["body"],
            expected,
            "{ts} {direction:?}"
        );
    }
}
