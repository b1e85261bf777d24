//! What events lead to: settings that follow an upgrade, guests who go.

use hearth_data::accounts::users::{UserKind, UserRow};
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_data::tables::USERS;
use hearth_store::{Backend, Batch, Position};
use ruma::RoomId;
use ruma::events::room::member::MembershipState;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::fixture::{House, public, raw, user};
use crate::NewRoom;

/// Runs the worker until it has nothing left to do.
async fn work(house: &House) {
    let shutdown = CancellationToken::new();
    let (rooms, token) = (house.rooms.clone(), shutdown.clone());
    let worker = house
        .tasks
        .spawn(async move { rooms.run_jobs(token).await });
    loop {
        let snapshot = house.snapshot().await;
        let open = jobs::after(&*snapshot, Owner::Rooms, (Position::ZERO, 0), 1).await;
        if open.expect("a read").is_empty() {
            break;
        }
        let seen = snapshot.position();
        drop(snapshot);
        house.store.wait_past(seen).await.expect("progress");
    }
    shutdown.cancel();
    worker.await.expect("a worker");
}

/// For whom settings are to be carried over to a room.
async fn carried(house: &House, to: &RoomId) -> Vec<String> {
    let snapshot = house.snapshot().await;
    let open = jobs::after(&*snapshot, Owner::Accounts, (Position::ZERO, 0), 100).await;
    let mut users: Vec<String> = open
        .expect("a read")
        .into_iter()
        .filter_map(|(_, job)| match job {
            JobRow::CarryOver { user, to: room, .. } if room == to.as_str() => Some(user),
            _ => None,
        })
        .collect();
    users.sort_unstable();
    users.dedup();
    users
}

#[tokio::test]
async fn settings_follow_those_who_are_in_the_new_room() {
    let house = House::new();
    let old = house.public_room("alice").await;
    for name in ["bob", "carol"] {
        house.join(name, &old).await.expect("a join");
    }
    let upgrade = crate::Upgrade {
        version: "11".to_owned(),
        additional_creators: Vec::new(),
    };
    let new = house.rooms.upgrade(&user("alice"), &old, &upgrade).await;
    let new = new.expect("an upgrade");
    work(&house).await;
    assert_eq!(carried(&house, &new).await, ["@alice:house"]);
    house.join("bob", &new).await.expect("a join");
    work(&house).await;
    assert_eq!(carried(&house, &new).await, ["@alice:house", "@bob:house"]);
}

#[tokio::test]
async fn nobody_follows_to_a_room_that_only_claims_to_be_the_next() {
    let house = House::new();
    let old = house.public_room("alice").await;
    house.join("bob", &old).await.expect("a join");
    let claim = json!({ "predecessor": { "room_id": old } });
    let room = NewRoom {
        creation_content: Some(raw(claim)),
        ..public()
    };
    let new = house.room("mallory", room).await;
    house.join("bob", &new).await.expect("a join");
    work(&house).await;
    assert_eq!(carried(&house, &new).await, [""; 0]);
    // With the word of the old room it is one, also for those who were there before.
    let content = json!({ "body": "moved", "replacement_room": new });
    house
        .put("alice", &old, "m.room.tombstone", content)
        .await
        .expect("a tombstone");
    work(&house).await;
    assert_eq!(carried(&house, &new).await, ["@bob:house"]);
}

#[tokio::test]
async fn guests_leave_when_they_are_not_wanted_any_more() {
    let house = House::new();
    let mut batch = Batch::new();
    for (name, kind) in [("guest", UserKind::Guest), ("bob", UserKind::User)] {
        let row = UserRow {
            kind,
            ..UserRow::default()
        };
        USERS.put(&mut batch, &user(name).to_string(), &row);
    }
    house.store.commit(batch).await.expect("a commit");
    let room = house.public_room("alice").await;
    for name in ["guest", "bob"] {
        house.join(name, &room).await.expect("a join");
    }
    let open = json!({ "guest_access": "can_join" });
    let kind = "m.room.guest_access";
    house.put("alice", &room, kind, open).await.expect("state");
    work(&house).await;
    assert_eq!(
        house.membership("guest", &room).await,
        Some(MembershipState::Join)
    );
    let closed = json!({ "guest_access": "forbidden" });
    house
        .put("alice", &room, kind, closed)
        .await
        .expect("state");
    work(&house).await;
    assert_eq!(
        house.membership("guest", &room).await,
        Some(MembershipState::Leave)
    );
    assert_eq!(
        house.membership("bob", &room).await,
        Some(MembershipState::Join)
    );
}
