//! Uploads of identity, one-time and fallback keys.

use serde_json::json;

use super::house::{ALICE, BOB, Device, House};
use crate::Error;

#[tokio::test]
async fn identity_keys_come_back_with_their_signature_and_the_devices_name() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    let answer = house.query(BOB, ALICE).await;
    let mut expected = device.keys();
    expected["unsigned"] = json!({ "device_display_name": "A of @alice:h.test" });
    assert_eq!(answer["device_keys"][ALICE]["A"], expected);
    assert_eq!(answer["failures"], json!({}));
    let answer = house.query(BOB, BOB).await;
    assert_eq!(answer["device_keys"][BOB], json!({}));
    house.assert_sound().await;
}

#[tokio::test]
async fn the_same_upload_again_changes_nothing() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 4).await;
    let before = house.position().await;
    let body = json!({
        "device_keys": device.keys(),
        "one_time_keys": device.one_time_keys(0..4),
    });
    let counts = house.upload(&device, &body).await.unwrap();
    assert_eq!(counts, json!({ "signed_curve25519": 4 }));
    assert_eq!(house.position().await, before);
    let overlapping = json!({ "one_time_keys": device.one_time_keys(2..6) });
    let counts = house.upload(&device, &overlapping).await.unwrap();
    assert_eq!(counts, json!({ "signed_curve25519": 6 }));
    assert!(house.lists_changed(before).await.is_empty());
    house.assert_sound().await;
}

#[tokio::test]
async fn new_keys_of_a_device_are_a_change_of_its_users_list() {
    let house = House::new();
    let start = house.position().await;
    house.ready_device(ALICE, "A", 1).await;
    assert_eq!(house.lists_changed(start).await, [ALICE]);
    let then = house.position().await;
    house.ready_device(ALICE, "B", 1).await;
    assert_eq!(house.lists_changed(then).await, [ALICE]);
    let then = house.position().await;
    let quiet = house.device(ALICE, "C").await;
    house.remove(&quiet).await;
    assert!(house.lists_changed(then).await.is_empty());
    house.assert_sound().await;
}

#[tokio::test]
async fn a_device_with_another_identity_loses_what_the_one_before_signed() {
    let house = House::new();
    house.ready_device(ALICE, "A", 5).await;
    let other = Device::with_identity(ALICE, "A", 2);
    let body = json!({
        "device_keys": other.keys(),
        "one_time_keys": other.one_time_keys(0..2),
        "fallback_keys": other.fallback_key(1),
    });
    let counts = house.upload(&other, &body).await.unwrap();
    assert_eq!(counts, json!({ "signed_curve25519": 2 }));
    let answer = house.query(BOB, ALICE).await;
    let shown = &answer["device_keys"][ALICE]["A"];
    assert_eq!(shown["keys"], other.keys()["keys"]);
    assert_eq!(shown["signatures"], other.keys()["signatures"]);
    let (_, key) = house.claim(&other).await.unwrap();
    assert_eq!(key, other.one_time_key(0));
    house.assert_sound().await;
}

#[tokio::test]
async fn a_fallback_key_that_was_used_stays_so_until_it_is_replaced() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    let body = json!({ "fallback_keys": device.fallback_key(1) });
    house.upload(&device, &body).await.unwrap();
    assert_eq!(
        house.head(&device).await.unused_fallback,
        ["signed_curve25519"]
    );
    let first = house.claim(&device).await.unwrap();
    assert_eq!(house.claim(&device).await.unwrap(), first);
    assert!(house.head(&device).await.unused_fallback.is_empty());
    house.upload(&device, &body).await.unwrap();
    assert!(house.head(&device).await.unused_fallback.is_empty());
    let body = json!({ "fallback_keys": device.fallback_key(2) });
    house.upload(&device, &body).await.unwrap();
    assert_eq!(
        house.head(&device).await.unused_fallback,
        ["signed_curve25519"]
    );
    assert_ne!(house.claim(&device).await.unwrap(), first);
    house.assert_sound().await;
}

#[tokio::test]
async fn everything_of_a_device_goes_with_it() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 3).await;
    let body = json!({ "fallback_keys": device.fallback_key(1) });
    house.upload(&device, &body).await.unwrap();
    house.claim(&device).await.unwrap();
    let before = house.position().await;
    house.remove(&device).await;
    assert_eq!(house.lists_changed(before).await, [ALICE]);
    let answer = house.query(BOB, ALICE).await;
    assert_eq!(answer["device_keys"][ALICE], json!({}));
    assert_eq!(house.claim(&device).await, None);
    let gone = house
        .upload(&device, &json!({ "device_keys": device.keys() }))
        .await;
    assert!(matches!(gone, Err(Error::NoDevice)), "{gone:?}");
    house.device(ALICE, "A").await;
    assert_eq!(house.head(&device).await, Default::default());
    house.assert_sound().await;
}

#[tokio::test]
async fn so_many_one_time_keys_are_enough() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    for start in (0..1_000).step_by(200) {
        let body = json!({ "one_time_keys": Device::unsigned_keys(start..start + 200) });
        house.upload(&device, &body).await.unwrap();
    }
    let body = json!({ "one_time_keys": Device::unsigned_keys(1_000..1_001) });
    let refused = house.upload(&device, &body).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    let body = json!({ "one_time_keys": Device::unsigned_keys(1_000..1_201) });
    let refused = house.upload(&device, &body).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    house.assert_sound().await;
}
