//! Whatever is stored, sync and paging go on over it.

use bytes::Bytes;
use hearth_data::row::Json;
use hearth_data::tables::{ACCOUNT_DATA, STRIPPED_STATE, TIMELINE};
use hearth_data::{Place, accounts, rooms, timeline};
use hearth_rooms::TargetChange;
use hearth_store::{Backend, Batch};
use hearth_sync::Sync;
use hearth_sync::ask::{ContextAsk, Direction, MessagesAsk, Page, ThreadsAsk, ThreadsIncluded};
use ruma::{EventId, RoomId};
use serde_json::{Value, json};

use crate::house::{House, Options, ask, bodies, joined, reader, user};

/// Contents that clients can store as events today.
fn strange_contents(target: &EventId) -> Vec<Value> {
    let mut nested = json!("deep");
    for _ in 0..50 {
        nested = json!({ "a": [nested] });
    }
    vec![
        json!({}),
        nested,
        json!({"body": 7, "msgtype": []}),
        json!({"body": "\u{0}\u{202e}\\\"<script>", "msgtype": "m.text"}),
        json!({"m.relates_to": null}),
        json!({"m.relates_to": {"rel_type": 1, "event_id": target}}),
        json!({"m.relates_to": {"rel_type": "m.replace", "event_id": "no id"}}),
        json!({"m.relates_to": {"rel_type": "m.replace", "event_id": target}, "m.new_content": 1}),
        json!({"m.relates_to": {"rel_type": "m.reference", "event_id": "$unknown"}}),
        json!({"m.mentions": {"user_ids": "@ann:house", "room": "yes"}}),
        json!({"m.mentions": [[]], "url": {"url": {}}}),
    ]
}

/// States with contents that make no sense.
fn strange_states() -> [(&'static str, Value); 7] {
    [
        ("m.room.name", json!({"name": {"name": 1}})),
        ("m.room.topic", json!({"topic": null})),
        ("m.room.canonical_alias", json!({"alt_aliases": []})),
        (
            "m.room.history_visibility",
            json!({"history_visibility": 3}),
        ),
        (
            "m.room.history_visibility",
            json!({"history_visibility": "🚪"}),
        ),
        ("m.room.encryption", json!({"algorithm": []})),
        ("m.room.tombstone", json!({"replacement_room": 4})),
    ]
}

/// Replaces the JSON of an event by other bytes, as if the disk, or an earlier version, had written them.
async fn spoil(house: &House, room: &RoomId, event: &EventId, json: &'static [u8]) {
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    let found = timeline::find(&*snapshot, event).await.expect("a read");
    let found = found.expect("an event");
    let row = timeline::event(&*snapshot, found.room, found.event).await;
    let (place, mut row) = row.expect("a read").expect("a row");
    row.json = Bytes::from_static(json);
    let mut batch = Batch::new();
    let place: Place = place.expect("a place");
    TIMELINE.put(&mut batch, &(found.room, place), &row);
    house.store.commit(batch).await.expect("a commit");
    let _ = room;
}

async fn page(sync: &Sync, name: &str, room: &RoomId, direction: Direction) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), None);
    for _ in 0..200 {
        let page = MessagesAsk {
            reader: reader(name),
            room_id: room.to_owned(),
            page: Page {
                from,
                to: None,
                direction,
                limit: Some(3),
            },
            filter: None,
        };
        let answer = sync.messages(page).await.expect("a page");
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        let chunk = answer["chunk"].as_array().expect("a chunk");
        found.extend(
            chunk
                .iter()
                .filter_map(|event| event["content"]["body"].as_str().map(str::to_owned)),
        );
        match answer["end"].as_str() {
            Some(end) => from = Some(end.parse().expect("a token")),
            None => return found,
        }
    }
    panic!("paging does not end");
}

/// Everything that can be asked is answered, goes on, and shows what is sound.
async fn check(house: &House, room: &RoomId, before: &Value) {
    let fresh = house.fresh_sync();
    let wide = || Options {
        filter: Some(json!({"room": {"timeline": {"limit": 100}, "include_leave": true}})),
        ..Options::default()
    };
    for (sync, since) in [
        (&house.sync, None),
        (&fresh, None),
        (&house.sync, Some(before)),
        (&fresh, Some(before)),
    ] {
        let seen = ask(sync, "ann", since, wide()).await;
        let bodies = bodies(joined(&seen, room));
        assert!(
            bodies.contains(&"sound before") && bodies.contains(&"sound after"),
            "{bodies:?}"
        );
        let next = ask(sync, "ann", Some(&seen), wide()).await;
        assert!(next.get("rooms").is_none(), "{next}");
    }
    for direction in [Direction::Forward, Direction::Backward] {
        let bodies = page(&fresh, "ann", room, direction).await;
        for sound in ["sound before", "sound after"] {
            assert!(bodies.iter().any(|body| body == sound), "{bodies:?}");
        }
    }
    let threads = ThreadsAsk {
        reader: reader("ann"),
        room_id: room.to_owned(),
        include: ThreadsIncluded::All,
        from: None,
        limit: None,
    };
    fresh.threads(threads).await.expect("threads");
}

#[tokio::test]
async fn s14_what_clients_can_store_stops_neither_sync_nor_paging() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let before = house.initial("ann").await;
    let target = house.say("bob", &room, "sound before").await;
    for content in strange_contents(&target) {
        for kind in [
            "m.room.message",
            "m.room.encrypted",
            "m.reaction",
            "org.example.*",
        ] {
            // Some are refused, which is as well.
            let _ = house.try_send("bob", &room, kind, &content).await;
        }
    }
    for (kind, content) in strange_states() {
        let _ = house.try_put("ann", &room, (kind, ""), &content).await;
        let _ = house
            .try_put("ann", &room, (kind, "strange key"), &content)
            .await;
    }
    let member = json!({"membership": "join", "displayname": 5, "avatar_url": [], "reason": {}});
    let _ = house
        .try_put("bob", &room, ("m.room.member", "@bob:house"), &member)
        .await;
    house.say("bob", &room, "sound after").await;
    check(&house, &room, &before).await;
    let context = ContextAsk {
        reader: reader("ann"),
        room_id: room.clone(),
        event_id: target,
        limit: Some(50),
        filter: None,
    };
    house.sync.context(context).await.expect("a context");
}

#[tokio::test]
async fn s14_events_that_cannot_be_read_are_left_out() {
    let spoilt: [&'static [u8]; 6] = [b"", b"{", b"null", b"{}", b"\xff\xfe{}", b"[1,2,3]"];
    for json in spoilt {
        let house = House::new();
        let room = house.room_of(&["ann", "bob"]).await;
        let before = house.initial("ann").await;
        let target = house.say("bob", &room, "sound before").await;
        let relation = json!({"rel_type": "m.thread", "event_id": target});
        let reply = json!({"msgtype": "m.text", "body": "x", "m.relates_to": relation});
        let name = json!({"name": "n"});
        let topic = json!({"topic": "t"});
        let events = [
            house.say("bob", &room, "spoilt").await,
            house.send("bob", &room, "m.room.message", reply).await,
            house.put("ann", &room, "m.room.name", name).await,
            house.put("ann", &room, "m.room.topic", topic).await,
        ];
        // What replaces, or redacts, something spoilt.
        house
            .put("ann", &room, "m.room.topic", json!({"topic": "t2"}))
            .await;
        house.say("bob", &room, "sound after").await;
        for event in events {
            spoil(&house, &room, &event, json).await;
        }
        let mut house = house;
        house.sync = house.fresh_sync();
        check(&house, &room, &before).await;
    }
}

#[tokio::test]
async fn s14_account_data_and_stripped_state_that_are_no_json_are_left_out() {
    for garbage in ["", "{", "nul", "[]", "1", "\"", "{}}"] {
        let house = House::new();
        let room = house.room_of(&["ann", "bob"]).await;
        let before = house.initial("ann").await;
        house.say("bob", &room, "sound before").await;
        let other = house.public_room("bob").await;
        house
            .change("bob", &other, TargetChange::Invite, "ann")
            .await;
        for kind in [
            "org.example",
            "m.ignored_user_list",
            "m.push_rules",
            "m.fully_read",
        ] {
            house.set_data("ann", "", kind, json!({})).await;
            house.set_data("ann", room.as_str(), kind, json!({})).await;
        }
        house.set_push_rules("ann", &json!({})).await;
        let snapshot = house.store.snapshot().await.expect("a snapshot");
        let number = rooms::number(&*snapshot, &other)
            .await
            .expect("a read")
            .expect("a room");
        let mut batch = Batch::new();
        let stripped = Json::from_text(garbage);
        STRIPPED_STATE.put(&mut batch, &(user("ann").to_string(), number), &stripped);
        for datum in accounts::account_data::all(&*snapshot, "@ann:house")
            .await
            .expect("data")
        {
            let key = (
                "@ann:house".to_owned(),
                datum.room.unwrap_or_default(),
                datum.kind,
            );
            let row = accounts::account_data::account_data(&*snapshot, &key).await;
            let mut row = row.expect("a read").expect("a row");
            row.content = Json::from_text(garbage);
            ACCOUNT_DATA.put(&mut batch, &key, &row);
        }
        house.store.commit(batch).await.expect("a commit");
        house.say("bob", &room, "sound after").await;
        let mut house = house;
        house.sync = house.fresh_sync();
        check(&house, &room, &before).await;
        let seen = house.initial("ann").await;
        let invite = &seen["rooms"]["invite"][other.as_str()]["invite_state"]["events"];
        assert!(!invite.as_array().expect("stripped state").is_empty());
        for events in [
            &seen["account_data"]["events"],
            &joined(&seen, &room)["account_data"]["events"],
        ] {
            let events = events.as_array().into_iter().flatten();
            for event in events {
                assert!(event["content"].is_object(), "{garbage}: {event}");
            }
        }
    }
}
