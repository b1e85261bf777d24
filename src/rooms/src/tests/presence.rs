//! Who is there.

use std::time::Duration;

use hearth_ports::PresenceSource;
use ruma::presence::PresenceState;
use ruma::presence::PresenceState::{Offline, Online, Unavailable};

use super::fixture::{House, sender, user};
use crate::Error;
use crate::ephemeral::{OFFLINE_AFTER, STATUS_BYTES_MAX};

const LONG_POLL: Duration = Duration::from_secs(30);

fn shown(house: &House, name: &str) -> Option<PresenceState> {
    let presence = house.rooms.presences().presence(&user(name));
    presence.map(|presence| presence.state)
}

/// Lets time pass, and what is due then happen.
async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
    tokio::task::yield_now().await;
}

#[tokio::test(start_paused = true)]
async fn who_syncs_is_online_until_some_time_after_the_last_sync() {
    let house = House::new();
    let presences = house.rooms.presences();
    let before = presences.version();
    assert_eq!(shown(&house, "alice"), None);
    presences.seen(&sender("alice"), &Online, LONG_POLL);
    assert_eq!(shown(&house, "alice"), Some(Online));
    let online = presences.version();
    assert_eq!(presences.changed_since(before), [(user("alice"), online)]);
    pass(LONG_POLL).await;
    presences.seen(&sender("alice"), &Online, LONG_POLL);
    pass(OFFLINE_AFTER).await;
    assert_eq!(presences.version(), online, "nothing that anybody is told");
    pass(LONG_POLL + Duration::from_secs(1)).await;
    assert_eq!(shown(&house, "alice"), Some(Offline));
    assert!(presences.version() > online);
}

#[tokio::test(start_paused = true)]
async fn who_does_nothing_is_idle_and_comes_back_by_doing_something() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let presences = house.rooms.presences();
    let hour = Duration::from_secs(3_600);
    presences.seen(&sender("alice"), &Online, hour);
    pass(Duration::from_secs(299)).await;
    assert_eq!(shown(&house, "alice"), Some(Online));
    pass(Duration::from_secs(2)).await;
    assert_eq!(shown(&house, "alice"), Some(Unavailable));
    presences.seen(&sender("alice"), &Online, hour);
    assert_eq!(
        shown(&house, "alice"),
        Some(Unavailable),
        "a sync is no activity"
    );
    house.say("alice", &room, "here").await.expect("a message");
    assert_eq!(shown(&house, "alice"), Some(Online));
}

#[tokio::test(start_paused = true)]
async fn a_user_is_as_present_as_her_most_present_device() {
    let house = House::new();
    let presences = house.rooms.presences();
    let phone = sender("alice");
    let mut laptop = sender("alice");
    laptop.device = Some("LAPTOP".into());
    presences.seen(&phone, &Unavailable, LONG_POLL);
    assert_eq!(shown(&house, "alice"), Some(Unavailable));
    presences.seen(&laptop, &Online, LONG_POLL);
    assert_eq!(shown(&house, "alice"), Some(Online));
    let set = house.rooms.set_presence(&laptop, &Offline, None);
    set.expect("a presence");
    assert_eq!(shown(&house, "alice"), Some(Unavailable));
    // A device that does not want to be seen changes nothing.
    presences.seen(&laptop, &Offline, LONG_POLL);
    assert_eq!(shown(&house, "alice"), Some(Unavailable));
}

#[tokio::test(start_paused = true)]
async fn a_presence_is_set_with_a_message_and_shown_to_those_who_share_a_room() {
    let house = House::new();
    let room = house.public_room("alice").await;
    let set = |state: &PresenceState, text: &str| {
        let text = Some(text.to_owned());
        house.rooms.set_presence(&sender("alice"), state, text)
    };
    set(&Unavailable, "at lunch").expect("a presence");
    let presence = async |name: &str| house.rooms.presence(&user(name), &user("alice")).await;
    let (own, active_ago) = presence("alice").await.expect("one's own");
    assert_eq!(own.state, Unavailable);
    assert_eq!(own.status_msg.as_deref(), Some("at lunch"));
    assert_eq!(active_ago, Some(Duration::ZERO));
    assert!(matches!(presence("bob").await, Err(Error::Refused(_))));
    house.join("bob", &room).await.expect("a join");
    assert_eq!(presence("bob").await.expect("shared").0, own);
    let (unknown, active_ago) = house
        .rooms
        .presence(&user("alice"), &user("bob"))
        .await
        .expect("shared");
    assert_eq!((unknown.state, active_ago), (Offline, None));
    let long = "x".repeat(STATUS_BYTES_MAX + 1);
    assert!(matches!(set(&Online, &long), Err(Error::Invalid(_))));
    assert!(matches!(set(&"dancing".into(), ""), Err(Error::Invalid(_))));
}
