//! State resolution: the vectors of `vectors/state-res`, random rooms against ruma, order independence, missing events.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use hearth_event::{
    Fetched, Missing, Pdu, RoomVersion, StateMap, auth_chain, auth_difference, auth_keys,
    authorize, resolve,
};
use proptest::prelude::*;
use ruma::events::StateEventType;
use ruma::state_res::utils::event_id_set::EventIdSet;
use ruma::{EventId, OwnedEventId};
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

use crate::support::{Theirs, stored};

type Pdus = BTreeMap<OwnedEventId, Pdu>;

fn fetch(pdus: &Pdus) -> impl Fn(&EventId) -> Option<Fetched> + '_ {
    |id| {
        let pdu = pdus.get(id)?.clone();
        Some(Fetched {
            pdu,
            rejected: false,
        })
    }
}

fn chain(pdus: &Pdus, state: &StateMap) -> HashSet<OwnedEventId> {
    let ids: Vec<OwnedEventId> = state.values().cloned().collect();
    auth_chain(&ids, &fetch(pdus)).unwrap()
}

fn resolved(version: RoomVersion, pdus: &Pdus, states: &[StateMap]) -> StateMap {
    let chains: Vec<_> = states.iter().map(|state| chain(pdus, state)).collect();
    resolve(version, states, &auth_difference(&chains), &fetch(pdus)).unwrap()
}

fn key_of(pdu: &Pdu) -> (String, String) {
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
                assert_eq!(ids.into_iter().collect::<Vec<_>>(), [gone.clone()]);
            }
        }
    }
}

/// A room that grows on several branches at once, by users who do what they may.
struct Room {
    version: RoomVersion,
    pdus: Pdus,
    branches: Vec<Branch>,
}

#[derive(Clone)]
struct Branch {
    state: StateMap,
    head: OwnedEventId,
    depth: u64,
}

const USERS: [&str; 5] = ["@a:x", "@b:x", "@c:y", "@d:y", "@e:z"];

impl Room {
    fn new(version: RoomVersion) -> Self {
        let create = json!({"event_id": "$create", "type": "m.room.create", "state_key": "", "sender": USERS[0],
            "content": {"creator": USERS[0], "room_version": version.as_str()}, "origin_server_ts": 0,
            "depth": 1, "prev_events": [], "auth_events": [], "room_id": "!room:x"});
        let mut create = create;
        if version == RoomVersion::V12 {
            create.as_object_mut().unwrap().remove("room_id");
        }
        let create = stored(version, &create);
        let id = create.event_id().to_owned();
        let branch = Branch {
            state: StateMap::from([(key_of(&create), id.clone())]),
            head: id.clone(),
            depth: 1,
        };
        let mut room = Self {
            version,
            pdus: Pdus::from([(id, create)]),
            branches: vec![branch],
        };
        room.send(
            0,
            0,
            ("m.room.member", USERS[0], json!({"membership": "join"})),
            0,
        );
        let users = if version == RoomVersion::V12 {
            json!({USERS[1]: 50})
        } else {
            json!({USERS[0]: 100, USERS[1]: 50})
        };
        room.send(
            0,
            0,
            ("m.room.power_levels", "", json!({"users": users})),
            0,
        );
        room.send(
            0,
            0,
            ("m.room.join_rules", "", json!({"join_rule": "public"})),
            0,
        );
        room.send(
            0,
            1,
            ("m.room.member", USERS[1], json!({"membership": "join"})),
            0,
        );
        room.send(
            0,
            2,
            ("m.room.member", USERS[2], json!({"membership": "join"})),
            0,
        );
        room
    }

    /// Sends on a branch if the branch's state allows it.
    fn send(
        &mut self,
        branch: usize,
        user: usize,
        (kind, state_key, content): (&str, &str, Value),
        ts: u64,
    ) {
        let index = branch % self.branches.len();
        let branch = self.branches[index].clone();
        let room_id = if self.version == RoomVersion::V12 {
            "!create"
        } else {
            "!room:x"
        };
        // Ids in no particular order.
        let id = format!("$e{}_{}", (self.pdus.len() * 7919) % 1009, self.pdus.len());
        let mut event = json!({"event_id": id, "type": kind, "state_key": state_key, "sender": USERS[user],
            "room_id": room_id, "content": content, "origin_server_ts": 10 + ts, "depth": branch.depth + 1,
            "prev_events": [branch.head], "auth_events": []});
        let keys = auth_keys(self.version, (&stored(self.version, &event)).into());
        event["auth_events"] = keys
            .iter()
            .filter_map(|key| branch.state.get(key))
            .map(|id| json!(id))
            .collect();
        let pdu = stored(self.version, &event);
        let state = |kind: &str, key: &str| {
            let id = branch.state.get(&(kind.to_owned(), key.to_owned()))?;
            self.pdus.get(id).cloned()
        };
        if authorize(&pdu, &state).is_ok() {
            let branch = &mut self.branches[index];
            branch.head = pdu.event_id().to_owned();
            branch.depth += 1;
            branch.state.insert(key_of(&pdu), branch.head.clone());
            self.pdus.insert(branch.head.clone(), pdu);
        }
    }

    fn step(&mut self, (branch, action, user, target, ts): Step) {
        let (user, target) = (user % USERS.len(), target % USERS.len());
        let member = |membership: &str| {
            (
                "m.room.member",
                USERS[target],
                json!({"membership": membership}),
            )
        };
        match action {
            0 if self.branches.len() < 4 => {
                let fork = self.branches[branch % self.branches.len()].clone();
                self.branches.push(fork);
            }
            0 => {
                // A merge: one branch goes on from the resolution of two.
                let count = self.branches.len();
                let (one, other) = (branch % count, target % count);
                let pair = [
                    self.branches[one].state.clone(),
                    self.branches[other].state.clone(),
                ];
                self.branches[one].state = resolved(self.version, &self.pdus, &pair);
                self.branches[one].depth = self.branches[one].depth.max(self.branches[other].depth);
            }
            1 => self.send(branch, user, member("ban"), ts),
            2 => self.send(branch, user, member("leave"), ts),
            3 => self.send(
                branch,
                user,
                ("m.room.member", USERS[user], json!({"membership": "join"})),
                ts,
            ),
            4 => self.send(branch, user, member("invite"), ts),
            5 => {
                let rule = ["public", "invite"][target % 2];
                self.send(
                    branch,
                    user,
                    ("m.room.join_rules", "", json!({"join_rule": rule})),
                    ts,
                );
            }
            6 | 7 => {
                let key = ("m.room.power_levels".to_owned(), String::new());
                let id = &self.branches[branch % self.branches.len()].state[&key];
                let mut content: Value = self.pdus[id].content_as().unwrap();
                content["users"][USERS[target]] = json!([0, 25, 50, 100][(ts % 4) as usize]);
                if target == 0 && self.version == RoomVersion::V12 {
                    content["users"].as_object_mut().unwrap().remove(USERS[0]);
                    content["state_default"] = json!([0, 50][(ts % 2) as usize]);
                }
                self.send(branch, user, ("m.room.power_levels", "", content), ts);
            }
            8 => self.send(branch, user, ("m.room.name", "", json!({"name": ts})), ts),
            _ => self.send(branch, user, ("m.room.topic", "", json!({"topic": ts})), ts),
        }
    }

    /// A room with two branches and more, after the steps.
    fn grown(version: RoomVersion, steps: Vec<Step>) -> Self {
        let mut room = Self::new(version);
        room.step((0, 0, 0, 0, 0));
        steps.into_iter().for_each(|step| room.step(step));
        room
    }

    fn conflicts(&self) -> HashSet<(String, String)> {
        let states = self.states();
        let differs = |key: &&(String, String)| {
            states
                .iter()
                .any(|state| state.get(*key) != states[0].get(*key))
        };
        states
            .iter()
            .flat_map(StateMap::keys)
            .filter(differs)
            .cloned()
            .collect()
    }

    fn states(&self) -> Vec<StateMap> {
        self.branches
            .iter()
            .map(|branch| branch.state.clone())
            .collect()
    }
}

type Step = (usize, usize, usize, usize, u64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(
        (0..4_usize, 0..10_usize, 0..5_usize, 0..5_usize, 0..30_u64),
        5..60,
    )
}

fn theirs(version: RoomVersion, pdus: &Pdus, states: &[StateMap]) -> StateMap {
    let rules = version.rules();
    let maps: Vec<HashMap<(StateEventType, String), OwnedEventId>> = states
        .iter()
        .map(|state| {
            let entries = state.iter();
            entries
                .map(|((kind, key), id)| ((kind.as_str().into(), key.clone()), id.clone()))
                .collect()
        })
        .collect();
    let chains = states
        .iter()
        .map(|state| chain(pdus, state).into_iter().collect())
        .collect();
    let subgraph = |conflicted: &HashMap<_, Vec<OwnedEventId>>| {
        Some(between(
            pdus,
            &conflicted.values().flatten().cloned().collect(),
        ))
    };
    let result = ruma::state_res::resolve(
        &rules.authorization,
        rules.state_res.v2_rules().unwrap(),
        &maps,
        chains,
        |id| pdus.get(id).map(Theirs::of),
        subgraph,
    );
    result
        .unwrap()
        .into_iter()
        .map(|((kind, key), id)| ((kind.to_string(), key), id))
        .collect()
}

/// The conflicted state subgraph, slowly: every event that is in the chain of a conflicted event and has one in its own.
fn between(pdus: &Pdus, conflicted: &HashSet<OwnedEventId>) -> EventIdSet<OwnedEventId> {
    let chain_of = |id: &OwnedEventId| auth_chain(std::slice::from_ref(id), &fetch(pdus)).unwrap();
    let below: HashSet<OwnedEventId> = conflicted.iter().flat_map(&chain_of).collect();
    below
        .into_iter()
        .filter(|id| {
            !conflicted.contains(id) && chain_of(id).iter().any(|id| conflicted.contains(id))
        })
        .chain(conflicted.iter().cloned())
        .collect()
}

#[test]
fn s04_resolution_fetches_each_event_once_however_long_the_auth_chains_are() {
    for version in [RoomVersion::V2, RoomVersion::V11, RoomVersion::V12] {
        let mut room = Room::new(version);
        room.step((0, 0, 0, 0, 0));
        // Each power levels event has the one before it, and all the senders' joins, among its auth events.
        for round in 0..400 {
            room.step((round % 2, 6, 0, 2 + round % 3, (round / 2) as u64));
            room.step((round % 2, 3, 1 + round % 2, 0, round as u64));
        }
        let fetched = RefCell::new(HashMap::<OwnedEventId, usize>::new());
        let counting = |id: &EventId| {
            *fetched.borrow_mut().entry(id.to_owned()).or_default() += 1;
            fetch(&room.pdus)(id)
        };
        let states = room.states();
        let chains: Vec<_> = states
            .iter()
            .map(|state| chain(&room.pdus, state))
            .collect();
        let resolved = resolve(version, &states, &auth_difference(&chains), &counting);
        assert!(resolved.is_ok());
        assert!(room.pdus.len() > 500);
        assert!(fetched.borrow().values().all(|count| *count == 1));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn s03_random_rooms_resolve_as_in_ruma(
        version in prop::sample::select(vec![RoomVersion::V6, RoomVersion::V10, RoomVersion::V11, RoomVersion::V12]),
        steps in steps(),
    ) {
        let room = Room::grown(version, steps);
        prop_assume!(!room.conflicts().is_empty());
        let states = room.states();
        let ours = resolved(version, &room.pdus, &states);
        prop_assert_eq!(ours, theirs(version, &room.pdus, &states));
    }

    #[test]
    fn resolution_does_not_depend_on_the_order_of_states(
        version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()), steps in steps(), turn in 0..4_usize,
    ) {
        let room = Room::grown(version, steps);
        prop_assume!(!room.conflicts().is_empty());
        let mut states = room.states();
        let first = resolved(version, &room.pdus, &states);
        states.reverse();
        prop_assert_eq!(&resolved(version, &room.pdus, &states), &first);
        let middle = turn % states.len();
        states.rotate_left(middle);
        prop_assert_eq!(&resolved(version, &room.pdus, &states), &first);
        // The same state twice changes nothing, and a state alone is its own resolution.
        states.push(states[0].clone());
        prop_assert_eq!(&resolved(version, &room.pdus, &states), &first);
        prop_assert_eq!(&resolved(version, &room.pdus, std::slice::from_ref(&first)), &first);
    }

    #[test]
    fn resolution_of_the_difference_gives_what_resolution_of_whole_states_gives(
        version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()), steps in steps(),
    ) {
        let room = Room::grown(version, steps);
        prop_assume!(!room.conflicts().is_empty());
        let states = room.states();
        let whole = resolved(version, &room.pdus, &states);
        let chains: Vec<_> = states.iter().map(|state| chain(&room.pdus, state)).collect();
        let difference = auth_difference(&chains);
        let differs = |key: &(String, String)| states.iter().any(|state| state.get(key) != states[0].get(key));
        let mut wanted: HashSet<(String, String)> = HashSet::new();
        let conflicted = states.iter().flatten().filter(|(key, _)| differs(key)).map(|(_, id)| id);
        for id in conflicted.chain(&difference) {
            wanted.extend(auth_keys(version, (&room.pdus[id]).into()));
        }
        wanted.insert(("m.room.create".to_owned(), String::new()));
        let parts: Vec<StateMap> = states
            .iter()
            .map(|state| {
                let kept = state.iter().filter(|(key, _)| differs(key) || wanted.contains(*key));
                kept.map(|(key, id)| (key.clone(), id.clone())).collect()
            })
            .collect();
        let part = resolve(version, &parts, &difference, &fetch(&room.pdus)).unwrap();
        for (key, id) in &whole {
            if differs(key) {
                prop_assert_eq!(part.get(key), Some(id));
            }
        }
    }
}
