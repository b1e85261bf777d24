//! Trees of spaces over several servers.

use ruma::{OwnedRoomId, RoomId};
use serde_json::{Value, json};

use super::fixture::{House, alice, raw, server, user};
use crate::{Children, Error, HierarchyQuery, NewRoom, NewState, Preset, Sender};

const NOBODYS: &str = "!nobodys:far";

async fn room(house: &House, kind: Option<&str>, preset: Preset) -> OwnedRoomId {
    let room = NewRoom {
        preset: Some(preset),
        creation_content: kind.map(|kind| raw(&json!({ "type": kind }))),
        ..NewRoom::default()
    };
    house.rooms.create(&alice(), room).await.unwrap()
}

async fn space(house: &House) -> OwnedRoomId {
    room(house, Some("m.space"), Preset::PublicChat).await
}

async fn child(house: &House, space: &RoomId, child: &str, via: &[&str]) {
    let sender = Sender {
        user: alice(),
        device: None,
        at: None,
    };
    let state = NewState {
        kind: "m.space.child".to_owned(),
        state_key: child.to_owned(),
        content: raw(&json!({ "via": via })),
    };
    house.rooms.put_state(&sender, space, state).await.unwrap();
}

fn told(room: &str, rule: &str, children: &[&str]) -> Value {
    let children: Vec<Value> = children
        .iter()
        .map(|child| {
            json!({
                "type": "m.space.child", "state_key": child, "sender": "@bob:far",
                "origin_server_ts": 5, "content": { "via": ["far"] }, "unsigned": { "age": 1 },
            })
        })
        .collect();
    json!({
        "room_id": room, "num_joined_members": 3, "world_readable": false, "guest_can_join": false,
        "join_rule": rule, "name": format!("name of {room}"), "room_type": "m.space",
        "children_state": children,
    })
}

fn plain(room: &str, rule: &str) -> Value {
    let mut told = told(room, rule, &[]);
    told.as_object_mut().unwrap().remove("room_type");
    told
}

async fn ids(house: &House, who: &str, root: &RoomId) -> Vec<String> {
    let tree = house
        .rooms
        .hierarchy(&user(who), root, &HierarchyQuery::default())
        .await;
    let rooms = tree.unwrap().rooms.into_iter();
    rooms
        .map(|room| room.summary.listing.room_id.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn rooms_that_nobody_here_follows_are_told_of_by_servers_in_them() {
    let house = House::new();
    let root = space(&house).await;
    child(&house, &root, "!space:far", &["house", "nowhere", "far"]).await;
    let far = RoomId::parse("!space:far").unwrap();
    let mut open = plain("!open:far", "public");
    open["avatar_url"] = json!("javascript:alert(1)");
    house.others.space(
        &far,
        &json!({
            "room": told("!space:far", "public", &["!open:far", "!closed:far", "!gone:far", "!zdeep:far"]),
            "children": [open, plain("!closed:far", "invite"), told("!zdeep:far", "knock", &[]),
                         plain(root.as_str(), "invite"), plain(NOBODYS, "public")],
            "inaccessible_children": ["!gone:far"],
        }),
    );
    let expected = [root.as_str(), "!space:far", "!open:far", "!zdeep:far"];
    // "nowhere" has the script's answers, too.
    let query = HierarchyQuery::default();
    let tree = house.rooms.hierarchy(&alice(), &root, &query).await;
    let tree = tree.unwrap();
    let rooms: Vec<&str> = tree
        .rooms
        .iter()
        .map(|room| room.summary.listing.room_id.as_str())
        .collect();
    assert_eq!(rooms, expected);
    // What the events carry besides is not handed on, nor an address that is none of a file.
    let event: Value = serde_json::from_str(tree.rooms[1].children[0].get()).unwrap();
    assert_eq!(event.as_object().unwrap().len(), 5, "{event}");
    assert_eq!(tree.rooms[2].summary.listing.avatar_url, None);
    let asked = house.others.asked();
    // Of the plain rooms their space has told all; of the one that cannot be entered nobody is asked.
    assert_eq!(
        asked,
        ["nowhere hierarchy !space:far", "far hierarchy !zdeep:far"]
    );
    assert_eq!(ids(&house, "@alice:house", &root).await, expected);
    let again = house.others.asked();
    assert_eq!(
        again.len(),
        3,
        "only a refusal is asked for again: {again:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn s12_a_far_room_is_shown_only_to_those_who_may_know_of_it() {
    let house = House::new();
    let root = space(&house).await;
    let club = room(&house, None, Preset::PrivateChat).await;
    child(&house, &root, "!club:far", &["far"]).await;
    child(&house, &root, "!secret:far", &["far"]).await;
    let mut restricted = plain("!club:far", "restricted");
    restricted["allowed_room_ids"] = json!([club]);
    for told in [restricted, plain("!secret:far", "invite")] {
        let id = RoomId::parse(told["room_id"].as_str().unwrap()).unwrap();
        house.others.space(&id, &json!({ "room": told }));
    }
    let here = root.as_str();
    assert_eq!(
        ids(&house, "@alice:house", &root).await,
        [here, "!club:far"]
    );
    assert_eq!(ids(&house, "@carol:house", &root).await, [here]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_another_room_is_no_answer() {
    let house = House::new();
    let root = space(&house).await;
    for (index, room) in [
        plain("!other:far", "public"),
        json!({ "room_id": "!x1:far" }),
        json!([]),
        json!({ "room_id": "!x3:far", "num_joined_members": -1 }),
    ]
    .iter()
    .enumerate()
    {
        let id = format!("!x{index}:far");
        child(&house, &root, &id, &["far"]).await;
        let id = RoomId::parse(id).unwrap();
        house.others.space(&id, &json!({ "room": room }));
    }
    assert_eq!(ids(&house, "@alice:house", &root).await, [root.as_str()]);
}

#[tokio::test(start_paused = true)]
async fn pages_of_a_tree_go_on_after_far_rooms() {
    let house = House::new();
    let root = space(&house).await;
    let mut expected = vec![root.to_string()];
    for number in 0..7 {
        let id = format!("!r{number}_x:far");
        child(&house, &root, &id, &["far"]).await;
        let told = plain(&id, "public");
        house
            .others
            .space(&RoomId::parse(&*id).unwrap(), &json!({ "room": told }));
        expected.push(id);
    }
    let mut found = Vec::new();
    let mut from = None;
    loop {
        let query = HierarchyQuery {
            limit: Some(3),
            from,
            ..HierarchyQuery::default()
        };
        let page = house
            .rooms
            .hierarchy(&alice(), &root, &query)
            .await
            .unwrap();
        found.extend(
            page.rooms
                .iter()
                .map(|room| room.summary.listing.room_id.to_string()),
        );
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(found, expected);
}

#[tokio::test(start_paused = true)]
async fn s12_other_servers_are_told_of_rooms_that_they_could_enter() {
    let house = House::new();
    let root = space(&house).await;
    let open = room(&house, None, Preset::PublicChat).await;
    let secret = room(&house, None, Preset::PrivateChat).await;
    let shut = room(&house, None, Preset::PublicChat).await;
    let acl = json!({ "allow": ["*"], "deny": ["far"] });
    house.put(&shut, "m.room.server_acl", acl).await;
    for id in [
        &*open,
        &*secret,
        &*shut,
        RoomId::parse(NOBODYS).unwrap().as_ref(),
    ] {
        child(&house, &root, id.as_str(), &["house"]).await;
    }
    let far = server("far");
    let served = house.rooms.hierarchy_for(&far, &root, Children::All).await;
    let served = served.unwrap();
    assert_eq!(served.room.summary.listing.room_id, root);
    assert_eq!(served.room.summary.membership, None);
    assert_eq!(served.room.children.len(), 4);
    let told: Vec<_> = served
        .children
        .iter()
        .map(|room| &room.listing.room_id)
        .collect();
    assert_eq!(told, [&open]);
    let mut closed = served.inaccessible;
    closed.sort_unstable();
    let mut expected = vec![secret.clone(), shut.clone()];
    expected.sort_unstable();
    assert_eq!(closed, expected);
    let suggested = house
        .rooms
        .hierarchy_for(&far, &root, Children::Suggested)
        .await;
    assert!(suggested.unwrap().children.is_empty());
    for hidden in [&*secret, &*shut, RoomId::parse(NOBODYS).unwrap().as_ref()] {
        let answer = house.rooms.hierarchy_for(&far, hidden, Children::All).await;
        assert!(matches!(answer, Err(Error::NoServerInRoom)), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_restricted_room_is_told_to_servers_in_the_rooms_that_let_in() {
    let house = House::new();
    let club = house.room_with("11", &[&user("@bob:far")]).await;
    let room = room(&house, None, Preset::PrivateChat).await;
    let allow = json!([{ "type": "m.room_membership", "room_id": club }]);
    let rule = json!({ "join_rule": "restricted", "allow": allow });
    house.put(&room, "m.room.join_rules", rule).await;
    for (name, is_told) in [("far", true), ("further", false)] {
        let answer = house
            .rooms
            .hierarchy_for(&server(name), &room, Children::All)
            .await;
        assert_eq!(answer.is_ok(), is_told, "{name}");
    }
}
