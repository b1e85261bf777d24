//! Dehydrated devices.

use serde_json::{Value, json};

use super::house::{ALICE, BOB, Device, House, user_id};
use crate::{Error, ToDevice};

fn body(device: &Device) -> Value {
    json!({
        "device_id": device.id,
        "device_data": { "algorithm": "x", "account": "secret" },
        "initial_device_display_name": "kept",
        "device_keys": device.keys(),
        "one_time_keys": device.one_time_keys(0..2),
        "fallback_keys": device.fallback_key(1),
    })
}

async fn put(house: &House, caller: &Device, body: &Value) -> crate::Result<String> {
    house
        .e2ee
        .dehydrated_put(&caller.caller(), body.to_string().as_bytes())
        .await
}

#[tokio::test]
async fn a_dehydrated_device_has_keys_and_gets_messages_page_by_page() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 0).await;
    let bob = house.ready_device(BOB, "B", 0).await;
    let none = house.e2ee.dehydrated(&user_id(ALICE)).await;
    assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
    let sleeping = Device::new(ALICE, "SLEEP");
    put(&house, &alice, &body(&sleeping)).await.unwrap();
    let kept = house.e2ee.dehydrated(&user_id(ALICE)).await.unwrap();
    assert_eq!(kept.device_id, "SLEEP");
    assert_eq!(
        house.query(BOB, ALICE).await["device_keys"][ALICE]["SLEEP"]["user_id"],
        ALICE
    );
    assert!(house.claim(&sleeping).await.is_some());
    for number in 0..150 {
        let message = ToDevice {
            event_type: "m.test".to_owned(),
            txn_id: number.to_string(),
            messages: [(
                user_id(ALICE),
                [("SLEEP".to_owned(), "{}".to_owned())].into(),
            )]
            .into(),
        };
        house
            .e2ee
            .send_to_device(&bob.caller(), message)
            .await
            .unwrap();
    }
    let (mut from, mut counts) = (None, Vec::new());
    for _ in 0..3 {
        let page = house
            .e2ee
            .dehydrated_events(&user_id(ALICE), "SLEEP", from.as_deref())
            .await;
        let page = page.unwrap();
        counts.push(page.events.len());
        from = Some(page.next.0.to_string());
    }
    assert_eq!(counts, [100, 50, 0]);
    house.assert_sound().await;
}

#[tokio::test]
async fn a_new_dehydrated_device_takes_the_place_of_the_one_before() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 0).await;
    for id in ["S1", "S1", "S2"] {
        put(&house, &alice, &body(&Device::new(ALICE, id)))
            .await
            .unwrap();
        house.assert_sound().await;
    }
    let devices = house.query(ALICE, ALICE).await["device_keys"][ALICE].clone();
    let devices: Vec<&String> = devices.as_object().unwrap().keys().collect();
    assert_eq!(devices, ["A", "S2"]);
    let taken = put(&house, &alice, &body(&alice)).await;
    assert!(matches!(taken, Err(Error::Param(_))), "{taken:?}");
    assert_eq!(
        house.e2ee.dehydrated_delete(&alice.caller()).await.unwrap(),
        "S2"
    );
    let gone = house.e2ee.dehydrated_delete(&alice.caller()).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    house.assert_sound().await;
}

#[tokio::test]
async fn s07_a_malformed_dehydrated_device_is_refused() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 0).await;
    let good = body(&Device::new(ALICE, "S"));
    for (field, value) in [
        ("device_id", json!("")),
        ("device_id", json!(1)),
        ("device_id", json!("OTHER")),
        ("device_data", json!("x")),
        ("device_data", Value::Null),
        ("device_keys", Value::Null),
        ("one_time_keys", json!([])),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(put(&house, &alice, &bad).await.is_err(), "{bad}");
    }
    assert!(house.e2ee.dehydrated(&user_id(ALICE)).await.is_err());
}
