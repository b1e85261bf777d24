//! The goals of the design, with their figures (`cargo test -p hearth-data state -- --nocapture`).

use super::{Counting, ROOM, Room, states};
use crate::state::{StateWriter, import_chunks};
use crate::{EventNo, StateId};

const JOINS: usize = 10_000;

/// A join as it goes over federation: what the goal is measured against.
fn join_json_bytes(member: usize, auth_events: usize, prev_events: usize) -> usize {
    let id = |fill: char| format!("\"${}\"", fill.to_string().repeat(43));
    let list = |count: usize, fill| vec![id(fill); count].join(",");
    format!(
        concat!(
            r#"{{"auth_events":[{}],"content":{{"displayname":"User {}","membership":"join"}},"depth":{},"#,
            r#""hashes":{{"sha256":"{}"}},"origin_server_ts":1764000000000,"prev_events":[{}],"#,
            r#""room_id":"!{}","sender":"@user{}:hearth.example","#,
            r#""signatures":{{"hearth.example":{{"ed25519:a_abcd":"{}"}}}},"state_key":"@user{}:hearth.example","#,
            r#""type":"m.room.member"}}"#
        ),
        list(auth_events, 'a'),
        member,
        member,
        "h".repeat(43),
        list(prev_events, 'p'),
        "r".repeat(43),
        member,
        "s".repeat(86),
        member,
    )
    .len()
}

async fn created(room: &mut Room) -> StateId {
    let mut state = StateId::EMPTY;
    for (event, event_type) in [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.name",
    ]
    .into_iter()
    .enumerate()
    {
        state = room
            .set(state, &[(event_type, "", Some(EventNo(event as u64)))])
            .await;
    }
    state
}

fn report(what: &str, room: &Room, json: usize) -> f64 {
    let bytes = room.table_bytes();
    let ratio = bytes as f64 / json as f64;
    println!(
        "{what}: {:.1} bytes per join of {:.0} bytes of JSON: ratio {ratio:.3}; largest batch {} rows",
        bytes as f64 / JOINS as f64,
        json as f64 / JOINS as f64,
        room.ops_max,
    );
    for (kind, (rows, bytes)) in super::rows::by_kind(room) {
        println!("    {kind}: {rows} rows, {bytes} bytes");
    }
    ratio
}

#[tokio::test]
async fn ten_thousand_joins_take_a_quarter_of_their_json() {
    let mut room = Room::new();
    let mut state = created(&mut room).await;
    let mut json = 0;
    for member in 0..JOINS {
        state = room.join(state, member, member + 10).await;
        json += join_json_bytes(member, 2, 1);
    }
    assert!(report("joins in a row", &room, json) <= 0.25);
}

#[tokio::test]
async fn with_a_fork_every_ten_events_they_take_half() {
    let mut room = Room::new();
    let mut state = created(&mut room).await;
    let mut json = 0;
    for start in (0..JOINS).step_by(10) {
        // Five joins on each of two branches, then the next join sees both.
        let mut left = state;
        for member in start..start + 5 {
            left = room.join(left, member, member + 10).await;
            json += join_json_bytes(member, 2, 1);
        }
        let mut right = state;
        for member in start + 5..start + 10 {
            right = room.join(right, member, member + 10).await;
            json += join_json_bytes(member, 2, 1 + usize::from(member == start + 5));
        }
        let names: Vec<String> = (start + 5..start + 10)
            .map(|member| format!("@user{member}:hearth.example"))
            .collect();
        let resolved: Vec<_> = names
            .iter()
            .zip(start + 15..)
            .map(|(name, event)| ("m.room.member", name.as_str(), Some(EventNo(event as u64))))
            .collect();
        let merged = room.set(left, &resolved).await;
        let (snapshot, view_of) = (room.snapshot().await, &room.states);
        let view = view_of.view(ROOM, snapshot.as_ref());
        assert_eq!(view.diff(right, merged).await.unwrap().len(), 5);
        state = merged;
    }
    assert!(report("a fork every ten", &room, json) <= 0.5);
}

#[tokio::test]
async fn a_late_join_and_a_lookup_cost_what_early_ones_do() {
    let mut room = Room::new();
    let mut past = vec![created(&mut room).await];
    for member in 0..4_000 {
        past.push(room.join(past[member], member, member + 10).await);
    }
    let counting = Counting::new(room.snapshot().await);
    lookups_cost_little(&past, &counting).await;
    differences_cost_what_they_are(&past, &counting).await;
    reads_of_types_cost_little(past[4_000], &counting).await;
    let early = rows_of_joins(&past[100..], &counting).await;
    let late = rows_of_joins(&past[3_800..], &counting).await;
    println!(
        "130 joins: rows read and most written at once {early:?} at 100 members, {late:?} at 3,800"
    );
    assert!(late.1 <= 300);
}

async fn lookups_cost_little(past: &[StateId], counting: &Counting) {
    let (mut sum, mut max, mut calls_max) = (0, 0, 0);
    for member in (0..4_000).step_by(50) {
        // A fresh cache: everything is read from the store.
        let cold = states();
        let view = cold.view(ROOM, counting);
        let user = format!("@user{member}:hearth.example");
        let at = past[(member * 7 + 1) % past.len()];
        let found = view.lookup(at, "m.room.member", &user).await.unwrap();
        let expected = (past.iter().position(|state| *state == at).unwrap() > member)
            .then_some(EventNo(member as u64 + 10));
        assert_eq!(found, expected);
        let (rows, calls) = counting.take();
        sum += rows;
        max = max.max(rows);
        calls_max = calls_max.max(calls);
    }
    println!(
        "cold lookup: {} rows on average, at most {max} in at most {calls_max} calls",
        sum / 80
    );
    assert!(max <= 64);
}

async fn differences_cost_what_they_are(past: &[StateId], counting: &Counting) {
    for (from, to) in [(3_990, 4_000), (2_000, 2_001), (100, 164)] {
        let cold = states();
        let view = cold.view(ROOM, counting);
        let changes = view.diff(past[from], past[to]).await.unwrap();
        assert_eq!(changes.len(), to - from);
        let (rows, calls) = counting.take();
        println!(
            "cold diff of states {} apart: {rows} rows in {calls} calls",
            to - from
        );
        assert!(rows <= 40 + 2 * (to - from));
    }
}

/// In a state of 4,001 members, the creator among them, and six other events.
async fn reads_of_types_cost_little(state: StateId, counting: &Counting) {
    let cold = states();
    let view = cold.view(ROOM, counting);
    assert_eq!(
        view.entries_without_type(state, "m.room.member")
            .await
            .unwrap()
            .len(),
        6
    );
    let (rows, calls) = counting.take();
    println!("cold read of all but the members: {rows} rows in {calls} calls");
    assert!(rows <= 64);
    assert_eq!(
        view.entries_of_type(state, "m.room.member")
            .await
            .unwrap()
            .len(),
        4_001
    );
    let (rows, calls) = counting.take();
    println!("all 4,001 members: {rows} rows in {calls} calls");
    assert_eq!(view.len(state).await.unwrap(), 4_007);
    counting.take();
}

/// Rows read by joins to 130 states in a row, and the most rows that one of them writes.
async fn rows_of_joins(past: &[StateId], counting: &Counting) -> (usize, usize) {
    let states = states();
    let mut rows_max = 0;
    for state in &past[..130] {
        let mut writer = StateWriter::new(&states, ROOM, counting, 1 << 40);
        let join = [("m.room.member", "@new:b", Some(EventNo(1)))];
        writer.set(*state, &join).await.unwrap();
        rows_max = rows_max.max(writer.rows());
    }
    let (rows, _) = counting.take();
    (rows, rows_max)
}

#[tokio::test]
async fn ten_thousand_members_are_imported_in_bounded_commits() {
    let mut room = Room::new();
    let users: Vec<String> = (0..JOINS)
        .map(|member| format!("@user{member}:b"))
        .collect();
    let changes = users
        .iter()
        .zip(1..)
        .map(|(user, event)| ("m.room.member", user.as_str(), Some(EventNo(event))))
        .collect();
    let mut state = StateId::EMPTY;
    let chunks = import_chunks(&room.states, changes);
    assert_eq!(chunks.len(), 25);
    for chunk in chunks {
        state = room.set(state, &chunk).await;
    }
    println!(
        "import: {} bytes per member, largest batch {} rows",
        room.table_bytes() / JOINS as u64,
        room.ops_max
    );
    assert!(room.ops_max <= 600);
    let snapshot = room.snapshot().await;
    let view = room.states.view(ROOM, snapshot.as_ref());
    assert_eq!(view.len(state).await.unwrap(), JOINS as u64);
    assert_eq!(view.entries(state).await.unwrap().len(), JOINS);
    assert_eq!(
        view.lookup(state, "m.room.member", "@user77:b")
            .await
            .unwrap(),
        Some(EventNo(78))
    );
}
