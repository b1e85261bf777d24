//! State resolution: the vectors of `vectors/state-res`, version 1, missing events.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use hearth_event::{
    Fetched, Missing, Pdu, RoomVersion, StateMap, auth_chain, auth_difference, resolve,
};
use ruma::{EventId, OwnedEventId};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::support::stored;

pub(crate) type Pdus = BTreeMap<OwnedEventId, Pdu>;

pub(crate) fn fetch(pdus: &Pdus) -> impl Fn(&EventId) -> Option<Fetched> + '_ {
    |id| {
        let pdu = pdus.get(id)?.clone();
        Some(Fetched {
            pdu,
            rejected: false,
        })
    }
}

pub(crate) fn chain(pdus: &Pdus, state: &StateMap) -> HashSet<OwnedEventId> {
    let ids: Vec<OwnedEventId> = state.values().cloned().collect();
    auth_chain(&ids, &fetch(pdus)).unwrap()
}

pub(crate) fn resolved(version: RoomVersion, pdus: &Pdus, states: &[StateMap]) -> StateMap {
    let chains: Vec<_> = states.iter().map(|state| chain(pdus, state)).collect();
    resolve(version, states, &auth_difference(&chains), &fetch(pdus)).unwrap()
}

pub(crate) fn key_of(pdu: &Pdu) -> (String, String) {
    let (kind, state_key) = pdu.state_key_pair().unwrap();
    (kind.to_owned(), state_key.to_owned())
}

fn read(name: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors/state-res")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn load(name: &str) -> Vec<Pdu> {
    let events = read(name);
    let version = match name.contains("pdus-v12") {
        true => RoomVersion::V12,
        false if name.contains("pdus-v11") => RoomVersion::V11,
        false => RoomVersion::V10,
    };
    events.iter().map(|event| stored(version, event)).collect()
}

fn expected(name: &str) -> StateMap {
    read(&format!("expected/{name}.json"))
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            (
                (text("type"), text("state_key")),
                EventId::parse(text("event_id")).unwrap(),
            )
        })
        .collect()
}

/// Nothing is known of which events belong together: each is a state of its own.
fn resolved_batch(
    version: RoomVersion,
    pdus: &Pdus,
    before: Option<StateMap>,
    batch: &[Pdu],
) -> StateMap {
    let mut states: Vec<StateMap> = before.into_iter().collect();
    states.extend(
        batch
            .iter()
            .map(|pdu| StateMap::from([(key_of(pdu), pdu.event_id().to_owned())])),
    );
    resolved(version, pdus, &states)
}

/// The state of the room's leaves, resolved event by event along `prev_events`.
fn resolved_along_the_dag(version: RoomVersion, pdus: &Pdus, order: &[Pdu]) -> StateMap {
    let mut after: HashMap<OwnedEventId, StateMap> = HashMap::new();
    while after.len() < order.len() {
        for pdu in order {
            let before: Option<Vec<StateMap>> = pdu
                .prev_events()
                .iter()
                .map(|id| after.get(id).cloned())
                .collect();
            let Some(before) = before else { continue };
            let before = resolved(version, pdus, &before);
            let mut proposed = before.clone();
            proposed.insert(key_of(pdu), pdu.event_id().to_owned());
            after.insert(
                pdu.event_id().to_owned(),
                resolved(version, pdus, &[before, proposed]),
            );
        }
    }
    let is_prev: HashSet<&OwnedEventId> = order.iter().flat_map(Pdu::prev_events).collect();
    after.retain(|id, _| !is_prev.contains(id));
    let leaves: Vec<StateMap> = after.into_values().collect();
    resolved(version, pdus, &leaves)
}

fn check_vectors(name: &str, files: &[&str]) {
    let version = RoomVersion::V10;
    let batches: Vec<Vec<Pdu>> = files
        .iter()
        .map(|file| load(&format!("{file}.json")))
        .collect();
    let all: Vec<Pdu> = batches.concat();
    let pdus: Pdus = all
        .iter()
        .map(|pdu| (pdu.event_id().to_owned(), pdu.clone()))
        .collect();
    let expected = expected(name);
    assert_eq!(
        resolved_batch(version, &pdus, None, &all),
        expected,
        "{name} at once"
    );
    let reversed: Vec<Pdu> = all.iter().rev().cloned().collect();
    assert_eq!(
        resolved_batch(version, &pdus, None, &reversed),
        expected,
        "{name} at once, reversed"
    );
    let mut state = None;
    for batch in &batches {
        state = Some(resolved_batch(version, &pdus, state, batch));
    }
    assert_eq!(state.unwrap(), expected, "{name} by batch");
    assert_eq!(
        resolved_along_the_dag(version, &pdus, &all),
        expected,
        "{name} one by one"
    );
    assert_eq!(
        resolved_along_the_dag(version, &pdus, &reversed),
        expected,
        "{name} one by one, reversed"
    );
}

#[test]
fn vectors_of_batches() {
    let (private, public) = ("bootstrap-private-chat", "bootstrap-public-chat");
    check_vectors("minimal_private_chat", &[private]);
    check_vectors("minimal_public_chat", &[public]);
    check_vectors(
        "origin_server_ts_tiebreak",
        &[private, "origin-server-ts-tiebreak"],
    );
    check_vectors(
        "ban_vs_power_levels",
        &[
            public,
            "ban-vs-power-levels-alice",
            "ban-vs-power-levels-bob",
        ],
    );
    check_vectors(
        "topic_vs_power_levels",
        &[
            public,
            "topic-vs-power-levels-alice",
            "topic-vs-power-levels-bob",
        ],
    );
    check_vectors(
        "power_levels_admin_vs_mod",
        &[
            public,
            "power-levels-admin-vs-mod-alice",
            "power-levels-admin-vs-mod-bob",
        ],
    );
    check_vectors(
        "topic_vs_ban",
        &[
            public,
            "topic-vs-ban-common",
            "topic-vs-ban-alice",
            "topic-vs-ban-bob",
        ],
    );
    check_vectors(
        "join_rules_vs_join",
        &[
            public,
            "join-rules-vs-join-common",
            "join-rules-vs-join-alice",
            "join-rules-vs-join-ella",
        ],
    );
    check_vectors(
        "concurrent_joins",
        &[public, "concurrent-joins-charlie", "concurrent-joins-ella"],
    );
}

#[test]
fn s03_problems_a_and_b_before_and_in_version_12() {
    let cases = [
        ("a", "A", ["state-bob", "state-charlie"]),
        ("b", "B", ["state-eve", "state-zara"]),
    ];
    for (problem, folder, names) in cases {
        for (version, file, algorithm) in [
            (RoomVersion::V11, "pdus-v11", "v2_0"),
            (RoomVersion::V12, "pdus-v12", "v2_1"),
        ] {
            let folder = format!("MSC4297-problem-{folder}");
            let pdus: Pdus = load(&format!("{folder}/{file}.json"))
                .into_iter()
                .map(|pdu| (pdu.event_id().to_owned(), pdu))
                .collect();
            let mut states: Vec<StateMap> = names
                .iter()
                .map(|name| {
                    let ids = read(&format!("{folder}/{name}.json"));
                    let pdus = ids
                        .iter()
                        .map(|id| &pdus[<&EventId>::try_from(id.as_str().unwrap()).unwrap()]);
                    pdus.map(|pdu| (key_of(pdu), pdu.event_id().to_owned()))
                        .collect()
                })
                .collect();
            let expected = expected(&format!("msc4297_problem_{problem}_state_res_{algorithm}"));
            assert_eq!(
                resolved(version, &pdus, &states),
                expected,
                "{problem} in {version}"
            );
            states.reverse();
            assert_eq!(
                resolved(version, &pdus, &states),
                expected,
                "{problem} in {version}"
            );
        }
    }
}

#[test]
fn a_missing_event_is_reported_and_no_result_given() {
    let all: Vec<Pdu> = [
        load("bootstrap-public-chat.json"),
        load("ban-vs-power-levels-alice.json"),
        load("ban-vs-power-levels-bob.json"),
    ]
    .concat();
    let pdus: Pdus = all
        .iter()
        .map(|pdu| (pdu.event_id().to_owned(), pdu.clone()))
        .collect();
    let states: Vec<StateMap> = all
        .iter()
        .map(|pdu| StateMap::from([(key_of(pdu), pdu.event_id().to_owned())]))
        .collect();
    let chains: Vec<_> = states.iter().map(|state| chain(&pdus, state)).collect();
    let difference = auth_difference(&chains);
    for gone in pdus.keys() {
        let mut rest = pdus.clone();
        rest.remove(gone);
        for version in [RoomVersion::V1, RoomVersion::V10, RoomVersion::V12] {
            let result = resolve(version, &states, &difference, &fetch(&rest));
            // Version 1 looks only at events that are in conflict.
            if version != RoomVersion::V1 {
                assert!(
                    matches!(result, Err(Missing(ref ids)) if ids.contains(gone)),
                    "{gone} in {version}"
                );
            } else if let Err(Missing(ids)) = result {
                assert!(ids.len() == 1 && ids.contains(gone));
            }
        }
    }
}

/// A room in which only the topic knows that @b:x has joined.
fn topic_of_an_unknown_member(version: RoomVersion) -> Vec<Pdu> {
    let make = |id: &str,
                (kind, state_key): (&str, &str),
                sender: &str,
                content: Value,
                auth: &[&str]| {
        let event = json!({"event_id": id, "room_id": "!room:x", "type": kind, "state_key": state_key, "sender": sender,
            "content": content, "auth_events": auth, "origin_server_ts": 1});
        stored(version, &event)
    };
    let join = json!({"membership": "join"});
    let levels = json!({"users": {"@a:x": 100, "@b:x": 50}});
    vec![
        make(
            "$create",
            ("m.room.create", ""),
            "@a:x",
            json!({"creator": "@a:x"}),
            &[],
        ),
        make(
            "$a",
            ("m.room.member", "@a:x"),
            "@a:x",
            join.clone(),
            &["$create"],
        ),
        make(
            "$levels",
            ("m.room.power_levels", ""),
            "@a:x",
            levels,
            &["$create", "$a"],
        ),
        // In no state: only the topic knows it.
        make(
            "$b",
            ("m.room.member", "@b:x"),
            "@b:x",
            join,
            &["$create", "$levels"],
        ),
        make(
            "$topic",
            ("m.room.topic", ""),
            "@b:x",
            json!({}),
            &["$create", "$levels", "$b"],
        ),
    ]
}

#[test]
fn s10_a_rejected_auth_event_does_not_stand_in_for_missing_state() {
    let version = RoomVersion::V10;
    let events = topic_of_an_unknown_member(version);
    let pdus: Pdus = events
        .iter()
        .map(|pdu| (pdu.event_id().to_owned(), pdu.clone()))
        .collect();
    let state = |ids: &[&str]| -> StateMap {
        let chosen = events
            .iter()
            .filter(|pdu| ids.contains(&pdu.event_id().as_str()));
        chosen
            .map(|pdu| (key_of(pdu), pdu.event_id().to_owned()))
            .collect()
    };
    let states = [
        state(&["$create", "$a", "$levels", "$topic"]),
        state(&["$create", "$a", "$levels"]),
    ];
    let chains: Vec<_> = states.iter().map(|state| chain(&pdus, state)).collect();
    for rejected in [false, true] {
        let fetch = |id: &EventId| {
            let pdu = pdus.get(id)?.clone();
            Some(Fetched {
                rejected: rejected && id == "$b",
                pdu,
            })
        };
        let resolved = resolve(version, &states, &auth_difference(&chains), &fetch).unwrap();
        let has_topic = resolved.contains_key(&("m.room.topic".to_owned(), String::new()));
        assert_eq!(has_topic, !rejected);
    }
}

/// A state event of version 1 at a depth.
fn event_v1(
    id: &str,
    (kind, state_key): (&str, &str),
    sender: &str,
    content: &Value,
    depth: u64,
) -> Pdu {
    let event = json!({"event_id": id, "room_id": "!room:x", "type": kind, "state_key": state_key, "sender": sender,
        "content": content, "depth": depth, "origin_server_ts": 1});
    stored(RoomVersion::V1, &event)
}

/// Resolves two states of version 1 that share the beginning of a room.
fn resolved_v1(left: &[Pdu], right: &[Pdu]) -> StateMap {
    let join = json!({"membership": "join"});
    let common = [
        event_v1(
            "$create:x",
            ("m.room.create", ""),
            "@a:x",
            &json!({"creator": "@a:x"}),
            1,
        ),
        event_v1("$a:x", ("m.room.member", "@a:x"), "@a:x", &join, 2),
        event_v1("$b:x", ("m.room.member", "@b:x"), "@b:x", &join, 3),
    ];
    let all = || common.iter().chain(left).chain(right);
    let pdus: Pdus = all()
        .map(|pdu| (pdu.event_id().to_owned(), pdu.clone()))
        .collect();
    let state = |side: &[Pdu]| -> StateMap {
        let events = common.iter().chain(side);
        events
            .map(|pdu| (key_of(pdu), pdu.event_id().to_owned()))
            .collect()
    };
    let states = [state(left), state(right)];
    let resolved = resolve(RoomVersion::V1, &states, &HashSet::new(), &fetch(&pdus)).unwrap();
    let reversed = [state(right), state(left)];
    let again = resolve(RoomVersion::V1, &reversed, &HashSet::new(), &fetch(&pdus)).unwrap();
    assert_eq!(resolved, again);
    resolved
}

fn at(state: &StateMap, kind: &str, state_key: &str) -> String {
    state[&(kind.to_owned(), state_key.to_owned())].to_string()
}

#[test]
fn version_1_takes_the_deepest_allowed_event_then_the_lowest_sha1() {
    let topic = |id: &str, sender: &str, depth: u64| {
        event_v1(id, ("m.room.topic", ""), sender, &json!({}), depth)
    };
    let winner = |left: Pdu, right: Pdu| at(&resolved_v1(&[left], &[right]), "m.room.topic", "");
    assert_eq!(
        winner(topic("$1:x", "@a:x", 5), topic("$2:x", "@a:x", 6)),
        "$2:x"
    );
    // @b:x has no power; the deeper one is passed over.
    assert_eq!(
        winner(topic("$1:x", "@a:x", 5), topic("$2:x", "@b:x", 6)),
        "$1:x"
    );
    assert_eq!(
        winner(topic("$1:x", "@b:x", 5), topic("$2:x", "@b:x", 6)),
        "$1:x"
    );
    let sha1 = |id: &str| <[u8; 20]>::from(Sha1::digest(id.as_bytes()));
    for (one, other) in [("$1:x", "$2:x"), ("$1:x", "$3:x"), ("$2:x", "$3:x")] {
        let expected = if sha1(one) < sha1(other) { one } else { other };
        assert_eq!(
            winner(topic(one, "@a:x", 5), topic(other, "@a:x", 5)),
            expected
        );
    }
}

#[test]
fn version_1_follows_power_levels_from_the_oldest_as_far_as_they_allow_each_other() {
    let levels = |id: &str, sender: &str, users: Value, depth: u64| {
        event_v1(
            id,
            ("m.room.power_levels", ""),
            sender,
            &json!({"users": users}),
            depth,
        )
    };
    let winner =
        |left: Pdu, right: Pdu| at(&resolved_v1(&[left], &[right]), "m.room.power_levels", "");
    let both = json!({"@a:x": 100, "@b:x": 50});
    let old = || levels("$1:x", "@a:x", both.clone(), 5);
    let lowered = json!({"@a:x": 100, "@b:x": 0});
    assert_eq!(winner(old(), levels("$2:x", "@a:x", lowered, 6)), "$2:x");
    let raised = json!({"@a:x": 100, "@b:x": 100});
    assert_eq!(winner(old(), levels("$2:x", "@b:x", raised, 6)), "$1:x");
}

#[test]
fn version_1_resolves_members_after_power_levels_and_takes_keys_of_one_side() {
    let ban = event_v1(
        "$ban:x",
        ("m.room.member", "@b:x"),
        "@a:x",
        &json!({"membership": "ban"}),
        6,
    );
    let rename = event_v1(
        "$name:x",
        ("m.room.member", "@b:x"),
        "@b:x",
        &json!({"membership": "join"}),
        7,
    );
    let topic = event_v1("$topic:x", ("m.room.topic", ""), "@a:x", &json!({}), 6);
    let resolved = resolved_v1(&[ban, topic], &[rename]);
    assert_eq!(at(&resolved, "m.room.member", "@b:x"), "$ban:x");
    assert_eq!(at(&resolved, "m.room.topic", ""), "$topic:x");
}
