//! What a server learns of rooms in which it is not: nothing (S12).

use hearth_rooms::{InitialState, NewRoom, Preset};
use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use crate::house::{Answer, House, json_of, raw, user};

const BOB: &str = "@bob:far";

/// All reads of a room, by what they ask for.
fn reads(room: &RoomId, event: &str) -> Vec<(String, Value)> {
    let missing = json!({ "earliest_events": [event], "latest_events": [event], "limit": 10 });
    vec![
        (format!("GET v1/state/{room}?event_id={event}"), Value::Null),
        (
            format!("GET v1/state_ids/{room}?event_id={event}"),
            Value::Null,
        ),
        (format!("GET v1/event_auth/{room}/{event}"), Value::Null),
        (
            format!("GET v1/backfill/{room}?v={event}&limit=10"),
            Value::Null,
        ),
        (format!("POST v1/get_missing_events/{room}"), missing),
        (
            format!("GET v1/timestamp_to_event/{room}?ts=0&dir=f"),
            Value::Null,
        ),
        (format!("GET v1/event/{event}"), Value::Null),
    ]
}

async fn all(house: &House, origin: &str, room: &RoomId, event: &str) -> Vec<(String, Answer)> {
    let mut answers = Vec::new();
    for (line, body) in reads(room, event) {
        let answer = house.ask(origin, &line, &body).await;
        answers.push((line, answer));
    }
    answers
}

fn nowhere() -> OwnedRoomId {
    RoomId::parse("!nowhere:house").unwrap()
}

/// All reads of a room by the server `far` are refused, as they are of one that is nowhere.
async fn reads_nothing(house: &House, room: &RoomId, event: &str) {
    let there = all(house, "far", room, event).await;
    let nothing = all(house, "far", &nowhere(), "$nothing").await;
    for ((line, there), (_, nothing)) in there.into_iter().zip(nothing) {
        assert_ne!(there.status, 200, "{line}");
        assert_eq!(there, nothing, "{line}");
    }
}

#[tokio::test]
async fn s12_reads_of_a_room_one_is_not_in_look_as_if_there_were_none() {
    let house = House::new();
    let room = house.room(NewRoom::default()).await;
    let event = house.say(&room, "secret").await;
    reads_nothing(&house, &room, event.as_str()).await;
    // Nor is anything told of one through the trees of spaces, or by templates.
    for path in [
        "v1/hierarchy/{room}",
        "v1/make_join/{room}/@bob:far?ver=11",
        "v1/make_knock/{room}/@bob:far?ver=11",
        "v1/make_leave/{room}/@bob:far",
    ] {
        let ask = |room: &RoomId| path.replace("{room}", room.as_str());
        let there = house.get("far", &ask(&room)).await;
        let nothing = house.get("far", &ask(&nowhere())).await;
        assert!(there.status >= 400, "{path}");
        assert_eq!(there.body.get("event"), None, "{path}");
        assert!(nothing.status >= 400, "{path}");
    }
}

#[tokio::test]
async fn a_server_in_the_room_is_answered() {
    let house = House::new();
    let room = house.open_room().await;
    let event = house.say(&room, "hello").await;
    house.far_join(&room, &user(BOB)).await;
    for (line, answer) in all(&house, "far", &room, event.as_str()).await {
        assert_eq!(answer.status, 200, "{line}: {}", answer.body);
    }
    let state = house
        .get("far", &format!("v1/state/{room}?event_id={event}"))
        .await
        .ok();
    assert!(state["pdus"].as_array().unwrap().len() > 4);
    let found = house.get("far", &format!("v1/event/{event}")).await.ok();
    assert_eq!(found["pdus"][0]["content"]["body"], "hello");
    // Another one is still outside.
    for (line, answer) in all(&house, "further", &room, event.as_str()).await {
        assert_ne!(answer.status, 200, "{line}");
    }
}

#[tokio::test]
async fn s12_a_server_that_has_left_reads_no_more() {
    let house = House::new();
    let room = house.open_room().await;
    let event = house.say(&room, "hello").await;
    let bob = user(BOB);
    house.far_join(&room, &bob).await;
    let template = house
        .get("far", &format!("v1/make_leave/{room}/{bob}"))
        .await;
    let leave = house.member(&template.ok(), &bob, "leave");
    let line = format!("PUT v2/send_leave/{room}/{}", leave.event_id());
    house.ask("far", &line, &json_of(&leave)).await.ok();
    reads_nothing(&house, &room, event.as_str()).await;
}

#[tokio::test]
async fn a_server_that_the_access_list_denies_is_outside() {
    let house = House::new();
    let room = house.open_room().await;
    let event = house.say(&room, "hello").await;
    let bob = user(BOB);
    house.far_join(&room, &bob).await;
    let before = house
        .get("far", &format!("v1/make_leave/{room}/{bob}"))
        .await
        .ok();
    let acl = json!({ "allow": ["*"], "deny": ["far"], "allow_ip_literals": false });
    house.put(&room, ("m.room.server_acl", ""), acl).await;
    reads_nothing(&house, &room, event.as_str()).await;
    for path in [
        "make_join/{room}/@eve:far?ver=11",
        "make_leave/{room}/@bob:far",
        "hierarchy/{room}",
    ] {
        let path = format!("v1/{}", path.replace("{room}", room.as_str()));
        let answer = house.get("far", &path).await;
        assert!(matches!(answer.status, 403 | 404), "{path}: {answer:?}");
    }
    // A template of before does not help.
    let leave = house.member(&before, &bob, "leave");
    let line = format!("PUT v2/send_leave/{room}/{}", leave.event_id());
    let answer = house.ask("far", &line, &json_of(&leave)).await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    // Its events are not taken, and told so one by one.
    let txn = json!({ "origin": "far", "origin_server_ts": 1, "pdus": [json_of(&leave)] });
    let answer = house.ask("far", "PUT v1/send/1", &txn).await.ok();
    let refusal = &answer["pdus"][leave.event_id().as_str()]["error"];
    assert!(refusal.as_str().unwrap().contains("ACL"), "{answer}");
    // Nor is its typing shown.
    let edu = json!({ "edu_type": "m.typing",
        "content": { "room_id": room, "user_id": bob, "typing": true } });
    let txn = json!({ "origin": "far", "origin_server_ts": 1, "pdus": [], "edus": [edu] });
    let version = hearth_ports::TypingSource::version(house.rooms.typing());
    house.ask("far", "PUT v1/send/2", &txn).await.ok();
    assert_eq!(
        hearth_ports::TypingSource::version(house.rooms.typing()),
        version
    );
}

#[tokio::test]
async fn s12_what_was_said_before_a_server_came_is_hidden_from_it_where_the_room_says_so() {
    let house = House::new();
    let visibility = InitialState {
        kind: "m.room.history_visibility".to_owned(),
        state_key: String::new(),
        content: raw(&json!({ "history_visibility": "joined" })),
    };
    let room = NewRoom {
        preset: Some(Preset::PublicChat),
        initial_state: vec![visibility],
        ..NewRoom::default()
    };
    let room = house.room(room).await;
    let before = house.say(&room, "before").await;
    house.far_join(&room, &user(BOB)).await;
    let after = house.say(&room, "after").await;
    let hidden = house.get("far", &format!("v1/event/{before}")).await;
    assert_eq!(hidden.error(), (404, "M_NOT_FOUND"));
    house.get("far", &format!("v1/event/{after}")).await.ok();
    let path = format!("v1/backfill/{room}?v={after}&limit=50");
    let page = house.get("far", &path).await.ok();
    let bodies: Vec<&Value> = page["pdus"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|pdu| pdu["type"] == "m.room.message")
        .map(|pdu| &pdu["content"])
        .collect();
    assert_eq!(bodies.len(), 2, "{page}");
    assert_eq!(bodies[0]["body"], "after");
    assert_eq!(bodies[1], &json!({}), "redacted, since the graph needs it");
}
