//! Keys and messages between servers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_data::federation::outbox;
use hearth_ports::{BoxFuture, RemoteKeys, RemoteKeysError};
use hearth_store::{Backend, Position};
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
