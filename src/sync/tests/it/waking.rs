//! The notifier wakes those concerned, and never forgets to.

use std::time::Duration;

use serde_json::json;

use crate::house::{House, Options, ask, bodies, joined};

/// How long a test's long-poll waits at most.
const LONG: Duration = Duration::from_secs(120);
/// After that the message that it should have been woken by is taken as missed.
const LOST_AFTER: Duration = Duration::from_secs(30);

fn waiting() -> Options {
    Options {
        timeout: LONG,
        ..Options::default()
    }
}

#[tokio::test]
async fn a_waiting_sync_is_answered_by_the_event() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    let (answer, _) = tokio::join!(
        house.sync_with("ann", Some(&first), waiting()),
        house.say("bob", &room, "wake up"),
    );
    assert_eq!(bodies(joined(&answer, &room)), ["wake up"]);
}

#[tokio::test]
async fn account_data_invites_and_typing_wake_too() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    let (answer, ()) = tokio::join!(
        house.sync_with("ann", Some(&first), waiting()),
        house.set_data("ann", "", "org.example", json!({})),
    );
    assert_eq!(answer["account_data"]["events"][0]["type"], "org.example");
    let other = house.public_room("bob").await;
    let (answer, ()) = tokio::join!(
        house.sync_with("ann", Some(&answer), waiting()),
        house.change("bob", &other, hearth_rooms::TargetChange::Invite, "ann"),
    );
    assert!(answer["rooms"]["invite"][other.as_str()].is_object());
    let number = {
        use hearth_store::Backend;
        let snapshot = house.store.snapshot().await.unwrap();
        hearth_data::rooms::number(&*snapshot, &room)
            .await
            .unwrap()
            .unwrap()
    };
    let bob = crate::house::user("bob");
    let (answer, ()) = tokio::join!(house.sync_with("ann", Some(&answer), waiting()), async {
        house
            .rooms
            .typing()
            .start(number, bob, Duration::from_secs(10))
    },);
    let typing = &joined(&answer, &room)["ephemeral"]["events"][0];
    assert_eq!(typing["content"]["user_ids"], json!(["@bob:house"]));
}

#[tokio::test]
async fn time_that_is_up_gives_an_empty_answer() {
    let house = House::new();
    house.room_of(&["ann", "bob"]).await;
    let first = house.initial("ann").await;
    let options = Options {
        timeout: Duration::from_millis(5),
        ..Options::default()
    };
    let answer = house.sync_with("ann", Some(&first), options).await;
    assert!(answer.get("rooms").is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_followers_get_every_message_exactly_once_and_in_order() {
    const MESSAGES: usize = 60;
    let house = House::new();
    let names = ["ann", "bob", "cat", "dan", "eve"];
    let room = house.room_of(&names).await;
    let mut followers = tokio::task::JoinSet::new();
    for name in &names[1..] {
        let first = house.initial(name).await;
        let (sync, room, name) = (house.sync.clone(), room.clone(), (*name).to_owned());
        followers.spawn(async move {
            let (mut got, mut since) = (Vec::new(), first);
            while got.len() < MESSAGES {
                let options = Options {
                    filter: Some(json!({"room": {"timeline": {"limit": MESSAGES}}})),
                    ..waiting()
                };
                let answer = ask(&sync, &name, Some(&since), options);
                since = tokio::time::timeout(LOST_AFTER, answer)
                    .await
                    .expect("a wake-up is lost");
                got.extend(
                    bodies(joined(&since, &room))
                        .iter()
                        .map(|body| (*body).to_owned()),
                );
            }
            got
        });
    }
    for n in 0..MESSAGES {
        house.say("ann", &room, &n.to_string()).await;
        tokio::task::yield_now().await;
    }
    let expected: Vec<String> = (0..MESSAGES).map(|n| n.to_string()).collect();
    while let Some(got) = followers.join_next().await {
        assert_eq!(got.unwrap(), expected);
    }
}
