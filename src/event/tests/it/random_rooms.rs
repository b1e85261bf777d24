//! State resolution of random rooms: against ruma, order independence, resolution of the difference only.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use hearth_event::{
    RoomVersion, StateMap, auth_chain, auth_difference, auth_keys, authorize, resolve,
};
use proptest::prelude::*;
use ruma::events::StateEventType;
use ruma::state_res::utils::event_id_set::EventIdSet;
use ruma::{EventId, OwnedEventId};
use serde_json::{Value, json};

use crate::resolution::{Pdus, chain, fetch, key_of, resolved};
use crate::support::{Theirs, stored};

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
                // A merge before version 12 may have lost them.
                let Some(id) = self.branches[branch % self.branches.len()].state.get(&key) else {
                    return;
                };
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

/// The weakness of version 2 that MSC4297 mends: power levels whose sender has left since, in all states that are
/// merged, have no one left to allow them.
#[test]
fn s03_power_levels_of_who_has_left_are_lost_before_version_12_as_in_ruma() {
    for version in [RoomVersion::V6, RoomVersion::V11, RoomVersion::V12] {
        let mut room = Room::new(version);
        room.step((0, 0, 0, 0, 0));
        // New power levels on one branch; on the other, their sender leaves.
        room.step((1, 6, 0, 0, 0));
        room.step((0, 2, 0, 0, 0));
        let key = ("m.room.power_levels".to_owned(), String::new());
        for merges in 1..=2 {
            let states = [
                room.branches[1].state.clone(),
                room.branches[0].state.clone(),
            ];
            assert_ne!(states[0].get(&key), states[1].get(&key));
            let merged = resolved(version, &room.pdus, &states);
            assert_eq!(merged, theirs(version, &room.pdus, &states));
            let is_kept = merges == 1 || version == RoomVersion::V12;
            assert_eq!(merged.contains_key(&key), is_kept, "{version}");
            room.branches[1].state = merged;
        }
    }
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
