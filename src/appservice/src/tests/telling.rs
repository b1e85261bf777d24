//! What services are told, and how often.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_service_is_told_of_rooms_with_its_users_and_of_no_others() {
    let house = House::new();
    let running = house.start(BRIDGE);
    let (room, other) = (house.room("ann", None).await, house.room("ann", None).await);
    house.say("ann", &room, "unheard").await;
    house.say("ann", &other, "elsewhere").await;
    house.join("_b_bob", &room).await;
    house.say("ann", &room, "hello").await;
    let left = house.rooms.leave(&user("_b_bob"), &room, None).await;
    left.unwrap();
    house.say("ann", &room, "gone").await;
    house.join("_b_bob", &other).await;
    let told = house.told("@_b_bob:house join").await;
    assert!(!told.contains(&"unheard".to_owned()), "{told:?}");
    house.say("ann", &other, "last").await;
    let told = house.told("last").await;
    assert_eq!(
        told,
        [
            "@_b_bob:house join",
            "hello",
            "@_b_bob:house leave",
            "@_b_bob:house join",
            "last"
        ]
    );
    let seen = house.wire.seen();
    assert_eq!(
        seen[0].0,
        "PUT http://bridge.test:9000/_matrix/app/v1/transactions/1"
    );
    assert_eq!(seen[0].1, "Bearer ours");
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_is_told_of_rooms_with_its_aliases_with_what_was_before() {
    let house = House::new();
    let running = house.start(BRIDGE);
    let room = house.room("ann", Some("_b_town")).await;
    house.join("bob", &room).await;
    house.rooms.leave(&user("bob"), &room, None).await.unwrap();
    house.say("ann", &room, "hello").await;
    house.told("hello").await;
    let seen = house.wire.seen();
    let events: Vec<Value> = seen
        .iter()
        .flat_map(|(_, _, body)| body["events"].as_array().unwrap().clone())
        .collect();
    let leave = events
        .iter()
        .find(|event| event["content"]["membership"] == "leave");
    let leave = leave.unwrap();
    assert_eq!(leave["unsigned"]["prev_content"]["membership"], "join");
    assert_eq!(leave["room_id"], room.as_str());
    assert!(leave["event_id"].is_string() && leave["origin_server_ts"].is_u64());
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_acknowledged_is_sent_again_with_the_same_events_also_after_a_restart() {
    let house = House::new();
    let running = house.start(BRIDGE);
    let room = house.room("_b_bob", None).await;
    house.say("_b_bob", &room, "first").await;
    house.told("first").await;
    house.wire.answers(0);
    house.say("_b_bob", &room, "second").await;
    house.told("second").await;
    let lost = house.wire.seen().pop().unwrap();
    house.say("_b_bob", &room, "third").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    let retried = house.wire.seen().pop().unwrap();
    assert_eq!((&lost.0, &lost.2), (&retried.0, &retried.2));
    running.stop().await;

    house.say("_b_bob", &room, "while nobody runs").await;
    let before = house.wire.seen().len();
    house.wire.answers(200);
    let running = house.start(BRIDGE);
    house.told("while nobody runs").await;
    let after: Vec<_> = house.wire.seen().split_off(before);
    assert_eq!((&lost.0, &lost.2), (&after[0].0, &after[0].2));
    let told: Vec<String> = after
        .iter()
        .flat_map(|(_, _, body)| body["events"].as_array().unwrap().clone())
        .filter_map(|event| short(&event))
        .collect();
    assert_eq!(told, ["second", "third", "while nobody runs"]);
    let numbers: std::collections::BTreeSet<_> = after.iter().map(|seen| seen.0.clone()).collect();
    assert_eq!(
        numbers.len(),
        after.len(),
        "each acknowledged once: {numbers:?}"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_of_before_the_versions_is_told_where_it_listens() {
    let house = House::new();
    house.wire.answers(404);
    let running = house.start(BRIDGE);
    let room = house.room("_b_bob", None).await;
    house.say("_b_bob", &room, "hello").await;
    house.told("hello").await;
    let lines: Vec<String> = house.wire.seen().into_iter().map(|seen| seen.0).collect();
    assert!(
        lines.contains(&"PUT http://bridge.test:9000/transactions/1".to_owned()),
        "{lines:?}"
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_wants_to_be_told_of_nothing_is_not() {
    let house = House::new();
    let running = house.start(&BRIDGE.replace("http://bridge.test:9000/", ""));
    let room = house.room("_b_bob", None).await;
    house.say("_b_bob", &room, "hello").await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(house.wire.seen().is_empty());
    let caller = running.services.registrations().service_of_token("theirs");
    let pinged = running
        .services
        .ping(&caller.unwrap().caller, "bridge", None)
        .await;
    assert!(matches!(pinged, Err(crate::PingError::NoUrl)));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_carries_its_number_and_tells_what_was_answered() {
    let house = House::new();
    let running = house.start(BRIDGE);
    let caller = running.services.registrations().service_of_token("theirs");
    let caller = caller.unwrap().caller;
    let ping = || running.services.ping(&caller, "bridge", Some("meow"));
    ping().await.unwrap();
    let (line, token, body) = house.wire.seen().pop().unwrap();
    assert_eq!(line, "POST http://bridge.test:9000/_matrix/app/v1/ping");
    assert_eq!(token, "Bearer ours");
    assert_eq!(body["transaction_id"], "meow");
    house.wire.answers(403);
    let refused = ping().await;
    assert!(
        matches!(&refused, Err(crate::PingError::Status { status: 403, body }) if body == "{}"),
        "{refused:?}"
    );
    house.wire.answers(0);
    assert!(matches!(
        ping().await,
        Err(crate::PingError::Unreachable(_))
    ));
    running.stop().await;
}
