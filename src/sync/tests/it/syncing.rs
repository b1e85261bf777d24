//! The sections of a sync.

use hearth_rooms::{NewRoom, Preset, TargetChange};
use serde_json::{Value, json};

use crate::house::{House, Options, bodies, ids, joined, left, user};

fn with_filter(filter: Value) -> Options {
    Options {
        filter: Some(filter),
        ..Options::default()
    }
}

fn state_pairs(room: &Value, field: &str) -> Vec<String> {
    let events = room[field]["events"].as_array().unwrap();
    let mut pairs: Vec<String> = events
        .iter()
        .map(|event| {
            let text = |key: &str| event[key].as_str().unwrap().to_owned();
            format!("{} {}", text("type"), text("state_key"))
        })
        .collect();
    pairs.sort();
    pairs
}

#[tokio::test]
async fn a_sync_without_news_says_nothing_and_keys_are_always_counted() {
    let house = House::new();
    house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    assert_eq!(
        first["device_one_time_keys_count"],
        json!({ "signed_curve25519": 0 })
    );
    let next = house.since("ann", &first).await;
    assert!(next.get("rooms").is_none(), "{next}");
    assert_eq!(
        next["device_one_time_keys_count"],
        json!({ "signed_curve25519": 0 })
    );
    assert_eq!(next["device_unused_fallback_key_types"], json!([]));
}

#[tokio::test]
async fn an_incremental_sync_tells_what_came_and_its_sender_her_transaction_id() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let (ann, bob) = (house.initial("ann").await, house.initial("bob").await);
    house.say("bob", &room, "hello").await;
    let seen = house.since("ann", &ann).await;
    assert_eq!(bodies(joined(&seen, &room)), ["hello"]);
    assert_eq!(joined(&seen, &room)["timeline"]["limited"], json!(false));
    assert_eq!(joined(&seen, &room)["state"]["events"], json!([]));
    let event = &joined(&seen, &room)["timeline"]["events"][0];
    assert!(event.get("room_id").is_none());
    assert_eq!(event["unsigned"].get("transaction_id"), None);
    assert_eq!(event["unsigned"]["membership"], "join");
    let own = house.since("bob", &bob).await;
    assert!(joined(&own, &room)["timeline"]["events"][0]["unsigned"]["transaction_id"].is_string());
}

#[tokio::test]
async fn a_gap_is_limited_and_its_state_comes_with_the_start_of_the_timeline() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    house
        .put("ann", &room, "m.room.topic", json!({"topic": "old"}))
        .await;
    house
        .put("ann", &room, "m.room.topic", json!({"topic": "new"}))
        .await;
    for n in 0..5 {
        house.say("bob", &room, &n.to_string()).await;
    }
    house
        .put("ann", &room, "m.room.name", json!({"name": "n"}))
        .await;
    house.say("bob", &room, "last").await;
    let filter = with_filter(json!({"room": {"timeline": {"limit": 3}}}));
    let seen = house.sync_with("ann", Some(&first), filter.clone()).await;
    let section = joined(&seen, &room);
    assert_eq!(section["timeline"]["limited"], json!(true));
    assert_eq!(bodies(section), ["4", "last"]);
    assert_eq!(state_pairs(section, "state"), ["m.room.topic "]);
    assert_eq!(section["state"]["events"][0]["content"]["topic"], "new");

    let after = Options {
        state_after: true,
        ..filter
    };
    let seen = house.sync_with("ann", Some(&first), after).await;
    let section = joined(&seen, &room);
    assert!(section.get("state").is_none());
    assert_eq!(
        state_pairs(section, "state_after"),
        ["m.room.name ", "m.room.topic "]
    );
}

#[tokio::test]
async fn state_that_the_filter_keeps_out_of_the_timeline_is_told_as_state() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    house
        .put("ann", &room, "m.room.topic", json!({"topic": "t"}))
        .await;
    house.say("bob", &room, "hello").await;
    let filter = with_filter(json!({"room": {"timeline": {"types": ["m.room.message"]}}}));
    let seen = house.sync_with("ann", Some(&first), filter).await;
    assert_eq!(bodies(joined(&seen, &room)), ["hello"]);
    assert_eq!(
        state_pairs(joined(&seen, &room), "state"),
        ["m.room.topic "]
    );
}

#[tokio::test]
async fn a_state_event_that_is_not_the_state_is_shown_and_then_put_right() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    let levels = json!({"users_default": 50});
    house.put("ann", &room, "m.room.power_levels", levels).await;
    house.join("bob", &room).await;
    let first = house.initial("ann").await;
    house
        .put("ann", &room, "m.room.topic", json!({"topic": "shown"}))
        .await;
    house
        .put("bob", &room, "m.room.topic", json!({"topic": "true"}))
        .await;
    let bob = user("bob");
    let filter = with_filter(json!({"room": {"timeline": {"not_senders": [bob]}}}));
    for since in [Some(&first), None] {
        let shown = house.sync_with("ann", since, filter.clone()).await;
        let section = joined(&shown, &room);
        let events = section["timeline"]["events"].as_array().unwrap();
        assert_eq!(events.last().unwrap()["content"]["topic"], "shown");
        let next = house.sync_with("ann", Some(&shown), filter.clone()).await;
        let section = joined(&next, &room);
        assert_eq!(state_pairs(section, "state"), ["m.room.topic "]);
        assert_eq!(section["state"]["events"][0]["content"]["topic"], "true");
        assert_eq!(section["timeline"]["limited"], json!(false));
        let quiet = house.sync_with("ann", Some(&next), filter.clone()).await;
        assert!(quiet.get("rooms").is_none(), "{quiet}");
    }
}

#[tokio::test]
async fn a_state_event_that_nothing_would_put_right_is_left_to_paging() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    let levels = json!({"users_default": 50});
    house.put("ann", &room, "m.room.power_levels", levels).await;
    house.join("bob", &room).await;
    let first = house.initial("ann").await;
    for (name, topic) in [("ann", "old"), ("bob", "new")] {
        let content = json!({ "topic": topic });
        house.put(name, &room, "m.room.topic", content).await;
    }
    house.say("ann", &room, "hello").await;
    let bob = user("bob");
    let filter = with_filter(json!({"room": {
        "timeline": {"not_senders": [bob]},
        "state": {"not_types": ["m.room.topic"]},
    }}));
    let seen = house.sync_with("ann", Some(&first), filter).await;
    let section = joined(&seen, &room);
    assert_eq!(bodies(section), ["hello"]);
    assert_eq!(ids(section).len(), 1);
    assert_eq!(section["timeline"]["limited"], json!(true));
}

#[tokio::test]
async fn a_room_left_and_joined_again_in_one_gap_comes_with_its_full_state() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("bob").await;
    house.leave("bob", &room).await;
    house.say("ann", &room, "unseen for now").await;
    house.join("bob", &room).await;
    let seen = house.since("bob", &first).await;
    let section = joined(&seen, &room);
    assert!(
        state_pairs(section, "state").contains(&"m.room.create ".to_owned())
            || section["timeline"]["events"][0]["type"] == "m.room.create"
    );
    assert!(left(&seen, &room).is_null());
    let next = house.since("bob", &seen).await;
    assert!(next.get("rooms").is_none(), "{next}");
}

#[tokio::test]
async fn a_room_that_was_left_is_told_once_and_nothing_after_the_leave() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("bob").await;
    house.say("ann", &room, "before").await;
    house.change("ann", &room, TargetChange::Kick, "bob").await;
    house.say("ann", &room, "after").await;
    house
        .put("ann", &room, "m.room.topic", json!({"topic": "secret"}))
        .await;
    assert!(house.initial("bob").await.get("rooms").is_none());
    house.change("ann", &room, TargetChange::Ban, "bob").await;
    let seen = house.since("bob", &first).await;
    assert_eq!(bodies(left(&seen, &room)), ["before"]);
    assert!(!seen.to_string().contains("secret"), "{seen}");
    let again = house.since("bob", &seen).await;
    assert!(again.get("rooms").is_none(), "{again}");
    let banned = house.initial("bob").await;
    assert!(left(&banned, &room).is_object(), "{banned}");
    assert!(!banned.to_string().contains("secret"), "{banned}");
    let filter = with_filter(json!({"room": {"include_leave": true}}));
    let with_left = house.sync_with("bob", None, filter.clone()).await;
    assert!(left(&with_left, &room).is_object());
    assert!(!with_left.to_string().contains("secret"), "{with_left}");
    house.rooms.forget(&user("bob"), &room).await.unwrap();
    let forgotten = house.sync_with("bob", None, filter).await;
    assert!(forgotten.get("rooms").is_none(), "{forgotten}");
}

#[tokio::test]
async fn a_ban_is_told_to_a_new_client_until_the_room_is_forgotten() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("bob").await;
    house.say("ann", &room, "before").await;
    house.change("ann", &room, TargetChange::Ban, "bob").await;
    house.say("ann", &room, "after").await;
    let seen = house.since("bob", &first).await;
    assert_eq!(bodies(left(&seen, &room)), ["before"]);
    let initial = house.initial("bob").await;
    assert_eq!(bodies(left(&initial, &room)), ["before"]);
    house.rooms.forget(&user("bob"), &room).await.unwrap();
    let forgotten = house.initial("bob").await;
    assert!(forgotten.get("rooms").is_none(), "{forgotten}");
}

#[tokio::test]
async fn a_room_left_and_forgotten_in_one_gap_is_told_as_left() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("bob").await;
    house.leave("bob", &room).await;
    house.rooms.forget(&user("bob"), &room).await.unwrap();
    let seen = house.since("bob", &first).await;
    assert!(left(&seen, &room).is_object(), "{seen}");
    let again = house.since("bob", &seen).await;
    assert!(again.get("rooms").is_none(), "{again}");
}

#[tokio::test]
async fn a_newly_joined_room_has_a_gap_before_it() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    house.say("ann", &room, "long ago").await;
    let first = house.initial("bob").await;
    house.join("bob", &room).await;
    let seen = house.since("bob", &first).await;
    assert_eq!(joined(&seen, &room)["timeline"]["limited"], json!(true));
}

#[tokio::test]
async fn an_invite_shows_stripped_state_and_its_rejection_only_itself() {
    let house = House::new();
    let room = house
        .room(
            "ann",
            NewRoom {
                preset: Some(Preset::PrivateChat),
                name: Some("secret plans".to_owned()),
                ..NewRoom::default()
            },
        )
        .await;
    house.say("ann", &room, "private words").await;
    let first = house.initial("bob").await;
    house
        .change("ann", &room, TargetChange::Invite, "bob")
        .await;
    let seen = house.since("bob", &first).await;
    let events = &seen["rooms"]["invite"][room.as_str()]["invite_state"]["events"];
    let mut events = events.as_array().unwrap().iter();
    let member = events.find(|event| event["state_key"] == "@bob:house");
    assert_eq!(member.unwrap()["content"]["membership"], "invite");
    let initial = house.initial("bob").await;
    assert!(initial["rooms"]["invite"][room.as_str()].is_object());
    house.leave("bob", &room).await;
    let rejected = house.since("bob", &seen).await;
    let section = left(&rejected, &room);
    assert_eq!(section["timeline"]["events"].as_array().unwrap().len(), 1);
    assert_eq!(
        section["timeline"]["events"][0]["content"]["membership"],
        "leave"
    );
    assert!(!rejected.to_string().contains("private words"));
    assert_eq!(section["state"]["events"], json!([]));
}

#[tokio::test]
async fn members_are_loaded_lazily_and_each_once() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat", "dan"]).await;
    for name in ["bob", "cat", "bob"] {
        house.say(name, &room, "x").await;
    }
    let filter = |redundant: bool| {
        with_filter(json!({"room": {
            "state": {"lazy_load_members": true, "include_redundant_members": redundant},
            "timeline": {"limit": 1}
        }}))
    };
    let members = |room: &Value| {
        let pairs = state_pairs(room, "state").into_iter();
        pairs
            .filter_map(|pair| pair.strip_prefix("m.room.member ").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    house
        .put(
            "ann",
            &room,
            "m.room.name",
            json!({"name": "named, so no heroes"}),
        )
        .await;
    house.say("bob", &room, "x2").await;
    let first = house.sync_with("ann", None, filter(false)).await;
    assert_eq!(members(joined(&first, &room)), ["@ann:house", "@bob:house"]);
    house.say("bob", &room, "y").await;
    let second = house.sync_with("ann", Some(&first), filter(false)).await;
    assert!(members(joined(&second, &room)).is_empty(), "{second}");
    house.say("cat", &room, "z").await;
    let third = house.sync_with("ann", Some(&second), filter(false)).await;
    assert_eq!(members(joined(&third, &room)), ["@cat:house"]);
    // The answer may have been lost: who asks again with the same token gets it again.
    let again = house.sync_with("ann", Some(&second), filter(false)).await;
    assert_eq!(members(joined(&again, &room)), ["@cat:house"]);
    house.say("cat", &room, "z2").await;
    let redundant = house.sync_with("ann", Some(&third), filter(true)).await;
    assert_eq!(members(joined(&redundant, &room)), ["@cat:house"]);
}

#[tokio::test]
async fn a_nameless_room_has_heroes_and_counts() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    house
        .change("ann", &room, TargetChange::Invite, "dan")
        .await;
    let summary = joined(&house.initial("ann").await, &room)["summary"].clone();
    assert_eq!(
        summary["m.heroes"],
        json!(["@bob:house", "@cat:house", "@dan:house"])
    );
    assert_eq!(summary["m.joined_member_count"], 3);
    assert_eq!(summary["m.invited_member_count"], 1);
    let first = house.initial("ann").await;
    house
        .put("ann", &room, "m.room.name", json!({"name": "n"}))
        .await;
    let named = house.since("ann", &first).await;
    assert!(joined(&named, &room)["summary"].get("m.heroes").is_none());
}

#[tokio::test]
async fn messages_of_ignored_users_are_withheld_but_not_their_state() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let list = json!({"ignored_users": {"@bob:house": {}}});
    house.set_data("ann", "", "m.ignored_user_list", list).await;
    let first = house.initial("ann").await;
    house.say("bob", &room, "ignored").await;
    house.leave("bob", &room).await;
    let seen = house.since("ann", &first).await;
    assert!(bodies(joined(&seen, &room)).is_empty());
    assert_eq!(
        joined(&seen, &room)["timeline"]["events"][0]["type"],
        "m.room.member"
    );
}

#[tokio::test]
async fn account_data_comes_with_its_room_or_globally() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    let first = house.initial("ann").await;
    house
        .set_data("ann", "", "org.example", json!({"n": 1}))
        .await;
    house
        .set_data("ann", room.as_str(), "m.tag", json!({"tags": {}}))
        .await;
    let seen = house.since("ann", &first).await;
    let global = json!([{"type": "org.example", "content": {"n": 1}}]);
    assert_eq!(seen["account_data"]["events"], global);
    let tags = json!([{"type": "m.tag", "content": {"tags": {}}}]);
    assert_eq!(joined(&seen, &room)["account_data"]["events"], tags);
    let filter = with_filter(json!({"account_data": {"not_types": ["*"]}, "room": {"rooms": []}}));
    let nothing = house.sync_with("ann", Some(&first), filter).await;
    assert!(nothing.get("account_data").is_none() && nothing.get("rooms").is_none());
}

#[tokio::test]
async fn private_receipts_reach_only_their_user_and_no_room_id_is_in_them() {
    use hearth_rooms::ephemeral::{ReceiptKind, ReceiptThread};
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let event = house.say("bob", &room, "x").await;
    let (ann, bob) = (house.initial("ann").await, house.initial("bob").await);
    let private = (ReceiptKind::ReadPrivate, ReceiptThread::Unthreaded, &*event);
    house.receipt("ann", &room, private).await;
    let mine = house.since("ann", &ann).await;
    let ephemeral = &joined(&mine, &room)["ephemeral"]["events"][0];
    assert!(ephemeral["content"][event.as_str()]["m.read.private"]["@ann:house"].is_object());
    assert!(ephemeral.get("room_id").is_none());
    let theirs = house.since("bob", &bob).await;
    assert!(!theirs.to_string().contains("@ann:house"), "{theirs}");
    house.read("bob", &room, &event).await;
    let public = house.since("ann", &mine).await;
    assert!(public.to_string().contains("m.read"));
}

#[tokio::test]
async fn a_redacted_event_says_why_and_an_edit_is_bundled() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    let gone = house.say("bob", &room, "to be redacted").await;
    let edited = house.say("bob", &room, "v1").await;
    house.redact("bob", &room, &gone).await;
    let edit = json!({
        "msgtype": "m.text", "body": "* v2",
        "m.new_content": {"msgtype": "m.text", "body": "v2"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": edited}
    });
    house.send("bob", &room, "m.room.message", edit).await;
    let seen = house.since("ann", &first).await;
    let events = joined(&seen, &room)["timeline"]["events"]
        .as_array()
        .unwrap();
    assert_eq!(ids(joined(&seen, &room)).len(), 4);
    assert_eq!(events[0]["content"], json!({}));
    assert_eq!(
        events[0]["unsigned"]["redacted_because"]["type"],
        "m.room.redaction"
    );
    assert_eq!(events[1]["content"]["body"], "v1");
    let bundled = &events[1]["unsigned"]["m.relations"]["m.replace"];
    assert_eq!(bundled["content"]["m.new_content"]["body"], "v2");
}

#[tokio::test]
async fn full_state_gives_all_rooms_at_once() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    let options = Options {
        full_state: true,
        timeout: std::time::Duration::from_secs(60),
        ..Options::default()
    };
    let full = house.sync_with("ann", Some(&first), options).await;
    let section = joined(&full, &room);
    assert!(bodies(section).is_empty());
    assert!(state_pairs(section, "state").contains(&"m.room.create ".to_owned()));
}
