//! What attack classes try by way of events of other servers.

use std::time::Duration;

use hearth_data::append::Standing;
use hearth_data::timeline;
use hearth_event::{Pdu, SigningKey, cosign};
use hearth_store::Backend;
use ruma::events::room::member::MembershipState;
use ruma::{RoomId, ServerName};
use serde_json::json;

use super::fixture::{House, alice, draft, json_of, message, server, user};
use super::outside::{Elsewhere, member, membership, register_alice};
use crate::remote::InviteIn;

const ACCEPTED: Option<Standing> = Some(Standing::Accepted);

/// The same event, signed in the same name by somebody who has not the key.
fn forged(event: &Pdu) -> Pdu {
    let key = SigningKey::generate([9; 32], "far").unwrap();
    let forged = cosign(event, &key, event.sender().server_name()).unwrap();
    assert_eq!(forged.event_id(), event.event_id());
    forged
}

impl House {
    /// Whether an event is in the store in any way.
    async fn knows(&self, event: &Pdu) -> bool {
        let snapshot = self.store.snapshot().await.unwrap();
        let found = timeline::find(&*snapshot, event.event_id()).await;
        found.unwrap().is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn s08_a_forged_event_is_dropped_on_whatever_way_it_comes() {
    let house = House::new();
    let bob = user("@bob:far");
    let room = house.room_with("11", &[&bob]).await;
    // Sent, and as the answer to a question for missing events, or for one event.
    let sent = house.next(&room, &message(&bob, "sent")).await;
    let answer = house.offer("far", &[&forged(&sent)]).await.unwrap();
    assert!(answer.0[0].1.is_some(), "{answer:?}");
    house.settle().await;
    assert!(!house.knows(&sent).await);
    let later = house.after(&room, &message(&bob, "later"), &[&sent]).await;
    house.others.before(later.event_id(), &[&forged(&sent)]);
    house.others.knows(&forged(&sent));
    house.send("far", &[&later]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = house.others.asked().join("\n");
    for question in ["missing_events", "event $", "state_ids $"] {
        assert!(
            asked.contains(question),
            "{question} was not asked: {asked}"
        );
    }
    assert!(!house.knows(&sent).await);
    // As part of a state.
    let topic = draft(
        &bob,
        ("m.room.topic", Some("")),
        &json!({ "topic": "forged" }),
    );
    let topic = house.next(&room, &topic).await;
    house.others.knows(&forged(&topic));
    let mut state = house.state(&room, &[("m.room.create", "")]).await;
    state.push(topic.clone());
    let state: Vec<&Pdu> = state.iter().collect();
    house.others.state(later.event_id(), &state);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(!house.knows(&topic).await && !house.knows(&sent).await);
    // As an auth event that nobody has sent.
    let levels = json!({ "users": { bob.as_str(): 100 } });
    let levels = house
        .next(
            &room,
            &draft(&bob, ("m.room.power_levels", Some("")), &levels),
        )
        .await;
    house.others.knows(&forged(&levels));
    let mut auth = house.auth(&room, &message(&bob, "rests")).await;
    auth.push(levels.clone());
    let ends = house.ends(&room).await;
    let ends: Vec<&Pdu> = ends.iter().collect();
    let rests = super::fixture::far_event(
        hearth_event::RoomVersion::V11,
        &room,
        &message(&bob, "rests"),
        (&ends, &auth),
    );
    house.send("far", &[&rests]).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!house.knows(&levels).await);
    assert_ne!(house.standing(rests.event_id()).await, ACCEPTED);
    house.fsck().await;
}

#[tokio::test(start_paused = true)]
async fn s08_a_forged_membership_is_refused_on_whatever_way_it_comes() {
    let house = House::new();
    register_alice(&house).await;
    let (bob, carol) = (user("@bob:far"), user("@carol:far"));
    let room = house.room_with("11", &[&bob]).await;
    let far = server("far");
    let join = house.next(&room, &member(&carol, &carol, "join")).await;
    let leave = house.next(&room, &member(&bob, &bob, "leave")).await;
    let (id, json) = (join.event_id(), json_of(&forged(&join)));
    assert!(
        house
            .rooms
            .accept_join(&far, &room, id, &json)
            .await
            .is_err()
    );
    let (id, json) = (leave.event_id(), json_of(&forged(&leave)));
    assert!(
        house
            .rooms
            .accept_leave(&far, &room, id, &json)
            .await
            .is_err()
    );
    assert!(!house.knows(&join).await && !house.knows(&leave).await);
    let there = Elsewhere::new();
    let invite = there.event(&member(&there.bob, &alice(), "invite"), &[]);
    let json = json_of(&forged(&invite));
    let incoming = InviteIn {
        version: "11",
        event: &json,
        state: Vec::new(),
    };
    let taken = house
        .rooms
        .accept_invite(&far, &there.room, invite.event_id(), incoming);
    assert!(taken.await.is_err());
    assert!(!house.knows(&invite).await);
}

/// Has a server invite alice, and answers whether she is invited then.
async fn is_invited(
    (origin, room): (&ServerName, &RoomId),
    (version, invite): (&str, &Pdu),
    state: &[Box<serde_json::value::RawValue>],
) -> bool {
    let house = House::new();
    register_alice(&house).await;
    let json = json_of(invite);
    let incoming = InviteIn {
        version,
        event: &json,
        state: state.to_vec(),
    };
    let taken = house
        .rooms
        .accept_invite(origin, room, invite.event_id(), incoming);
    let is_taken = taken.await.is_ok();
    let is_invited = membership(&house, room).await == Some(MembershipState::Invite);
    assert_eq!(is_taken, is_invited);
    is_invited
}

#[tokio::test(start_paused = true)]
async fn s02_an_invite_that_is_not_what_it_says_is_refused() {
    let there = Elsewhere::new();
    let far = server("far");
    let invite = there.event(&member(&there.bob, &alice(), "invite"), &[]);
    let create = json_of(&there.create);
    let at = (&*far, &*there.room);
    assert!(is_invited(at, ("11", &invite), std::slice::from_ref(&create)).await);
    // In another server's name, into another room, of a version that it is not.
    assert!(!is_invited((&server("evil"), &there.room), ("11", &invite), &[]).await);
    let other = RoomId::parse("!other:far").unwrap();
    assert!(!is_invited((&far, &other), ("11", &invite), &[]).await);
    assert!(!is_invited(at, ("ahoy", &invite), &[]).await);
    // Something else than an invite, or of somebody who is not here.
    let join = there.event(&member(&there.bob, &there.bob, "join"), &[]);
    assert!(!is_invited(at, ("11", &join), &[]).await);
    let nobody = there.event(&member(&there.bob, &user("@nobody:house"), "invite"), &[]);
    assert!(!is_invited(at, ("11", &nobody), &[]).await);
    // Its content is not what was hashed and signed.
    let reason = json!({ "membership": "invite", "reason": "a chat" });
    let key = Some(alice().to_string());
    let reason = draft(&there.bob, ("m.room.member", key.as_deref()), &reason);
    let invite = there.event(&reason, &[]);
    assert!(is_invited(at, ("11", &invite), &[]).await);
    let mut object = invite.to_object();
    let content = json!({ "membership": "invite", "reason": "changed" }).to_string();
    let content = hearth_event::canonical::parse(
        content.as_bytes(),
        hearth_event::canonical::Strictness::Strict,
    );
    object.insert("content".to_owned(), content.unwrap());
    let text = hearth_event::canonical::to_string(&object);
    let changed = Pdu::parse(invite.version(), text.as_bytes()).unwrap();
    assert!(!is_invited(at, ("11", &changed), &[]).await);
    // The create event shown with it is another room's, or its sender has no right to the room's id.
    let elsewhere = super::fixture::far_event(
        invite.version(),
        &other,
        &draft(
            &there.bob,
            ("m.room.create", Some("")),
            &json!({ "room_version": "11" }),
        ),
        (&[], &[]),
    );
    assert!(!is_invited(at, ("11", &invite), &[json_of(&elsewhere)]).await);
    let mallory = user("@mallory:evil");
    let stolen = super::fixture::far_event(
        invite.version(),
        &there.room,
        &draft(
            &mallory,
            ("m.room.create", Some("")),
            &json!({ "room_version": "11" }),
        ),
        (&[], &[]),
    );
    assert!(!is_invited(at, ("11", &invite), &[json_of(&stolen)]).await);
}

#[tokio::test(start_paused = true)]
async fn s10_an_event_that_fails_a_check_is_not_shown_and_nothing_is_built_on_it() {
    let house = House::new();
    let (bob, carol) = (user("@bob:far"), user("@carol:good"));
    let room = house.room_with("11", &[&bob, &carol]).await;
    // Against its own auth events: who never joined says something.
    let mallory = user("@mallory:far");
    let stranger = house.next(&room, &message(&mallory, "let me in")).await;
    // Named by another event as what it rests upon, which is therefore rejected, too.
    let ends = house.ends(&room).await;
    let ends: Vec<&Pdu> = ends.iter().collect();
    let mut auth = house.auth(&room, &message(&bob, "rests")).await;
    auth.push(stranger.clone());
    let version = hearth_event::RoomVersion::V11;
    let rests = message(&bob, "rests");
    let rests = super::fixture::far_event(version, &room, &rests, (&ends, &auth));
    // Made before a ban and sent after it: allowed where it was made, not by the room as it is now.
    let early = house.next(&room, &message(&bob, "early")).await;
    let before_ban = house.auth(&room, &message(&bob, "late")).await;
    let change = (crate::TargetChange::Ban, &*bob);
    let admin = alice();
    let banned = house.rooms.change_other(&admin, &room, change, None);
    banned.await.unwrap();
    // Made after the ban with the auth events of before it: against the state where it stands.
    let ends = house.ends(&room).await;
    let ends: Vec<&Pdu> = ends.iter().collect();
    let late = message(&bob, "late");
    let late = super::fixture::far_event(version, &room, &late, (&ends, &before_ban));
    house.send("far", &[&stranger, &rests, &early, &late]).await;
    house.settle().await;
    for (event, standing) in [
        (&stranger, Standing::Rejected),
        (&rests, Standing::Rejected),
        (&early, Standing::SoftFailed),
        (&late, Standing::Rejected),
    ] {
        let stands = house.standing(event.event_id()).await;
        assert_eq!(stands, Some(standing), "{:?}", event.content());
    }
    assert_eq!(house.waiting(&room).await, 0);
    let ends = house.ends(&room).await;
    assert_eq!(ends.len(), 1, "none of them is an end of the room's graph");
    // What others build on the one that came late is judged by itself.
    let on_early = house
        .after(&room, &message(&carol, "go on"), &[&early])
        .await;
    house.send("good", &[&on_early]).await;
    house.settle().await;
    assert_eq!(house.standing(on_early.event_id()).await, ACCEPTED);
    house.fsck().await;
}

#[tokio::test(start_paused = true)]
async fn s10_what_was_judged_without_its_auth_events_is_judged_anew_with_them() {
    let house = House::new();
    let (bob, carol) = (user("@bob:far"), user("@carol:far"));
    let room = house.room_with("11", &[&bob]).await;
    let join = house.next(&room, &member(&carol, &carol, "join")).await;
    let mut auth = house.auth(&room, &message(&carol, "hello")).await;
    auth.push(join.clone());
    let version = hearth_event::RoomVersion::V11;
    let hello = message(&carol, "hello");
    let hello = super::fixture::far_event(version, &room, &hello, (&[&join], &auth));
    house.send("far", &[&hello]).await;
    house.settle().await;
    assert_ne!(house.standing(hello.event_id()).await, ACCEPTED);
    house.send("far", &[&join]).await;
    house.settle().await;
    assert_eq!(house.standing(join.event_id()).await, ACCEPTED);
    assert_eq!(house.standing(hello.event_id()).await, ACCEPTED);
    house.fsck().await;
}
