//! The other side uses an ordinary client: rooms, invites, joins and leaves, nothing else.

use MembershipState::{Invite, Join, Leave};
use ruma::events::room::member::MembershipState;
use serde_json::json;

use super::fixture::*;
use crate::{Ending, Standing};

#[tokio::test]
async fn row05_joining_accepts_and_leaving_unfriends() {
    let house = House::new().await;
    let room = house.request("anna", "bert").await.expect("a request").room;
    let room = room.expect("a room");
    house.join("bert", &room).await;
    assert_eq!(house.standing("anna", "bert").await, Standing::Is(Friends));
    assert_eq!(house.standing("bert", "anna").await, Standing::Is(Friends));
    assert_eq!(house.direct("bert", "anna").await, [room.as_str()]);
    house.leave("bert", &room).await;
    house.rest().await;
    assert_eq!(house.membership("anna", &room).await, Some(Leave));
    let entry = house.shown("anna", "bert").await;
    assert_eq!(entry.ending, Some(Ending::Unfriended));
    house.fsck().await;
}

#[tokio::test]
async fn row05_leaving_declines() {
    let house = House::new().await;
    let room = house.request("anna", "bert").await.expect("a request").room;
    let room = room.expect("a room");
    house.leave("bert", &room).await;
    house.rest().await;
    assert_eq!(house.membership("anna", &room).await, Some(Leave));
    let entry = house.shown("anna", "bert").await;
    assert_eq!(entry.ending, Some(Ending::Declined));
}

#[tokio::test]
async fn row05_an_invite_to_a_direct_chat_is_a_request() {
    let house = House::new().await;
    let room = house.plain_room("bert", Some("anna")).await;
    assert_eq!(house.kind("bert", &room).await, "direct");
    let entry = house.shown("anna", "bert").await;
    assert_eq!(entry.standing, Standing::Is(PendingIn));
    assert_eq!(
        house.standing("bert", "anna").await,
        Standing::Is(PendingOut)
    );
    let accepted = house.request("anna", "bert").await.expect("accepted");
    assert_eq!(accepted.standing, Standing::Is(Friends));
    assert_eq!(accepted.room, Some(room));
    house.fsck().await;
}

#[tokio::test]
async fn an_invite_to_a_group_is_no_request() {
    let house = House::new().await;
    let room = house.plain_room("bert", None).await;
    assert_eq!(house.kind("bert", &room).await, "group");
    house.invite("bert", &room, "anna").await;
    assert_eq!(house.standing("anna", "bert").await, Standing::None);
    assert_eq!(house.membership("anna", &room).await, Some(Invite));
}

#[tokio::test]
async fn crossed_plain_invites_end_in_the_room_with_the_smaller_id() {
    let house = House::new().await;
    let one = house.plain_room("anna", Some("bert")).await;
    let other = house.plain_room("bert", Some("anna")).await;
    house.rest().await;
    let (stays, goes) = if one < other {
        (one, other)
    } else {
        (other, one)
    };
    for (name, peer) in [("anna", "bert"), ("bert", "anna")] {
        let entry = house.shown(name, peer).await;
        assert_eq!(entry.standing, Standing::Is(Friends));
        assert_eq!(entry.room.as_ref(), Some(&stays));
        assert_eq!(house.membership(name, &stays).await, Some(Join));
        assert_eq!(house.membership(name, &goes).await, Some(Leave));
    }
    house.fsck().await;
}

#[tokio::test]
async fn invites_of_whom_another_client_has_blocked_are_declined() {
    let house = House::new().await;
    let before = house.plain_room("bert", Some("anna")).await;
    let ignored = json!({"ignored_users": {"@bert:house": {}}});
    house.put_data("anna", "m.ignored_user_list", ignored).await;
    house.rest().await;
    assert_eq!(house.membership("anna", &before).await, Some(Leave));
    let after = house.plain_room("bert", Some("anna")).await;
    house.rest().await;
    assert_eq!(house.membership("anna", &after).await, Some(Leave));
    assert_eq!(house.standing("anna", "bert").await, Standing::Blocked);
    assert_eq!(house.membership("bert", &after).await, Some(Leave));
    house.fsck().await;
}

#[tokio::test]
async fn a_start_after_the_log_was_trimmed_looks_at_all_rooms() {
    let house = House::new().await;
    let room = house.plain_room("bert", Some("anna")).await;
    let store = house.store.restart();
    let mut batch = hearth_store::Batch::new();
    let snapshot = hearth_store::Backend::snapshot(&store)
        .await
        .expect("a snapshot");
    hearth_data::changes::trim(&mut batch, snapshot.position());
    hearth_store::Backend::commit(&store, batch)
        .await
        .expect("a commit");
    let house = House::on(store);
    let entry = house.shown("anna", "bert").await;
    assert_eq!(entry.standing, Standing::Is(PendingIn));
    assert_eq!(entry.room, Some(room));
    house.fsck().await;
}
