use hearth_data::append::Standing;
use hearth_ports::{Filled, History, PageBack};
use hearth_rooms::{NewEvent, NewRoom, Preset, Sender, TargetChange};
use hearth_sync::ask::{Direction, Reader, TimestampAsk};
use hearth_testkit::{Node, Sim, Weights};
use hearth_types::UnixMs;
use ruma::events::room::member::MembershipState;

const CALM: Weights = Weights::CALM;

#[tokio::test(start_paused = true)]
async fn a_room_of_three_servers_has_one_state() {
    let mut sim = Sim::new(1, (3, 1), CALM).await;
    let room = sim.rooms[0].clone();
    for at in 0..3 {
        sim.say(at, "ann", &room, "hello").await.unwrap();
    }
    assert_eq!(sim.settle().await, Vec::<String>::new());
    for node in &sim.nodes {
        for (_, _, event_id) in &sim.acknowledged {
            assert!(node.standing(event_id).await.is_some(), "{}", node.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_said_on_both_sides_of_a_cut_comes_together() {
    let mut sim = Sim::new(2, (3, 1), CALM).await;
    let room = sim.rooms[0].clone();
    let names: Vec<String> = sim.nodes.iter().map(|node| node.name.to_string()).collect();
    sim.net.cut(&names[0], &names[1]);
    sim.net.cut(&names[0], &names[2]);
    for number in 0..30 {
        sim.say(0, "ann", &room, &format!("here {number}"))
            .await
            .unwrap();
        sim.say(1, "ann", &room, &format!("there {number}"))
            .await
            .unwrap();
    }
    assert_eq!(sim.settle().await, Vec::<String>::new());
    for node in &sim.nodes {
        for (_, _, event_id) in &sim.acknowledged {
            assert!(node.standing(event_id).await.is_some(), "{}", node.name);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_loses_nothing_that_was_acknowledged() {
    let mut sim = Sim::new(3, (3, 1), CALM).await;
    let room = sim.rooms[0].clone();
    for number in 0..10 {
        sim.say(0, "ann", &room, &format!("before {number}"))
            .await
            .unwrap();
        let at = number % 3;
        sim.nodes[at].crash().await;
    }
    assert_eq!(sim.settle().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn who_is_invited_from_another_server_can_join_or_decline() {
    let sim = Sim::new(4, (2, 0), CALM).await;
    let (here, there) = (&sim.nodes[0], &sim.nodes[1]);
    let room = here
        .rooms
        .create(&here.user("ann"), NewRoom::default())
        .await
        .unwrap();
    let ann = here.user("ann");
    for name in ["ann", "bob"] {
        let target = there.user(name);
        let change = (TargetChange::Invite, &*target);
        let invited = here.rooms.change_other(&ann, &room, change, None);
        invited.await.unwrap();
    }
    there
        .rooms
        .leave(&there.user("bob"), &room, None)
        .await
        .unwrap();
    sim.join(1, "ann", &room, 0).await.unwrap();
    // Most members come later.
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    let membership = async |node: &Node, user: &str| {
        let user = there.user(user);
        node.rooms.membership(&user, &room).await.unwrap()
    };
    for node in &sim.nodes {
        assert_eq!(membership(node, "ann").await, Some(MembershipState::Join));
        assert_eq!(membership(node, "bob").await, Some(MembershipState::Leave));
        assert_eq!(node.problems().await, Vec::<String>::new());
    }
    let text = NewEvent {
        kind: "m.room.message".to_owned(),
        content: serde_json::value::to_raw_value(&serde_json::json!({"body": "x"})).unwrap(),
        txn_id: None,
    };
    there
        .rooms
        .send(&there.sender("ann"), &room, text)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn history_from_before_a_join_is_fetched_when_somebody_reads_it() {
    let mut sim = Sim::new(5, (2, 0), CALM).await;
    let new = NewRoom {
        preset: Some(Preset::PublicChat),
        ..NewRoom::default()
    };
    let ann = sim.nodes[0].user("ann");
    let room = sim.nodes[0].rooms.create(&ann, new).await.unwrap();
    for number in 0..60 {
        sim.say(0, "ann", &room, &format!("{number}"))
            .await
            .unwrap();
    }
    sim.join(1, "ann", &room, 0).await.unwrap();
    let reader = &sim.nodes[1];
    let page = PageBack {
        before: i64::MAX,
        limit: 1_000,
    };
    let mut filled = 0;
    while reader.rooms.fill(&room, page).await == Filled::More {
        filled += 1;
        assert!(filled < 10, "a gap has an end");
    }
    for (_, _, event_id) in &sim.acknowledged {
        assert_eq!(reader.standing(event_id).await, Some(Standing::Accepted));
    }
    assert_eq!(reader.problems().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn who_is_there_is_told_to_the_servers_of_the_rooms_she_is_in() {
    use hearth_ports::PresenceSource;
    use ruma::presence::PresenceState;

    let sim = Sim::new(6, (3, 1), CALM).await;
    let away = sim.nodes[0].user("bob");
    sim.nodes[0]
        .rooms
        .set_presence(
            &sim.nodes[0].sender("ann"),
            &PresenceState::Unavailable,
            Some("reading".to_owned()),
        )
        .unwrap();
    // She is in no room, so that nobody is told.
    let state = PresenceState::Online;
    let bob = sim.nodes[0].sender("bob");
    sim.nodes[0].rooms.set_presence(&bob, &state, None).unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(20)).await;
    for node in &sim.nodes[1..] {
        let presences = node.rooms.presences();
        let shown = presences.presence(&sim.nodes[0].user("ann")).unwrap();
        assert_eq!(shown.state, PresenceState::Unavailable);
        assert_eq!(shown.status_msg.as_deref(), Some("reading"));
        assert!(presences.presence(&away).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_away_learns_that_its_last_user_was_put_out() {
    let mut sim = Sim::new(7, (3, 1), CALM).await;
    let room = sim.rooms[0].clone();
    let names: Vec<String> = sim.nodes.iter().map(|node| node.name.to_string()).collect();
    sim.net.cut(&names[0], &names[1]);
    sim.net.cut(&names[2], &names[1]);
    // Something that it does not know lies before the kick.
    sim.say(0, "ann", &room, "is anybody there?").await.unwrap();
    let (ann, away) = (sim.nodes[0].user("ann"), sim.nodes[1].user("ann"));
    let kick = (TargetChange::Kick, &*away);
    let kicked = sim.nodes[0].rooms.change_other(&ann, &room, kick, None);
    kicked.await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    sim.net.heal();
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    let there = &sim.nodes[1].rooms;
    let membership = there.membership(&away, &room).await.unwrap();
    assert_eq!(membership, Some(MembershipState::Leave));
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_over_a_server_that_has_not_heard_of_her_leave_is_told_the_whole_state() {
    let mut sim = Sim::new(8, (2, 1), CALM).await;
    let room = sim.rooms[0].clone();
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    sim.sync(1, "ann", 5).await;
    let names: Vec<String> = sim.nodes.iter().map(|node| node.name.to_string()).collect();
    sim.net.cut(&names[0], &names[1]);
    let ann = sim.nodes[1].user("ann");
    sim.nodes[1].rooms.leave(&ann, &room, None).await.unwrap();
    // Less than until it is tried again to tell the other server.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    sim.sync(1, "ann", 5).await;
    sim.net.heal();
    sim.join(1, "ann", &room, 0).await.unwrap();
    sim.sync(1, "ann", 5).await;
    assert_eq!(sim.settle().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn an_event_that_was_dated_back_is_found_by_its_date_from_another_server() {
    let sim = Sim::new(6, (2, 0), CALM).await;
    let new = NewRoom {
        preset: Some(Preset::PublicChat),
        ..NewRoom::default()
    };
    let (here, there) = (&sim.nodes[0], &sim.nodes[1]);
    let room = here.rooms.create(&here.user("ann"), new).await.unwrap();
    let long_ago = 1_000;
    let bridge = Sender {
        at: Some(UnixMs(long_ago)),
        ..here.sender("ann")
    };
    let imported = NewEvent {
        kind: "m.room.message".to_owned(),
        content: serde_json::value::to_raw_value(&serde_json::json!({"body": "old"})).unwrap(),
        txn_id: None,
    };
    let imported = here.rooms.send(&bridge, &room, imported).await.unwrap();
    sim.join(1, "ann", &room, 0).await.unwrap();
    let caller = there.caller("ann");
    for ts in [long_ago, long_ago + 1, 1_000_000] {
        let ask = TimestampAsk {
            reader: Reader {
                user: caller.user.clone(),
                device: caller.device.clone(),
            },
            room_id: room.clone(),
            ts,
            direction: Direction::Backward,
        };
        let found = there.far_sync().timestamp_to_event(ask).await.unwrap();
        let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(found["event_id"], imported.as_str(), "{ts}");
        assert_eq!(found["origin_server_ts"], long_ago, "{ts}");
    }
}
