//! Making rooms.

use hearth_data::jobs::{self, Owner};
use hearth_data::rooms;
use hearth_store::Position;
use ruma::events::room::member::MembershipState;
use serde_json::json;

use super::fixture::{House, public, raw, user};
use crate::{Error, InitialState, NewRoom, Preset, Publish, Rider, RoomQuery};

#[tokio::test]
async fn events_of_a_new_room_come_in_the_order_of_the_specification_and_in_one_commit() {
    let house = House::new();
    let before = house.store.commits();
    let room = NewRoom {
        alias_localpart: Some("pub".to_owned()),
        name: Some("The Pub".to_owned()),
        topic: Some("Beer".to_owned()),
        initial_state: vec![InitialState {
            kind: "m.room.encryption".to_owned(),
            state_key: String::new(),
            content: raw(json!({"algorithm": "m.megolm.v1.aes-sha2"})),
        }],
        ..public()
    };
    let room = house.room("alice", room).await;
    // One commit takes a block of room numbers, the other is the room.
    assert_eq!(house.store.commits() - before, 2);
    let expected = [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.encryption",
        "m.room.name",
        "m.room.topic",
    ];
    assert_eq!(house.kinds(&room).await, expected);
    let alias = "#pub:house".try_into().expect("an alias");
    assert_eq!(
        house
            .rooms
            .resolve_alias(alias)
            .await
            .expect("an alias")
            .room_id,
        room
    );
}

#[tokio::test]
async fn every_version_can_be_made_and_talked_in() {
    let house = House::new();
    for version in 1..=12 {
        let room = NewRoom {
            version: Some(version.to_string()),
            ..public()
        };
        let room = house.room("alice", room).await;
        house.join("bob", &room).await.expect("a join");
        let said = house.say("bob", &room, "hello").await.expect("a message");
        let event = house.event("alice", &room, &said).await.expect("an event");
        assert_eq!(event["content"]["body"], "hello", "version {version}");
        house
            .redact("bob", &room, &said)
            .await
            .expect("a redaction");
        let event = house.event("alice", &room, &said).await.expect("an event");
        assert_eq!(event["content"], json!({}), "version {version}");
    }
    house.fsck().await;
}

#[tokio::test]
async fn a_version_12_room_is_named_after_its_create_event() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let (_, create) = &house.history(&room).await[0];
    assert_eq!(room.as_str()[1..], create.event_id().as_str()[1..]);
    let levels = house
        .state("alice", &room, "m.room.power_levels")
        .await
        .expect("levels");
    assert_eq!(levels["users"], json!({}));
    assert_eq!(levels["events"]["m.room.tombstone"], 150);
}

#[tokio::test]
async fn an_unknown_version_is_refused() {
    let house = House::new();
    let room = NewRoom {
        version: Some("ahoy".to_owned()),
        ..NewRoom::default()
    };
    let error = house
        .rooms
        .create(&user("alice"), room)
        .await
        .expect_err("no such version");
    assert!(matches!(error, Error::UnsupportedVersion(version) if version == "ahoy"));
}

#[tokio::test]
async fn presets_set_the_rules_and_initial_state_wins_over_them() {
    let house = House::new();
    let private = house.room("alice", NewRoom::default()).await;
    let rule = house
        .state("alice", &private, "m.room.join_rules")
        .await
        .expect("a rule");
    assert_eq!(rule, json!({"join_rule": "invite"}));
    let guests = house
        .state("alice", &private, "m.room.guest_access")
        .await
        .expect("a rule");
    assert_eq!(guests, json!({"guest_access": "can_join"}));
    let open = house.public_room("alice").await;
    let guests = house.state("alice", &open, "m.room.guest_access").await;
    assert!(matches!(guests, Err(Error::NoSuchState)), "{guests:?}");
    let room = NewRoom {
        initial_state: vec![InitialState {
            kind: "m.room.join_rules".to_owned(),
            state_key: String::new(),
            content: raw(json!({"join_rule": "knock"})),
        }],
        ..public()
    };
    let room = house.room("alice", room).await;
    let rule = house
        .state("alice", &room, "m.room.join_rules")
        .await
        .expect("a rule");
    assert_eq!(rule, json!({"join_rule": "knock"}));
    let kinds = house.kinds(&room).await;
    assert_eq!(
        kinds
            .iter()
            .filter(|kind| *kind == "m.room.join_rules")
            .count(),
        1
    );
}

#[tokio::test]
async fn publishing_alone_makes_a_public_chat() {
    let house = House::new();
    let room = NewRoom {
        publish: Publish::Public,
        name: Some("Open".to_owned()),
        ..NewRoom::default()
    };
    let room = house.room("alice", room).await;
    let rule = house
        .state("alice", &room, "m.room.join_rules")
        .await
        .expect("a rule");
    assert_eq!(rule, json!({"join_rule": "public"}));
    let query = RoomQuery {
        term: Some("OPEN".to_owned()),
        ..RoomQuery::default()
    };
    let page = house.rooms.published(&query).await.expect("a page");
    assert_eq!(page.rooms.len(), 1);
    assert_eq!(page.rooms[0].room_id, room);
    assert_eq!(page.rooms[0].joined, 1);
    let other = RoomQuery {
        term: Some("closed".to_owned()),
        ..RoomQuery::default()
    };
    assert!(
        house
            .rooms
            .published(&other)
            .await
            .expect("a page")
            .rooms
            .is_empty()
    );
}

#[tokio::test]
async fn the_directory_is_paged_without_loss() {
    let house = House::new();
    for _ in 0..5 {
        let room = NewRoom {
            publish: Publish::Public,
            ..NewRoom::default()
        };
        house.room("alice", room).await;
    }
    let mut found = Vec::new();
    let mut since = None;
    loop {
        let query = RoomQuery {
            since,
            limit: Some(2),
            ..RoomQuery::default()
        };
        let page = house.rooms.published(&query).await.expect("a page");
        assert!(page.rooms.len() <= 2);
        found.extend(page.rooms.into_iter().map(|room| room.room_id));
        since = page.next;
        if since.is_none() {
            break;
        }
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 5);
}

#[tokio::test]
async fn trusted_friends_are_creators_from_version_12_on_and_have_100_before() {
    let house = House::new();
    let trusted = |version: &str| NewRoom {
        version: Some(version.to_owned()),
        preset: Some(Preset::TrustedPrivateChat),
        invite: vec![user("bob")],
        creation_content: Some(raw(
            json!({"additional_creators": ["@carol:house"], "type": "x"}),
        )),
        ..NewRoom::default()
    };
    let room = house.room("alice", trusted("12")).await;
    let create = house
        .state("alice", &room, "m.room.create")
        .await
        .expect("an event");
    assert_eq!(
        create["additional_creators"],
        json!(["@carol:house", "@bob:house"])
    );
    assert_eq!(create["type"], "x");
    assert_eq!(create["room_version"], "12");
    assert!(create.get("creator").is_none());
    let room = NewRoom {
        creation_content: None,
        ..trusted("10")
    };
    let room = house.room("alice", room).await;
    let levels = house
        .state("alice", &room, "m.room.power_levels")
        .await
        .expect("levels");
    assert_eq!(
        levels["users"],
        json!({"@alice:house": 100, "@bob:house": 100})
    );
    let create = house
        .state("alice", &room, "m.room.create")
        .await
        .expect("an event");
    assert_eq!(create["creator"], "@alice:house");
}

#[tokio::test]
async fn who_is_invited_to_a_new_room_is_so_when_it_is_made_and_no_job_is_left() {
    let house = House::new();
    let room = NewRoom {
        invite: vec![user("bob"), user("carol")],
        is_direct: true,
        ..NewRoom::default()
    };
    let room = house.room("alice", room).await;
    for name in ["bob", "carol"] {
        assert_eq!(
            house.membership(name, &room).await,
            Some(MembershipState::Invite)
        );
        let key = ("m.room.member", &*format!("@{name}:house"));
        let member = house
            .state_at_key("alice", &room, key)
            .await
            .expect("a member");
        assert_eq!(member["is_direct"], true);
    }
    let snapshot = house.snapshot().await;
    let left = jobs::after(&*snapshot, Owner::Rooms, (Position::ZERO, 0), 10).await;
    assert!(left.expect("a read").is_empty());
    house.fsck().await;
}

#[tokio::test]
async fn an_override_that_locks_the_creator_out_is_refused_and_leaves_nothing() {
    let house = House::new();
    let room = NewRoom {
        alias_localpart: Some("mine".to_owned()),
        power_levels: Some(raw(json!({"users": {"@alice:house": 100}}))),
        ..NewRoom::default()
    };
    let error = house
        .rooms
        .create(&user("alice"), room)
        .await
        .expect_err("names a creator");
    assert!(matches!(error, Error::InvalidRoomState(_)), "{error:?}");
    let snapshot = house.snapshot().await;
    assert_eq!(
        rooms::alias(&*snapshot, "#mine:house")
            .await
            .expect("a read"),
        None
    );
}

#[tokio::test]
async fn an_alias_is_given_once() {
    let house = House::new();
    let room = || NewRoom {
        alias_localpart: Some("mine".to_owned()),
        ..NewRoom::default()
    };
    house.room("alice", room()).await;
    let error = house
        .rooms
        .create(&user("bob"), room())
        .await
        .expect_err("taken");
    assert!(matches!(error, Error::AliasTaken));
    for bad in ["", "a b", "a:b"] {
        let room = NewRoom {
            alias_localpart: Some(bad.to_owned()),
            ..NewRoom::default()
        };
        let error = house
            .rooms
            .create(&user("bob"), room)
            .await
            .expect_err("not well-formed");
        assert!(matches!(error, Error::Invalid(_)));
    }
}

#[tokio::test]
async fn of_rooms_made_at_once_with_one_alias_only_one_is_made() {
    let house = House::new();
    let rooms = (0..8).map(|_| {
        let room = NewRoom {
            alias_localpart: Some("mine".to_owned()),
            ..NewRoom::default()
        };
        let rooms = house.rooms.clone();
        house
            .tasks
            .spawn(async move { rooms.create(&user("alice"), room).await })
    });
    let rooms: Vec<_> = rooms.collect();
    let mut made = 0;
    for room in rooms {
        match room.await.expect("a task") {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, Error::AliasTaken), "{error:?}"),
        }
    }
    assert_eq!(made, 1);
    house.fsck().await;
}

#[tokio::test]
async fn a_rider_is_written_with_the_room_or_fails_it() {
    use hearth_data::tables::FILTERS;
    let house = House::new();
    let key = ("@alice:house".to_owned(), "rider".to_owned());
    let row = hearth_data::row::Json::from_text("{}");
    let mut rider = Rider::new();
    FILTERS.expect(&mut rider, &key, None);
    FILTERS.put(&mut rider, &key, &row);
    let made = house
        .rooms
        .create_with(&user("alice"), public(), rider.clone())
        .await;
    made.expect("a room");
    let snapshot = house.snapshot().await;
    assert_eq!(
        FILTERS.get(&*snapshot, &key).await.expect("a read"),
        Some(row)
    );
    let error = house
        .rooms
        .create_with(&user("alice"), public(), rider)
        .await;
    assert!(matches!(error, Err(Error::RiderConflict)));
    let joined = house
        .rooms
        .joined_rooms(&user("alice"))
        .await
        .expect("a read");
    assert_eq!(joined.len(), 1);
}

#[tokio::test]
async fn an_upgrade_moves_state_and_aliases_and_closes_the_old_room() {
    let house = House::new();
    for (from, to) in [("10", "12"), ("12", "11"), ("11", "11")] {
        let alias = format!("from{from}to{to}");
        let room = NewRoom {
            version: Some(from.to_owned()),
            alias_localpart: Some(alias.clone()),
            name: Some("Old".to_owned()),
            publish: Publish::Public,
            ..public()
        };
        let old = house.room("alice", room).await;
        house.join("bob", &old).await.expect("a join");
        let upgrade = crate::Upgrade {
            version: to.to_owned(),
            additional_creators: Vec::new(),
        };
        let error = house.rooms.upgrade(&user("bob"), &old, &upgrade).await;
        assert!(matches!(error, Err(Error::Refused(_))));
        let new = house
            .rooms
            .upgrade(&user("alice"), &old, &upgrade)
            .await
            .expect("an upgrade");
        let name = house
            .state("alice", &new, "m.room.name")
            .await
            .expect("a name");
        assert_eq!(name, json!({"name": "Old"}));
        let create = house
            .state("alice", &new, "m.room.create")
            .await
            .expect("an event");
        assert_eq!(create["predecessor"]["room_id"], old.as_str());
        let names_event = create["predecessor"].get("event_id").is_some();
        assert_eq!(names_event, to != "12", "{to}");
        assert_eq!(create["room_version"], to);
        let tombstone = house
            .state("alice", &old, "m.room.tombstone")
            .await
            .expect("an event");
        assert_eq!(tombstone["replacement_room"], new.as_str());
        let alias = format!("#{alias}:house");
        let alias = alias.as_str().try_into().expect("an alias");
        assert_eq!(
            house
                .rooms
                .resolve_alias(alias)
                .await
                .expect("an alias")
                .room_id,
            new
        );
        let said = house.say("bob", &old, "still here?").await;
        assert!(matches!(said, Err(Error::Forbidden(_))), "{said:?}");
        assert_eq!(
            house.rooms.publication(&old).await.expect("a read"),
            Publish::Private
        );
        assert_eq!(
            house.rooms.publication(&new).await.expect("a read"),
            Publish::Public
        );
    }
    house.fsck().await;
}
