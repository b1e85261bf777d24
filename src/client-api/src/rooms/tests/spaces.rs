//! Summaries, trees of spaces, shared rooms.

use serde_json::{Value, json};

use super::api::Api;

const SUMMARY: &str = "/_matrix/client/v1/room_summary";

async fn space(api: &Api, creator: &str, mut body: Value) -> String {
    body["creation_content"] = json!({ "type": "m.space" });
    api.room(creator, body).await
}

async fn child(api: &Api, (parent, child): (&str, &str), content: Value) {
    let path = format!("rooms/{parent}/state/m.space.child/{child}");
    api.put(&path, "alice", content).await.ok();
}

fn via() -> Value {
    json!({ "via": ["house"] })
}

async fn tree(api: &Api, token: &str, path: &str) -> Value {
    let path = format!("/_matrix/client/v1/rooms/{path}");
    api.get(&path, token).await.ok()
}

/// The rooms of a tree as its pages of two tell them.
async fn pages(api: &Api, path: &str) -> Vec<String> {
    let mut paged = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = tree(api, "alice", &format!("{path}?{query}")).await;
        paged.extend(ids(&page).into_iter().map(ToOwned::to_owned));
        match page["next_batch"].as_str() {
            Some(next) => query = format!("limit=2&from={next}"),
            None => break,
        }
    }
    paged
}

/// The ids of the rooms of a page.
fn ids(page: &Value) -> Vec<&str> {
    let rooms = page["rooms"].as_array().unwrap().iter();
    rooms
        .map(|room| room["room_id"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn a_summary_is_told_to_those_who_may_know_of_the_room() {
    let api = Api::new();
    let public = json!({ "preset": "public_chat", "name": "Pub", "room_alias_name": "pub" });
    let public = api.room("alice", public).await;
    let private = api.room("alice", json!({})).await;
    let summary = api
        .get(&format!("{SUMMARY}/%23pub:house"), "bob")
        .await
        .ok();
    let expected = json!({
        "room_id": public, "name": "Pub", "canonical_alias": "#pub:house", "join_rule": "public",
        "num_joined_members": 1, "world_readable": false, "guest_can_join": false,
        "room_version": "12", "membership": "leave",
    });
    assert_eq!(summary, expected);
    let line = format!("GET {SUMMARY}/{public}");
    let anonymous = api.raw(&line, None, vec![]).await.ok();
    assert!(anonymous.get("membership").is_none(), "{anonymous}");
    let path = format!("{SUMMARY}/{private}");
    assert_eq!(api.get(&path, "bob").await.error(), (404, "M_NOT_FOUND"));
    let anonymous = api.raw(&format!("GET {path}"), None, vec![]).await;
    assert_eq!(anonymous.error(), (404, "M_NOT_FOUND"));
    let invite = json!({ "user_id": "@bob:house" });
    api.post(&format!("rooms/{private}/invite"), "alice", invite)
        .await
        .ok();
    assert_eq!(api.get(&path, "bob").await.ok()["membership"], "invite");
    let unknown = api.get(&format!("{SUMMARY}/%23none:house"), "bob").await;
    assert_eq!(unknown.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn a_restricted_room_names_the_rooms_that_let_in_and_shows_itself_to_their_members() {
    let api = Api::new();
    let club = space(&api, "alice", json!({ "preset": "public_chat" })).await;
    let rule = json!({
        "join_rule": "restricted",
        "allow": [{ "type": "m.room_membership", "room_id": club }, { "type": "x" }, 1],
    });
    let state = json!([{ "type": "m.room.join_rules", "content": rule }]);
    let room = api.room("alice", json!({ "initial_state": state })).await;
    let path = format!("{SUMMARY}/{room}");
    assert_eq!(api.get(&path, "bob").await.error(), (404, "M_NOT_FOUND"));
    api.post(&format!("join/{club}"), "bob", json!({}))
        .await
        .ok();
    let summary = api.get(&path, "bob").await.ok();
    assert_eq!(summary["allowed_room_ids"], json!([club]));
    child(&api, (&club, &room), via()).await;
    assert_eq!(
        ids(&tree(&api, "bob", &format!("{club}/hierarchy")).await),
        [&club, &room]
    );
    let stranger = tree(&api, "carol", &format!("{club}/hierarchy")).await;
    assert_eq!(ids(&stranger), [&club]);
}

#[tokio::test]
async fn a_tree_is_told_depth_first_in_the_order_of_its_children() {
    let api = Api::new();
    let public = || json!({ "preset": "public_chat" });
    let root = space(&api, "alice", public()).await;
    let inner = space(&api, "alice", public()).await;
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(api.room("alice", public()).await);
    }
    child(&api, (&root, &rooms[0]), via()).await;
    child(
        &api,
        (&root, &rooms[1]),
        json!({ "via": ["house"], "suggested": true }),
    )
    .await;
    child(
        &api,
        (&root, &inner),
        json!({ "via": ["house"], "order": "b" }),
    )
    .await;
    child(
        &api,
        (&root, &rooms[2]),
        json!({ "via": ["house"], "order": "é" }),
    )
    .await;
    child(&api, (&root, &rooms[3]), json!({})).await;
    child(
        &api,
        (&root, "!gone"),
        json!({ "via": ["house"], "order": "a" }),
    )
    .await;
    child(&api, (&inner, &rooms[3]), via()).await;
    child(&api, (&inner, &root), via()).await;
    // A room that is no space has no children.
    child(&api, (&rooms[0], &inner), via()).await;
    let path = format!("{root}/hierarchy");
    let whole = tree(&api, "alice", &path).await;
    // All times are the same here: by id.
    let mut plain = [&*rooms[0], &*rooms[1], &*rooms[2]];
    plain.sort_unstable();
    let expected = [&[&*root, &*inner, &*rooms[3]][..], &plain].concat();
    assert_eq!(ids(&whole), expected);
    assert!(whole.get("next_batch").is_none());
    let links = whole["rooms"][0]["children_state"].as_array().unwrap();
    assert_eq!(links.len(), 5);
    assert_eq!(links[0]["state_key"], "!gone");
    assert_eq!(links[0].as_object().unwrap().len(), 5, "{}", links[0]);
    assert!(links[0]["origin_server_ts"].is_number());
    assert_eq!(whole["rooms"][3]["children_state"], json!([]));
    let shallow = tree(&api, "alice", &format!("{path}?max_depth=1")).await;
    assert_eq!(ids(&shallow), [&[&*root, &*inner][..], &plain].concat());
    let alone = tree(&api, "alice", &format!("{path}?max_depth=0")).await;
    assert_eq!(ids(&alone), [&*root]);
    let suggested = tree(&api, "alice", &format!("{path}?suggested_only=true")).await;
    assert_eq!(ids(&suggested), [&*root, &*rooms[1]]);
    let children = suggested["rooms"][0]["children_state"].as_array().unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(pages(&api, &path).await, expected);
}

#[tokio::test]
async fn wrong_questions_about_trees_are_refused() {
    let api = Api::new();
    let root = space(&api, "alice", json!({})).await;
    let room = api.room("alice", json!({})).await;
    child(&api, (&root, &room), via()).await;
    let path = format!("/_matrix/client/v1/rooms/{root}/hierarchy");
    let page = api
        .get(&format!("{path}?limit=1&max_depth=3"), "alice")
        .await
        .ok();
    let next = page["next_batch"].as_str().unwrap();
    for (query, expected) in [
        (format!("from={next}&max_depth=2"), (400, "M_INVALID_PARAM")),
        (
            format!("from={next}&suggested_only=true"),
            (400, "M_INVALID_PARAM"),
        ),
        ("from=abc".to_owned(), (400, "M_INVALID_PARAM")),
        ("limit=0".to_owned(), (400, "M_INVALID_PARAM")),
        ("limit=-1".to_owned(), (400, "M_INVALID_PARAM")),
    ] {
        let answer = api.get(&format!("{path}?{query}"), "alice").await;
        assert_eq!(answer.error(), expected, "{query}");
    }
    let go_on = api
        .get(&format!("{path}?from={next}&max_depth=3"), "alice")
        .await;
    assert_eq!(ids(&go_on.ok()), [&room]);
    assert_eq!(api.get(&path, "bob").await.error(), (403, "M_FORBIDDEN"));
    let unknown = api
        .get("/_matrix/client/v1/rooms/!no:house/hierarchy", "bob")
        .await;
    assert_eq!(unknown.error(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn rooms_shared_with_somebody_are_listed_in_pages() {
    const PATH: &str = "/_matrix/client/v1/mutual_rooms";
    let api = Api::new();
    let mut shared = Vec::new();
    for number in 0..103 {
        let room = api.room("alice", json!({ "preset": "public_chat" })).await;
        if number > 0 {
            api.post(&format!("join/{room}"), "bob", json!({}))
                .await
                .ok();
            shared.push(room);
        }
    }
    let first = api
        .get(&format!("{PATH}?user_id=@bob:house"), "alice")
        .await
        .ok();
    assert_eq!(
        (&first["joined"], &first["count"]),
        (&json!(shared[..100]), &json!(102))
    );
    let from = first["next_batch"].as_str().unwrap();
    let path = format!("{PATH}?user_id=@bob:house&from={from}");
    let second = api.get(&path, "alice").await.ok();
    assert_eq!(second, json!({ "joined": shared[100..], "count": 102 }));
    let nobody = api
        .get(&format!("{PATH}?user_id=@zed:house"), "alice")
        .await
        .ok();
    assert_eq!(nobody, json!({ "joined": [], "count": 0 }));
    for query in [
        "user_id=@alice:house",
        "user_id=bob",
        "user_id=@bob:house&from=x",
        "",
    ] {
        let answer = api.get(&format!("{PATH}?{query}"), "alice").await;
        let (status, errcode) = answer.error();
        assert_eq!(status, 400, "{query}");
        assert!(
            ["M_INVALID_PARAM", "M_MISSING_PARAM"].contains(&errcode),
            "{query} {errcode}"
        );
    }
}
