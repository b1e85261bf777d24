//! What application services may do with rooms.

use serde_json::json;

use super::api::Api;

#[tokio::test]
async fn a_service_says_when_something_happened_and_others_cannot() {
    let api = Api::new();
    let preset = json!({ "preset": "public_chat" });
    let room = api.room("bridge", preset).await;
    api.post(&format!("join/{room}"), "ann", json!({}))
        .await
        .ok();
    let text = json!({ "msgtype": "m.text", "body": "long ago" });
    for (who, expected) in [("bridge", 12_345), ("ann", 1_700_000_000_000_u64)] {
        let paths = [
            format!("rooms/{room}/send/m.room.message/{who}?ts=12345"),
            format!("rooms/{room}/state/test.state/@{who}:house?ts=12345"),
        ];
        for path in paths {
            let sent = api.put(&path, who, text.clone()).await;
            // Who may not send state need not be tried.
            if path.contains("/state/") && who != "bridge" {
                continue;
            }
            let event_id = sent.ok()["event_id"].as_str().unwrap().to_owned();
            let path = format!("rooms/{room}/event/{event_id}");
            let event = api.get(&path, who).await.ok();
            assert_eq!(event["origin_server_ts"], expected, "{path}");
        }
    }
    let path = format!("rooms/{room}/send/m.room.message/bad?ts=yesterday");
    assert_eq!(api.put(&path, "bridge", text).await.error().0, 400);
}

#[tokio::test]
async fn aliases_of_a_service_are_its_alone_and_it_has_no_others() {
    let api = Api::new();
    let room = api.room("ann", json!({ "preset": "public_chat" })).await;
    api.post(&format!("join/{room}"), "bridge", json!({}))
        .await
        .ok();
    let body = json!({ "room_id": room });
    let cases = [
        ("ann", "%23irc_a:house", (400, "M_EXCLUSIVE")),
        ("bridge", "%23other:house", (400, "M_EXCLUSIVE")),
        ("bridge", "%23irc_a:house", (200, "")),
        ("ann", "%23other:house", (200, "")),
    ];
    for (who, alias, expected) in cases {
        let path = format!("directory/room/{alias}");
        let put = api.put(&path, who, body.clone()).await;
        assert_eq!(put.error(), expected, "{who} makes {alias}");
    }
    for (who, alias, expected) in [
        ("ann", "irc_b", (400, "M_EXCLUSIVE")),
        ("bridge", "free", (400, "M_EXCLUSIVE")),
        ("bridge", "irc_b", (200, "")),
    ] {
        let made = api
            .post("createRoom", who, json!({ "room_alias_name": alias }))
            .await;
        assert_eq!(made.error(), expected, "{who} makes a room {alias}");
    }
}

#[tokio::test]
async fn only_a_service_pings_itself_and_hears_that_it_cannot_be_reached() {
    let api = Api::new();
    let path = "/_matrix/client/v1/appservice/irc/ping";
    let foreign = "/_matrix/client/v1/appservice/other/ping";
    for (who, path, expected) in [
        ("ann", path, (403, "M_FORBIDDEN")),
        ("bridge", foreign, (403, "M_FORBIDDEN")),
        ("bridge", path, (502, "M_CONNECTION_FAILED")),
    ] {
        let pinged = api.post(path, who, json!({})).await;
        assert_eq!(pinged.error(), expected, "{who} {path}");
    }
    // Nobody answers who would make the room of an alias.
    let path = "directory/room/%23irc_none:house";
    assert_eq!(api.get(path, "ann").await.error(), (404, "M_NOT_FOUND"));
}
