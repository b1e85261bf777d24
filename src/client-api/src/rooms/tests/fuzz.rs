//! Garbage on every route: never a 5xx.

use serde_json::{Value, json};

use super::api::Api;

/// Values of every type, also where they mean something.
fn values() -> Vec<Value> {
    vec![
        Value::Null,
        json!(true),
        json!(-1),
        json!(1e300),
        json!(u64::MAX),
        json!(""),
        json!("\u{0}"),
        json!("@x:house"),
        json!("x".repeat(2_000)),
        json!([]),
        json!([null, 1, "x", {}]),
        json!({}),
        json!({ "a": { "b": [1.5] }, "": 0 }),
    ]
}

const FIELDS: [&str; 32] = [
    "additional_creators",
    "alias",
    "allow",
    "alt_aliases",
    "creation_content",
    "event_id",
    "filter",
    "history_visibility",
    "initial_state",
    "invite",
    "is_direct",
    "join_rule",
    "limit",
    "m.fully_read",
    "m.read",
    "m.relates_to",
    "membership",
    "name",
    "new_version",
    "power_level_content_override",
    "preset",
    "reason",
    "redacts",
    "room_alias_name",
    "room_id",
    "room_version",
    "thread_id",
    "timeout",
    "topic",
    "typing",
    "user_id",
    "users",
];

#[tokio::test]
async fn s20_odd_bodies_and_paths_are_never_the_servers_fault() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    let lines = [
        "POST createRoom".to_owned(),
        format!("POST join/{room}"),
        format!("POST knock/{room}"),
        format!("POST rooms/{room}/invite"),
        format!("POST rooms/{room}/kick"),
        format!("POST rooms/{room}/ban"),
        format!("POST rooms/{room}/unban"),
        format!("POST rooms/{room}/forget"),
        format!("POST rooms/{room}/upgrade"),
        format!("POST rooms/{room}/read_markers"),
        format!("POST rooms/{room}/receipt/m.read/$x"),
        format!("PUT rooms/{room}/typing/@alice:house"),
        format!("PUT rooms/{room}/redact/$x/%00"),
        format!("PUT rooms/{room}/send/m.room.message/%F0%9F%92%A9"),
        format!("PUT rooms/{room}/send/m.room.redaction/1"),
        format!("PUT rooms/{room}/send/m.room.member/1"),
        format!("PUT rooms/{room}/send/m.reaction/2"),
        format!("PUT rooms/{room}/state/m.room.member/nobody"),
        format!("PUT rooms/{room}/state/m.room.member/@alice:house"),
        format!("PUT rooms/{room}/state/m.room.power_levels"),
        format!("PUT rooms/{room}/state/m.room.join_rules"),
        format!("PUT rooms/{room}/state/m.room.canonical_alias"),
        format!("PUT rooms/{room}/state/m.room.history_visibility"),
        format!("PUT rooms/{room}/state/m.room.third_party_invite/x"),
        format!("PUT rooms/{room}/state/%00/%ff"),
        format!("PUT directory/list/room/{room}"),
        "PUT directory/room/%23x:house".to_owned(),
        "POST publicRooms".to_owned(),
    ];
    for line in &lines {
        for body in [
            "",
            "{",
            "[]",
            "null",
            "\u{feff}{}",
            "{\"a\":1e999}",
            "{\"a\":\"\\ud800\"}",
        ] {
            never_5xx(&api, line, body.as_bytes().to_vec()).await;
        }
        for field in FIELDS {
            for value in values() {
                let body = json!({ (field): value });
                never_5xx(&api, line, body.to_string().into_bytes()).await;
            }
        }
    }
    // The room has survived it all.
    api.get(&format!("rooms/{room}/state"), "alice").await.ok();
}

#[tokio::test]
async fn s20_odd_queries_and_ids_are_never_the_servers_fault() {
    let api = Api::new();
    let room = api.room("alice", json!({})).await;
    let ids = [
        room.as_str(),
        "!x",
        "!",
        "x",
        "%21",
        "%00",
        "%ff",
        "!a:b:c",
        "!%F0%9F%92%A9:house",
    ];
    for id in ids {
        for rest in [
            "state",
            "state/m.room.name",
            "state/%ff/%00",
            "members",
            "members?at=s",
            "members?at=p-1",
            "members?membership=%00",
            "joined_members",
            "aliases",
            "event/x",
            "event/$",
            "event/%00",
        ] {
            never_5xx(&api, &format!("GET rooms/{id}/{rest}"), vec![]).await;
        }
        never_5xx(&api, &format!("GET directory/list/room/{id}"), vec![]).await;
        never_5xx(&api, &format!("GET directory/room/%23{id}"), vec![]).await;
    }
    for query in [
        "",
        "?limit=0",
        "?limit=-1",
        "?since=x",
        "?since=99999999999999999999",
        "?server=house",
        "?server=x",
    ] {
        never_5xx(&api, &format!("GET publicRooms{query}"), vec![]).await;
    }
}

async fn never_5xx(api: &Api, line: &str, body: Vec<u8>) {
    let shown = String::from_utf8_lossy(&body)
        .chars()
        .take(200)
        .collect::<String>();
    let answer = api.raw(line, Some("alice"), body).await;
    let status = answer.status.as_u16();
    assert!(status < 500, "{line} {shown}: {status} {}", answer.body);
}
