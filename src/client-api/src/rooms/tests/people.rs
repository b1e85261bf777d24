//! Finding users, reporting, and what guests and suspended users may do in rooms.

use hearth_rooms::Reported;
use serde_json::json;

use super::api::Api;

#[tokio::test]
async fn finding_users_has_its_form() {
    let api = Api::new();
    let body = json!({ "search_term": "x", "limit": 1 });
    let answer = api.post("user_directory/search", "eve", body).await.ok();
    assert_eq!(answer, json!({ "results": [], "limited": false }));
    let missing = api.post("user_directory/search", "eve", json!({})).await;
    assert_eq!(missing.status, 400);
}

#[tokio::test]
async fn reports_are_kept_until_they_are_dealt_with() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    let text = json!({ "msgtype": "m.text", "body": "buy" });
    let path = format!("rooms/{room}/send/m.room.message/1");
    let sent = api.put(&path, "alice", text).await.ok();
    let event = sent["event_id"].as_str().unwrap();
    let why = json!({ "reason": "spam" });
    let on_event = format!("rooms/{room}/report/{event}");
    let stranger = api.post(&on_event, "bob", why.clone()).await;
    assert_eq!(stranger.error(), (404, "M_NOT_FOUND"));
    api.post(&format!("rooms/{room}/report"), "bob", why.clone())
        .await
        .ok();
    api.post(&format!("join/{room}"), "bob", json!({}))
        .await
        .ok();
    api.post(&on_event, "bob", json!({})).await.ok();
    api.post("users/@far:elsewhere/report", "bob", why.clone())
        .await
        .ok();
    let reports = api.rooms.report_list(0, 10).await.unwrap();
    let reported: Vec<Reported> = reports.iter().map(|one| one.reported.clone()).collect();
    let expected = [
        Reported::Room(room.clone()),
        Reported::Event {
            room,
            event: event.to_owned(),
            sender: "@alice:house".to_owned(),
        },
        Reported::User("@far:elsewhere".to_owned()),
    ];
    assert_eq!(reported, expected);
    assert_eq!(
        (&*reports[0].reason, &*reports[0].reporter),
        ("spam", "@bob:house")
    );
    assert!(api.rooms.report_remove(reports[1].number).await.unwrap());
    assert!(!api.rooms.report_remove(reports[1].number).await.unwrap());
    let left = api.rooms.report_list(reports[0].number, 10).await.unwrap();
    assert_eq!(left, [reports[2].clone()]);
}

#[tokio::test]
async fn what_is_no_report_is_refused() {
    let api = Api::new();
    let room = api.room("bob", json!({})).await;
    let why = json!({ "reason": "spam" });
    let none = format!("rooms/{room}/report/$none");
    assert_eq!(api.post(&none, "bob", why.clone()).await.error().0, 404);
    for (path, body, expected) in [
        (
            "users/@none:house/report",
            why.clone(),
            (404, "M_NOT_FOUND"),
        ),
        (
            "rooms/!none:house/report",
            why.clone(),
            (404, "M_NOT_FOUND"),
        ),
        (
            "users/@none:house/report",
            json!({}),
            (400, "M_MISSING_PARAM"),
        ),
        (
            "rooms/!none:house/report",
            json!({ "reason": 1 }),
            (400, "M_BAD_JSON"),
        ),
    ] {
        assert_eq!(
            api.post(path, "bob", body).await.error(),
            expected,
            "{path}"
        );
    }
}

#[tokio::test]
async fn guests_may_do_what_the_specification_lists_and_nothing_else() {
    let api = Api::new();
    let open =
        json!([{ "type": "m.room.guest_access", "content": { "guest_access": "can_join" } }]);
    let body = json!({ "preset": "public_chat", "initial_state": open });
    let room = api.room("alice", body).await;
    let closed = api.room("alice", json!({ "preset": "public_chat" })).await;
    let forbidden = api
        .post(&format!("join/{closed}"), "guest", json!({}))
        .await;
    assert_eq!(forbidden.error(), (403, "M_FORBIDDEN"));
    api.post(&format!("rooms/{room}/join"), "guest", json!({}))
        .await
        .ok();
    let path = format!("rooms/{room}/send/m.room.message/1");
    api.put(&path, "guest", json!({ "body": "hi" })).await.ok();
    for path in [
        "state",
        "members",
        "messages?dir=b",
        "initialSync",
        "state/m.room.create",
    ] {
        api.get(&format!("rooms/{room}/{path}"), "guest").await.ok();
    }
    api.get("sync", "guest").await.ok();
    api.get("events?timeout=0", "guest").await.ok();
    for line in [
        "POST createRoom".to_owned(),
        format!("POST rooms/{room}/invite"),
        format!("POST rooms/{room}/forget"),
        format!("PUT rooms/{room}/redact/$x/1"),
        "PUT directory/room/%23x:house".to_owned(),
        "POST publicRooms".to_owned(),
        "POST user_directory/search".to_owned(),
        "GET joined_rooms".to_owned(),
        "GET initialSync".to_owned(),
        format!("GET rooms/{room}/joined_members"),
        format!("GET /_matrix/client/v1/rooms/{room}/hierarchy"),
    ] {
        let answer = api.ask(&line, Some("guest"), json!({})).await;
        assert_eq!(answer.error(), (403, "M_GUEST_ACCESS_FORBIDDEN"), "{line}");
    }
    // What needs no account a guest may ask as anybody may.
    let summary = format!("/_matrix/client/v1/room_summary/{room}");
    api.get(&summary, "guest").await.ok();
}

#[tokio::test]
async fn a_suspended_user_redacts_her_own_events_alone() {
    let api = Api::new();
    let room = api.room("alice", json!({ "preset": "public_chat" })).await;
    let text = json!({ "body": "x" });
    let path = format!("rooms/{room}/send/m.room.message/1");
    let sent = api.put(&path, "alice", text).await.ok();
    let event = sent["event_id"].as_str().unwrap().to_owned();
    let power = json!({ "users": { "@suspended:house": 100 } });
    let path = format!("rooms/{room}/state/m.room.power_levels");
    api.put(&path, "alice", power).await.ok();
    let path = format!("rooms/{room}/redact/{event}/2");
    let refused = api.put(&path, "suspended", json!({})).await;
    assert_eq!(refused.error(), (403, "M_USER_SUSPENDED"));
}
