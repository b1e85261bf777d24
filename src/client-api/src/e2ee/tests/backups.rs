//! Key backup and dehydrated devices: what clients are answered.

use serde_json::{Value, json};

use super::api::{ALICE, Api};

fn version(algorithm: &str) -> Value {
    json!({ "algorithm": algorithm, "auth_data": { "public_key": "x" } })
}

fn session(first_message_index: u64) -> Value {
    json!({
        "first_message_index": first_message_index,
        "forwarded_count": 0,
        "is_verified": false,
        "session_data": { "ciphertext": "x" },
    })
}

#[tokio::test]
async fn a_version_is_made_changed_and_deleted() {
    let api = Api::new();
    let alice = api.device("alice", "A").await;
    let none = api.get("room_keys/version", &alice.token).await;
    assert_eq!(none.error(), (404, "M_NOT_FOUND"));
    let made = api
        .post("room_keys/version", &alice.token, &version("a"))
        .await;
    assert_eq!(made.ok(), json!({ "version": "1" }));
    let info = api.get("room_keys/version", &alice.token).await.ok();
    let mut expected = version("a");
    for (name, value) in [
        ("count", json!(0)),
        ("etag", json!("0")),
        ("version", json!("1")),
    ] {
        expected[name] = value;
    }
    assert_eq!(info, expected);
    let path = "room_keys/version/1";
    let changes = [
        (version("b"), (400, "M_INVALID_PARAM")),
        (json!({ "algorithm": "a" }), (400, "M_BAD_JSON")),
        (json!({ "auth_data": {} }), (400, "M_BAD_JSON")),
        (
            json!({ "algorithm": "a", "auth_data": [] }),
            (400, "M_BAD_JSON"),
        ),
        (
            json!({ "algorithm": "a", "auth_data": {}, "version": "2" }),
            (400, "M_INVALID_PARAM"),
        ),
        (
            json!({ "algorithm": "a", "auth_data": { "x": "y".repeat(70_000) } }),
            (413, "M_TOO_LARGE"),
        ),
    ];
    for (body, expected) in changes {
        let answer = api.put(path, &alice.token, &body).await;
        assert_eq!(answer.error(), expected, "{body}");
    }
    let body = json!({ "algorithm": "a", "auth_data": { "new": 1 }, "version": "1" });
    assert_eq!(api.put(path, &alice.token, &body).await.ok(), json!({}));
    let info = api.get(path, &alice.token).await.ok();
    assert_eq!(info["auth_data"], json!({ "new": 1 }));
    for missing in ["room_keys/version/2", "room_keys/version/x"] {
        let answer = api.put(missing, &alice.token, &version("a")).await;
        assert_eq!(answer.error(), (404, "M_NOT_FOUND"), "{missing}");
        let answer = api.get(missing, &alice.token).await;
        assert_eq!(answer.error(), (404, "M_NOT_FOUND"), "{missing}");
    }
    api.raw("DELETE room_keys/version/1", &alice.token, vec![])
        .await
        .ok();
    let gone = api.get(path, &alice.token).await;
    assert_eq!(gone.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn keys_go_into_the_newest_version_only() {
    let api = Api::new();
    let alice = api.device("alice", "A").await;
    let keys = json!({ "rooms": { "!r:h.test": { "sessions": { "S": session(1) } } } });
    let path = |version: &str| format!("room_keys/keys?version={version}");
    let none = api.put(&path("1"), &alice.token, &keys).await;
    assert_eq!(none.error(), (404, "M_NOT_FOUND"));
    for _ in 0..2 {
        api.post("room_keys/version", &alice.token, &version("a"))
            .await
            .ok();
    }
    let old = api.put(&path("1"), &alice.token, &keys).await;
    assert_eq!(old.error(), (403, "M_WRONG_ROOM_KEYS_VERSION"));
    assert_eq!(old.body["current_version"], "2");
    let state = api.put(&path("2"), &alice.token, &keys).await.ok();
    assert_eq!(state, json!({ "count": 1, "etag": "1" }));
    let read = api.get(&path("2"), &alice.token).await.ok();
    assert_eq!(read, keys);
    let one = "room_keys/keys/!r:h.test/S?version=2";
    // Worse than what is there: kept as it was.
    let state = api.put(one, &alice.token, &session(5)).await.ok();
    assert_eq!(state, json!({ "count": 1, "etag": "1" }));
    assert_eq!(api.get(one, &alice.token).await.ok(), session(1));
    let state = api.put(one, &alice.token, &session(0)).await.ok();
    assert_eq!(state, json!({ "count": 1, "etag": "2" }));
    let missing = api
        .get("room_keys/keys/!r:h.test/T?version=2", &alice.token)
        .await;
    assert_eq!(missing.error(), (404, "M_NOT_FOUND"));
    let room = api
        .get("room_keys/keys/!other:h.test?version=2", &alice.token)
        .await;
    assert_eq!(room.ok(), json!({ "sessions": {} }));
    let line = format!("DELETE {}", path("2"));
    let state = api.raw(&line, &alice.token, vec![]).await.ok();
    assert_eq!(state, json!({ "count": 0, "etag": "3" }));
}

#[tokio::test]
async fn malformed_keys_of_a_backup_are_refused_by_their_code() {
    let api = Api::new();
    let alice = api.device("alice", "A").await;
    api.post("room_keys/version", &alice.token, &version("a"))
        .await
        .ok();
    let with = |field: &str, value: Value| {
        let mut key = session(1);
        key[field] = value;
        key
    };
    let cases = [
        (with("first_message_index", json!(-1)), 400),
        (with("first_message_index", json!("1")), 400),
        (with("first_message_index", json!(1.5)), 400),
        (with("forwarded_count", Value::Null), 400),
        (with("is_verified", json!("yes")), 400),
        (with("session_data", json!([])), 400),
        (
            with("session_data", json!({ "x": "y".repeat(40_000) })),
            413,
        ),
        (json!({}), 400),
    ];
    for (key, status) in cases {
        let whole = json!({ "rooms": { "!r:h.test": { "sessions": { "S": key } } } });
        let room = json!({ "sessions": { "S": key } });
        for (path, body) in [
            ("room_keys/keys?version=1", &whole),
            ("room_keys/keys/!r:h.test?version=1", &room),
            ("room_keys/keys/!r:h.test/S?version=1", &key),
        ] {
            let answer = api.put(path, &alice.token, body).await;
            assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
            let expected = if status == 413 {
                "M_TOO_LARGE"
            } else {
                "M_BAD_JSON"
            };
            assert_eq!(answer.error().1, expected, "{path} {body}");
        }
    }
    let unnamed = api.get("room_keys/keys", &alice.token).await;
    assert_eq!(unnamed.status, 400, "{}", unnamed.body);
    let read = api.get("room_keys/keys?version=1", &alice.token).await.ok();
    assert_eq!(read, json!({ "rooms": {} }));
}

#[tokio::test]
async fn a_dehydrated_device_is_put_found_and_removed() {
    let api = Api::new();
    let (alice, bob) = (api.device("alice", "A").await, api.device("bob", "B").await);
    let path = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device";
    let none = api.get(path, &alice.token).await;
    assert_eq!(none.error(), (404, "M_NOT_FOUND"));
    let mut sleeping = api.device("carol", "SLEEP").await;
    sleeping.user = ALICE.to_owned();
    let body = json!({
        "device_id": "SLEEP",
        "device_data": { "algorithm": "x" },
        "device_keys": sleeping.keys(),
        "one_time_keys": sleeping.one_time_keys(0..1),
    });
    for field in ["device_id", "device_data", "device_keys"] {
        let mut part = body.clone();
        part.as_object_mut().unwrap().remove(field);
        let answer = api.put(path, &alice.token, &part).await;
        assert_eq!(answer.status, 400, "{field}: {}", answer.body);
    }
    let put = api.put(path, &alice.token, &body).await.ok();
    assert_eq!(put, json!({ "device_id": "SLEEP" }));
    let found = api.get(path, &alice.token).await.ok();
    assert_eq!(
        found,
        json!({ "device_id": "SLEEP", "device_data": { "algorithm": "x" } })
    );
    let message = json!({ "messages": { ALICE: { "SLEEP": { "a": 1 } } } });
    api.put("sendToDevice/m.test/1", &bob.token, &message)
        .await
        .ok();
    let events = api
        .post(&format!("{path}/SLEEP/events"), &alice.token, &json!({}))
        .await;
    assert_eq!(events.ok()["events"][0]["content"], json!({ "a": 1 }));
    let other = api
        .post(&format!("{path}/A/events"), &alice.token, &json!({}))
        .await;
    assert_eq!(other.error(), (404, "M_NOT_FOUND"));
    let gone = api
        .raw(&format!("DELETE {path}"), &alice.token, vec![])
        .await;
    assert_eq!(gone.ok(), json!({ "device_id": "SLEEP" }));
    assert_eq!(api.get(path, &alice.token).await.status, 404);
}
