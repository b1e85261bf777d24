//! Messages to devices.

use std::collections::BTreeMap;

use hearth_data::federation::outbox;
use hearth_store::{Backend, Position};
use serde_json::{Value, json};

use super::house::{ALICE, BOB, Device, House, user_id};
use crate::{Error, ToDevice};

/// A message of one content to these users' devices.
fn message(txn_id: &str, content: &Value, to: &[(&str, &str)]) -> ToDevice {
    let mut messages: BTreeMap<_, BTreeMap<String, String>> = BTreeMap::new();
    for (user, device) in to {
        let devices = messages.entry(user_id(user)).or_default();
        devices.insert((*device).to_owned(), content.to_string());
    }
    ToDevice {
        event_type: "m.test".to_owned(),
        txn_id: txn_id.to_owned(),
        messages,
    }
}

async fn send(house: &House, from: &Device, message: ToDevice) -> crate::Result<()> {
    house.e2ee.send_to_device(&from.caller(), message).await
}

#[tokio::test]
async fn a_message_reaches_the_devices_named_and_with_a_star_all() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let bob = [house.device(BOB, "B1").await, house.device(BOB, "B2").await];
    let one = message("1", &json!({ "n": 1 }), &[(BOB, "B1"), (BOB, "unknown")]);
    send(&house, &alice, one).await.unwrap();
    let all = message("2", &json!({ "n": 2 }), &[(BOB, "*"), (ALICE, "*")]);
    send(&house, &alice, all).await.unwrap();
    let mut own = message("3", &json!({ "n": 3 }), &[(BOB, "*")]);
    own.messages
        .get_mut(&user_id(BOB))
        .unwrap()
        .insert("B2".to_owned(), "{}".to_owned());
    send(&house, &alice, own).await.unwrap();
    let sent = |content: Value| json!({ "sender": ALICE, "type": "m.test", "content": content });
    let (n1, n2, n3) = (json!({ "n": 1 }), json!({ "n": 2 }), json!({ "n": 3 }));
    let first = [sent(n1), sent(n2.clone()), sent(n3)];
    assert_eq!(house.waiting(&bob[0]).await, first);
    assert_eq!(
        house.waiting(&bob[1]).await,
        [sent(n2.clone()), sent(json!({}))]
    );
    assert_eq!(house.waiting(&alice).await, [sent(n2)]);
    house.assert_sound().await;
}

#[tokio::test]
async fn a_repeated_transaction_sends_nothing_again() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let other = house.device(ALICE, "A2").await;
    let bob = house.device(BOB, "B").await;
    for from in [&alice, &alice, &other] {
        let again = message("1", &json!({ "n": 1 }), &[(BOB, "B")]);
        send(&house, from, again).await.unwrap();
    }
    assert_eq!(house.waiting(&bob).await.len(), 2);
    let mut kinds = message("a/b", &json!({}), &[(BOB, "B")]);
    send(&house, &alice, kinds.clone()).await.unwrap();
    (kinds.event_type, kinds.txn_id) = ("m.test/a".to_owned(), "b".to_owned());
    send(&house, &alice, kinds).await.unwrap();
    assert_eq!(house.waiting(&bob).await.len(), 4);
}

#[tokio::test]
async fn a_message_to_very_many_devices_takes_several_commits_and_reaches_each_once() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let mut devices = Vec::new();
    for number in 0..700 {
        let user = format!("@user{:03}:h.test", number / 2);
        devices.push(house.device(&user, &format!("D{number}")).await);
    }
    let to: Vec<(&str, &str)> = devices.iter().map(|device| (&*device.user, "*")).collect();
    let before = house.position().await;
    for _ in 0..2 {
        send(&house, &alice, message("1", &json!({}), &to))
            .await
            .unwrap();
    }
    assert!(house.position().await.0 - before.0 > 1);
    for device in &devices {
        assert_eq!(house.waiting(device).await.len(), 1);
    }
    house.assert_sound().await;
}

#[tokio::test]
async fn messages_stay_until_the_device_shows_that_it_has_them() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let bob = house.device(BOB, "B").await;
    for number in 0..4 {
        let next = message(&number.to_string(), &json!({ "n": number }), &[(BOB, "B")]);
        send(&house, &alice, next).await.unwrap();
        if number == 1 {
            let upto = house.position().await;
            house.e2ee.acknowledge(&bob.caller(), upto).await.unwrap();
            assert!(house.waiting(&bob).await.is_empty());
        }
    }
    house
        .e2ee
        .acknowledge(&bob.caller(), Position(1))
        .await
        .unwrap();
    assert_eq!(house.waiting(&bob).await.len(), 2);
    // A token from before a restored backup takes nothing away that is still to come.
    house
        .e2ee
        .acknowledge(&bob.caller(), Position(u64::MAX))
        .await
        .unwrap();
    assert!(house.waiting(&bob).await.is_empty());
    send(&house, &alice, message("x", &json!({}), &[(BOB, "B")]))
        .await
        .unwrap();
    assert_eq!(house.waiting(&bob).await.len(), 1);
}

#[tokio::test]
async fn the_queue_goes_with_the_device() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let bob = house.device(BOB, "B").await;
    send(&house, &alice, message("1", &json!({}), &[(BOB, "B")]))
        .await
        .unwrap();
    house.remove(&bob).await;
    house.device(BOB, "B").await;
    assert!(house.waiting(&bob).await.is_empty());
    house.remove(&alice).await;
    let gone = send(&house, &alice, message("2", &json!({}), &[(BOB, "B")])).await;
    assert!(matches!(gone, Err(Error::NoDevice)), "{gone:?}");
    house.assert_sound().await;
}

#[tokio::test]
async fn s06_messages_for_other_servers_are_kept_in_edus_that_fit() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let content = json!({ "x": "y".repeat(30_000) });
    let users: Vec<String> = (0..5)
        .map(|number| format!("@u{number}:far.test"))
        .collect();
    let mut to: Vec<(&str, &str)> = users.iter().map(|user| (user.as_str(), "D")).collect();
    to.push(("@one:near.test", "*"));
    for _ in 0..2 {
        send(&house, &alice, message("1", &content, &to))
            .await
            .unwrap();
    }
    let snapshot = house.store.snapshot().await.unwrap();
    let far = outbox(&*snapshot, "far.test", 100).await.unwrap();
    let mut reached = Vec::new();
    for (_, edu) in &far {
        assert!(edu.0.len() <= 65_536);
        let edu: Value = serde_json::from_str(edu.text()).unwrap();
        assert_eq!(edu["edu_type"], "m.direct_to_device");
        assert_eq!(edu["content"]["sender"], ALICE);
        assert_eq!(edu["content"]["message_id"].as_str().unwrap().len(), 24);
        let messages = edu["content"]["messages"].as_object().unwrap();
        reached.extend(messages.keys().cloned());
    }
    assert_eq!(reached, users);
    let near = outbox(&*snapshot, "near.test", 100).await.unwrap();
    assert!(
        near[0]
            .1
            .text()
            .contains(r#""messages":{"@one:near.test":{"*":"#)
    );
}

#[tokio::test]
async fn s07_what_others_could_not_read_or_sign_is_not_sent() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let bob = house.device(BOB, "B").await;
    let mut float = message("1", &json!({}), &[(BOB, "B")]);
    let bad = [
        "{\"a\":1.5}",
        "{\"a\":9007199254740993}",
        "[]",
        "\"x\"",
        "{",
        "{\"a\":1e3}",
    ];
    for content in bad {
        let devices = float.messages.get_mut(&user_id(BOB)).unwrap();
        devices.insert("B".to_owned(), content.to_owned());
        let refused = send(&house, &alice, float.clone()).await;
        assert!(
            matches!(refused, Err(Error::Schema(_))),
            "{content}: {refused:?}"
        );
    }
    let large = message("1", &json!({ "x": "y".repeat(70_000) }), &[(BOB, "B")]);
    let refused = send(&house, &alice, large).await;
    assert!(
        matches!(refused, Err(Error::TooLarge { .. })),
        "{refused:?}"
    );
    let unnamed = ToDevice {
        event_type: String::new(),
        ..message("1", &json!({}), &[(BOB, "B")])
    };
    let refused = send(&house, &alice, unnamed).await;
    assert!(matches!(refused, Err(Error::Param(_))), "{refused:?}");
    assert!(house.waiting(&bob).await.is_empty());
}
