//! Cross-signing keys and signatures.

use hearth_data::e2ee::keys::signed_since;
use hearth_event::SigningKey;
use hearth_store::{Backend, Position};
use serde_json::{Value, json};

use super::house::{ALICE, BOB, Device, House, sign, user_id};
use crate::{Authenticated, Error, SigningKeys};

/// A user's cross-signing keys with their secrets.
struct Identity {
    user: &'static str,
    master: SigningKey,
    self_signing: SigningKey,
    user_signing: SigningKey,
}

fn key_id(key: &SigningKey) -> String {
    format!("ed25519:{}", key.public_key())
}

impl Identity {
    fn new(user: &'static str, number: u8) -> Self {
        let key = |kind: u8| SigningKey::generate([number * 3 + kind; 32], "x").unwrap();
        Self {
            user,
            master: key(0),
            self_signing: key(1),
            user_signing: key(2),
        }
    }

    fn key(&self, usage: &str, key: &SigningKey) -> Value {
        json!({
            "user_id": self.user,
            "usage": [usage],
            "keys": { key_id(key): key.public_key() },
        })
    }

    fn sign(&self, by: &SigningKey, value: &mut Value) {
        sign(by, self.user, &key_id(by), value);
    }

    fn body(&self) -> Value {
        let mut self_signing = self.key("self_signing", &self.self_signing);
        let mut user_signing = self.key("user_signing", &self.user_signing);
        self.sign(&self.master, &mut self_signing);
        self.sign(&self.master, &mut user_signing);
        json!({
            "master_key": self.key("master", &self.master),
            "self_signing_key": self_signing,
            "user_signing_key": user_signing,
        })
    }
}

async fn upload(
    house: &House,
    device: &Device,
    body: &Value,
    authenticated: Authenticated,
) -> crate::Result<()> {
    let caller = device.caller();
    let keys = SigningKeys::parse(body.to_string().as_bytes(), &caller.user)?;
    house
        .e2ee
        .signing_keys_upload(&caller, &keys, authenticated)
        .await
}

async fn sign_keys(house: &House, device: &Device, body: &Value) -> Value {
    let json = body.to_string();
    let answer = house
        .e2ee
        .signatures_upload(&device.caller(), json.as_bytes())
        .await;
    let answer: Value = serde_json::from_str(&answer.unwrap()).unwrap();
    answer["failures"].clone()
}

#[tokio::test]
async fn the_first_keys_and_the_same_again_need_no_authentication_others_do() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    let body = Identity::new(ALICE, 1).body();
    for _ in 0..2 {
        upload(&house, &device, &body, Authenticated::No)
            .await
            .unwrap();
    }
    let other = Identity::new(ALICE, 2).body();
    let part = json!({ "self_signing_key": other["self_signing_key"] });
    for body in [&other, &part] {
        let refused = upload(&house, &device, body, Authenticated::No).await;
        assert!(
            matches!(refused, Err(Error::NeedsAuthentication)),
            "{refused:?}"
        );
    }
    let refused = upload(&house, &device, &part, Authenticated::Yes).await;
    assert!(matches!(refused, Err(Error::Signature(_))), "{refused:?}");
    upload(&house, &device, &other, Authenticated::Yes)
        .await
        .unwrap();
    let answer = house.query(ALICE, ALICE).await;
    for usage in ["master", "self_signing", "user_signing"] {
        let shown = &answer[format!("{usage}_keys")][ALICE]["keys"];
        assert_eq!(*shown, other[format!("{usage}_key")]["keys"]);
    }
    house.assert_sound().await;
}

#[tokio::test]
async fn a_new_master_key_takes_the_keys_of_the_one_before_with_it() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    upload(
        &house,
        &device,
        &Identity::new(ALICE, 1).body(),
        Authenticated::No,
    )
    .await
    .unwrap();
    let before = house.position().await;
    let other = Identity::new(ALICE, 2).body();
    let master = json!({ "master_key": other["master_key"] });
    upload(&house, &device, &master, Authenticated::Yes)
        .await
        .unwrap();
    let answer = house.query(ALICE, ALICE).await;
    assert_eq!(answer["self_signing_keys"], json!({}));
    assert_eq!(house.lists_changed(before).await, [ALICE]);
}

#[tokio::test]
async fn s07_cross_signing_keys_that_do_not_hold_are_refused() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    let good = Identity::new(ALICE, 1).body();
    let change = |at: &str, value: Value| {
        let mut body = good.clone();
        *body.pointer_mut(at).unwrap() = value;
        body
    };
    let bad = [
        change("/master_key/user_id", json!(BOB)),
        change("/master_key/usage", json!(["self_signing"])),
        change("/master_key/usage", json!("master")),
        change("/master_key/usage", json!([])),
        change("/master_key/keys", json!({})),
        change("/master_key/keys", json!({ "ed25519:a": "b" })),
        change("/master_key/keys", json!({ "ed25519:a": 1 })),
        change("/master_key/keys", json!(["x"])),
        change("/master_key", json!("x")),
        change("/self_signing_key/signatures", json!({})),
        change("/self_signing_key/signatures", json!({ ALICE: "x" })),
        change(
            "/self_signing_key/signatures",
            json!({ ALICE: { "a:b": 1 } }),
        ),
        change("/user_signing_key/signatures", json!([])),
        json!({ "self_signing_key": good["self_signing_key"] }),
    ];
    for body in &bad {
        let refused = upload(&house, &device, body, Authenticated::Yes).await;
        assert!(refused.is_err(), "{body}");
    }
    let mut foreign = good.clone();
    sign(&device.key, ALICE, "ed25519:A", &mut foreign["master_key"]);
    foreign["master_key"]["signatures"][ALICE]["ed25519:A"] = json!("AAAA");
    let refused = upload(&house, &device, &foreign, Authenticated::No).await;
    assert!(matches!(refused, Err(Error::Signature(_))), "{refused:?}");
    assert_eq!(house.query(ALICE, ALICE).await["master_keys"], json!({}));
}

#[tokio::test]
async fn a_key_named_like_a_device_is_refused() {
    let house = House::new();
    let device = house.ready_device(ALICE, "A", 0).await;
    let identity = Identity::new(ALICE, 1);
    house
        .device(
            ALICE,
            &identity.master.public_key().replace(['+', '/'], "_"),
        )
        .await;
    let mut batch = hearth_store::Batch::new();
    let place = (ALICE.to_owned(), identity.master.public_key());
    hearth_data::tables::DEVICES.put(&mut batch, &place, &Default::default());
    house.store.commit(batch).await.unwrap();
    let refused = upload(&house, &device, &identity.body(), Authenticated::No).await;
    assert!(
        matches!(refused, Err(Error::KeyNamedLikeDevice)),
        "{refused:?}"
    );
}

#[tokio::test]
async fn signatures_are_kept_if_they_fit_and_shown_to_those_they_concern() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 0).await;
    let bob = house.ready_device(BOB, "B", 0).await;
    let (hers, his) = (Identity::new(ALICE, 1), Identity::new(BOB, 2));
    upload(&house, &alice, &hers.body(), Authenticated::No)
        .await
        .unwrap();
    upload(&house, &bob, &his.body(), Authenticated::No)
        .await
        .unwrap();
    let mut device = alice.keys();
    hers.sign(&hers.self_signing, &mut device);
    let mut master = hers.key("master", &hers.master);
    alice.sign(&mut master);
    let mut others = his.key("master", &his.master);
    hers.sign(&hers.user_signing, &mut others);
    let body = json!({
        ALICE: { "A": device, hers.master.public_key(): master },
        BOB: { his.master.public_key(): others },
    });
    let before = house.position().await;
    assert_eq!(sign_keys(&house, &alice, &body).await, json!({}));
    assert_eq!(house.lists_changed(before).await, [ALICE]);
    let snapshot = house.store.snapshot().await.unwrap();
    let signed = signed_since(&*snapshot, ALICE, (before, Position::MAX), 10)
        .await
        .unwrap();
    assert_eq!(signed, [BOB]);
    let after = house.position().await;
    assert_eq!(sign_keys(&house, &alice, &body).await, json!({}));
    assert_eq!(house.position().await, after);
    let answer = house.query(BOB, ALICE).await;
    let signatures = &answer["device_keys"][ALICE]["A"]["signatures"][ALICE];
    assert_eq!(signatures.as_object().unwrap().len(), 2);
    assert_eq!(
        answer["master_keys"][ALICE]["signatures"],
        json!({ ALICE: master["signatures"][ALICE] })
    );
    assert_eq!(answer["user_signing_keys"], json!({}));
    let by_alice = |answer: &Value| answer["master_keys"][BOB]["signatures"].get(ALICE).cloned();
    assert!(by_alice(&house.query(ALICE, BOB).await).is_some());
    assert!(by_alice(&house.query(BOB, BOB).await).is_none());
    assert!(by_alice(&house.query("@carl:h.test", BOB).await).is_none());
    let for_server = house
        .e2ee
        .query_for_server([(user_id(BOB), vec![])].into())
        .await;
    assert!(!for_server.unwrap().contains(ALICE));
    house.assert_sound().await;
}

#[tokio::test]
async fn s08_signatures_that_do_not_fit_are_refused_one_by_one() {
    let house = House::new();
    let alice = house.ready_device(ALICE, "A", 0).await;
    let bob = house.ready_device(BOB, "B", 0).await;
    let (hers, his) = (Identity::new(ALICE, 1), Identity::new(BOB, 2));
    upload(&house, &alice, &hers.body(), Authenticated::No)
        .await
        .unwrap();
    upload(&house, &bob, &his.body(), Authenticated::No)
        .await
        .unwrap();
    // Signed by the wrong key, under the right name.
    let mut device = alice.keys();
    sign(
        &his.self_signing,
        ALICE,
        &key_id(&hers.self_signing),
        &mut device,
    );
    // Signed well, but not what is stored.
    let mut changed = hers.key("master", &hers.master);
    changed["extra"] = json!(1);
    alice.sign(&mut changed);
    // Vouched for by a key that may not.
    let mut others = his.key("master", &his.master);
    hers.sign(&hers.self_signing, &mut others);
    let mut foreign_device = bob.keys();
    hers.sign(&hers.user_signing, &mut foreign_device);
    let body = json!({
        ALICE: { "A": device, "B": bob.keys(), hers.master.public_key(): changed },
        BOB: { his.master.public_key(): others, "B": foreign_device },
        "nobody": { "x": {} },
        "@carl:h.test": "x",
    });
    let before = house.position().await;
    let failures = sign_keys(&house, &alice, &body).await;
    let errcode = |user: &str, key: &str| failures[user][key]["errcode"].clone();
    assert_eq!(errcode(ALICE, "A"), "M_INVALID_SIGNATURE");
    assert_eq!(errcode(ALICE, "B"), "M_NOT_FOUND");
    assert_eq!(errcode(ALICE, &hers.master.public_key()), "M_NOT_FOUND");
    assert_eq!(
        errcode(BOB, &his.master.public_key()),
        "M_INVALID_SIGNATURE"
    );
    assert_eq!(errcode(BOB, "B"), "M_NOT_FOUND");
    assert_eq!(errcode("nobody", ""), "M_INVALID_PARAM");
    assert_eq!(errcode("@carl:h.test", ""), "M_INVALID_PARAM");
    assert_eq!(house.position().await, before);
}
