//! What the kernel's steps cost. `cargo test --release -p hearth-event --test it cost -- --ignored --nocapture`

use std::hint::black_box;
use std::time::Instant;

use hearth_event::{Draft, Parents, Pdu, RoomVersion, auth_keys_of_draft, authorize, build, push};
use hearth_types::UnixMs;
use ruma::{RoomId, UserId};
use serde_json::json;

use crate::support::{State, at, key, raw, stored};

const ROUNDS: u32 = 2_000;

#[expect(clippy::disallowed_methods, reason = "measures time")]
fn measure(what: &str, mut step: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..ROUNDS {
        step();
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    println!("{what}: {micros:.1} µs");
    micros
}

fn state(version: RoomVersion, users: usize) -> State {
    let mut levels = json!({"users": {}});
    for user in 0..users {
        levels["users"][format!("@user{user}:x")] = json!(50);
    }
    let events = [
        ("$create", "m.room.create", "", json!({"creator": "@a:x"})),
        ("$levels", "m.room.power_levels", "", levels),
        (
            "$join",
            "m.room.member",
            "@u:x",
            json!({"membership": "join"}),
        ),
    ];
    let make = |(id, kind, state_key, content)| {
        let event = json!({"event_id": id, "room_id": "!room:x", "type": kind, "state_key": state_key, "sender": "@a:x",
            "content": content});
        (
            (String::from(kind), String::from(state_key)),
            stored(version, &event),
        )
    };
    events.into_iter().map(make).collect()
}

#[test]
#[ignore = "measures time"]
fn a_send_is_built_and_authorized_well_below_150_microseconds() {
    let version = RoomVersion::V12;
    let (key, server) = (key(), "x".try_into().unwrap());
    let draft = Draft {
        sender: UserId::parse("@u:x").unwrap(),
        kind: "m.room.message".to_owned(),
        state_key: None,
        content: raw(&json!({"body": "x".repeat(200), "msgtype": "m.text"})),
        redacts: None,
    };
    let parents = Parents {
        room_id: Some(RoomId::parse("!room:x").unwrap()),
        depth: 8,
        origin_server_ts: UnixMs(1_700_000_000_000),
        ..Parents::default()
    };
    let state = state(version, 100);
    let send = || -> Pdu {
        black_box(auth_keys_of_draft(version, &draft));
        let pdu = build(&draft, &parents, version, &key, server).unwrap();
        authorize(&pdu, &at(&state)).unwrap();
        pdu
    };
    let pdu = send();
    let micros = measure("build and authorize", || {
        black_box(send());
    });
    measure("from_stored", || {
        let ids = (pdu.event_id().to_owned(), pdu.room_id().to_owned());
        black_box(Pdu::from_stored(version, ids.0, ids.1, pdu.json().clone()).unwrap());
    });
    measure("client format", || {
        black_box(hearth_event::client::sync_event(&pdu, &Default::default()));
    });
    let user = UserId::parse("@me:x").unwrap();
    let rules = push::default_ruleset(&user);
    let context = push::PushContext {
        user_id: user,
        display_name: None,
        joined_members: 3,
        power_levels: None,
    };
    measure("push rules", || {
        black_box(push::evaluate(&rules, &pdu, &context));
    });
    assert!(cfg!(debug_assertions) || micros < 150.0);
}
