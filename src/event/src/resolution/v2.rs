//! State resolution 2 and 2.1.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use hearth_types::UnixMs;
use ruma::OwnedEventId;

use crate::auth::{auth_keys, create_event_id};
use crate::resolution::{Pool, StateMap, occurrences};
use crate::{Pdu, PowerLevels, UserLevel, authorize};

/// Which of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    V2,
    /// Starts from an empty state and looks at the conflicted state subgraph, too.
    V2_1,
}

pub(super) fn resolve(
    algorithm: Algorithm,
    states: &[StateMap],
    auth_difference: &HashSet<OwnedEventId>,
    pool: &Pool<'_>,
) -> StateMap {
    let (unconflicted, conflicted) = split(states);
    if conflicted.is_empty() {
        return unconflicted;
    }
    let mut full: HashSet<OwnedEventId> = auth_difference.union(&conflicted).cloned().collect();
    if algorithm == Algorithm::V2_1 {
        full.extend(conflicted_subgraph(&conflicted, pool));
    }
    let (power_events, others) = pick_power_events(&full, pool);
    let mut state = match algorithm {
        Algorithm::V2 => unconflicted.clone(),
        Algorithm::V2_1 => StateMap::new(),
    };
    apply(&mut state, &power_order(&power_events, pool), pool);
    let power_levels = state
        .get(&("m.room.power_levels".to_owned(), String::new()))
        .cloned();
    apply(
        &mut state,
        &mainline_order(others, power_levels, pool),
        pool,
    );
    state.extend(unconflicted);
    state
}

fn split(states: &[StateMap]) -> (StateMap, HashSet<OwnedEventId>) {
    let mut unconflicted = StateMap::new();
    let mut conflicted = HashSet::new();
    for (key, ids) in occurrences(states) {
        for (id, count) in ids {
            if count == states.len() {
                unconflicted.insert(key.clone(), id.clone());
            } else {
                conflicted.insert(id.clone());
            }
        }
    }
    (unconflicted, conflicted)
}

/// All events on paths of auth events from one conflicted event to another.
fn conflicted_subgraph(
    conflicted: &HashSet<OwnedEventId>,
    pool: &Pool<'_>,
) -> HashSet<OwnedEventId> {
    // Downwards from all conflicted events, noting the way back up.
    let mut reached_from: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    let mut visited: HashSet<OwnedEventId> = conflicted.clone();
    let mut stack: Vec<OwnedEventId> = conflicted.iter().cloned().collect();
    while let Some(id) = stack.pop() {
        for auth_id in pool.auth_events(&id) {
            reached_from
                .entry(auth_id.clone())
                .or_default()
                .push(id.clone());
            if visited.insert(auth_id.clone()) {
                stack.push(auth_id);
            }
        }
    }
    // Upwards from all conflicted events along these ways: what is met lies between two of them.
    let mut between: HashSet<OwnedEventId> = conflicted.clone();
    let mut stack: Vec<OwnedEventId> = conflicted.iter().cloned().collect();
    while let Some(id) = stack.pop() {
        for above in reached_from.get(&id).into_iter().flatten() {
            if between.insert(above.clone()) {
                stack.push(above.clone());
            }
        }
    }
    between
}

fn is_power_event(pdu: &Pdu) -> bool {
    match pdu.state_key_pair() {
        Some(("m.room.power_levels" | "m.room.join_rules" | "m.room.create", "")) => true,
        Some(("m.room.member", target)) => {
            let content = pdu.content_object();
            let membership = content.get("membership").and_then(|value| value.as_str());
            matches!(membership, Some("leave" | "ban")) && pdu.sender() != target
        }
        _ => false,
    }
}

/// Step 1: the power events with what of their auth chains is in the full conflicted set; and the rest.
///
/// The chains are followed only through the set, as all servers do.
fn pick_power_events(
    full: &HashSet<OwnedEventId>,
    pool: &Pool<'_>,
) -> (HashSet<OwnedEventId>, HashSet<OwnedEventId>) {
    let mut stack: Vec<OwnedEventId> = full
        .iter()
        .filter(|id| pool.pdu(id).is_some_and(|pdu| is_power_event(&pdu)))
        .cloned()
        .collect();
    let mut picked: HashSet<OwnedEventId> = stack.iter().cloned().collect();
    while let Some(id) = stack.pop() {
        for auth_id in pool.auth_events(&id) {
            if full.contains(&auth_id) && picked.insert(auth_id.clone()) {
                stack.push(auth_id);
            }
        }
    }
    let others = full.difference(&picked).cloned().collect();
    (picked, others)
}

/// The smallest comes first: greater power, then earlier, then smaller id.
type PowerRank = (Reverse<UserLevel>, UnixMs, OwnedEventId);

/// Reverse topological power ordering: Kahn's algorithm from the create event upwards.
fn power_order(events: &HashSet<OwnedEventId>, pool: &Pool<'_>) -> Vec<Pdu> {
    let mut waits_for: HashMap<OwnedEventId, usize> = HashMap::new();
    let mut needed_by: HashMap<OwnedEventId, Vec<OwnedEventId>> = HashMap::new();
    let mut ready: BinaryHeap<Reverse<PowerRank>> = BinaryHeap::new();
    for id in events {
        let Some(pdu) = pool.pdu(id) else { continue };
        let needed: HashSet<&OwnedEventId> = pdu
            .auth_events()
            .iter()
            .filter(|auth_id| events.contains(*auth_id) && pool.pdu(auth_id).is_some())
            .collect();
        if needed.is_empty() {
            ready.push(Reverse(power_rank(&pdu, pool)));
        }
        waits_for.insert(id.clone(), needed.len());
        for auth_id in needed {
            needed_by
                .entry(auth_id.clone())
                .or_default()
                .push(id.clone());
        }
    }
    let mut order = Vec::with_capacity(events.len());
    while let Some(Reverse((_, _, id))) = ready.pop() {
        order.extend(pool.pdu(&id));
        for above in needed_by.remove(&id).unwrap_or_default() {
            let Some(count) = waits_for.get_mut(&above) else {
                continue;
            };
            *count -= 1;
            if *count == 0 {
                ready.extend(pool.pdu(&above).map(|pdu| Reverse(power_rank(&pdu, pool))));
            }
        }
    }
    order
}

fn power_rank(pdu: &Pdu, pool: &Pool<'_>) -> PowerRank {
    (
        Reverse(sender_level(pdu, pool)),
        pdu.origin_server_ts(),
        pdu.event_id().to_owned(),
    )
}

/// The sender's level according to the event's own auth events.
fn sender_level(pdu: &Pdu, pool: &Pool<'_>) -> UserLevel {
    let auth_events: Vec<Pdu> = pdu
        .auth_events()
        .iter()
        .filter_map(|id| pool.pdu(id))
        .collect();
    let power_levels = auth_events
        .iter()
        .find(|event| event.is("m.room.power_levels", ""));
    match create_of(pdu, &auth_events, pool) {
        Some(create) => PowerLevels::of(&create, power_levels).user_level(pdu.sender()),
        None => UserLevel::Int(0),
    }
}

/// The create event: by the room id from version 12 on, among the auth events before.
fn create_of(pdu: &Pdu, auth_events: &[Pdu], pool: &Pool<'_>) -> Option<Pdu> {
    let rules = &pdu.version().rules().authorization;
    if pdu.kind() == "m.room.create" {
        None
    } else if rules.room_create_event_id_as_room_id {
        pool.pdu(&create_event_id(pdu)?)
    } else {
        auth_events
            .iter()
            .find(|event| event.is("m.room.create", ""))
            .cloned()
    }
}

/// The iterative auth checks.
fn apply(state: &mut StateMap, events: &[Pdu], pool: &Pool<'_>) {
    for event in events {
        let Some((kind, state_key)) = event.state_key_pair() else {
            continue;
        };
        let auth_state = auth_state(event, state, pool);
        let lookup = |kind: &str, state_key: &str| {
            auth_state
                .get(&(kind.to_owned(), state_key.to_owned()))
                .cloned()
        };
        match authorize(event, &lookup) {
            Ok(()) => {
                let key = (kind.to_owned(), state_key.to_owned());
                state.insert(key, event.event_id().to_owned());
            }
            Err(error) => {
                tracing::debug!(event.id = %event.event_id(), "not in the resolved state: {error}");
            }
        }
    }
}

/// What the auth rules of an event look at: the state so far, and for keys that it lacks the event's own auth events
/// unless they were rejected.
fn auth_state(event: &Pdu, state: &StateMap, pool: &Pool<'_>) -> HashMap<(String, String), Pdu> {
    let mut auth_state = HashMap::new();
    let auth_events: Vec<_> = event
        .auth_events()
        .iter()
        .filter_map(|id| pool.fetched(id))
        .filter(|fetched| !fetched.rejected)
        .collect();
    for fetched in auth_events {
        if let Some((kind, state_key)) = fetched.pdu.state_key_pair() {
            auth_state.insert((kind.to_owned(), state_key.to_owned()), fetched.pdu.clone());
        }
    }
    let rules = &event.version().rules().authorization;
    if rules.room_create_event_id_as_room_id && event.kind() != "m.room.create" {
        let create = create_event_id(event).and_then(|id| pool.pdu(&id));
        auth_state.extend(create.map(|pdu| (("m.room.create".to_owned(), String::new()), pdu)));
    }
    for key in auth_keys(event.version(), event.into()) {
        if let Some(pdu) = state.get(&key).and_then(|id| pool.pdu(id)) {
            auth_state.insert(key, pdu);
        }
    }
    auth_state
}

/// Mainline ordering based on a power levels event.
fn mainline_order(
    events: HashSet<OwnedEventId>,
    power_levels: Option<OwnedEventId>,
    pool: &Pool<'_>,
) -> Vec<Pdu> {
    let mut positions: HashMap<OwnedEventId, usize> = HashMap::new();
    let mut next = power_levels;
    while let Some(id) = next {
        // Ids of versions 1 and 2 are chosen freely, so auth events could form a ring.
        if positions.contains_key(&id) {
            break;
        }
        positions.insert(id.clone(), positions.len());
        next = pool.pdu(&id).and_then(|pdu| parent_levels(&pdu, pool));
    }
    let mut ranked: Vec<_> = events
        .iter()
        .filter_map(|id| pool.pdu(id))
        .map(|pdu| {
            let position = mainline_position(&pdu, &mut positions, pool);
            let rank = (
                Reverse(position),
                pdu.origin_server_ts(),
                pdu.event_id().to_owned(),
            );
            (rank, pdu)
        })
        .collect();
    ranked.sort_by(|(left, _), (right, _)| left.cmp(right));
    ranked.into_iter().map(|(_, pdu)| pdu).collect()
}

/// Not on the mainline: farther away than any event of it.
const OFF_MAINLINE: usize = usize::MAX;

/// Follows the power levels events in auth events down to one whose position is known; remembers what it learns, so
/// that all events together cost no more than the events on their ways.
fn mainline_position(
    pdu: &Pdu,
    positions: &mut HashMap<OwnedEventId, usize>,
    pool: &Pool<'_>,
) -> usize {
    let mut way: Vec<OwnedEventId> = Vec::new();
    let mut walked: HashSet<OwnedEventId> = HashSet::new();
    let mut next = parent_levels(pdu, pool);
    let mut position = OFF_MAINLINE;
    while let Some(id) = next {
        if let Some(known) = positions.get(&id) {
            position = *known;
            break;
        }
        if !walked.insert(id.clone()) {
            break;
        }
        next = pool.pdu(&id).and_then(|pdu| parent_levels(&pdu, pool));
        way.push(id);
    }
    positions.extend(way.into_iter().map(|id| (id, position)));
    position
}

/// The power levels event among an event's auth events.
fn parent_levels(pdu: &Pdu, pool: &Pool<'_>) -> Option<OwnedEventId> {
    pdu.auth_events()
        .iter()
        .find(|id| {
            pool.pdu(id)
                .is_some_and(|event| event.is("m.room.power_levels", ""))
        })
        .cloned()
}
