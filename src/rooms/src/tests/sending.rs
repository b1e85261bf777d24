//! Sending and reading events.

use serde_json::json;

use super::fixture::{House, parsed, public, raw, sender, text, user};
use crate::{Error, InitialState, NewEvent, NewRoom, NewState, RedactRequest, StateFormat};

#[tokio::test]
async fn who_is_not_in_the_room_cannot_send() {
    let house = House::new();
    let room = house.public_room("alice").await;
    assert!(matches!(
        house.say("bob", &room, "hi").await,
        Err(Error::Forbidden(_))
    ));
    let nowhere = "!nowhere:house".try_into().expect("a room id");
    assert!(matches!(
        house.say("bob", nowhere, "hi").await,
        Err(Error::NoSuchRoom)
    ));
}

#[tokio::test]
async fn content_that_is_no_event_is_refused() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let float = house.send("alice", &room, "m.x", json!({"a": 1.5})).await;
    assert!(matches!(float, Err(Error::Build(_))));
    let large = house.say("alice", &room, &"x".repeat(70_000)).await;
    assert!(matches!(large, Err(Error::Build(error)) if error.is_too_large()));
    let long = house
        .send("alice", &room, &"x".repeat(256), json!({}))
        .await;
    assert!(matches!(long, Err(Error::Build(error)) if error.is_too_large()));
    house
        .say("alice", &room, "fine")
        .await
        .expect("the room goes on");
}

#[tokio::test]
async fn a_transaction_id_answers_its_first_event_per_device() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let send = async |device: &str, body: &str| {
        let mut sender = sender("alice");
        sender.device = Some(device.into());
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: raw(text(body)),
            txn_id: Some("1".to_owned()),
        };
        house
            .rooms
            .send(&sender, &room, event)
            .await
            .expect("a message")
    };
    let first = send("PHONE", "one").await;
    assert_eq!(send("PHONE", "two").await, first);
    let other = send("LAPTOP", "three").await;
    assert_ne!(other, first);
    let seen = house.event("alice", &room, &first).await.expect("an event");
    assert_eq!(seen["unsigned"]["transaction_id"], "1");
    let seen = house.event("alice", &room, &other).await.expect("an event");
    assert!(
        seen["unsigned"].get("transaction_id").is_none(),
        "only for the device that sent it"
    );
}

#[tokio::test]
async fn identical_state_is_the_same_event() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let first = house
        .put("alice", &room, "m.room.topic", json!({"topic": "a"}))
        .await;
    let first = first.expect("a topic");
    let same = house
        .put("alice", &room, "m.room.topic", json!({"topic": "a"}))
        .await;
    assert_eq!(same.expect("a topic"), first);
    let other = house
        .put("alice", &room, "m.room.topic", json!({"topic": "b"}))
        .await;
    assert_ne!(other.expect("a topic"), first);
}

#[tokio::test]
async fn the_create_event_cannot_be_sent() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let create = house
        .put(
            "alice",
            &room,
            "m.room.create",
            json!({"room_version": "12"}),
        )
        .await;
    assert!(matches!(create, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_creator_cannot_be_given_a_power_level() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let levels = json!({"users": {"@alice:house": 100}});
    let levels = house
        .put("alice", &room, "m.room.power_levels", levels)
        .await;
    assert!(matches!(levels, Err(Error::BadContent(_))));
}

#[tokio::test]
async fn a_canonical_alias_must_lead_to_the_room() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let put = async |content| {
        house
            .put("alice", &room, "m.room.canonical_alias", content)
            .await
    };
    let missing = put(json!({"alias": "#gone:house"})).await;
    assert!(matches!(missing, Err(Error::BadAlias(_))));
    let malformed = put(json!({"alias": "gone"})).await;
    assert!(matches!(malformed, Err(Error::Invalid(_))));
    let alias = "#here:house".try_into().expect("an alias");
    house
        .rooms
        .put_alias(&user("alice"), alias, &room)
        .await
        .expect("an alias");
    put(json!({"alias": "#here:house"}))
        .await
        .expect("an event");
    let alt = put(json!({"alias": "#here:house", "alt_aliases": ["#gone:house"]})).await;
    assert!(matches!(alt, Err(Error::BadAlias(_))));
    // Removing the alias takes it out of the event, and what stood there before may stay.
    house
        .rooms
        .remove_alias(&user("alice"), alias)
        .await
        .expect("removed");
    let content = house
        .state("alice", &room, "m.room.canonical_alias")
        .await
        .expect("an event");
    assert_eq!(content, json!({}));
}

#[tokio::test]
async fn aliases_belong_to_their_makers_and_to_those_with_power() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let alias = "#bobs:house".try_into().expect("an alias");
    house
        .rooms
        .put_alias(&user("bob"), alias, &room)
        .await
        .expect("an alias");
    let again = house.rooms.put_alias(&user("bob"), alias, &room).await;
    assert!(matches!(again, Err(Error::AliasTaken)));
    let stranger = house.rooms.remove_alias(&user("carol"), alias).await;
    assert!(matches!(stranger, Err(Error::Refused(_))));
    let listed = house
        .rooms
        .aliases(&user("bob"), &room)
        .await
        .expect("aliases");
    assert_eq!(listed, [alias]);
    let stranger = house.rooms.aliases(&user("carol"), &room).await;
    assert!(matches!(stranger, Err(Error::NotInRoom)));
    house
        .rooms
        .remove_alias(&user("alice"), alias)
        .await
        .expect("removed");
    let gone = house.rooms.remove_alias(&user("bob"), alias).await;
    assert!(matches!(gone, Err(Error::NoSuchAlias)));
    house.fsck().await;
}

#[tokio::test]
async fn one_redacts_ones_own_events_and_with_power_those_of_others() {
    let house = House::new();
    let room = house.public_room("alice").await;
    for name in ["bob", "carol"] {
        house.join(name, &room).await.expect("a join");
    }
    let said = house.say("bob", &room, "oops").await.expect("a message");
    let by_carol = house.redact("carol", &room, &said).await;
    assert!(matches!(by_carol, Err(Error::Refused(_))), "{by_carol:?}");
    let redaction = house
        .redact("bob", &room, &said)
        .await
        .expect("a redaction");
    let event = house.event("carol", &room, &said).await.expect("an event");
    assert_eq!(event["content"], json!({}));
    assert_eq!(
        event["unsigned"]["redacted_because"]["event_id"],
        redaction.as_str()
    );
    let again = house
        .redact("bob", &room, &said)
        .await
        .expect("the same request");
    assert_eq!(again, redaction);
    let said = house.say("bob", &room, "again").await.expect("a message");
    house
        .redact("alice", &room, &said)
        .await
        .expect("a redaction");
    let event = house.event("bob", &room, &said).await.expect("an event");
    assert_eq!(event["content"], json!({}));
}

#[tokio::test]
async fn redacted_state_keeps_its_place_in_the_state() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let topic = house
        .put("alice", &room, "m.room.topic", json!({"topic": "a"}))
        .await;
    let topic = topic.expect("a topic");
    house
        .redact("alice", &room, &topic)
        .await
        .expect("a redaction");
    assert_eq!(
        house
            .state("alice", &room, "m.room.topic")
            .await
            .expect("an event"),
        json!({})
    );
    let key = ("m.room.topic", "");
    let event = house
        .rooms
        .state_event(&user("alice"), &room, key, StateFormat::Event)
        .await;
    assert_eq!(
        parsed(&event.expect("an event"))["event_id"],
        topic.as_str()
    );
    // What the worker keeps in memory is redacted, too: the same topic again is a new event.
    let again = house
        .put("alice", &room, "m.room.topic", json!({"topic": "a"}))
        .await;
    assert_ne!(again.expect("a topic"), topic);
    house.fsck().await;
}

#[tokio::test]
async fn a_redaction_sent_as_an_event_works_in_every_version() {
    let house = House::new();
    for version in ["2", "10", "11", "12"] {
        let room = NewRoom {
            version: Some(version.to_owned()),
            ..public()
        };
        let room = house.room("alice", room).await;
        let said = house.say("alice", &room, "oops").await.expect("a message");
        let content = json!({"redacts": said, "reason": "typo"});
        house
            .send("alice", &room, "m.room.redaction", content)
            .await
            .expect("a redaction");
        let event = house.event("alice", &room, &said).await.expect("an event");
        assert_eq!(event["content"], json!({}), "version {version}");
    }
}

#[tokio::test]
async fn a_redaction_of_nothing_needs_power() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let nothing = "$nothing".try_into().expect("an event id");
    let request = RedactRequest {
        reason: None,
        txn_id: "1",
        of: crate::RedactOf::Anybody,
    };
    let bob = house
        .rooms
        .redact(&sender("bob"), &room, nothing, request)
        .await;
    assert!(matches!(bob, Err(Error::NoSuchEvent)));
    house
        .rooms
        .redact(&sender("alice"), &room, nothing, request)
        .await
        .expect("a redaction");
}

#[tokio::test]
async fn a_reaction_counts_once_until_it_is_redacted() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let said = house.say("alice", &room, "hi").await.expect("a message");
    let react = async |name: &str, key: &str| {
        let relation = json!({"rel_type": "m.annotation", "event_id": said, "key": key});
        house
            .send(name, &room, "m.reaction", json!({"m.relates_to": relation}))
            .await
    };
    let first = react("alice", "+").await.expect("a reaction");
    assert!(matches!(
        react("alice", "+").await,
        Err(Error::DuplicateAnnotation)
    ));
    react("alice", "-").await.expect("another key");
    react("bob", "+").await.expect("another user");
    house
        .redact("alice", &room, &first)
        .await
        .expect("a redaction");
    react("alice", "+").await.expect("the first one is gone");
    assert!(matches!(
        react("alice", "+").await,
        Err(Error::DuplicateAnnotation)
    ));
    house.fsck().await;
}

#[tokio::test]
async fn a_thread_cannot_begin_at_an_event_that_relates_to_another() {
    use hearth_data::relations;
    let house = House::new();
    let room = house.public_room("alice").await;
    let root = house.say("alice", &room, "root").await.expect("a message");
    let reply = async |to: &str| {
        let relation = json!({"rel_type": "m.thread", "event_id": to});
        let content = json!({"msgtype": "m.text", "body": "x", "m.relates_to": relation});
        house.send("alice", &room, "m.room.message", content).await
    };
    let first = reply(root.as_str()).await.expect("a reply");
    let second = reply(root.as_str()).await.expect("a reply");
    assert!(matches!(
        reply(first.as_str()).await,
        Err(Error::ThreadOnRelation)
    ));
    let (number, _) = house.head(&room).await;
    let history = house.history(&room).await;
    let event = |id: &ruma::EventId| {
        let found = history.iter().find(|(_, pdu)| pdu.event_id() == id);
        found.map(|(row, _)| row.event).expect("an event")
    };
    let thread = async || {
        let snapshot = house.snapshot().await;
        relations::thread(&*snapshot, number, event(&root))
            .await
            .expect("a read")
    };
    let now = thread().await.expect("a thread");
    assert_eq!((now.latest, now.count), (event(&second), 2));
    house
        .redact("alice", &room, &second)
        .await
        .expect("a redaction");
    let now = thread().await.expect("a thread");
    assert_eq!((now.latest, now.count), (event(&first), 1));
    house
        .redact("alice", &room, &first)
        .await
        .expect("a redaction");
    assert_eq!(thread().await, None);
    house.fsck().await;
}

#[tokio::test]
async fn s12_an_event_is_hidden_unless_the_reader_may_see_it_in_that_room() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let other = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    house
        .say("alice", &room, "before")
        .await
        .expect("a message");
    let seen = house.say("alice", &room, "seen").await.expect("a message");
    house.leave("bob", &room).await.expect("a leave");
    let unseen = house
        .say("alice", &room, "unseen")
        .await
        .expect("a message");
    assert!(house.event("bob", &room, &seen).await.is_ok());
    for (name, room, event) in [
        ("bob", &room, &unseen),
        ("eve", &room, &seen),
        ("alice", &other, &seen),
    ] {
        let event = house.event(name, room, event).await;
        assert!(matches!(event, Err(Error::NoSuchEvent)));
    }
    let nowhere = "!nowhere:house".try_into().expect("a room id");
    let event = house.event("alice", nowhere, &seen).await;
    assert!(matches!(event, Err(Error::NoSuchEvent)));
}

#[tokio::test]
async fn history_from_before_the_join_is_seen_where_it_is_shared_only() {
    let house = House::new();
    for (visibility, is_seen) in [
        ("world_readable", true),
        ("shared", true),
        ("invited", false),
        ("joined", false),
    ] {
        let room = NewRoom {
            initial_state: vec![InitialState {
                kind: "m.room.history_visibility".to_owned(),
                state_key: String::new(),
                content: raw(json!({"history_visibility": visibility})),
            }],
            ..public()
        };
        let room = house.room("alice", room).await;
        let said = house.say("alice", &room, "early").await.expect("a message");
        let by_stranger = house.event("bob", &room, &said).await.is_ok();
        assert_eq!(by_stranger, visibility == "world_readable", "{visibility}");
        house.join("bob", &room).await.expect("a join");
        assert_eq!(
            house.event("bob", &room, &said).await.is_ok(),
            is_seen,
            "{visibility}"
        );
    }
}

#[tokio::test]
async fn who_declined_an_invite_sees_no_state() {
    let house = House::new();
    let room = house.room("alice", NewRoom::default()).await;
    house
        .invite("alice", &room, "bob")
        .await
        .expect("an invite");
    let invited = house.state("bob", &room, "m.room.create").await;
    assert!(matches!(invited, Err(Error::NotInRoom)));
    house.leave("bob", &room).await.expect("a leave");
    let declined = house.state("bob", &room, "m.room.create").await;
    assert!(matches!(declined, Err(Error::NotInRoom)));
}

#[tokio::test]
async fn who_was_banned_after_leaving_sees_the_state_of_when_she_left() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house
        .put("alice", &room, "m.room.topic", json!({"topic": "old"}))
        .await
        .expect("a topic");
    house.join("bob", &room).await.expect("a join");
    house.leave("bob", &room).await.expect("a leave");
    house
        .put("alice", &room, "m.room.topic", json!({"topic": "new"}))
        .await
        .expect("a topic");
    let change = crate::TargetChange::Ban;
    house
        .change("alice", &room, change, "bob")
        .await
        .expect("a ban");
    let topic = house
        .state("bob", &room, "m.room.topic")
        .await
        .expect("an event");
    assert_eq!(topic, json!({"topic": "old"}));
}

#[tokio::test]
async fn state_has_keys_and_formats() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let state = NewState {
        kind: "x.test".to_owned(),
        state_key: "a key".to_owned(),
        content: raw(json!({"a": 1})),
    };
    let event_id = house
        .rooms
        .put_state(&sender("alice"), &room, state)
        .await
        .expect("an event");
    let content = house
        .state_at_key("alice", &room, ("x.test", "a key"))
        .await;
    assert_eq!(content.expect("an event"), json!({"a": 1}));
    let missing = house.state("alice", &room, "x.test").await;
    assert!(matches!(missing, Err(Error::NoSuchState)));
    let all = house
        .rooms
        .state(&user("alice"), &room)
        .await
        .expect("a state");
    let found = all
        .iter()
        .map(|event| parsed(event))
        .find(|event| event["type"] == "x.test");
    assert_eq!(found.expect("an event")["event_id"], event_id.as_str());
    let foreign = NewState {
        kind: "x.test".to_owned(),
        state_key: "@bob:house".to_owned(),
        content: raw(json!({})),
    };
    let foreign = house
        .rooms
        .put_state(&sender("alice"), &room, foreign)
        .await;
    assert!(matches!(foreign, Err(Error::Forbidden(_))));
}
