//! Keys and messages between servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_data::changes::record;
use hearth_data::e2ee::device_lists::{Changed, NewcomerRow, changed, newcomers};
use hearth_data::federation::outbox;
use hearth_data::{RoomNo, tables as t};
use hearth_ports::{BoxFuture, RemoteKeys, RemoteKeysError};
use hearth_store::{Backend, Batch, Position};
use ruma::events::room::member::MembershipState;
use ruma::{ServerName, UserId, server_name};
use serde_json::{Value, json};

use super::house::{ALICE, BOB, Device, House, user_id};
use crate::{Claims, Error, KeyQuery, Resync};

const EVE: &str = "@eve:far.test";

/// Another server, as far as it is asked for keys.
#[derive(Default)]
struct Far {
    answers: Mutex<HashMap<&'static str, Value>>,
}

impl Far {
    fn says(&self, what: &'static str, answer: Value) {
        self.answers.lock().unwrap().insert(what, answer);
    }

    fn answer(&self, what: &str) -> BoxFuture<'_, Result<Vec<u8>, RemoteKeysError>> {
        let answer = self.answers.lock().unwrap().get(what).cloned();
        Box::pin(async move {
            let answer = answer.ok_or(RemoteKeysError::Unreachable)?;
            Ok(answer.to_string().into_bytes())
        })
    }
}

impl RemoteKeys for Far {
    fn query<'a>(
        &'a self,
        _: &'a ServerName,
        _: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        self.answer("query")
    }
    fn claim<'a>(
        &'a self,
        _: &'a ServerName,
        _: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        self.answer("claim")
    }
    fn devices<'a>(&'a self, _: &'a UserId) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        self.answer("devices")
    }
}

fn devices(stream_id: u64, devices: &[&Device]) -> Value {
    let devices: Vec<Value> = devices
        .iter()
        .map(|device| json!({ "device_id": device.id, "keys": device.keys() }))
        .collect();
    json!({ "user_id": EVE, "stream_id": stream_id, "devices": devices })
}

fn update(device: &Device, stream_id: u64, prev_id: &[u64]) -> Value {
    json!({
        "user_id": EVE, "device_id": device.id, "stream_id": stream_id, "prev_id": prev_id,
        "keys": device.keys(),
    })
}

async fn receive(house: &House, content: &Value) -> crate::Result<Resync> {
    let json = content.to_string();
    let origin = server_name!("far.test");
    house
        .e2ee
        .receive_device_list_update(origin, json.as_bytes())
        .await
}

async fn shown(house: &House) -> Vec<String> {
    let answer: Value =
        serde_json::from_str(&house.e2ee.known_keys_of(&user_id(EVE)).await.unwrap()).unwrap();
    answer.as_object().unwrap().keys().cloned().collect()
}

#[tokio::test]
async fn servers_that_do_not_answer_are_failures_and_others_are_shown() {
    let far = Arc::new(Far::default());
    let house = House::with(far.clone());
    house.ready_device(ALICE, "A", 1).await;
    let query = || -> KeyQuery { [(user_id(EVE), vec![]), (user_id(ALICE), vec![])].into() };
    let ask = async || {
        let answer = house
            .e2ee
            .keys_query(&user_id(BOB), query(), Duration::from_secs(1))
            .await;
        serde_json::from_str::<Value>(&answer.unwrap()).unwrap()
    };
    let answer = ask().await;
    assert_eq!(answer["failures"]["far.test"]["errcode"], "M_UNREACHABLE");
    assert_eq!(answer["device_keys"][ALICE].as_object().unwrap().len(), 1);
    let device = Device::new(EVE, "E");
    let mut bad = device.keys();
    bad["keys"]["ed25519:E"] = json!(1);
    far.says(
        "query",
        json!({ "device_keys": {
        EVE: { "E": device.keys(), "BAD": bad },
        "@other:far.test": { "E": device.keys() },
    } }),
    );
    let answer = ask().await;
    assert_eq!(answer["failures"], json!({}));
    assert_eq!(answer["device_keys"][EVE], json!({ "E": device.keys() }));
    assert!(answer["device_keys"].get("@other:far.test").is_none());
}

#[tokio::test]
async fn keys_of_other_servers_users_are_claimed_there() {
    let far = Arc::new(Far::default());
    let house = House::with(far.clone());
    let device = Device::new(EVE, "E");
    let claims = || -> Claims {
        [(
            user_id(EVE),
            [("E".into(), "signed_curve25519".to_owned())].into(),
        )]
        .into()
    };
    let timeout = Duration::from_secs(1);
    let answer = house.e2ee.keys_claim(claims(), timeout).await.unwrap();
    assert_eq!(answer.failures.len(), 1);
    let keys = json!({ EVE: { "E": device.one_time_keys(0..1), "F": device.one_time_keys(1..2) } });
    far.says("claim", json!({ "one_time_keys": keys }));
    let answer = house.e2ee.keys_claim(claims(), timeout).await.unwrap();
    let answer: Value = serde_json::from_str(&answer.keys_json()).unwrap();
    assert_eq!(answer, json!({ EVE: { "E": device.one_time_keys(0..1) } }));
}

/// The devices of eve that alice is told of.
async fn asked(house: &House) -> Vec<String> {
    let answer = house.query(ALICE, EVE).await;
    let devices = answer["device_keys"][EVE].as_object();
    devices
        .into_iter()
        .flatten()
        .map(|(id, _)| id.clone())
        .collect()
}

#[tokio::test]
async fn a_list_from_before_a_time_without_a_common_room_is_asked_for_again() {
    type Move = (&'static str, RoomNo, MembershipState);
    use MembershipState::{Join, Leave};
    let [one, two] = [1, 2].map(RoomNo);
    // Who moves, and whether a change may have been missed.
    let cases: &[(&[Move], bool)] = &[
        (&[], false),
        (&[(EVE, one, Leave), (EVE, one, Join)], true),
        (&[(ALICE, one, Leave), (ALICE, one, Join)], true),
        (
            &[(EVE, one, Leave), (EVE, two, Join), (ALICE, two, Join)],
            true,
        ),
        // Together in another room before the first was left, but not when the list was asked for.
        (
            &[(ALICE, two, Join), (EVE, two, Join), (EVE, one, Leave)],
            true,
        ),
    ];
    for (moves, is_missed) in cases {
        let far = Arc::new(Far::default());
        let house = House::with(far.clone());
        house.join(&[ALICE, EVE], one).await;
        let all: Vec<Device> = ["E1", "E2"].map(|id| Device::new(EVE, id)).into();
        far.says("devices", devices(5, &[&all[0]]));
        assert_eq!(asked(&house).await, ["E1"]);
        far.says("devices", devices(6, &[&all[0], &all[1]]));
        for (user, room, membership) in *moves {
            house.moves(user, *room, membership.clone()).await;
        }
        let expected: &[&str] = if *is_missed { &["E1", "E2"] } else { &["E1"] };
        assert_eq!(asked(&house).await, expected, "{moves:?}");
        // From then on it is known again.
        far.says("devices", devices(7, &[&all[1]]));
        assert_eq!(asked(&house).await, expected, "{moves:?}");
    }
}

#[tokio::test]
async fn one_room_in_which_all_stayed_is_enough() {
    let far = Arc::new(Far::default());
    let house = House::with(far.clone());
    let all: Vec<Device> = ["E1", "E2"].map(|id| Device::new(EVE, id)).into();
    for room in [1, 2].map(RoomNo) {
        house.join(&[ALICE, EVE], room).await;
    }
    far.says("devices", devices(5, &[&all[0]]));
    assert_eq!(asked(&house).await, ["E1"]);
    far.says("devices", devices(6, &[&all[0], &all[1]]));
    for membership in [MembershipState::Leave, MembershipState::Join] {
        house.moves(EVE, RoomNo(1), membership).await;
    }
    assert_eq!(asked(&house).await, ["E1"]);
}

fn newcomer(user: &str, room: u64, named: &[&str]) -> Batch {
    let row = NewcomerRow {
        user: user.to_owned(),
        room: RoomNo(room),
        servers: named.iter().map(|&server| server.to_owned()).collect(),
    };
    let mut batch = Batch::new();
    t::NEWCOMERS.put_at_position(&mut batch, &(), &0, &row);
    batch
}

#[tokio::test]
async fn servers_that_are_new_to_a_user_are_told_of_her_devices() {
    let house = House::new();
    house.ready_device(ALICE, "A", 0).await;
    house.device(ALICE, "QUIET").await;
    while house.e2ee.tell_servers().await.unwrap() {}
    let servers = |room: u64, names: &[&str]| {
        let mut batch = Batch::new();
        for name in names {
            t::ROOM_SERVERS.add(&mut batch, &(RoomNo(room), (*name).to_owned()), 1);
        }
        batch
    };
    let edus = async |server: &str| {
        let snapshot = house.store.snapshot().await.unwrap();
        let edus = outbox(&*snapshot, server, 10).await.unwrap().into_iter();
        edus.map(|(_, edu)| serde_json::from_str::<Value>(edu.text()).unwrap()["content"].clone())
            .collect::<Vec<_>>()
    };
    house
        .store
        .commit(servers(1, &["near.test", "h.test"]))
        .await
        .unwrap();
    house
        .store
        .commit(servers(2, &["far.test", "near.test", "h.test"]))
        .await
        .unwrap();
    house.join(&[ALICE], RoomNo(1)).await;
    house.join(&[ALICE, BOB], RoomNo(2)).await;
    house.store.commit(newcomer(ALICE, 2, &[])).await.unwrap();
    assert!(!house.e2ee.tell_of_newcomers().await.unwrap());
    let told = edus("far.test").await;
    assert_eq!(told.len(), 2);
    let devices = told.iter().map(|edu| edu["device_id"].as_str().unwrap());
    assert_eq!(devices.collect::<Vec<_>>(), ["A", "QUIET"]);
    assert_eq!(told[0]["keys"]["device_id"], "A");
    assert_eq!(told[1].get("keys"), None);
    for edu in &told {
        assert_eq!(
            (&edu["user_id"], &edu["prev_id"]),
            (&json!(ALICE), &json!([]))
        );
        assert!(edu["stream_id"].as_u64().unwrap() > 0);
        assert_eq!(edu.get("deleted"), None);
    }
    for server in ["near.test", "h.test"] {
        assert_eq!(edus(server).await, Vec::<Value>::new(), "{server}");
    }
    // Servers that are named are told, new or not, if they share a room with the user.
    let named = newcomer(ALICE, 2, &["near.test", "gone.test"]);
    house.store.commit(named).await.unwrap();
    house.e2ee.tell_of_newcomers().await.unwrap();
    for (server, told) in [("near.test", 2), ("far.test", 2), ("gone.test", 0)] {
        assert_eq!(edus(server).await.len(), told, "{server}");
    }
    // Who has gone again is nobody's news.
    house.store.commit(newcomer(BOB, 2, &[])).await.unwrap();
    house.moves(BOB, RoomNo(2), MembershipState::Leave).await;
    house.e2ee.tell_of_newcomers().await.unwrap();
    assert_eq!(edus("near.test").await.len(), 2);
    let snapshot = house.store.snapshot().await.unwrap();
    assert!(newcomers(&*snapshot, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_device_without_keys_is_no_news_of_a_list_that_nobody_asked_for() {
    let house = House::new();
    let before = house.position().await;
    let update = json!({
        "user_id": EVE, "device_id": "E", "stream_id": 3, "prev_id": [],
        "device_display_name": "new",
    });
    assert_eq!(receive(&house, &update).await.unwrap(), Resync::NotNeeded);
    assert_eq!(house.position().await, before);
}

#[tokio::test]
async fn a_chain_of_updates_is_followed_and_a_gap_is_fetched() {
    let far = Arc::new(Far::default());
    let house = House::with(far.clone());
    let all: Vec<Device> = ["E1", "E2", "E3"].map(|id| Device::new(EVE, id)).into();
    let start = house.position().await;
    assert_eq!(
        receive(&house, &update(&all[0], 1, &[])).await.unwrap(),
        Resync::NotNeeded
    );
    assert_eq!(house.lists_changed(start).await, [EVE]);
    assert!(shown(&house).await.is_empty());
    far.says("devices", devices(5, &[&all[0]]));
    house.e2ee.resync(&user_id(EVE)).await.unwrap();
    assert_eq!(shown(&house).await, ["E1"]);
    assert_eq!(
        receive(&house, &update(&all[1], 6, &[5])).await.unwrap(),
        Resync::NotNeeded
    );
    assert_eq!(shown(&house).await, ["E1", "E2"]);
    // Repeated, and older than what is known.
    assert_eq!(
        receive(&house, &update(&all[1], 6, &[5])).await.unwrap(),
        Resync::NotNeeded
    );
    let gone = json!({
        "user_id": EVE, "device_id": "E1", "stream_id": 7, "prev_id": [6], "deleted": true,
    });
    receive(&house, &gone).await.unwrap();
    assert_eq!(shown(&house).await, ["E2"]);
    let before = house.position().await;
    assert_eq!(
        receive(&house, &update(&all[2], 9, &[8])).await.unwrap(),
        Resync::Needed
    );
    assert_eq!(house.lists_changed(before).await, [EVE]);
    far.says("devices", devices(9, &[&all[1], &all[2]]));
    house.e2ee.resync(&user_id(EVE)).await.unwrap();
    assert_eq!(shown(&house).await, ["E2", "E3"]);
    house.assert_sound().await;
}

#[tokio::test]
async fn s19_a_server_speaks_for_its_own_users_only() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 0).await;
    let mut foreign = update(&alice, 1, &[]);
    foreign["user_id"] = json!(ALICE);
    assert!(matches!(
        receive(&house, &foreign).await,
        Err(Error::Foreign)
    ));
    let keys = json!({ "user_id": ALICE });
    let origin = server_name!("far.test");
    let json = keys.to_string();
    let refused = house
        .e2ee
        .receive_signing_key_update(origin, json.as_bytes())
        .await;
    assert!(matches!(refused, Err(Error::Foreign)));
    let message = json!({
        "sender": BOB, "type": "m.x", "message_id": "1", "messages": { ALICE: { "A": {} } },
    });
    let refused = house
        .e2ee
        .receive_to_device(origin, message.to_string().as_bytes())
        .await;
    assert!(matches!(refused, Err(Error::Foreign)));
    assert!(house.waiting(&alice).await.is_empty());
}

#[tokio::test]
async fn a_message_of_another_server_counts_once() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 0).await;
    house.device(ALICE, "A2").await;
    let message = json!({
        "sender": EVE, "type": "m.x", "message_id": "1",
        "messages": { ALICE: { "A": { "n": 1 }, "NONE": {} }, "@nobody:h.test": { "*": {} } },
    });
    for origin in [server_name!("far.test"), server_name!("far.test")] {
        let json = message.to_string();
        house
            .e2ee
            .receive_to_device(origin, json.as_bytes())
            .await
            .unwrap();
    }
    let expected = json!({ "sender": EVE, "type": "m.x", "content": { "n": 1 } });
    assert_eq!(house.waiting(&alice).await, [expected]);
    house.clock.advance(Duration::from_secs(40 * 24 * 3_600));
    for number in 0..3 {
        let mut next = message.clone();
        next["message_id"] = json!(format!("x{number}"));
        let json = next.to_string();
        house
            .e2ee
            .receive_to_device(server_name!("far.test"), json.as_bytes())
            .await
            .unwrap();
    }
    house.assert_sound().await;
    let json = message.to_string();
    house
        .e2ee
        .receive_to_device(server_name!("far.test"), json.as_bytes())
        .await
        .unwrap();
    assert_eq!(house.waiting(&alice).await.len(), 5);
}

#[tokio::test]
async fn what_other_servers_ask_of_local_users_is_answered() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 1).await;
    let answer = house
        .e2ee
        .devices_for_server(&user_id(ALICE))
        .await
        .unwrap()
        .unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["devices"][0]["device_id"], "A");
    assert_eq!(
        answer["devices"][0]["device_display_name"],
        "A of @alice:h.test"
    );
    assert!(answer["stream_id"].as_u64().unwrap() > 0);
    assert_eq!(
        house.e2ee.devices_for_server(&user_id(BOB)).await.unwrap(),
        None
    );
    assert_eq!(
        house.e2ee.devices_for_server(&user_id(EVE)).await.unwrap(),
        None
    );
    let claims = [(
        user_id(ALICE),
        [("A".into(), "signed_curve25519".to_owned())].into(),
    )];
    let claimed = house.e2ee.claim_for_server(claims.into()).await.unwrap();
    assert!(claimed.contains("signed_curve25519:AAA0000"));
    assert_eq!(house.claim(&alice).await, None);
}

#[tokio::test]
async fn changes_of_local_lists_go_to_the_servers_that_share_a_room() {
    let house = House::new();
    house.room_with(ALICE, &["far.test", "near.test"]).await;
    let alice = house.ready_device(ALICE, "A", 0).await;
    house.ready_device(BOB, "B", 0).await;
    house.remove(&alice).await;
    while house.e2ee.tell_servers().await.unwrap() {}
    let snapshot = house.store.snapshot().await.unwrap();
    for server in ["far.test", "near.test"] {
        let edus = outbox(&*snapshot, server, 10).await.unwrap();
        let edus: Vec<Value> = edus
            .iter()
            .map(|(_, edu)| serde_json::from_str(edu.text()).unwrap())
            .collect();
        assert_eq!(edus.len(), 2, "{edus:?}");
        // The first is told as it is now: the device is gone already.
        for edu in &edus {
            assert_eq!(edu["edu_type"], "m.device_list_update");
            assert_eq!(edu["content"]["user_id"], ALICE);
            assert_eq!(edu["content"]["deleted"], true);
        }
        assert_eq!(
            edus[1]["content"]["prev_id"],
            json!([edus[0]["content"]["stream_id"]])
        );
    }
    assert!(outbox(&*snapshot, "h.test", 10).await.unwrap().is_empty());
    let log = hearth_data::e2ee::device_lists::log_after(&*snapshot, (Position::ZERO, 0), 10).await;
    assert!(log.unwrap().is_empty());
}

#[tokio::test]
async fn a_device_without_keys_that_got_another_name_is_not_told_as_deleted() {
    let house = House::new();
    house.room_with(ALICE, &["far.test"]).await;
    house.device(ALICE, "QUIET").await;
    let snapshot = house.store.snapshot().await.unwrap();
    let mut batch = Batch::new();
    let renamed = [Changed::Device("QUIET")];
    let change = changed(&*snapshot, &mut batch, ALICE, &renamed).await;
    record(&mut batch, vec![change.unwrap()]);
    house.store.commit(batch).await.unwrap();
    while house.e2ee.tell_servers().await.unwrap() {}
    let snapshot = house.store.snapshot().await.unwrap();
    let edus = outbox(&*snapshot, "far.test", 10).await.unwrap();
    let edu: Value = serde_json::from_str(edus[0].1.text()).unwrap();
    assert_eq!(edu["content"]["device_id"], "QUIET");
    let name = &edu["content"]["device_display_name"];
    assert_eq!(name, "QUIET of @alice:h.test");
    for absent in ["deleted", "keys"] {
        assert_eq!(edu["content"].get(absent), None, "{absent}");
    }
}
