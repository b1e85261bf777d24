//! The notifier wakes those concerned, and never forgets to.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

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

/// Starts a long-poll of each name.
async fn poll_all(
    house: &House,
    names: &[&'static str],
) -> Vec<(&'static str, tokio::task::JoinHandle<Value>)> {
    let (mut polls, tasks) = (Vec::new(), TaskTracker::new());
    for name in names.iter().copied() {
        // Once more, so that nothing is left to be told.
        let first = house.initial(name).await;
        let first = house.since(name, &first).await;
        let sync = house.sync.clone();
        let poll = tasks.spawn(async move { ask(&sync, name, Some(&first), waiting()).await });
        polls.push((name, poll));
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    polls
}

/// Something that happens in a room of ann, bob and cat, with dan invited.
#[derive(Clone, Copy, Debug)]
enum Happening {
    Message,
    State,
    Receipt,
    PrivateReceipt,
    AccountData,
    RoomData,
    PushRules,
    Typing,
    Presence,
    Invite,
    Retract,
    Kick,
    Join,
    Redaction,
}

async fn happen(house: &House, (room, said): (&ruma::RoomId, &ruma::EventId), what: Happening) {
    use hearth_rooms::TargetChange;
    use hearth_rooms::ephemeral::{ReceiptKind, ReceiptThread};
    match what {
        Happening::Message => drop(house.say("bob", room, "x").await),
        Happening::State => drop(
            house
                .put("ann", room, "m.room.topic", json!({"topic": "t"}))
                .await,
        ),
        Happening::Receipt => house.read("bob", room, said).await,
        Happening::PrivateReceipt => {
            let receipt = (ReceiptKind::ReadPrivate, ReceiptThread::Unthreaded, said);
            house.receipt("bob", room, receipt).await;
        }
        Happening::AccountData => house.set_data("bob", "", "org.example", json!({})).await,
        Happening::RoomData => {
            house
                .set_data("bob", room.as_str(), "m.tag", json!({}))
                .await
        }
        Happening::PushRules => house.set_push_rules("bob", &json!({"global": {}})).await,
        Happening::Typing => {
            let bob = crate::house::user("bob");
            let typing = house
                .rooms
                .set_typing(&bob, room, Some(Duration::from_secs(20)));
            typing.await.unwrap();
        }
        Happening::Presence => {
            let who = hearth_rooms::Sender {
                user: crate::house::user("bob"),
                device: None,
                at: None,
            };
            let state = ruma::presence::PresenceState::Unavailable;
            house.rooms.set_presence(&who, &state, None).unwrap();
        }
        Happening::Invite => house.change("ann", room, TargetChange::Invite, "eve").await,
        Happening::Retract => house.change("ann", room, TargetChange::Kick, "dan").await,
        Happening::Kick => house.change("ann", room, TargetChange::Kick, "bob").await,
        Happening::Join => house.join("dan", room).await,
        Happening::Redaction => house.redact("ann", room, said).await,
    }
}

#[tokio::test(start_paused = true)]
async fn s24_everything_wakes_those_whom_it_concerns_and_nobody_else() {
    const ALL: [&str; 5] = ["ann", "bob", "cat", "dan", "eve"];
    let members: &[&str] = &["ann", "bob", "cat"];
    let cases: [(Happening, &[&str]); 14] = [
        (Happening::Message, members),
        (Happening::State, members),
        (Happening::Receipt, members),
        (Happening::PrivateReceipt, &["bob"]),
        (Happening::AccountData, &["bob"]),
        (Happening::RoomData, &["bob"]),
        (Happening::PushRules, &["bob"]),
        (Happening::Typing, members),
        (Happening::Presence, &["ann", "cat"]),
        (Happening::Invite, &["ann", "bob", "cat", "eve"]),
        (Happening::Retract, &["ann", "bob", "cat", "dan"]),
        (Happening::Kick, members),
        (Happening::Join, &["ann", "bob", "cat", "dan"]),
        (Happening::Redaction, members),
    ];
    for (what, concerned) in cases {
        let house = House::new();
        let room = house.room_of(members).await;
        house
            .change("ann", &room, hearth_rooms::TargetChange::Invite, "dan")
            .await;
        let said = house.say("ann", &room, "said").await;
        let polls = poll_all(&house, &ALL).await;
        happen(&house, (&room, &said), what).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        for (name, poll) in polls {
            assert_eq!(
                poll.is_finished(),
                concerned.contains(&name),
                "{what:?} and {name}"
            );
            poll.abort();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn s24_a_store_that_fails_for_a_moment_delays_a_waiter_but_does_not_forget_it() {
    let house = House::new();
    let room = house.room_of(&["ann", "bob"]).await;
    let polls = poll_all(&house, &["ann"]).await;
    house.failing.store(3, std::sync::atomic::Ordering::Relaxed);
    house.say("bob", &room, "in spite of all").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (_, poll) in polls {
        assert!(poll.is_finished());
        assert_eq!(
            bodies(joined(&poll.await.unwrap(), &room)),
            ["in spite of all"]
        );
    }
}
