//! Keys, claims, cross-signing, signatures: what clients are answered.

use serde_json::{Value, json};

use super::api::{ALICE, Api, BOB, Identity, PASSWORD, SIGNED, id_of, sign};

#[tokio::test]
async fn uploaded_keys_are_counted_queried_and_claimed() {
    let api = Api::new();
    let (alice, bob) = (api.device("alice", "A").await, api.device("bob", "B").await);
    let empty = api.post("keys/upload", &alice.token, &json!({})).await.ok();
    assert_eq!(empty, json!({ "one_time_key_counts": { SIGNED: 0 } }));
    let body = json!({
        "device_keys": alice.keys(),
        "one_time_keys": alice.one_time_keys(0..2),
        "fallback_keys": alice.fallback_keys(0),
    });
    let counts = api.post("keys/upload", &alice.token, &body).await.ok();
    assert_eq!(counts, json!({ "one_time_key_counts": { SIGNED: 2 } }));
    let shown = api.query(&bob, ALICE).await;
    let mut expected = alice.keys();
    expected["unsigned"] = json!({});
    assert_eq!(shown["device_keys"][ALICE], json!({ "A": expected }));
    assert_eq!(shown["failures"], json!({}));
    for claimed in [alice.one_time_keys(0..1), alice.one_time_keys(1..2)] {
        assert_eq!(api.claim(&bob, &alice).await, claimed);
    }
    for _ in 0..2 {
        assert_eq!(api.claim(&bob, &alice).await, alice.fallback_keys(0));
    }
    assert_eq!(api.claim(&alice, &bob).await, Value::Null);
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_is_told_by_its_code() {
    let api = Api::new();
    let alice = api.device("alice", "A").await;
    let good = alice.keys();
    let with = |field: &str, value: Value| {
        let mut keys = good.clone();
        keys[field] = value;
        json!({ "device_keys": keys })
    };
    let mut forged = good.clone();
    forged["algorithms"] = json!([]);
    let mut key = alice.one_time_key(1);
    key["key"] = json!("A".repeat(43));
    let many = alice.one_time_keys(0..1)[format!("{SIGNED}:K0")].clone();
    let many = (0..201).map(|number| (format!("{SIGNED}:K{number}"), many.clone()));
    let many: serde_json::Map<String, Value> = many.collect();
    let cases = [
        (with("user_id", json!(BOB)), (400, "M_INVALID_PARAM")),
        (with("device_id", json!("B")), (400, "M_INVALID_PARAM")),
        (with("keys", json!({})), (400, "M_BAD_JSON")),
        (with("signatures", json!([])), (400, "M_BAD_JSON")),
        (
            json!({ "device_keys": forged }),
            (400, "M_INVALID_SIGNATURE"),
        ),
        (with("x", json!(1.5)), (400, "M_BAD_JSON")),
        (json!({ "one_time_keys": [] }), (400, "M_BAD_JSON")),
        (
            json!({ "one_time_keys": { "x": key } }),
            (400, "M_BAD_JSON"),
        ),
        (json!({ "one_time_keys": many }), (413, "M_TOO_LARGE")),
    ];
    for (body, expected) in cases {
        let answer = api.post("keys/upload", &alice.token, &body).await;
        assert_eq!(answer.error(), expected, "{body}");
        assert!(!answer.body["error"].as_str().unwrap().is_empty());
    }
    let body = json!({ "device_keys": good });
    api.post("keys/upload", &alice.token, &body).await.ok();
    // Now it is known by which key one-time keys are to be signed.
    let body = json!({ "one_time_keys": { format!("{SIGNED}:K1"): key } });
    let answer = api.post("keys/upload", &alice.token, &body).await;
    assert_eq!(answer.error(), (400, "M_INVALID_SIGNATURE"));
    let answer = api.post("keys/upload", "nonsense", &body).await;
    assert_eq!(answer.error(), (401, "M_UNKNOWN_TOKEN"));
}

#[tokio::test]
async fn queries_and_claims_are_of_users_and_devices() {
    let api = Api::new();
    let alice = api.device("alice", "A").await;
    for body in [
        json!({ "device_keys": [] }),
        json!({ "device_keys": { "nobody": [] } }),
        json!({ "device_keys": { ALICE: "A" } }),
        json!({ "device_keys": { ALICE: [1] } }),
        json!({ "timeout": 10 }),
        json!({}),
    ] {
        let answer = api.post("keys/query", &alice.token, &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.body);
        assert_eq!(answer.error().1, "M_BAD_JSON", "{body}");
    }
    for body in [
        json!({ "one_time_keys": [] }),
        json!({ "one_time_keys": { "nobody": { "A": SIGNED } } }),
        json!({ "one_time_keys": { ALICE: [] } }),
        json!({ "one_time_keys": { ALICE: { "A": 1 } } }),
        json!({}),
    ] {
        let answer = api.post("keys/claim", &alice.token, &body).await;
        assert_eq!(answer.error(), (400, "M_BAD_JSON"), "{body}");
    }
    let nobody = json!({ "device_keys": { "@nobody:h.test": [] } });
    let answer = api.post("keys/query", &alice.token, &nobody).await.ok();
    assert_eq!(answer["device_keys"], json!({ "@nobody:h.test": {} }));
    let far = json!({ "device_keys": { "@eve:far.test": [] } });
    let answer = api.post("keys/query", &alice.token, &far).await.ok();
    assert!(answer["failures"]["far.test"].is_object(), "{answer}");
    let named = json!({ "device_keys": { ALICE: ["A", "NONE"] } });
    let upload = json!({ "device_keys": alice.keys() });
    api.post("keys/upload", &alice.token, &upload).await.ok();
    let answer = api.post("keys/query", &alice.token, &named).await.ok();
    let devices = answer["device_keys"][ALICE].as_object().unwrap();
    assert_eq!(devices.keys().collect::<Vec<_>>(), ["A"]);
}

#[tokio::test]
async fn replacing_cross_signing_keys_takes_the_password() {
    let api = Api::new();
    let alice = api.device("alice", "A").await;
    let path = "keys/device_signing/upload";
    let first = Identity::new(ALICE, 1).body();
    for _ in 0..2 {
        api.post(path, &alice.token, &first).await.ok();
    }
    let mut second = Identity::new(ALICE, 2).body();
    let asked = api.post(path, &alice.token, &second).await;
    assert_eq!(asked.status, 401);
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.password"] }])
    );
    let session = asked.body["session"].clone();
    second["auth"] = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": "alice" },
        "password": "wrong",
        "session": session,
    });
    let refused = api.post(path, &alice.token, &second).await;
    assert_eq!(refused.error(), (401, "M_FORBIDDEN"));
    let shown = api.query(&alice, ALICE).await;
    assert_eq!(
        shown["master_keys"][ALICE]["keys"],
        first["master_key"]["keys"]
    );
    second["auth"]["password"] = json!(PASSWORD);
    api.post(path, &alice.token, &second).await.ok();
    let shown = api.query(&alice, ALICE).await;
    for usage in ["master", "self_signing", "user_signing"] {
        let expected = &second[format!("{usage}_key")]["keys"];
        assert_eq!(shown[format!("{usage}_keys")][ALICE]["keys"], *expected);
    }
}

#[tokio::test]
async fn malformed_cross_signing_keys_are_refused_by_their_code() {
    let api = Api::new();
    let alice = api.device("alice", "A").await;
    let good = Identity::new(ALICE, 1).body();
    let cases = [
        ("/master_key/user_id", json!(BOB), (400, "M_INVALID_PARAM")),
        (
            "/master_key/usage",
            json!(["self_signing"]),
            (400, "M_BAD_JSON"),
        ),
        ("/master_key/keys", json!({}), (400, "M_BAD_JSON")),
        (
            "/master_key/keys",
            json!({ "ed25519:x": "x" }),
            (400, "M_BAD_JSON"),
        ),
        (
            "/self_signing_key/signatures",
            json!({ ALICE: {} }),
            (400, "M_INVALID_SIGNATURE"),
        ),
    ];
    for (at, value, expected) in cases {
        let mut body = good.clone();
        *body.pointer_mut(at).unwrap() = value;
        let answer = api
            .post("keys/device_signing/upload", &alice.token, &body)
            .await;
        assert_eq!(answer.error(), expected, "{at}");
    }
    assert_eq!(api.query(&alice, ALICE).await["master_keys"], json!({}));
}

#[tokio::test]
async fn signatures_that_fit_are_shown_and_others_are_told_of() {
    let api = Api::new();
    let (alice, bob) = (api.device("alice", "A").await, api.device("bob", "B").await);
    let identity = Identity::new(ALICE, 1);
    let upload = json!({ "device_keys": alice.keys() });
    api.post("keys/upload", &alice.token, &upload).await.ok();
    let path = "keys/device_signing/upload";
    api.post(path, &alice.token, &identity.body()).await.ok();
    let by = (&identity.self_signing, id_of(&identity.self_signing));
    let mut signed = alice.keys();
    sign(by.0, ALICE, &by.1, &mut signed);
    let mut forged = signed.clone();
    forged["signatures"][ALICE][&by.1] = json!("A".repeat(86));
    let path = "keys/signatures/upload";
    let body = json!({ ALICE: { "A": forged, "NONE": signed }, BOB: { "B": 1 } });
    let answer = api.post(path, &alice.token, &body).await.ok();
    let failures = &answer["failures"];
    assert_eq!(failures[ALICE]["A"]["errcode"], "M_INVALID_SIGNATURE");
    assert_eq!(failures[ALICE]["NONE"]["errcode"], "M_NOT_FOUND");
    assert_eq!(failures[BOB]["B"]["errcode"], "M_INVALID_PARAM");
    let shown = api.query(&bob, ALICE).await["device_keys"][ALICE]["A"].clone();
    assert_eq!(shown["signatures"], alice.keys()["signatures"]);
    let body = json!({ ALICE: { "A": signed } });
    let answer = api.post(path, &alice.token, &body).await.ok();
    assert_eq!(answer, json!({ "failures": {} }));
    let shown = api.query(&bob, ALICE).await["device_keys"][ALICE]["A"].clone();
    assert_eq!(shown["signatures"], signed["signatures"]);
    let answer = api.post(path, &alice.token, &json!([])).await;
    assert_eq!(answer.error(), (400, "M_BAD_JSON"));
}

#[tokio::test]
async fn messages_to_devices_are_refused_by_their_code() {
    let api = Api::new();
    let (alice, bob) = (api.device("alice", "A").await, api.device("bob", "B").await);
    let path = "sendToDevice/m.test/1";
    let message = |content: Value| json!({ "messages": { BOB: { "B": content } } });
    let cases = [
        (json!({}), (400, "M_BAD_JSON")),
        (json!({ "messages": [] }), (400, "M_BAD_JSON")),
        (
            json!({ "messages": { "bob": { "B": {} } } }),
            (400, "M_BAD_JSON"),
        ),
        (message(json!({ "a": 1.5 })), (400, "M_BAD_JSON")),
        (message(json!("x")), (400, "M_BAD_JSON")),
        (
            message(json!({ "a": "x".repeat(70_000) })),
            (413, "M_TOO_LARGE"),
        ),
        (
            json!({ "messages": { BOB: { "": {} } } }),
            (400, "M_BAD_JSON"),
        ),
    ];
    for (body, expected) in cases {
        let answer = api.put(path, &alice.token, &body).await;
        assert_eq!(answer.error(), expected, "{body}");
    }
    let body = message(json!({ "a": 1 }));
    for _ in 0..2 {
        api.put(path, &alice.token, &body).await.ok();
    }
    let synced = api.get("sync", &bob.token).await.ok();
    let expected = json!([{ "sender": ALICE, "type": "m.test", "content": { "a": 1 } }]);
    assert_eq!(synced["to_device"]["events"], expected);
}
