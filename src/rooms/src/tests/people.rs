//! Whom one finds by name.

use hearth_data::accounts::account_data;
use hearth_store::Backend;
use ruma::UserId;
use serde_json::json;

use super::fixture::{House, public, user};
use crate::{NewRoom, NewState, People, Publish};

async fn search(house: &House, asking: &str, term: &str) -> People {
    let found = house.rooms.find_people(&user(asking), term, None).await;
    found.expect("an answer")
}

async fn found(house: &House, asking: &str, term: &str) -> Vec<String> {
    let people = search(house, asking, term).await.found;
    people
        .into_iter()
        .map(|one| one.user_id.to_string())
        .collect()
}

async fn house() -> House {
    let house = House::new();
    for (name, displayname) in [
        ("alice", "Alice Cooper"),
        ("bob", "Bob"),
        ("eve", "Eve"),
        ("zoe", "A. Cooper"),
    ] {
        let profile = json!({ "displayname": displayname, "avatar_url": "mxc://a/b" });
        house.set_profile(name, profile).await;
    }
    house
}

#[tokio::test]
async fn users_are_found_by_id_and_name_in_rooms_that_are_shared() {
    let house = house().await;
    let room = house.room("alice", NewRoom::default()).await;
    assert_eq!(found(&house, "bob", "cooper").await, [""; 0]);
    house
        .invite("alice", &room, "bob")
        .await
        .expect("an invite");
    assert_eq!(found(&house, "bob", "cooper").await, [""; 0]);
    house.join("bob", &room).await.expect("a join");
    for term in [" COOPER ", "alic", "@alice", "@alice:house", "ice c"] {
        assert_eq!(found(&house, "bob", term).await, ["@alice:house"], "{term}");
    }
    let person = search(&house, "bob", "cooper").await.found.remove(0);
    assert_eq!(person.displayname.as_deref(), Some("Alice Cooper"));
    assert_eq!(person.avatar_url.as_deref(), Some("mxc://a/b"));
    for (asking, term) in [
        ("alice", "alice"),
        ("eve", "alice"),
        ("bob", ""),
        ("bob", "x"),
    ] {
        assert_eq!(
            found(&house, asking, term).await,
            [""; 0],
            "{asking} {term}"
        );
    }
}

#[tokio::test]
async fn a_name_of_one_room_finds_nobody() {
    let house = house().await;
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let state = NewState {
        kind: "m.room.member".to_owned(),
        state_key: "@alice:house".to_owned(),
        content: super::fixture::raw(json!({ "membership": "join", "displayname": "Freddy" })),
    };
    let sender = super::fixture::sender("alice");
    let put = house.rooms.put_state(&sender, &room, state).await;
    put.expect("a name");
    for asking in ["bob", "eve"] {
        assert_eq!(found(&house, asking, "freddy").await, [""; 0]);
    }
}

#[tokio::test]
async fn users_in_rooms_that_are_open_to_all_are_found_by_all_the_best_first() {
    let house = house().await;
    house.public_room("zoe").await;
    let listed = NewRoom {
        publish: Publish::Public,
        ..public()
    };
    house.room("alice", listed).await;
    assert_eq!(
        found(&house, "eve", "cooper").await,
        ["@alice:house", "@zoe:house"]
    );
    assert_eq!(
        found(&house, "eve", "a").await,
        ["@alice:house", "@zoe:house"]
    );
    assert_eq!(found(&house, "eve", "a. cooper").await, ["@zoe:house"]);
    let one = house
        .rooms
        .find_people(&user("eve"), "cooper", Some(1))
        .await;
    let one = one.expect("an answer");
    assert_eq!((one.found.len(), one.is_limited), (1, true));
    let id: &UserId = &one.found[0].user_id;
    assert_eq!(id, "@alice:house");
}

#[tokio::test]
async fn who_wants_no_invites_gets_none() {
    let house = House::new();
    let room = house.room("alice", NewRoom::default()).await;
    for (content, may) in [
        (json!({ "default_action": "block" }), false),
        (json!({ "default_action": "allow" }), true),
        (json!({ "default_action": 1 }), true),
        (json!({}), true),
    ] {
        let kind = "m.invite_permission_config".to_owned();
        let key = ("@bob:house".to_owned(), String::new(), kind);
        let snapshot = house.snapshot().await;
        let current = account_data::account_data(&*snapshot, &key).await;
        let mut batch = hearth_store::Batch::new();
        let json = hearth_data::row::Json::from_text(content.to_string());
        account_data::put(&mut batch, &key, current.expect("a read").as_ref(), json);
        house.store.commit(batch).await.expect("a commit");
        let invited = house.invite("alice", &room, "bob").await;
        assert_eq!(invited.is_ok(), may, "{content} {invited:?}");
        let state = NewState {
            kind: "m.room.member".to_owned(),
            state_key: "@bob:house".to_owned(),
            content: super::fixture::raw(json!({ "membership": "invite", "x": content })),
        };
        let sender = super::fixture::sender("alice");
        let put = house.rooms.put_state(&sender, &room, state).await;
        assert_eq!(put.is_ok(), may, "{content} {put:?}");
        if !may {
            assert!(matches!(invited, Err(crate::Error::InviteBlocked)));
            let invite = vec![user("bob")];
            let other = NewRoom { invite, ..public() };
            let other = house.room("alice", other).await;
            assert_eq!(house.membership("bob", &other).await, None);
        }
    }
}
