//! Who is told of whose presence.

use std::time::Duration;

use hearth_data::members::MemberRow;
use hearth_data::tables::MEMBERS;
use hearth_data::{EventNo, rooms};
use hearth_rooms::Sender;
use hearth_store::{Backend, Batch, Position};
use ruma::RoomId;
use ruma::events::room::member::MembershipState;
use ruma::presence::PresenceState;
use serde_json::{Value, json};

use crate::house::{House, Options, ask, joined, reader};

const LONG: Duration = Duration::from_secs(120);

fn sender(name: &str) -> Sender {
    let reader = reader(name);
    Sender {
        user: reader.user,
        device: reader.device,
        at: None,
    }
}

fn set(house: &House, name: &str, state: &PresenceState, text: Option<&str>) {
    let set = house
        .rooms
        .set_presence(&sender(name), state, text.map(str::to_owned));
    set.expect("a presence");
}

/// (user, state) of the presence events of an answer.
fn presences(answer: &Value) -> Vec<(&str, &str)> {
    let events = answer["presence"]["events"].as_array();
    let events = events.into_iter().flatten();
    events
        .map(|event| {
            assert_eq!(event["type"], "m.presence");

            let state = event["content"]["presence"].as_str().expect("a presence");
            (event["sender"].as_str().expect("a sender"), state)
        })
        .collect()
}

fn waiting() -> Options {
    Options {
        timeout: LONG,
        ..Options::default()
    }
}

/// Waits until the follower has told what changed.
async fn told() {
    tokio::time::sleep(Duration::from_secs(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_presence_wakes_those_who_share_a_room_and_nobody_else() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    house.room_of(&["eve"]).await;
    let (ann, eve) = (house.initial("ann").await, house.initial("eve").await);
    let (answer, ()) = tokio::join!(house.sync_with("ann", Some(&ann), waiting()), async {
        set(&house, "bob", &PresenceState::Unavailable, Some("lunch"));
    });
    assert_eq!(presences(&answer), [("@bob:house", "unavailable")]);
    let content = &answer["presence"]["events"][0]["content"];
    assert_eq!(content["status_msg"], "lunch");
    assert_eq!(content["last_active_ago"], 0);
    assert!(content.get("currently_active").is_none());
    assert!(answer.get("rooms").is_none());
    // Once told it is not told again; strangers and the user herself are not told.
    assert!(presences(&house.since("ann", &answer).await).is_empty());
    assert!(presences(&house.since("eve", &eve).await).is_empty());
    assert_eq!(house.since("eve", &eve).await.get("presence"), None);
    set(&house, "bob", &PresenceState::Online, None);
    house.leave("bob", &room).await;
    told().await;
    assert!(presences(&house.since("ann", &answer).await).is_empty());
}

/// A member of a room who is of another server: no list of her rooms is kept.
async fn far_member(house: &House, room: &RoomId, user: &str) -> Sender {
    let snapshot = house.store.snapshot().await.expect("a snapshot");
    let room = rooms::number(&*snapshot, room).await.expect("a store");
    let row = MemberRow {
        membership: MembershipState::Join,
        event: EventNo(0),
        position: Position::ZERO,
    };
    let mut batch = Batch::new();
    let key = (room.expect("a room"), user.to_owned());
    MEMBERS.put_position(&mut batch, &key, &row);
    house.store.commit(batch).await.expect("a commit");
    Sender {
        user: user.try_into().expect("a user id"),
        device: None,
        at: None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_presence_of_members_of_other_servers_is_told_to_those_who_share_a_room() {
    let house = House::new();
    let shared = house.room_of(&["ann"]).await;
    let other = house.room_of(&["bob"]).await;
    let zoe = far_member(&house, &shared, "@zoe:far").await;
    let yan = far_member(&house, &other, "@yan:far").await;
    let ann = house.initial("ann").await;
    let (answer, ()) = tokio::join!(house.sync_with("ann", Some(&ann), waiting()), async {
        for user in [&yan, &zoe] {
            let online = &PresenceState::Online;
            let set = house.rooms.set_presence(user, online, None);
            set.expect("a presence");
        }
    });
    assert_eq!(presences(&answer), [("@zoe:far", "online")]);
}

#[tokio::test(start_paused = true)]
async fn presence_that_ends_by_itself_wakes_too() {
    let house = House::new();
    house.room_of(&["ann", "bob"]).await;
    let online = PresenceState::Online;
    let presences_of = house.rooms.presences();
    presences_of.seen(&sender("bob"), &online, Duration::from_secs(5));
    told().await;
    let first = house.initial("ann").await;
    assert_eq!(presences(&first), [("@bob:house", "online")]);
    let content = &first["presence"]["events"][0]["content"];
    assert_eq!(content["currently_active"], true);
    let gone = house.sync_with("ann", Some(&first), waiting()).await;
    assert_eq!(presences(&gone), [("@bob:house", "offline")]);
    // To a client that knows nothing, who is offline is not worth a word.
    assert!(presences(&house.initial("ann").await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn those_who_come_into_a_room_are_told_of_and_are_told() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    house.initial("ann").await;
    set(&house, "ann", &PresenceState::Online, None);
    set(&house, "bob", &PresenceState::Unavailable, None);
    told().await;
    let (ann, bob) = (house.initial("ann").await, house.initial("bob").await);
    assert!(presences(&ann).is_empty() && presences(&bob).is_empty());
    house.join("bob", &room).await;
    // A reader that remembers nothing of the past tells all that there is.
    let fresh = ask(&house.fresh_sync(), "ann", Some(&ann), Options::default()).await;
    assert_eq!(presences(&fresh), [("@bob:house", "unavailable")]);
    let ann = house.since("ann", &ann).await;
    assert_eq!(presences(&ann), [("@bob:house", "unavailable")]);
    let bob = house.since("bob", &bob).await;
    assert_eq!(presences(&bob), [("@ann:house", "online")]);
    for (name, since) in [("ann", &ann), ("bob", &bob)] {
        assert!(presences(&house.since(name, since).await).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn many_changes_between_two_syncs_are_told_once_each() {
    let house = House::new();
    let room = house.room_of(&["ann"]).await;
    let names: Vec<String> = (0..100).map(|n| format!("user{n}")).collect();
    for name in &names {
        house.join(name, &room).await;
    }
    let first = house.initial("ann").await;
    for state in [PresenceState::Unavailable, PresenceState::Online] {
        for name in &names {
            set(&house, name, &state, None);
        }
        told().await;
    }
    let seen = house.since("ann", &first).await;
    let told = presences(&seen);
    assert_eq!(told.len(), names.len());
    assert!(told.iter().all(|(_, state)| *state == "online"));
    assert!(presences(&house.since("ann", &seen).await).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_filter_chooses_whose_presence_is_told() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob", "cat"]).await;
    let first = house.initial("ann").await;
    set(&house, "bob", &PresenceState::Online, None);
    set(&house, "cat", &PresenceState::Online, None);
    told().await;
    house.say("bob", &room, "x").await;
    for (filter, expected) in [
        (json!({"not_types": ["*"]}), vec![]),
        (json!({"types": ["m.room.*"]}), vec![]),
        (json!({"senders": ["@bob:house"]}), vec!["@bob:house"]),
        (json!({"not_senders": ["@bob:house"]}), vec!["@cat:house"]),
        (json!({}), vec!["@bob:house", "@cat:house"]),
    ] {
        let options = Options {
            filter: Some(json!({"presence": filter})),
            ..Options::default()
        };
        let seen = house.sync_with("ann", Some(&first), options).await;
        let users: Vec<&str> = presences(&seen).into_iter().map(|(user, _)| user).collect();
        assert_eq!(users, expected, "{filter}");
        assert!(joined(&seen, &room).is_object());
    }
}
