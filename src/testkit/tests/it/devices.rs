use std::time::Duration;

use hearth_e2ee::ToDevice;
use hearth_rooms::{NewRoom, Preset};
use hearth_store::Fault;
use hearth_testkit::{Sim, Weights};
use ruma::OwnedRoomId;

const CALM: Weights = Weights::CALM;

/// Longer than anything waits that is sent at once.
const SOON: Duration = Duration::from_secs(5);

async fn public_room(sim: &Sim, at: usize, creator: &str) -> OwnedRoomId {
    let node = &sim.nodes[at];
    let new = NewRoom {
        preset: Some(Preset::PublicChat),
        ..NewRoom::default()
    };
    let made = node.rooms.create(&node.user(creator), new).await;
    made.expect("anybody may make a room")
}

#[tokio::test(start_paused = true)]
async fn servers_are_told_of_the_devices_of_who_comes_into_their_room() {
    let sim = Sim::new(11, (2, 0), CALM).await;
    let (here, there) = (&sim.nodes[0], &sim.nodes[1]);
    here.register_with_keys("eve", "first").await;
    let room = public_room(&sim, 1, "ann").await;
    sim.join(0, "eve", &room, 1).await.unwrap();
    tokio::time::sleep(SOON).await;
    let eve = here.user("eve");
    assert_eq!(there.keys_of("ann", &eve).await.unwrap(), "first");
    // What changes while no room is shared is told to nobody; who comes again tells of it, before anyone asks.
    here.rooms.leave(&eve, &room, None).await.unwrap();
    tokio::time::sleep(SOON).await;
    here.upload_keys("eve", "second").await;
    tokio::time::sleep(SOON).await;
    let known = |known: serde_json::Value| known["PHONE"]["keys"]["ed25519:PHONE"].to_string();
    assert!(known(there.known_keys_of(&eve).await).contains("first"));
    sim.join(0, "eve", &room, 1).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert!(known(there.known_keys_of(&eve).await).contains("second"));
    assert_eq!(there.keys_of("ann", &eve).await.unwrap(), "second");
    for node in &sim.nodes {
        assert_eq!(node.problems().await, Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn keys_from_before_a_time_without_a_common_room_are_asked_for_again() {
    let sim = Sim::new(12, (2, 0), CALM).await;
    let (here, there) = (&sim.nodes[0], &sim.nodes[1]);
    here.register_with_keys("eve", "first").await;
    let room = public_room(&sim, 0, "eve").await;
    sim.join(1, "ann", &room, 0).await.unwrap();
    tokio::time::sleep(SOON).await;
    let eve = here.user("eve");
    assert_eq!(there.keys_of("ann", &eve).await.unwrap(), "first");
    // The last of that server goes, keys change, and she comes back: nobody there was told.
    there
        .rooms
        .leave(&there.user("ann"), &room, None)
        .await
        .unwrap();
    tokio::time::sleep(SOON).await;
    here.upload_keys("eve", "second").await;
    tokio::time::sleep(SOON).await;
    sim.join(1, "ann", &room, 0).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(there.keys_of("ann", &eve).await.unwrap(), "second");
}

#[tokio::test(start_paused = true)]
async fn a_message_to_a_device_that_cannot_be_kept_is_not_acknowledged() {
    let sim = Sim::new(13, (2, 0), CALM).await;
    let (here, there) = (&sim.nodes[0], &sim.nodes[1]);
    let to = there.user("ann");
    // At one of the next commits the disk is full, and then it is not any longer.
    for after in 0..4_u64 {
        there.plan_crash(after, Fault::NoSpace { commits: 1 });
        let content = format!(r#"{{"number":{after}}}"#);
        let letter = ToDevice {
            event_type: "chat.hearth.letter".to_owned(),
            txn_id: format!("letter {after}"),
            messages: [(to.clone(), [("*".to_owned(), content)].into())].into(),
        };
        let caller = here.caller("ann");
        here.e2ee.send_to_device(&caller, letter).await.unwrap();
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
    there.plan_nothing();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut came = there.letters_of("ann").await;
    let from_ann = came.remove(here.user("ann").as_str()).unwrap();
    assert_eq!(from_ann, [0, 1, 2, 3]);
}
