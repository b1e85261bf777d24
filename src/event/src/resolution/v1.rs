//! State resolution of room version 1.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sha1::{Digest as _, Sha1};

use crate::resolution::{Pool, StateKey, StateMap, occurrences};
use crate::{Pdu, authorize};

/// The states' conflicts: keys with more than one event. (A key that some states lack is no conflict here.)
pub(super) fn resolve(states: &[StateMap], pool: &Pool<'_>) -> StateMap {
    let mut resolved = StateMap::new();
    let mut conflicts: BTreeMap<StateKey, Vec<Pdu>> = BTreeMap::new();
    for (key, ids) in occurrences(states) {
        if let [id] = ids.keys().copied().collect::<Vec<_>>()[..] {
            resolved.insert(key.clone(), id.clone());
        } else {
            let mut events: Vec<Pdu> = ids.keys().filter_map(|id| pool.pdu(id)).collect();
            events.sort_by_cached_key(oldest_first);
            conflicts.insert(key.clone(), events);
        }
    }
    for kind in ["m.room.power_levels", "m.room.join_rules", "m.room.member"] {
        // All conflicts of one kind are resolved against the same state, so that their order does not matter.
        let winners: Vec<(StateKey, Pdu)> = conflicts
            .iter()
            .filter(|((conflict_kind, _), _)| conflict_kind == kind)
            .filter_map(|(key, events)| {
                Some((key.clone(), last_allowed(key, events, &resolved, pool)?))
            })
            .collect();
        insert_all(&mut resolved, winners);
        conflicts.retain(|(conflict_kind, _), _| conflict_kind != kind);
    }
    let winners: Vec<(StateKey, Pdu)> = conflicts
        .into_iter()
        .filter_map(|(key, events)| Some((key, newest_allowed(&events, &resolved, pool)?)))
        .collect();
    insert_all(&mut resolved, winners);
    resolved
}

fn insert_all(resolved: &mut StateMap, winners: Vec<(StateKey, Pdu)>) {
    for (key, pdu) in winners {
        resolved.insert(key, pdu.event_id().to_owned());
    }
}

/// Ascending depth, then descending SHA-1 of the event id.
fn oldest_first(pdu: &Pdu) -> (u64, Reverse<[u8; 20]>) {
    let hash = Sha1::digest(pdu.event_id().as_bytes());
    (pdu.depth(), Reverse(hash.into()))
}

/// For the kinds that auth looks at: from the oldest on, each event that the ones before it allow; ends at the first
/// that is not allowed.
fn last_allowed(
    key: &StateKey,
    events: &[Pdu],
    resolved: &StateMap,
    pool: &Pool<'_>,
) -> Option<Pdu> {
    let (first, rest) = events.split_first()?;
    let mut winner = first;
    for event in rest {
        let state = |kind: &str, state_key: &str| {
            if (kind, state_key) == (key.0.as_str(), key.1.as_str()) {
                return Some(winner.clone());
            }
            at(resolved, pool, kind, state_key)
        };
        if authorize(event, &state).is_err() {
            break;
        }
        winner = event;
    }
    Some(winner.clone())
}

/// For all other kinds: the newest that is allowed. If none is, the oldest, as other servers have it; the
/// specification does not say.
fn newest_allowed(events: &[Pdu], resolved: &StateMap, pool: &Pool<'_>) -> Option<Pdu> {
    let state = |kind: &str, state_key: &str| at(resolved, pool, kind, state_key);
    events
        .iter()
        .rev()
        .find(|event| authorize(event, &state).is_ok())
        .or(events.first())
        .cloned()
}

fn at(resolved: &StateMap, pool: &Pool<'_>, kind: &str, state_key: &str) -> Option<Pdu> {
    let id = resolved.get(&(kind.to_owned(), state_key.to_owned()))?;
    pool.pdu(id)
}
