//! Rooms with a policy server.

use hearth_data::append::Standing;
use hearth_event::{POLICY_KEY_ID, Pdu};
use ruma::OwnedRoomId;
use serde_json::json;

use super::fixture::{House, caller, draft, message, user};
use super::script::policy_key;
use crate::{Error, NewEvent, NewState};

const SOFT_FAILED: Option<Standing> = Some(Standing::SoftFailed);
const ACCEPTED: Option<Standing> = Some(Standing::Accepted);

/// A room whose policy server is `far`, which recommends what has "fine" in it.
async fn guarded(house: &House) -> OwnedRoomId {
    let room = house.room_with("11", &[&user("@bob:far")]).await;
    let keys = json!({ "ed25519": policy_key().public_key() });
    let policy = json!({ "via": "far", "public_keys": keys });
    house.put(&room, "m.room.policy", policy).await;
    house.others.recommends("fine");
    room
}

fn asked(house: &House) -> usize {
    let asked = house.others.asked();
    asked
        .iter()
        .filter(|question| question.ends_with("policy_sign"))
        .count()
}

fn said(text: &str) -> NewEvent {
    NewEvent {
        kind: "m.room.message".to_owned(),
        content: super::fixture::raw(&json!({ "msgtype": "m.text", "body": text })),
        txn_id: Some(text.to_owned()),
    }
}

fn is_signed(event: &Pdu) -> bool {
    String::from_utf8_lossy(event.json()).contains(POLICY_KEY_ID)
}

#[tokio::test(start_paused = true)]
async fn our_events_are_signed_by_the_policy_server_before_they_are_written() {
    let house = House::new();
    let room = guarded(&house).await;
    // The policy itself was not shown.
    assert_eq!(asked(&house), 0);
    let sender = (&caller("alice")).into();
    let sent = house
        .rooms
        .send(&sender, &room, said("fine"))
        .await
        .unwrap();
    assert_eq!(asked(&house), 1);
    let ends = house.ends(&room).await;
    assert_eq!(ends[0].event_id(), sent);
    assert!(is_signed(&ends[0]));
    let again = house
        .rooms
        .send(&sender, &room, said("fine"))
        .await
        .unwrap();
    assert_eq!((again, asked(&house)), (sent.clone(), 1));
    let refused = house.rooms.send(&sender, &room, said("spam")).await;
    assert!(
        matches!(refused, Err(Error::NotRecommended(_))),
        "{refused:?}"
    );
    assert_eq!(house.ends(&room).await[0].event_id(), sent);
    house.fsck().await;
}

#[tokio::test(start_paused = true)]
async fn many_at_once_are_signed_one_after_the_other() {
    let house = House::new();
    let room = guarded(&house).await;
    let sender = (&caller("alice")).into();
    let texts: Vec<String> = (0..20).map(|number| format!("fine {number}")).collect();
    let sends = texts
        .iter()
        .map(|text| house.rooms.send(&sender, &room, said(text)));
    for sent in futures_util::future::join_all(sends).await {
        sent.unwrap();
    }
    // All stand in one row.
    assert_eq!(house.ends(&room).await.len(), 1);
    assert_eq!(asked(&house), 20);
    house.fsck().await;
}

#[tokio::test(start_paused = true)]
async fn events_of_others_are_shown_and_soft_fail_without_a_signature() {
    let house = House::new();
    let room = guarded(&house).await;
    let bob = user("@bob:far");
    for (text, expected) in [("fine", ACCEPTED), ("spam", SOFT_FAILED)] {
        let event = house.next(&room, &message(&bob, text)).await;
        house.send("far", &[&event]).await;
        house.settle().await;
        assert_eq!(house.standing(event.event_id()).await, expected, "{text}");
        assert_eq!(house.waiting(&room).await, 0);
    }
    assert_eq!(asked(&house), 2);
    assert!(is_signed(&house.ends(&room).await[0]));
    house.fsck().await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_server_that_left_the_room_is_not_asked() {
    let house = House::new();
    let room = guarded(&house).await;
    let bob = user("@bob:far");
    let content = json!({ "membership": "leave", "reason": "fine" });
    let leave = draft(&bob, ("m.room.member", Some(bob.as_str())), &content);
    let leave = house.next(&room, &leave).await;
    house.send("far", &[&leave]).await;
    house.settle().await;
    assert_eq!(house.standing(leave.event_id()).await, ACCEPTED);
    let before = asked(&house);
    let sender = (&caller("alice")).into();
    house
        .rooms
        .send(&sender, &room, said("spam"))
        .await
        .unwrap();
    assert_eq!(asked(&house), before);
}

#[tokio::test(start_paused = true)]
async fn a_policy_can_be_taken_back_without_its_server() {
    let house = House::new();
    let room = guarded(&house).await;
    house.others.is_silent("far");
    let sender = (&caller("alice")).into();
    let state = NewState {
        kind: "m.room.policy".to_owned(),
        state_key: String::new(),
        content: super::fixture::raw(&json!({})),
    };
    house.rooms.put_state(&sender, &room, state).await.unwrap();
    house
        .rooms
        .send(&sender, &room, said("spam"))
        .await
        .unwrap();
    assert_eq!(asked(&house), 0);
}
