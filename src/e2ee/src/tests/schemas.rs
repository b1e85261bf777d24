//! Nothing malformed is stored.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::house::{ALICE, BOB, Device, House};

async fn is_refused(house: &House, device: &Device, body: &Value) -> bool {
    let before = house.position().await;
    let refused = house.upload(device, body).await.is_err();
    assert_eq!(house.position().await, before, "{body}");
    refused
}

#[tokio::test]
async fn s07_malformed_identity_keys_are_refused() {
    let house = House::new();
    let device = house.device(ALICE, "A").await;
    let good = device.keys();
    let change = |at: &str, value: Value| {
        let mut keys = good.clone();
        *keys.pointer_mut(at).unwrap() = value;
        keys
    };
    let without = |field: &str| {
        let mut keys = good.clone();
        keys.as_object_mut().unwrap().remove(field);
        keys
    };
    let mut bad = vec![
        change("/user_id", json!(BOB)),
        change("/device_id", json!("B")),
        change("/user_id", json!(1)),
        change("/algorithms", json!("x")),
        change("/algorithms", json!([1])),
        change("/algorithms", json!([""])),
        change("/algorithms", json!({})),
        change("/keys", json!([])),
        change("/keys", json!({})),
        change("/keys/ed25519:A", json!(1)),
        change("/keys/ed25519:A", json!("short")),
        change("/keys/ed25519:A", Value::Null),
        change("/keys/curve25519:A", json!({ "key": "x" })),
        change("/keys/curve25519:A", json!("not base64 !")),
        change("/signatures", json!([])),
        change("/signatures", json!({ ALICE: "x" })),
        change("/signatures", json!({ ALICE: { "ed25519:A": 1 } })),
        change("/signatures", json!({ ALICE: { "ed25519:A": "AAAA" } })),
        change("/signatures", json!({ "nobody": { "ed25519:A": "AAAA" } })),
        json!("x"),
        json!([]),
        json!({}),
    ];
    let fields = ["user_id", "device_id", "algorithms", "keys", "signatures"];
    bad.extend(fields.map(without));
    for (name, value) in [
        ("float", json!(1.5)),
        ("large", json!(9_007_199_254_740_993_u64)),
        ("long", json!("x".repeat(20_000))),
    ] {
        let mut keys = good.clone();
        keys[name] = value;
        bad.push(keys);
    }
    // Not even with nothing that would give them away.
    for (name, value) in [("user_id", BOB), ("device_id", "B")] {
        let mut keys = good.clone();
        keys["signatures"] = json!({});
        keys[name] = json!(value);
        bad.push(keys);
    }
    let mut other = good.clone();
    other["keys"]["ed25519:B"] = good["keys"]["ed25519:A"].clone();
    bad.push(other);
    for keys in bad {
        assert!(
            is_refused(&house, &device, &json!({ "device_keys": keys })).await,
            "{keys}"
        );
    }
    house
        .upload(&device, &json!({ "device_keys": good }))
        .await
        .unwrap();
}

#[tokio::test]
async fn s07_malformed_one_time_keys_are_refused_with_the_whole_upload() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    let stranger = Device::with_identity(ALICE, "A", 5);
    let good = device.one_time_key(1);
    let mut unsigned = good.clone();
    unsigned.as_object_mut().unwrap().remove("signatures");
    let mut fallback = good.clone();
    fallback["fallback"] = json!("yes");
    let bad = [
        ("signed_curve25519:X", json!("text")),
        ("signed_curve25519:X", json!(1)),
        ("signed_curve25519:X", Value::Null),
        ("signed_curve25519:X", json!({})),
        (
            "signed_curve25519:X",
            json!({ "key": "short", "signatures": good["signatures"] }),
        ),
        ("signed_curve25519:X", unsigned),
        ("signed_curve25519:X", fallback),
        ("signed_curve25519:X", stranger.one_time_key(1)),
        (
            "signed_curve25519:X",
            json!({ "key": good["key"], "signatures": { BOB: { "a:b": "x" } } }),
        ),
        ("curve25519:X", good.clone()),
        ("curve25519:X", json!("short")),
        ("signed_curve25519:", good.clone()),
        ("signed_curve25519", good.clone()),
        (":X", good.clone()),
        ("", good.clone()),
        ("a b:c", json!("x")),
        ("a:b:c", json!("x")),
        ("other:X", json!({ "x": "y".repeat(5_000) })),
        ("other:X", json!([])),
    ];
    for (name, key) in bad {
        for kind in ["one_time_keys", "fallback_keys"] {
            let body = json!({ kind: { "signed_curve25519:GOOD": good, name: key } });
            assert!(is_refused(&house, &device, &body).await, "{body}");
        }
    }
    for body in [
        json!({ "one_time_keys": [] }),
        json!({ "fallback_keys": "x" }),
        json!({ "device_keys": 1 }),
        json!({ "fallback_keys": { "curve25519:a": good["key"], "curve25519:b": good["key"] } }),
    ] {
        assert!(is_refused(&house, &device, &body).await, "{body}");
    }
    house.assert_sound().await;
}

/// Any JSON, of the names that matter more often than of others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!(ALICE)),
        Just(json!("A")),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        let name = prop_oneof![
            Just("keys".to_owned()),
            Just("signatures".to_owned()),
            Just("user_id".to_owned()),
            Just("algorithms".to_owned()),
            Just("signed_curve25519:X".to_owned()),
            Just(ALICE.to_owned()),
            ".{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    #[test]
    fn s07_whatever_a_client_puts_into_its_keys_what_is_shown_of_them_is_sound(
        part in any_json(),
        at in prop_oneof![
            Just("/device_keys"), Just("/device_keys/keys"), Just("/device_keys/signatures"),
            Just("/device_keys/algorithms"), Just("/one_time_keys"), Just("/fallback_keys"),
            Just("/one_time_keys/signed_curve25519:AAA0000"),
        ],
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let house = House::new();
            let device = house.device(ALICE, "A").await;
            let mut body = json!({
                "device_keys": device.keys(),
                "one_time_keys": device.one_time_keys(0..1),
                "fallback_keys": device.fallback_key(0),
            });
            *body.pointer_mut(at).unwrap() = part;
            let _ = house.upload(&device, &body).await;
            let shown = house.query(BOB, ALICE).await;
            if let Some(keys) = shown["device_keys"][ALICE].get("A") {
                assert_eq!(keys["user_id"], ALICE);
                assert_eq!(keys["device_id"], "A");
                assert!(keys["keys"].is_object() && keys["signatures"].is_object());
                assert!(keys["algorithms"].is_array());
            }
            if let Some((name, key)) = house.claim(&device).await {
                assert!(name.starts_with("signed_curve25519:"));
                assert!(key["key"].is_string() && key["signatures"][ALICE].is_object());
            }
            house.assert_sound().await;
        });
    }
}
