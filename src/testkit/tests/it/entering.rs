//! Ways into rooms over other servers, and what is told of rooms before.

use std::time::Duration;

use hearth_ports::History;
use hearth_ports::remote::{At, Direction};
use hearth_rooms::{Error, HierarchyQuery, InitialState, NewRoom, NewState, Preset, TargetChange};
use hearth_testkit::{Faults, Sim, Weights};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedServerName, RoomOrAliasId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

/// Longer than anything waits that is sent at once.
const SOON: Duration = Duration::from_secs(5);

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

/// A room that is compared between the servers at the end.
async fn create(sim: &mut Sim, at: usize, new: NewRoom) -> OwnedRoomId {
    let node = &sim.nodes[at];
    let room = node.rooms.create(&node.user("ann"), new).await.unwrap();
    sim.rooms.push(room.clone());
    room
}

async fn public_room(sim: &mut Sim, at: usize, kind: Option<&str>) -> OwnedRoomId {
    let new = NewRoom {
        preset: Some(Preset::PublicChat),
        creation_content: kind.map(|kind| raw(&json!({ "type": kind }))),
        ..NewRoom::default()
    };
    create(sim, at, new).await
}

/// A room into which the members of another may come, of a version that knows such rooms.
async fn restricted_room(sim: &mut Sim, at: usize, club: &OwnedRoomId) -> OwnedRoomId {
    let allow = json!([{ "type": "m.room_membership", "room_id": club }]);
    let rule = InitialState {
        kind: "m.room.join_rules".to_owned(),
        state_key: String::new(),
        content: raw(&json!({ "join_rule": "restricted", "allow": allow })),
    };
    let new = NewRoom {
        version: Some("10".to_owned()),
        preset: Some(Preset::PublicChat),
        initial_state: vec![rule],
        power_levels: Some(raw(&json!({ "invite": 50 }))),
        ..NewRoom::default()
    };
    create(sim, at, new).await
}

async fn put(sim: &Sim, at: usize, room: &OwnedRoomId, (kind, key): (&str, &str), content: Value) {
    let state = NewState {
        kind: kind.to_owned(),
        state_key: key.to_owned(),
        content: raw(&content),
    };
    let node = &sim.nodes[at];
    let sender = node.sender("ann");
    node.rooms.put_state(&sender, room, state).await.unwrap();
}

async fn join_over(
    sim: &Sim,
    at: usize,
    user: &str,
    room: &OwnedRoomId,
    via: &[usize],
) -> Result<(), Error> {
    let names: Vec<OwnedServerName> = via.iter().map(|at| sim.nodes[*at].name.clone()).collect();
    let room: &RoomOrAliasId = (**room).into();
    let node = &sim.nodes[at];
    let caller = node.caller(user);
    let joined = node.rooms.join_via(&caller, room, &names, (None, None));
    joined.await.map(drop)
}

/// What a server says of the membership of a user of another one.
async fn membership(sim: &Sim, at: usize, room: &OwnedRoomId, of: (usize, &str)) -> Option<String> {
    let node = &sim.nodes[at];
    let user = sim.nodes[of.0].user(of.1);
    let key = ("m.room.member", user.as_str());
    let format = hearth_rooms::StateFormat::Content;
    let reader = node.user("ann");
    let found = node.rooms.state_event(&reader, room, key, format);
    let content: Value = serde_json::from_str(found.await.ok()?.get()).unwrap();
    Some(content["membership"].as_str().unwrap().to_owned())
}

async fn all_is_well(sim: &mut Sim) {
    assert_eq!(sim.settle().await, Vec::<String>::new());
    for node in &sim.nodes {
        assert_eq!(node.problems().await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_let_in_by_another_server_joins_a_room_that_her_own_is_in_already() {
    let mut sim = Sim::new(21, (2, 0), Weights::CALM).await;
    let club = public_room(&mut sim, 1, None).await;
    let room = restricted_room(&mut sim, 1, &club).await;
    let ann = sim.nodes[0].user("ann");
    let (host, change) = (&sim.nodes[1], (TargetChange::Invite, &*ann));
    let by = host.user("ann");
    let invited = host.rooms.change_other(&by, &room, change, None);
    invited.await.unwrap();
    join_over(&sim, 0, "ann", &room, &[1]).await.unwrap();
    // She is in none of the rooms that let in.
    assert!(join_over(&sim, 0, "bob", &room, &[0]).await.is_err());
    join_over(&sim, 0, "bob", &club, &[1]).await.unwrap();
    // Nobody of her server may let her in; the other server does.
    join_over(&sim, 0, "bob", &room, &[0]).await.unwrap();
    tokio::time::sleep(SOON).await;
    for at in 0..2 {
        let found = membership(&sim, at, &room, (0, "bob")).await;
        assert_eq!(found.as_deref(), Some("join"), "{at}");
    }
    let bob = sim.nodes[0].user("bob");
    sim.nodes[0].rooms.leave(&bob, &room, None).await.unwrap();
    tokio::time::sleep(SOON).await;
    join_over(&sim, 0, "bob", &room, &[0]).await.unwrap();
    all_is_well(&mut sim).await;
}

#[tokio::test(start_paused = true)]
async fn an_invite_of_which_its_sender_got_no_answer_can_be_declined_in_a_room_that_was_joined_since()
 {
    let mut sim = Sim::new(23, (2, 0), Weights::CALM).await;
    let room = public_room(&mut sim, 1, None).await;
    // They know each other's keys.
    let club = public_room(&mut sim, 1, None).await;
    join_over(&sim, 0, "ann", &club, &[1]).await.unwrap();
    sim.net.set_faults(Faults {
        unanswered: 1_000,
        ..Faults::default()
    });
    let bob = sim.nodes[0].user("bob");
    let (host, change) = (&sim.nodes[1], (TargetChange::Invite, &*bob));
    let by = host.user("ann");
    let invited = host.rooms.change_other(&by, &room, change, None);
    assert!(matches!(invited.await, Err(Error::Remote(_))));
    sim.net.heal();
    join_over(&sim, 0, "ann", &room, &[1]).await.unwrap();
    let told = sim.nodes[0].told_membership(&bob, &room).await;
    assert_eq!(told, Some(MembershipState::Invite));
    assert_eq!(sim.nodes[0].problems().await, Vec::<String>::new());
    sim.nodes[0].rooms.leave(&bob, &room, None).await.unwrap();
    let told = sim.nodes[0].told_membership(&bob, &room).await;
    assert_eq!(told, Some(MembershipState::Leave));
    all_is_well(&mut sim).await;
}

#[tokio::test(start_paused = true)]
async fn a_restricted_join_goes_on_to_a_server_that_can_let_in_if_it_is_named() {
    let mut sim = Sim::new(22, (3, 0), Weights::CALM).await;
    let club = public_room(&mut sim, 0, None).await;
    let room = restricted_room(&mut sim, 0, &club).await;
    join_over(&sim, 1, "ann", &club, &[0]).await.unwrap();
    join_over(&sim, 1, "ann", &room, &[0]).await.unwrap();
    join_over(&sim, 2, "ann", &club, &[0]).await.unwrap();
    tokio::time::sleep(SOON).await;
    // Nobody of the second server may let her in.
    let refused = join_over(&sim, 2, "ann", &room, &[1]).await;
    assert!(matches!(refused, Err(Error::Remote(_))), "{refused:?}");
    join_over(&sim, 2, "ann", &room, &[1, 0]).await.unwrap();
    // Having been there, her server knows the first one; it is not asked as long as a named one answers.
    let ann = sim.nodes[2].user("ann");
    sim.nodes[2].rooms.leave(&ann, &room, None).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert!(join_over(&sim, 2, "ann", &room, &[1]).await.is_err());
    let (one, two) = (sim.nodes[1].name.to_string(), sim.nodes[2].name.to_string());
    sim.net.cut(&one, &two);
    join_over(&sim, 2, "ann", &room, &[1]).await.unwrap();
    sim.net.heal();
    all_is_well(&mut sim).await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_has_left_the_room_that_lets_in_lets_nobody_in() {
    let mut sim = Sim::new(27, (3, 0), Weights::CALM).await;
    let club = public_room(&mut sim, 0, None).await;
    let room = restricted_room(&mut sim, 0, &club).await;
    for at in 1..3 {
        join_over(&sim, at, "ann", &club, &[0]).await.unwrap();
        join_over(&sim, at, "ann", &room, &[0]).await.unwrap();
    }
    let levels = json!({ "invite": 0 });
    put(&sim, 0, &room, ("m.room.power_levels", ""), levels).await;
    tokio::time::sleep(SOON).await;
    let leave = async |at: usize, from: &OwnedRoomId| {
        let node = &sim.nodes[at];
        let left = node.rooms.leave(&node.user("ann"), from, None).await;
        left.unwrap();
        tokio::time::sleep(SOON).await;
    };
    leave(2, &room).await;
    join_over(&sim, 2, "ann", &room, &[1]).await.unwrap();
    leave(2, &room).await;
    leave(1, &club).await;
    // She is still in it, which that server does not hear any more.
    let refused = join_over(&sim, 2, "ann", &room, &[1]).await;
    assert!(matches!(refused, Err(Error::Remote(_))), "{refused:?}");
    all_is_well(&mut sim).await;
}

#[tokio::test(start_paused = true)]
async fn an_invite_into_a_room_that_everybody_has_left_can_be_declined() {
    let mut sim = Sim::new(23, (2, 0), Weights::CALM).await;
    let room = create(&mut sim, 0, NewRoom::default()).await;
    let (host, guest) = (&sim.nodes[0], &sim.nodes[1]);
    let ann = host.user("ann");
    let bob = guest.user("bob");
    let change = (TargetChange::Invite, &*bob);
    let invited = host.rooms.change_other(&ann, &room, change, None);
    invited.await.unwrap();
    host.rooms.leave(&ann, &room, None).await.unwrap();
    guest.rooms.leave(&bob, &room, None).await.unwrap();
    let told = guest.told_membership(&bob, &room).await;
    assert_eq!(told, Some(MembershipState::Leave));
    all_is_well(&mut sim).await;
}

#[tokio::test(start_paused = true)]
async fn a_tree_of_a_space_reaches_over_servers() {
    let mut sim = Sim::new(24, (3, 0), Weights::CALM).await;
    let root = public_room(&mut sim, 0, Some("m.space")).await;
    let inner = public_room(&mut sim, 1, Some("m.space")).await;
    let leaf = public_room(&mut sim, 2, None).await;
    let club = restricted_room(&mut sim, 1, &root).await;
    for (at, of, child) in [(0, &root, &inner), (0, &root, &club), (1, &inner, &leaf)] {
        let host = match child {
            child if child == &leaf => 2,
            _ => 1,
        };
        let via = json!({ "via": [sim.nodes[host].name] });
        put(&sim, at, of, ("m.space.child", child.as_str()), via).await;
    }
    let tree = async |at: usize, who: &str| {
        let node = &sim.nodes[at];
        let query = HierarchyQuery::default();
        let page = node.rooms.hierarchy(&node.user(who), &root, &query).await;
        let rooms = page.unwrap().rooms.into_iter();
        rooms
            .map(|room| room.summary.listing.room_id)
            .collect::<Vec<_>>()
    };
    let mut all = vec![root.clone(), inner.clone(), leaf.clone(), club.clone()];
    all.sort_unstable();
    let sorted = |mut rooms: Vec<OwnedRoomId>| {
        rooms.sort_unstable();
        rooms
    };
    // The other server does not know yet who is in the space.
    let without: Vec<_> = all.iter().filter(|room| **room != club).cloned().collect();
    assert_eq!(sorted(tree(0, "ann").await), without);
    join_over(&sim, 1, "ann", &root, &[0]).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(sorted(tree(0, "ann").await), all);
    // Who is not in the space is not shown what it lets into, though her server was told.
    assert_eq!(sorted(tree(0, "bob").await), without);
}

#[tokio::test(start_paused = true)]
async fn an_event_of_before_we_came_is_found_by_its_time() {
    let mut sim = Sim::new(25, (2, 0), Weights::CALM).await;
    let room = public_room(&mut sim, 0, None).await;
    let mut said = Vec::new();
    for number in 0..60 {
        tokio::time::sleep(Duration::from_secs(60)).await;
        let text = format!("number {number}");
        said.push(sim.say(0, "ann", &room, &text).await.unwrap());
    }
    join_over(&sim, 1, "ann", &room, &[0]).await.unwrap();
    let there = &sim.nodes[1];
    let wanted = &said[2];
    assert_eq!(there.standing(wanted).await, None);
    let sender = sim.nodes[0].sender("ann");
    let sent = sim.nodes[0].rooms.event(&sender, &room, wanted);
    let event: Value = serde_json::from_str(sent.await.unwrap().get()).unwrap();
    let ts = event["origin_server_ts"].as_u64().unwrap();
    for (ts, direction) in [(ts - 1, Direction::Forward), (ts + 1, Direction::Backward)] {
        let found = there.rooms.find(&room, At { ts, direction }).await;
        assert_eq!(found.as_ref(), Some(wanted), "{direction:?}");
    }
    assert!(there.standing(wanted).await.is_some());
    // Before the room began there is nothing.
    let at = At {
        ts: 1,
        direction: Direction::Backward,
    };
    assert_eq!(there.rooms.find(&room, at).await, None);
    all_is_well(&mut sim).await;
}

#[tokio::test(start_paused = true)]
async fn members_who_are_not_known_yet_are_heard_while_a_room_is_not_whole() {
    let mut sim = Sim::new(26, (3, 0), Weights::CALM).await;
    let new = NewRoom {
        preset: Some(Preset::PublicChat),
        // Else the answer to a join names some members.
        name: Some("Large".to_owned()),
        ..NewRoom::default()
    };
    let room = create(&mut sim, 0, new).await;
    join_over(&sim, 1, "ann", &room, &[0]).await.unwrap();
    tokio::time::sleep(SOON).await;
    join_over(&sim, 2, "ann", &room, &[0]).await.unwrap();
    let names: Vec<String> = sim.nodes.iter().map(|node| node.name.to_string()).collect();
    sim.net.cut(&names[0], &names[2]);
    let known = membership(&sim, 2, &room, (1, "ann")).await;
    assert_eq!(known, None, "the members are still to come");
    // It learns of the newcomer as the others do.
    let said = sim.say(1, "ann", &room, "hello").await.unwrap();
    let accepted = hearth_data::append::Standing::Accepted;
    let there = &sim.nodes[2];
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(there.standing(&said).await, Some(accepted));
    sim.net.heal();
    all_is_well(&mut sim).await;
    assert_eq!(sim.nodes[2].standing(&said).await, Some(accepted));
    let known = membership(&sim, 2, &room, (1, "ann")).await;
    assert_eq!(known.as_deref(), Some("join"));
}

#[tokio::test(start_paused = true)]
async fn who_was_put_out_stays_out_when_her_server_comes_back_over_one_that_has_not_heard_of_it() {
    for change in [TargetChange::Kick, TargetChange::Ban] {
        let mut sim = Sim::new(27, (3, 1), Weights::CALM).await;
        let room = sim.rooms[0].clone();
        tokio::time::sleep(SOON).await;
        let names: Vec<String> = sim.nodes.iter().map(|node| node.name.to_string()).collect();
        sim.net.cut(&names[0], &names[1]);
        let (host, target) = (&sim.nodes[0], sim.nodes[2].user("ann"));
        let by = host.user("ann");
        let put_out = host.rooms.change_other(&by, &room, (change, &target), None);
        put_out.await.unwrap();
        tokio::time::sleep(SOON).await;
        join_over(&sim, 2, "bob", &room, &[1]).await.unwrap();
        // Until the members are there who were left out.
        tokio::time::sleep(SOON).await;
        let (there, bob) = (&sim.nodes[2], sim.nodes[2].user("bob"));
        let told = there.told_membership(&target, &room).await;
        assert_ne!(told, Some(MembershipState::Join), "{change:?}");
        // Nobody tells a server of which nobody is in the room that she is not.
        there.rooms.leave(&bob, &room, None).await.unwrap();
        all_is_well(&mut sim).await;
    }
}

/// Somebody put out on another branch leaves nobody behind who could fetch what became of the first one.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_learns_of_each_of_its_users_who_was_put_out() {
    let mut sim = Sim::new(28, (3, 1), Weights::CALM).await;
    let room = sim.rooms[0].clone();
    sim.join(1, "bob", &room, 0).await.unwrap();
    let [first, third] = [0, 2].map(|at: usize| sim.nodes[at].user("ann"));
    let levels = json!({ "users": { first: 100, third: 50 } });
    put(&sim, 0, &room, ("m.room.power_levels", ""), levels).await;
    tokio::time::sleep(SOON).await;
    let names: Vec<String> = sim.nodes.iter().map(|node| node.name.to_string()).collect();
    sim.net.cut(&names[0], &names[1]);
    sim.net.cut(&names[0], &names[2]);
    // What is tried again and again; of all that comes later it is only known that it is still to be told.
    sim.say(0, "ann", &room, "is anybody there?").await.unwrap();
    tokio::time::sleep(SOON).await;
    for (at, change, name) in [
        (0, TargetChange::Ban, "ann"),
        (2, TargetChange::Kick, "bob"),
    ] {
        let (by, target) = (sim.nodes[at].user("ann"), sim.nodes[1].user(name));
        let rooms = &sim.nodes[at].rooms;
        let put_out = rooms.change_other(&by, &room, (change, &target), None);
        put_out.await.unwrap();
        tokio::time::sleep(SOON).await;
    }
    // The two hear of each other's, and then nobody of the third is in the room.
    sim.net.heal();
    sim.net.cut(&names[0], &names[1]);
    tokio::time::sleep(100 * SOON).await;
    all_is_well(&mut sim).await;
    let user = sim.nodes[1].user("ann");
    let told = sim.nodes[1].told_membership(&user, &room).await;
    assert_eq!(told, Some(MembershipState::Ban));
}
