//! Joins, transactions and questions of servers that are in a room.

use hearth_rooms::{NewRoom, Preset};
use serde_json::{Value, json};

use crate::house::{House, json_of, user};

const BOB: &str = "@bob:far";

#[tokio::test]
async fn s02_nobody_joins_for_a_user_of_another_server() {
    let house = House::new();
    let room = house.open_room().await;
    let template = house
        .get("further", &format!("v1/make_join/{room}/{BOB}?ver=11"))
        .await;
    assert_eq!(template.error(), (403, "M_FORBIDDEN"));
    let template = house
        .get("far", &format!("v1/make_join/{room}/{BOB}?ver=11"))
        .await;
    let join = house.member(&template.ok(), &user(BOB), "join");
    let line = format!("PUT v2/send_join/{room}/{}", join.event_id());
    let answer = house.ask("further", &line, &json_of(&join)).await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    let elsewhere = format!("PUT v2/send_join/{room}/$other");
    let answer = house.ask("far", &elsewhere, &json_of(&join)).await;
    assert_eq!(answer.status, 400);
    let mut forged = json_of(&join);
    let signature = &mut forged["signatures"]["far"];
    *signature = json!({ "ed25519:far": "A".repeat(86) });
    let answer = house.ask("far", &line, &forged).await;
    assert_eq!(answer.error(), (400, "M_BAD_JSON"), "{}", answer.body);
    let leave = format!("PUT v2/send_leave/{room}/{}", join.event_id());
    let answer = house.ask("far", &leave, &json_of(&join)).await;
    assert_eq!(answer.status, 400);
    let joined = house.ask("far", &line, &json_of(&join)).await.ok();
    assert_eq!(joined["members_omitted"], false);
    assert!(joined["state"].as_array().unwrap().len() > 4);
}

#[tokio::test]
async fn a_room_of_a_version_that_a_server_does_not_know_is_not_for_it() {
    let house = House::new();
    let room = house.open_room().await;
    let answer = house
        .get("far", &format!("v1/make_join/{room}/{BOB}?ver=1&ver=x"))
        .await;
    assert_eq!(answer.error(), (400, "M_INCOMPATIBLE_ROOM_VERSION"));
    assert_eq!(answer.body["room_version"], "11");
}

#[tokio::test]
async fn a_transaction_that_is_sent_again_gets_the_same_answer() {
    let house = House::new();
    let room = house.open_room().await;
    let join = house.far_join(&room, &user(BOB)).await;
    let bad = json!({ "room_id": room, "type": "x", "sender": BOB, "content": {}, "depth": 1,
        "origin_server_ts": 1, "prev_events": [], "auth_events": [],
        "hashes": { "sha256": "AAAA" }, "signatures": {} });
    let unknown_room = json!({ "room_id": "!nowhere:far", "type": "x" });
    let pdus = json!([json_of(&join), bad, unknown_room, 5]);
    let txn = json!({ "origin": "far", "origin_server_ts": 1, "pdus": pdus });
    let first = house.ask("far", "PUT v1/send/7", &txn).await;
    let first = first.ok();
    let results = first["pdus"].as_object().unwrap();
    assert_eq!(results[join.event_id().as_str()], json!({}));
    let refused = results
        .values()
        .filter(|result| result.get("error").is_some());
    assert_eq!(refused.count(), 1, "{first}");
    let again = json!({ "origin": "far", "origin_server_ts": 1, "pdus": [] });
    assert_eq!(house.ask("far", "PUT v1/send/7", &again).await.ok(), first);
    // The ids of one server are not those of another.
    let other = house.ask("further", "PUT v1/send/7", &again).await.ok();
    assert_eq!(other, json!({ "pdus": {} }));
}

#[tokio::test]
async fn a_space_is_told_with_the_children_that_the_server_may_know_of() {
    let house = House::new();
    let space = NewRoom {
        preset: Some(Preset::PublicChat),
        creation_content: Some(crate::house::raw(&json!({ "type": "m.space" }))),
        name: Some("Club".to_owned()),
        ..NewRoom::default()
    };
    let space = house.room(space).await;
    let open = house.open_room().await;
    let secret = house.room(NewRoom::default()).await;
    for child in [&open, &secret] {
        let via = json!({ "via": ["house"], "suggested": child == &open });
        house
            .put(&space, ("m.space.child", child.as_str()), via)
            .await;
    }
    let told = house
        .get("far", &format!("v1/hierarchy/{space}"))
        .await
        .ok();
    assert_eq!(told["room"]["room_id"], json!(space));
    assert_eq!(told["room"]["name"], "Club");
    assert_eq!(told["room"]["room_type"], "m.space");
    assert_eq!(told["room"]["room_version"], "11");
    assert_eq!(told["room"]["children_state"].as_array().unwrap().len(), 2);
    assert_eq!(told["children"].as_array().unwrap().len(), 1);
    assert_eq!(told["children"][0]["room_id"], json!(open));
    assert_eq!(told["inaccessible_children"], json!([secret]));
    let path = format!("v1/hierarchy/{space}?suggested_only=true");
    let suggested = house.get("far", &path).await.ok();
    assert_eq!(suggested["inaccessible_children"], json!([]));
    assert_eq!(
        suggested["room"]["children_state"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let hidden = house.get("far", &format!("v1/hierarchy/{secret}")).await;
    assert_eq!(hidden.error(), (404, "M_NOT_FOUND"));
}

#[tokio::test]
async fn questions_about_users_are_answered_of_those_of_this_server() {
    let house = House::new();
    house.register("alice").await;
    let profile = house
        .get("far", "v1/query/profile?user_id=@alice:house")
        .await
        .ok();
    assert_eq!(profile["displayname"], "alice");
    let field = house
        .get(
            "far",
            "v1/query/profile?user_id=@alice:house&field=avatar_url",
        )
        .await;
    assert_eq!(field.ok(), json!({}));
    for path in [
        "v1/query/profile?user_id=@nobody:house",
        "v1/query/profile?user_id=@bob:far",
        "v1/user/devices/@nobody:house",
        "v1/query/directory?room_alias=%23none:house",
    ] {
        let answer = house.get("far", path).await;
        assert_eq!(answer.error(), (404, "M_NOT_FOUND"), "{path}");
    }
    let query = json!({ "device_keys": { "@nobody:house": [], BOB: [] } });
    let keys = house
        .ask("far", "POST v1/user/keys/query", &query)
        .await
        .ok();
    // Who does not exist looks like who has no devices.
    let none = json!({ "@nobody:house": {} });
    assert_eq!(keys["device_keys"], none, "{keys}");
    let openid = house
        .wire(
            "GET /_matrix/federation/v1/openid/userinfo?access_token=x",
            None,
            bytes::Bytes::new(),
        )
        .await;
    assert_eq!(openid.error(), (401, "M_UNKNOWN_TOKEN"));
}

#[tokio::test]
async fn keys_are_told_to_everybody_and_those_of_others_are_vouched_for() {
    let house = House::new();
    let nothing = bytes::Bytes::new;
    let own = house
        .wire("GET /_matrix/key/v2/server", None, nothing())
        .await
        .ok();
    assert_eq!(own["server_name"], "house");
    assert!(own["signatures"]["house"].is_object());
    let line = "GET /_matrix/key/v2/query/far";
    let told = house.wire(line, None, nothing()).await.ok();
    let document: &Value = &told["server_keys"][0];
    assert_eq!(document["server_name"], "far");
    assert!(document["signatures"]["far"].is_object(), "{document}");
    assert!(document["signatures"]["house"].is_object(), "{document}");
    let silent = house
        .wire("GET /_matrix/key/v2/query/silent", None, nothing())
        .await
        .ok();
    assert_eq!(silent["server_keys"], json!([]));
}
