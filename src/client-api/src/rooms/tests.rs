//! The endpoints as clients see them, on the store in memory. Whoever shows a name as token is that user.

mod api;
mod fuzz;
mod people;
mod reading;
mod services;
mod spaces;

use serde_json::{Value, json};

use api::Api;

#[tokio::test]
async fn a_room_is_made_joined_talked_in_and_left() {
    let api = Api::new();
    let room = api
        .room("alice", json!({ "preset": "public_chat", "name": "Pub" }))
        .await;
    let joined = api
        .post(&format!("join/{room}"), "bob", json!({}))
        .await
        .ok();
    assert_eq!(joined["room_id"], room.as_str());
    let path = format!("rooms/{room}/send/m.room.message/1");
    let text = json!({ "msgtype": "m.text", "body": "hello" });
    let sent = api.put(&path, "bob", text.clone()).await.ok();
    assert_eq!(api.put(&path, "bob", text).await.ok(), sent);
    let event_id = sent["event_id"].as_str().unwrap();
    let event = api
        .get(&format!("rooms/{room}/event/{event_id}"), "alice")
        .await
        .ok();
    assert_eq!(event["content"]["body"], "hello");
    assert_eq!(event["room_id"], room.as_str());
    assert_eq!(event["sender"], "@bob:house");
    let rooms = api.get("joined_rooms", "bob").await.ok();
    assert_eq!(rooms, json!({ "joined_rooms": [room] }));
    let members = api
        .get(&format!("rooms/{room}/joined_members"), "bob")
        .await
        .ok();
    assert_eq!(members["joined"].as_object().unwrap().len(), 2);
    // Nobody has an avatar, and null is not a string.
    assert_eq!(members["joined"]["@bob:house"], json!({ "avatar_url": "" }));
    let members = api
        .get(&format!("rooms/{room}/members?membership=join"), "bob")
        .await
        .ok();
    assert_eq!(members["chunk"].as_array().unwrap().len(), 2);
    api.raw(&format!("POST rooms/{room}/leave"), Some("bob"), vec![])
        .await
        .ok();
    let rooms = api.get("joined_rooms", "bob").await.ok();
    assert_eq!(rooms, json!({ "joined_rooms": [] }));
    api.post(&format!("rooms/{room}/forget"), "bob", json!({}))
        .await
        .ok();
}

#[tokio::test]
async fn state_has_three_paths_for_the_empty_key() {
    let api = Api::new();
    let room = api.room("alice", json!({})).await;
    for (slash, topic) in [("", "a"), ("/", "b")] {
        let path = format!("rooms/{room}/state/m.room.topic{slash}");
        let set = api
            .put(&path, "alice", json!({ "topic": topic }))
            .await
            .ok();
        assert!(set["event_id"].is_string());
        assert_eq!(
            api.get(&path, "alice").await.ok(),
            json!({ "topic": topic })
        );
    }
    let path = format!("rooms/{room}/state/x.y/a%20key");
    api.put(&path, "alice", json!({ "z": 1 })).await.ok();
    assert_eq!(api.get(&path, "alice").await.ok(), json!({ "z": 1 }));
    let event = api.get(&format!("{path}?format=event"), "alice").await.ok();
    assert_eq!(
        (&event["state_key"], &event["content"]["z"]),
        (&json!("a key"), &json!(1))
    );
    let all = api.get(&format!("rooms/{room}/state"), "alice").await.ok();
    assert!(
        all.as_array()
            .unwrap()
            .iter()
            .any(|event| event["type"] == "m.room.topic")
    );
    let missing = api
        .get(&format!("rooms/{room}/state/x.none"), "alice")
        .await;
    assert_eq!(missing.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn joins_take_no_body_and_any_body() {
    let api = Api::new();
    let body = json!({ "preset": "public_chat", "room_alias_name": "pub" });
    let room = api.room("alice", body).await;
    let paths = [
        "join/%23pub:house",
        &format!("join/{room}"),
        &format!("rooms/{room}/join"),
    ];
    for (user, path) in ["bob", "carol", "dave"].iter().zip(paths) {
        api.raw(&format!("POST {path}"), Some(user), vec![])
            .await
            .ok();
        api.post(&format!("rooms/{room}/leave"), user, json!({}))
            .await
            .ok();
        let body = json!({ "reason": "why", "foo": "bar", "membership": "ban", "displayname": 1 });
        api.post(path, user, body).await.ok();
        let path = format!("rooms/{room}/state/m.room.member/@{user}:house");
        let expected = json!({ "membership": "join", "reason": "why", "foo": "bar" });
        assert_eq!(api.get(&path, "alice").await.ok(), expected);
    }
}

/// A request (method and path, `ROOM` for the room), who asks, the body, and the error.
type Case = (&'static str, &'static str, Value, (u16, &'static str));

/// A public room of alice's, and requests about it.
async fn refused(cases: &[Case]) {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    api.room("alice", json!({ "room_alias_name": "mine" }))
        .await;
    for (line, token, body, expected) in cases {
        let line = line.replace("ROOM", &room);
        let answer = api.ask(&line, Some(token), body.clone()).await;
        assert_eq!(answer.error(), *expected, "{line} {}", answer.body);
    }
}

#[tokio::test]
async fn errors_of_new_rooms_and_names_have_their_errcodes() {
    let alias = "PUT directory/room/%23mine:house";
    let foreign = "PUT directory/room/%23a:elsewhere";
    let in_room = json!({ "room_id": "!x:house" });
    let delete = "DELETE directory/room/%23mine:house";
    let gone = "DELETE directory/room/%23none:house";
    let upgrade = "POST rooms/ROOM/upgrade";
    let create = "POST createRoom";
    let version = json!({ "room_version": "ahoy" });
    let taken = json!({ "room_alias_name": "mine" });
    let blank = json!({ "room_alias_name": "a b" });
    refused(&[
        (
            create,
            "alice",
            version,
            (400, "M_UNSUPPORTED_ROOM_VERSION"),
        ),
        (
            create,
            "alice",
            json!({ "preset": "x" }),
            (400, "M_BAD_JSON"),
        ),
        (create, "alice", json!({ "name": 1 }), (400, "M_BAD_JSON")),
        (create, "alice", taken, (400, "M_ROOM_IN_USE")),
        (create, "alice", blank, (400, "M_INVALID_PARAM")),
        (create, "suspended", json!({}), (403, "M_USER_SUSPENDED")),
        (alias, "alice", in_room.clone(), (403, "M_FORBIDDEN")),
        (foreign, "alice", in_room, (400, "M_INVALID_PARAM")),
        (delete, "bob", json!({}), (403, "M_FORBIDDEN")),
        (gone, "bob", json!({}), (404, "M_NOT_FOUND")),
        (
            upgrade,
            "alice",
            json!({ "new_version": "x" }),
            (400, "M_UNSUPPORTED_ROOM_VERSION"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn errors_of_memberships_have_their_errcodes() {
    let bob = json!({ "user_id": "@bob:house" });
    let alice = json!({ "user_id": "@alice:house" });
    refused(&[
        (
            "POST join/%23mine:house",
            "bob",
            json!({}),
            (403, "M_FORBIDDEN"),
        ),
        (
            "POST join/!nowhere:house",
            "bob",
            json!({}),
            (404, "M_NOT_FOUND"),
        ),
        (
            "POST join/%23nowhere:house",
            "bob",
            json!({}),
            (404, "M_NOT_FOUND"),
        ),
        ("POST rooms/ROOM/kick", "alice", bob, (403, "M_FORBIDDEN")),
        (
            "POST rooms/ROOM/invite",
            "alice",
            alice,
            (403, "M_FORBIDDEN"),
        ),
        (
            "POST rooms/ROOM/invite",
            "alice",
            json!({}),
            (400, "M_BAD_JSON"),
        ),
        (
            "POST rooms/ROOM/forget",
            "alice",
            json!({}),
            (400, "M_UNKNOWN"),
        ),
        (
            "POST rooms/ROOM/leave",
            "bob",
            json!({}),
            (403, "M_FORBIDDEN"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn errors_of_events_have_their_errcodes() {
    let send = "PUT rooms/ROOM/send/m.room.message/1";
    let alias = "PUT rooms/ROOM/state/m.room.canonical_alias";
    let create = "PUT rooms/ROOM/state/m.room.create";
    let typing = "PUT rooms/ROOM/typing/@bob:house";
    let long = "x".repeat(70_000);
    let none = json!({ "alias": "#none:house" });
    refused(&[
        (send, "bob", json!({ "body": "x" }), (403, "M_FORBIDDEN")),
        (send, "nobody", json!({}), (401, "M_UNKNOWN_TOKEN")),
        (send, "alice", json!({ "body": 1.5 }), (400, "M_BAD_JSON")),
        (send, "alice", json!({ "body": long }), (413, "M_TOO_LARGE")),
        (alias, "alice", none, (400, "M_BAD_ALIAS")),
        (create, "alice", json!({ "a": 1 }), (400, "M_INVALID_PARAM")),
        (
            typing,
            "alice",
            json!({ "typing": false }),
            (403, "M_FORBIDDEN"),
        ),
        (
            "POST rooms/ROOM/receipt/m.read/$x",
            "alice",
            json!({}),
            (404, "M_NOT_FOUND"),
        ),
        (
            "POST rooms/ROOM/receipt/m.x/$x",
            "alice",
            json!({}),
            (400, "M_INVALID_PARAM"),
        ),
        (
            "GET rooms/ROOM/event/$x",
            "alice",
            json!({}),
            (404, "M_NOT_FOUND"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_room_that_is_not_ones_own_looks_like_one_that_is_not_there() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    for path in ["state", "members", "joined_members", "aliases"] {
        let real = api.get(&format!("rooms/{room}/{path}"), "eve").await;
        let unreal = api
            .get(&format!("rooms/!nowhere:house/{path}"), "eve")
            .await;
        assert_eq!(real.error(), (403, "M_FORBIDDEN"), "{path}");
        assert_eq!(
            (real.status, real.body),
            (unreal.status, unreal.body),
            "{path}"
        );
    }
    let answer = api.get("directory/list/room/!nowhere:house", "alice").await;
    assert_eq!(answer.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn the_directory_lists_what_is_published() {
    let api = Api::new();
    let body = json!({ "visibility": "public", "name": "Open", "room_alias_name": "open" });
    let room = api.room("alice", body).await;
    let page = api.raw("GET publicRooms", None, vec![]).await.ok();
    let expected = json!({
        "room_id": room,
        "name": "Open",
        "canonical_alias": "#open:house",
        "num_joined_members": 1,
        "world_readable": false,
        "guest_can_join": false,
        "join_rule": "public",
    });
    assert_eq!(page["chunk"], json!([expected]));
    assert_eq!(page["total_room_count_estimate"], 1);
    let search = json!({ "filter": { "generic_search_term": "ope", "room_types": [null] } });
    let page = api.post("publicRooms", "bob", search).await.ok();
    assert_eq!(page["chunk"].as_array().unwrap().len(), 1);
    let spaces = json!({ "filter": { "room_types": ["m.space"] } });
    let page = api.post("publicRooms", "bob", spaces).await.ok();
    assert_eq!(page["chunk"], json!([]));
    let path = format!("directory/list/room/{room}");
    assert_eq!(
        api.get(&path, "bob").await.ok(),
        json!({ "visibility": "public" })
    );
    let hide = json!({ "visibility": "private" });
    assert_eq!(
        api.put(&path, "bob", hide.clone()).await.error(),
        (403, "M_FORBIDDEN")
    );
    api.put(&path, "alice", hide).await.ok();
    let page = api.raw("GET publicRooms", None, vec![]).await.ok();
    assert_eq!(page["chunk"], json!([]));
    let target = api
        .raw("GET directory/room/%23open:house", None, vec![])
        .await
        .ok();
    assert_eq!(target, json!({ "room_id": room, "servers": ["house"] }));
    let aliases = api
        .get(&format!("rooms/{room}/aliases"), "alice")
        .await
        .ok();
    assert_eq!(aliases, json!({ "aliases": ["#open:house"] }));
}

#[tokio::test]
async fn redactions_receipts_markers_and_typing_are_taken() {
    let api = Api::new();
    let room = api.room("alice", json!({})).await;
    let path = format!("rooms/{room}/send/m.room.message/1");
    let sent = api
        .put(&path, "alice", json!({ "body": "x", "msgtype": "m.text" }))
        .await
        .ok();
    let event = sent["event_id"].as_str().unwrap();
    api.post(
        &format!("rooms/{room}/receipt/m.read/{event}"),
        "alice",
        json!({}),
    )
    .await
    .ok();
    let thread = json!({ "thread_id": "main" });
    api.post(
        &format!("rooms/{room}/receipt/m.read.private/{event}"),
        "alice",
        thread,
    )
    .await
    .ok();
    let markers = json!({ "m.fully_read": event, "m.read": event });
    api.post(&format!("rooms/{room}/read_markers"), "alice", markers)
        .await
        .ok();
    let typing = json!({ "typing": true, "timeout": 1000 });
    api.put(
        &format!("rooms/{room}/typing/@alice:house"),
        "alice",
        typing,
    )
    .await
    .ok();
    let path = format!("rooms/{room}/redact/{event}/2");
    let redaction = api
        .put(&path, "alice", json!({ "reason": "typo" }))
        .await
        .ok();
    let again = api.put(&path, "alice", json!({})).await.ok();
    assert_eq!(again, redaction);
    let seen = api
        .get(&format!("rooms/{room}/event/{event}"), "alice")
        .await
        .ok();
    assert_eq!(seen["content"], json!({}));
    let because = &seen["unsigned"]["redacted_because"];
    assert_eq!(because["content"]["reason"], "typo");
    assert_eq!(because["event_id"], redaction["event_id"]);
}

#[tokio::test]
async fn members_as_they_were_at_a_token() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    let at = api.position().await;
    api.post(&format!("join/{room}"), "bob", json!({}))
        .await
        .ok();
    let count = async |query: &str| {
        let members = api
            .get(&format!("rooms/{room}/members{query}"), "alice")
            .await
            .ok();
        members["chunk"].as_array().unwrap().len()
    };
    assert_eq!(count("").await, 2);
    assert_eq!(count(&format!("?at=s{at}_t0")).await, 1);
    // The second event of the room is the creator's join.
    assert_eq!(count("?at=p2").await, 0);
    assert_eq!(count("?at=p3").await, 1);
    let bad = api
        .get(&format!("rooms/{room}/members?at=x"), "alice")
        .await;
    assert_eq!(bad.error(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn kicks_bans_knocks_and_upgrades_are_served() {
    let api = Api::new();
    let knock = json!({ "type": "m.room.join_rules", "content": { "join_rule": "knock" } });
    let room = api.room("alice", json!({ "initial_state": [knock] })).await;
    api.post(
        &format!("knock/{room}"),
        "bob",
        json!({ "reason": "hello" }),
    )
    .await
    .ok();
    let bob = json!({ "user_id": "@bob:house", "reason": "why not" });
    for change in ["invite", "kick", "ban", "unban"] {
        api.post(&format!("rooms/{room}/{change}"), "alice", bob.clone())
            .await
            .ok();
        let path = format!("rooms/{room}/state/m.room.member/@bob:house");
        assert_eq!(
            api.get(&path, "alice").await.ok()["reason"],
            "why not",
            "{change}"
        );
    }
    let upgrade = json!({ "new_version": "11" });
    let upgraded = api
        .post(&format!("rooms/{room}/upgrade"), "alice", upgrade)
        .await
        .ok();
    let replacement = upgraded["replacement_room"].as_str().unwrap();
    let tombstone = api
        .get(&format!("rooms/{room}/state/m.room.tombstone"), "alice")
        .await
        .ok();
    assert_eq!(tombstone["replacement_room"], replacement);
}

#[tokio::test]
async fn the_capabilities_name_twelve_versions() {
    let api = Api::new();
    let versions: Value = super::room_versions(&api.rooms);
    assert_eq!(versions["default"], "12");
    assert_eq!(versions["available"].as_object().unwrap().len(), 12);
}

#[tokio::test]
async fn presence_is_set_by_oneself_and_read_by_those_in_a_room() {
    let api = Api::new();
    let path = "presence/@alice:house/status";
    let body = json!({ "presence": "unavailable", "status_msg": "lunch" });
    api.put(path, "alice", body.clone()).await.ok();
    let shown = api.get(path, "alice").await.ok();
    let expected =
        json!({ "presence": "unavailable", "status_msg": "lunch", "last_active_ago": 0 });
    assert_eq!(shown, expected);
    let stranger = api.get(path, "bob").await;
    assert_eq!(stranger.error(), (403, "M_FORBIDDEN"));
    let other = api.put(path, "bob", body).await;
    assert_eq!(other.error(), (403, "M_FORBIDDEN"));
    let unknown = json!({ "presence": "dancing" });
    let unknown = api.put(path, "alice", unknown).await;
    assert_eq!(unknown.error(), (400, "M_INVALID_PARAM"));
}
