//! Reading rooms: single events, `/messages`, members at a token, and what clients read with of old.

use serde_json::{Value, json};

use super::api::Api;

async fn say(api: &Api, room: &str, user: &str, content: Value) -> String {
    let count = api.position().await;
    let path = format!("rooms/{room}/send/m.room.message/{count}");
    let sent = api.put(&path, user, content).await.ok();
    sent["event_id"].as_str().unwrap().to_owned()
}

fn text(body: &str) -> Value {
    json!({ "msgtype": "m.text", "body": body })
}

fn bodies(events: &Value) -> Vec<&str> {
    let events = events.as_array().unwrap().iter();
    events
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}

#[tokio::test]
async fn an_event_comes_with_its_newest_edit_and_only_where_it_may_be_seen() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    let event = say(&api, &room, "alice", text("one")).await;
    let edit = json!({
        "msgtype": "m.text", "body": "* two", "m.new_content": text("two"),
        "m.relates_to": { "rel_type": "m.replace", "event_id": event },
    });
    let edit = say(&api, &room, "alice", edit).await;
    let shown = api
        .get(&format!("rooms/{room}/event/{event}"), "alice")
        .await
        .ok();
    assert_eq!(shown["content"]["body"], "one");
    let bundled = &shown["unsigned"]["m.relations"]["m.replace"];
    assert_eq!(bundled["event_id"], edit.as_str());
    assert_eq!(shown["unsigned"]["membership"], "join");
    let old = api.get(&format!("events/{event}"), "alice").await.ok();
    assert_eq!(old["event_id"], event.as_str());
    for path in [
        format!("rooms/{room}/event/{event}"),
        format!("rooms/{room}/event/$none"),
        format!("rooms/!none:house/event/{event}"),
        format!("events/{event}"),
    ] {
        let stranger = api.get(&path, "bob").await;
        assert_eq!(stranger.error(), (404, "M_NOT_FOUND"), "{path}");
    }
}

#[tokio::test]
async fn messages_of_a_room_that_one_may_not_see_are_forbidden_before_all_else() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    api.post(&format!("join/{room}"), "bob", json!({}))
        .await
        .ok();
    let path = format!("rooms/{room}/messages");
    let (status, _) = api.get(&path, "bob").await.error();
    assert_eq!(status, 400, "`dir` is required");
    api.post(&format!("rooms/{room}/leave"), "bob", json!({}))
        .await
        .ok();
    api.get(&format!("{path}?dir=b"), "bob").await.ok();
    api.post(&format!("rooms/{room}/forget"), "bob", json!({}))
        .await
        .ok();
    assert_eq!(api.get(&path, "bob").await.error(), (403, "M_FORBIDDEN"));
    assert_eq!(api.get(&path, "carol").await.error(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn before_its_beginning_a_room_has_its_creator() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    let sync = api.get("sync", "alice").await.ok();
    let prev_batch = &sync["rooms"]["join"][&room]["timeline"]["prev_batch"];
    api.post(&format!("join/{room}"), "bob", json!({}))
        .await
        .ok();
    let path = format!("rooms/{room}/members?at={}", prev_batch.as_str().unwrap());
    let members = api.get(&path, "alice").await.ok();
    let members = members["chunk"].as_array().unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0]["state_key"], "@alice:house");
}

#[tokio::test]
async fn a_room_is_read_at_once_by_members_and_by_all_if_it_is_open_to_the_world() {
    let api = Api::new();
    let open = json!([{
        "type": "m.room.history_visibility",
        "content": { "history_visibility": "world_readable" },
    }]);
    let public = json!({ "visibility": "public", "initial_state": open });
    let room = api.room("alice", public).await;
    say(&api, &room, "alice", text("one")).await;
    say(&api, &room, "alice", text("two")).await;
    let path = format!("rooms/{room}/initialSync");
    let seen = api.get(&path, "bob").await.ok();
    assert_eq!(bodies(&seen["messages"]["chunk"]), ["one", "two"]);
    assert_eq!(seen["visibility"], "public");
    assert!(seen.get("membership").is_none());
    let state = seen["state"].as_array().unwrap();
    assert!(state.iter().any(|event| event["type"] == "m.room.create"));
    assert!(state.iter().all(|event| event["room_id"] == room.as_str()));
    let own = api.get(&format!("{path}?limit=1"), "alice").await.ok();
    assert_eq!(bodies(&own["messages"]["chunk"]), ["two"]);
    assert_eq!(own["membership"], "join");
    let start = own["messages"]["start"].as_str().unwrap();
    let before = format!("rooms/{room}/messages?dir=b&limit=1&from={start}");
    let before = api.get(&before, "alice").await.ok();
    assert_eq!(bodies(&before["chunk"]), ["one"]);
    let closed = api.room("alice", json!({})).await;
    let closed = api.get(&format!("rooms/{closed}/initialSync"), "bob").await;
    assert_eq!(closed.error(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn the_old_initial_sync_tells_rooms_invites_and_if_asked_rooms_left() {
    let api = Api::new();
    let joined = api.room("alice", json!({ "name": "Pub" })).await;
    say(&api, &joined, "alice", text("hello")).await;
    let invite = json!({ "invite": ["@alice:house"] });
    let invited = api.room("bob", invite).await;
    let left = api.room("alice", json!({})).await;
    api.post(&format!("rooms/{left}/leave"), "alice", json!({}))
        .await
        .ok();
    let seen = api.get("initialSync?limit=1", "alice").await.ok();
    let room = |seen: &Value, id: &str| {
        let mut rooms = seen["rooms"].as_array().unwrap().iter();
        rooms.find(|room| room["room_id"] == id).cloned()
    };
    let pub_room = room(&seen, &joined).unwrap();
    assert_eq!(pub_room["membership"], "join");
    assert_eq!(pub_room["visibility"], "private");
    assert_eq!(bodies(&pub_room["messages"]["chunk"]), ["hello"]);
    let state = pub_room["state"].as_array().unwrap();
    assert!(state.iter().any(|event| event["content"]["name"] == "Pub"));
    let invite = room(&seen, &invited).unwrap();
    assert_eq!(invite["membership"], "invite");
    assert_eq!(invite["invite"]["state_key"], "@alice:house");
    assert!(room(&seen, &left).is_none());
    let all = api.get("initialSync?archived=true", "alice").await.ok();
    assert_eq!(room(&all, &left).unwrap()["membership"], "leave");
    for query in ["limit=x", "archived=maybe"] {
        let wrong = api.get(&format!("initialSync?{query}"), "alice").await;
        assert_eq!(wrong.error(), (400, "M_INVALID_PARAM"), "{query}");
    }
}

#[tokio::test]
async fn events_go_on_from_their_token() {
    let api = Api::new();
    let open = json!([{
        "type": "m.room.history_visibility",
        "content": { "history_visibility": "world_readable" },
    }]);
    let room = api.room("alice", json!({ "initial_state": open })).await;
    let now = api.get("events?timeout=0", "alice").await.ok();
    assert_eq!(now["chunk"], json!([]));
    let from = now["end"].as_str().unwrap();
    say(&api, &room, "alice", text("one")).await;
    let news = api.get(&format!("events?from={from}"), "alice").await.ok();
    assert_eq!(bodies(&news["chunk"]), ["one"]);
    assert_eq!(news["chunk"][0]["room_id"], room.as_str());
    assert_eq!(news["start"], from);
    let path = format!("events?room_id={room}&from={from}&timeout=0");
    let peeked = api.get(&path, "bob").await.ok();
    assert_eq!(bodies(&peeked["chunk"]), ["one"]);
    let end = peeked["end"].as_str().unwrap();
    let path = format!("events?room_id={room}&from={end}&timeout=0");
    assert_eq!(api.get(&path, "bob").await.ok()["chunk"], json!([]));
    let closed = api.room("alice", json!({})).await;
    let path = format!("events?room_id={closed}&timeout=0");
    assert_eq!(api.get(&path, "bob").await.error(), (403, "M_FORBIDDEN"));
    for query in ["from=x", "room_id=x", "timeout=x"] {
        let wrong = api.get(&format!("events?{query}"), "alice").await;
        assert_eq!(wrong.error(), (400, "M_INVALID_PARAM"), "{query}");
    }
}

#[tokio::test]
async fn s12_members_of_a_time_that_one_may_not_see_are_not_told() {
    let api = Api::new();
    let closed = json!([{
        "type": "m.room.history_visibility",
        "content": { "history_visibility": "joined" },
    }]);
    let body = json!({ "preset": "public_chat", "initial_state": closed });
    let room = api.room("alice", body).await;
    api.post(&format!("join/{room}"), "carol", json!({}))
        .await
        .ok();
    let then = api.get("sync", "alice").await.ok();
    let then = then["next_batch"].as_str().unwrap().to_owned();
    api.post(&format!("rooms/{room}/leave"), "carol", json!({}))
        .await
        .ok();
    say(&api, &room, "alice", text("before")).await;
    api.post(&format!("join/{room}"), "bob", json!({}))
        .await
        .ok();
    let now = api.get("sync", "bob").await.ok();
    let start = now["rooms"]["join"][&room]["timeline"]["prev_batch"].clone();
    let members = |at: String| format!("rooms/{room}/members?at={at}");
    api.get(&members(then.clone()), "alice").await.ok();
    assert_eq!(
        api.get(&members(then), "bob").await.error(),
        (403, "M_FORBIDDEN")
    );
    // What sync begins with, and what is now.
    for at in [start, now["next_batch"].clone()] {
        let at = at.as_str().unwrap().to_owned();
        api.get(&members(at), "bob").await.ok();
    }
}
