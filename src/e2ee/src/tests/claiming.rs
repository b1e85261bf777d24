//! Claims of one-time keys.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use hearth_data::e2ee::keys;
use hearth_store::Backend;
use serde_json::json;

use super::house::{ALICE, Device, House, UNSIGNED, user_id};
use crate::{Claims, Error};

#[tokio::test]
async fn keys_are_given_out_once_and_in_the_order_of_upload() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    for range in [5..6, 0..3, 3..5] {
        let body = json!({ "one_time_keys": device.one_time_keys(range) });
        house.upload(&device, &body).await.unwrap();
    }
    let mut order = Vec::new();
    while let Some((name, key)) = house.claim(&device).await {
        let number: u32 = name
            .trim_start_matches("signed_curve25519:AAA")
            .parse()
            .unwrap();
        assert_eq!(key, device.one_time_key(number));
        order.push(number);
    }
    assert_eq!(order, [5, 0, 1, 2, 3, 4]);
    assert_eq!(house.head(&device).await.counts["signed_curve25519"], 0);
    house.assert_sound().await;
}

#[tokio::test]
async fn a_key_sent_again_after_it_was_given_out_is_not_given_out_again() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 2).await;
    house.claim(&device).await.unwrap();
    let body = json!({ "one_time_keys": device.one_time_keys(0..2) });
    let counts = house.upload(&device, &body).await.unwrap();
    assert_eq!(counts, json!({ "signed_curve25519": 1 }));
    // A client that lost its counter makes another key of the same name.
    let other = json!({ "signed_curve25519:AAA0000": device.one_time_key(77) });
    house
        .upload(&device, &json!({ "one_time_keys": other }))
        .await
        .unwrap();
    let names = [
        house.claim(&device).await.unwrap().1,
        house.claim(&device).await.unwrap().1,
    ];
    assert_eq!(names, [device.one_time_key(1), device.one_time_key(77)]);
    house.assert_sound().await;
}

#[tokio::test]
async fn another_key_under_the_name_of_one_that_waits_is_refused() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 1).await;
    let other = json!({ "signed_curve25519:AAA0000": device.one_time_key(77) });
    let refused = house
        .upload(&device, &json!({ "one_time_keys": other }))
        .await;
    assert!(matches!(refused, Err(Error::Param(_))), "{refused:?}");
    assert_eq!(
        house.claim(&device).await.unwrap().1,
        device.one_time_key(0)
    );
}

#[tokio::test]
async fn ids_of_keys_given_out_are_forgotten_some_day() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    for round in 0..4 {
        let range = round * 200..round * 200 + 200;
        let body = json!({ "one_time_keys": Device::unsigned_keys(range) });
        house.upload(&device, &body).await.unwrap();
        while house.claim_of(&device, UNSIGNED).await.is_some() {}
    }
    let body = json!({ "one_time_keys": Device::unsigned_keys(2_000..2_001) });
    house.upload(&device, &body).await.unwrap();
    let snapshot = house.store.snapshot().await.unwrap();
    let known = keys::one_time_key_ids(&*snapshot, &device.place(), 10_000)
        .await
        .unwrap();
    assert!(known.len() <= 501, "{}", known.len());
    house.assert_sound().await;
}

#[tokio::test]
async fn one_claim_of_many_devices_gets_a_key_of_each() {
    let house = House::new();
    let mut claims = Claims::new();
    for number in 0..450 {
        let user = format!("@user{number}:h.test");
        let device = house.device(&user, "D").await;
        let body = json!({ "one_time_keys": Device::unsigned_keys(0..1) });
        house.upload(&device, &body).await.unwrap();
        let wanted = [("D".into(), UNSIGNED.to_owned())];
        claims.insert(user_id(&user), wanted.into());
    }
    let timeout = Duration::from_secs(1);
    let answer = house
        .e2ee
        .keys_claim(claims.clone(), timeout)
        .await
        .unwrap();
    assert_eq!(answer.keys.len(), 450);
    let answer = house.e2ee.keys_claim(claims, timeout).await.unwrap();
    assert!(answer.keys.is_empty());
    house.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_claims_at_once_no_two_get_the_same_key() {
    let house = House::new();
    let device = &house.ready_device(ALICE, "A", 100).await;
    let claims = (0..120).map(|_| house.claim(device));
    let got: Vec<String> = join_all(claims)
        .await
        .into_iter()
        .flatten()
        .map(|key| key.0)
        .collect();
    assert_eq!(got.len(), 100);
    let distinct: BTreeSet<&String> = got.iter().collect();
    assert_eq!(distinct.len(), 100);
    house.assert_sound().await;
}
