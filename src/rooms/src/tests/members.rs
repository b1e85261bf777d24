//! Memberships.

use hearth_data::jobs::{self, JobRow, Owner};
use hearth_data::members;
use hearth_store::{Backend, Batch};
use proptest::prelude::*;
use ruma::events::room::member::MembershipState;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::fixture::{House, caller, parsed, public, raw, sender, user};
use crate::{Error, InitialState, MemberFilter, NewRoom, NewState, TargetChange};

#[tokio::test]
async fn joining_again_answers_without_a_new_event() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let before = house.history(&room).await.len();
    house.join("bob", &room).await.expect("a join");
    assert_eq!(house.history(&room).await.len(), before);
}

#[tokio::test]
async fn an_invite_opens_a_private_room_and_shows_its_stripped_state() {
    let house = House::new();
    let room = NewRoom {
        name: Some("Ours".to_owned()),
        ..NewRoom::default()
    };
    let room = house.room("alice", room).await;
    assert!(matches!(
        house.join("bob", &room).await,
        Err(Error::Forbidden(_))
    ));
    house
        .invite("alice", &room, "bob")
        .await
        .expect("an invite");
    let (number, _) = house.head(&room).await;
    let snapshot = house.snapshot().await;
    let stripped = members::stripped_state(&*snapshot, "@bob:house", number).await;
    let stripped = stripped.expect("a read").expect("stripped state");
    let stripped: Vec<serde_json::Value> = serde_json::from_str(stripped.text()).expect("a list");
    let kinds: Vec<&str> = stripped
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    let expected = [
        "m.room.create",
        "m.room.join_rules",
        "m.room.name",
        "m.room.member",
        "m.room.member",
    ];
    assert_eq!(kinds, expected);
    assert_eq!(stripped[3]["state_key"], "@alice:house");
    assert_eq!(stripped[4]["state_key"], "@bob:house");
    house.join("bob", &room).await.expect("a join");
    let snapshot = house.snapshot().await;
    let gone = members::stripped_state(&*snapshot, "@bob:house", number).await;
    assert_eq!(gone.expect("a read"), None);
}

#[tokio::test]
async fn who_is_in_the_room_cannot_be_invited_and_who_is_banned_neither() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let again = house.invite("alice", &room, "bob").await;
    assert!(matches!(again, Err(Error::AlreadyJoined)));
    house
        .change("alice", &room, TargetChange::Ban, "bob")
        .await
        .expect("a ban");
    assert!(matches!(
        house.invite("alice", &room, "bob").await,
        Err(Error::Forbidden(_))
    ));
    assert!(matches!(
        house.join("bob", &room).await,
        Err(Error::Forbidden(_))
    ));
    house
        .change("alice", &room, TargetChange::Unban, "bob")
        .await
        .expect("an unban");
    house.join("bob", &room).await.expect("a join");
}

#[tokio::test]
async fn kicking_needs_a_member_and_power() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    house.join("carol", &room).await.expect("a join");
    let nobody = house
        .change("alice", &room, TargetChange::Kick, "dave")
        .await;
    assert!(matches!(nobody, Err(Error::TargetNotInRoom)));
    let powerless = house
        .change("bob", &room, TargetChange::Kick, "carol")
        .await;
    assert!(matches!(powerless, Err(Error::Forbidden(_))));
    let creator = house.change("bob", &room, TargetChange::Ban, "alice").await;
    assert!(matches!(creator, Err(Error::Forbidden(_))));
    let outside = house.change("dave", &room, TargetChange::Kick, "bob").await;
    assert!(matches!(outside, Err(Error::Forbidden(_))));
    house
        .change("alice", &room, TargetChange::Kick, "bob")
        .await
        .expect("a kick");
    assert_eq!(
        house.membership("bob", &room).await,
        Some(MembershipState::Leave)
    );
    let unbanned = house
        .change("alice", &room, TargetChange::Unban, "bob")
        .await;
    assert!(matches!(unbanned, Err(Error::Refused(_))));
}

#[tokio::test]
async fn leaving_twice_is_leaving_once_and_strangers_cannot_leave() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    house.leave("bob", &room).await.expect("a leave");
    let before = house.history(&room).await.len();
    house.leave("bob", &room).await.expect("nothing to do");
    assert_eq!(house.history(&room).await.len(), before);
    assert!(matches!(
        house.leave("carol", &room).await,
        Err(Error::NotInRoom)
    ));
}

#[tokio::test]
async fn reasons_go_along() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let alias = room.as_str().try_into().expect("a room id");
    let reason = Some("curious".to_owned());
    house
        .rooms
        .join(&caller("bob"), alias, reason)
        .await
        .expect("a join");
    let key = ("m.room.member", "@bob:house");
    let member = house
        .state_at_key("alice", &room, key)
        .await
        .expect("a member");
    assert_eq!(member, json!({"membership": "join", "reason": "curious"}));
}

#[tokio::test]
async fn a_room_is_forgotten_only_after_it_was_left_and_comes_back_with_a_join() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    let early = house.rooms.forget(&user("bob"), &room).await;
    assert!(matches!(early, Err(Error::StillInRoom)));
    house.leave("bob", &room).await.expect("a leave");
    assert!(house.state("bob", &room, "m.room.create").await.is_ok());
    house
        .rooms
        .forget(&user("bob"), &room)
        .await
        .expect("forgotten");
    let forgotten = house.state("bob", &room, "m.room.create").await;
    assert!(matches!(forgotten, Err(Error::NotInRoom)));
    house
        .rooms
        .forget(&user("bob"), &room)
        .await
        .expect("forgotten twice");
    house.join("bob", &room).await.expect("a join");
    assert!(house.state("bob", &room, "m.room.create").await.is_ok());
}

#[tokio::test]
async fn knocking_waits_for_an_invite() {
    let house = House::new();
    let room = NewRoom {
        initial_state: vec![InitialState {
            kind: "m.room.join_rules".to_owned(),
            state_key: String::new(),
            content: raw(json!({"join_rule": "knock"})),
        }],
        ..public()
    };
    let room = house.room("alice", room).await;
    let id = room.as_str().try_into().expect("a room id");
    house
        .rooms
        .knock(&user("bob"), id, None)
        .await
        .expect("a knock");
    assert_eq!(
        house.membership("bob", &room).await,
        Some(MembershipState::Knock)
    );
    assert!(matches!(
        house.join("bob", &room).await,
        Err(Error::Forbidden(_))
    ));
    house
        .invite("alice", &room, "bob")
        .await
        .expect("an invite");
    house.join("bob", &room).await.expect("a join");
}

#[tokio::test]
async fn a_restricted_room_lets_in_whoever_is_in_the_room_it_names() {
    let house = House::new();
    let club = house.public_room("alice").await;
    let rule = json!({
        "join_rule": "restricted",
        "allow": [{"type": "m.room_membership", "room_id": club}],
    });
    let room = NewRoom {
        initial_state: vec![InitialState {
            kind: "m.room.join_rules".to_owned(),
            state_key: String::new(),
            content: raw(rule),
        }],
        ..NewRoom::default()
    };
    let room = house.room("alice", room).await;
    assert!(matches!(
        house.join("bob", &room).await,
        Err(Error::Refused(_))
    ));
    house.join("bob", &club).await.expect("a join");
    house.join("bob", &room).await.expect("a join");
    let key = ("m.room.member", "@bob:house");
    let member = house
        .state_at_key("alice", &room, key)
        .await
        .expect("a member");
    assert_eq!(member["join_authorised_via_users_server"], "@alice:house");
    // Of who is in already nobody has to be named, whatever the client says.
    let state = NewState {
        kind: "m.room.member".to_owned(),
        state_key: "@bob:house".to_owned(),
        content: raw(json!({
            "membership": "join",
            "displayname": "Bobby",
            "join_authorised_via_users_server": "unused",
        })),
    };
    let put = house.rooms.put_state(&sender("bob"), &room, state).await;
    put.expect("a member event");
    let member = house
        .state_at_key("alice", &room, key)
        .await
        .expect("a member");
    assert_eq!(
        member,
        json!({"membership": "join", "displayname": "Bobby"})
    );
}

#[tokio::test]
async fn an_unknown_room_cannot_be_joined() {
    let house = House::new();
    let room = "!nowhere:house".try_into().expect("a room id");
    assert!(matches!(
        house.join("bob", room).await,
        Err(Error::NoServerInRoom)
    ));
    let alias = "#nowhere:house".try_into().expect("an alias");
    let join = house.rooms.join(&caller("bob"), alias, None).await;
    assert!(matches!(join, Err(Error::NoSuchAlias)));
}

#[tokio::test]
async fn guests_join_only_where_they_may() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let mut guest = caller("guest");
    guest.is_guest = true;
    let id = room.as_str().try_into().expect("a room id");
    let join = house.rooms.join(&guest, id, None).await;
    assert!(matches!(join, Err(Error::Refused(_))));
    let content = json!({"guest_access": "can_join"});
    house
        .put("alice", &room, "m.room.guest_access", content)
        .await
        .expect("a rule");
    house.rooms.join(&guest, id, None).await.expect("a join");
}

#[tokio::test]
async fn members_are_filtered_and_hidden_from_strangers() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house.join("bob", &room).await.expect("a join");
    house.join("carol", &room).await.expect("a join");
    house.leave("bob", &room).await.expect("a leave");
    house.join("dave", &room).await.expect("a join");
    let names = async |name: &str, filter: MemberFilter| {
        let members = house
            .rooms
            .members(&user(name), &room, filter)
            .await
            .expect("members");
        let names = members
            .iter()
            .map(|event| parsed(event)["state_key"].to_string());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names.join(" ")
    };
    let all = names("alice", MemberFilter::default()).await;
    assert_eq!(
        all,
        r#""@alice:house" "@bob:house" "@carol:house" "@dave:house""#
    );
    let left = MemberFilter {
        membership: Some(MembershipState::Leave),
        ..MemberFilter::default()
    };
    assert_eq!(names("alice", left).await, r#""@bob:house""#);
    let there = MemberFilter {
        not_membership: Some(MembershipState::Leave),
        ..MemberFilter::default()
    };
    let joined = r#""@alice:house" "@carol:house" "@dave:house""#;
    assert_eq!(names("alice", there).await, joined);
    // Who has left sees whom she left behind, not who came after.
    let seen = names("bob", MemberFilter::default()).await;
    assert_eq!(seen, r#""@alice:house" "@bob:house" "@carol:house""#);
    let stranger = house
        .rooms
        .members(&user("eve"), &room, MemberFilter::default())
        .await;
    assert!(matches!(stranger, Err(Error::NotInRoom)));
    let joined = house
        .rooms
        .joined_members(&user("alice"), &room)
        .await
        .expect("members");
    assert_eq!(joined.len(), 3);
}

#[tokio::test]
async fn profiles_are_in_joins_and_spread_by_a_job() {
    let house = House::new();
    let room = house.public_room("alice").await;
    house
        .set_profile("bob", json!({"displayname": "Bob"}))
        .await;
    house.join("bob", &room).await.expect("a join");
    let key = ("m.room.member", "@bob:house");
    let member = house
        .state_at_key("alice", &room, key)
        .await
        .expect("a member");
    assert_eq!(member["displayname"], "Bob");
    house
        .set_profile(
            "bob",
            json!({"displayname": "Robert", "avatar_url": "mxc://a/b"}),
        )
        .await;
    let job = JobRow::SpreadProfile {
        user: "@bob:house".to_owned(),
    };
    do_job(&house, &job).await;
    let member = house
        .state_at_key("alice", &room, key)
        .await
        .expect("a member");
    let expected =
        json!({"membership": "join", "displayname": "Robert", "avatar_url": "mxc://a/b"});
    assert_eq!(member, expected);
    let before = house.history(&room).await.len();
    do_job(&house, &job).await;
    assert_eq!(
        house.history(&room).await.len(),
        before,
        "done twice is done once"
    );
}

#[tokio::test]
async fn a_user_who_is_gone_leaves_all_rooms() {
    let house = House::new();
    let joined = house.public_room("alice").await;
    house.join("bob", &joined).await.expect("a join");
    let invited = house.room("alice", NewRoom::default()).await;
    house
        .invite("alice", &invited, "bob")
        .await
        .expect("an invite");
    let job = JobRow::LeaveAllRooms {
        user: "@bob:house".to_owned(),
        erase: false,
    };
    do_job(&house, &job).await;
    for room in [joined, invited] {
        assert_eq!(
            house.membership("bob", &room).await,
            Some(MembershipState::Leave)
        );
    }
}

/// Commits a job and runs the worker until it is done.
async fn do_job(house: &House, job: &JobRow) {
    let mut batch = Batch::new();
    jobs::put(&mut batch, Owner::Rooms, 0, job);
    let position = house.store.commit(batch).await.expect("a commit");
    let shutdown = CancellationToken::new();
    let rooms = house.rooms.clone();
    let token = shutdown.clone();
    let worker = house
        .tasks
        .spawn(async move { rooms.run_jobs(token).await });
    loop {
        let snapshot = house.snapshot().await;
        let is_open = jobs::is_open(&*snapshot, Owner::Rooms, (position, 0)).await;
        if !is_open.expect("a read") {
            break;
        }
        house
            .store
            .wait_past(snapshot.position())
            .await
            .expect("progress");
    }
    shutdown.cancel();
    worker.await.expect("a worker");
}

#[derive(Clone, Debug)]
enum Step {
    Join(u8),
    Leave(u8),
    Change(u8, TargetChange, u8),
    Forget(u8),
    Say(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..5_u8;
    let change = prop_oneof![
        Just(TargetChange::Invite),
        Just(TargetChange::Kick),
        Just(TargetChange::Ban),
        Just(TargetChange::Unban),
    ];
    prop_oneof![
        who.clone().prop_map(Step::Join),
        who.clone().prop_map(Step::Leave),
        (who.clone(), change, who.clone()).prop_map(|(a, change, b)| Step::Change(a, change, b)),
        who.clone().prop_map(Step::Forget),
        who.prop_map(Step::Say),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn member_rows_equal_the_member_events_of_the_state(
        steps in prop::collection::vec(step(), 1..50)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let house = House::new();
            let room = house.public_room("u0").await;
            // Refusals are part of the history: they must leave nothing behind.
            for step in &steps {
                house.tick();
                let done = act(&house, &room, step).await;
                if let Err(error) = done {
                    let is_expected = !matches!(error, Error::Store(_) | Error::Stopping);
                    assert!(is_expected, "{step:?}: {error:?}");
                }
            }
            check_members(&house, &room).await;
            house.fsck().await;
        });
    }
}

async fn act(house: &House, room: &ruma::RoomId, step: &Step) -> crate::Result<()> {
    let name = |number: u8| format!("u{number}");
    match step {
        Step::Join(who) => house.join(&name(*who), room).await.map(drop),
        Step::Leave(who) => house.leave(&name(*who), room).await,
        Step::Change(who, change, whom) => {
            house.change(&name(*who), room, *change, &name(*whom)).await
        }
        Step::Forget(who) => house.rooms.forget(&user(&name(*who)), room).await,
        Step::Say(who) => house.say(&name(*who), room, "hello").await.map(drop),
    }
}

async fn check_members(house: &House, room: &ruma::RoomId) {
    let (number, head) = house.head(room).await;
    let snapshot = house.snapshot().await;
    let view = house.states.view(number, &*snapshot);
    let entries = view
        .entries_of_type(head.state, "m.room.member")
        .await
        .expect("a state");
    let mut events: Vec<_> = entries.into_iter().map(|entry| entry.event).collect();
    events.sort_unstable();
    let rows = house.member_rows(room).await;
    let mut row_events: Vec<_> = rows.iter().map(|(_, row)| row.event).collect();
    row_events.sort_unstable();
    assert_eq!(events, row_events);
    let history = house.history(room).await;
    let mut joined = 0;
    let mut invited = 0;
    for (user, row) in &rows {
        let (_, pdu) = history
            .iter()
            .find(|(event, _)| event.event == row.event)
            .expect("an event");
        assert_eq!(pdu.state_key(), Some(user.as_str()));
        assert_eq!(
            crate::content::membership(pdu).as_ref(),
            Some(&row.membership)
        );
        joined += u64::from(row.membership == MembershipState::Join);
        invited += u64::from(row.membership == MembershipState::Invite);
        let own = members::user_room(&*snapshot, user, number)
            .await
            .expect("a read");
        let own = own.expect("every member here is a local user");
        assert_eq!((&own.membership, own.event), (&row.membership, row.event));
        let changed = members::rooms_changed(
            &*snapshot,
            user,
            hearth_store::Position::ZERO,
            hearth_store::Position(u64::MAX - 1),
            10,
        );
        let changed = changed.await.expect("a read");
        assert_eq!(
            changed,
            [(own.position, number)],
            "one index row, at the newest change"
        );
    }
    assert_eq!(
        (head.joined, head.joined_local, head.invited),
        (joined, joined, invited)
    );
}
