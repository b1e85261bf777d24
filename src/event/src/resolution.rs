//! State resolution: version 1 (room version 1), 2 (2 to 11) and 2.1 (12).
//!
//! Own code rather than `ruma-state-res`, which leaves out version 1, applies its own auth rules ("best effort" in room
//! versions 1 to 5) and drops events that it cannot fetch, so that a gap in the store becomes a state reset. Here a
//! missing event is recorded and the result withheld. The tests compare both on random rooms.

mod v1;
mod v2;

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::room_version_rules::StateResolutionVersion;
use ruma::{EventId, OwnedEventId};

use crate::{Pdu, RoomVersion};

/// Type and state key.
pub type StateKey = (String, String);

/// A room state: the event at each type and state key.
pub type StateMap = HashMap<StateKey, OwnedEventId>;

/// An event loaded for resolution, with its standing.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The event.
    pub pdu: Pdu,
    /// Whether it was rejected.
    pub rejected: bool,
}

/// Events that were asked for and not there. Load them and resolve again: without them the result would be a state reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} events are missing for state resolution", .0.len())]
pub struct Missing(pub BTreeSet<OwnedEventId>);

/// Resolves states of one room into one.
///
/// `states` may be limited to the keys that differ and the other keys that auth can ask for (the union of
/// [`crate::auth_keys`] of the conflicted events and the auth difference); what comes back then has no other keys
/// either. `auth_difference` is the union of the states' full auth chains without their intersection
/// ([`auth_difference`], or from an index); room version 1 does not look at it. Nothing depends on the order of `states`.
pub fn resolve(
    version: RoomVersion,
    states: &[StateMap],
    auth_difference: &HashSet<OwnedEventId>,
    fetch: &dyn Fn(&EventId) -> Option<Fetched>,
) -> Result<StateMap, Missing> {
    let pool = Pool::new(fetch);
    let resolved = match &version.rules().state_res {
        StateResolutionVersion::V1 => v1::resolve(states, &pool),
        rules => {
            let is_v2_1 = rules
                .v2_rules()
                .is_some_and(|rules| rules.consider_conflicted_state_subgraph);
            let algorithm = if is_v2_1 {
                v2::Algorithm::V2_1
            } else {
                v2::Algorithm::V2
            };
            v2::resolve(algorithm, states, auth_difference, &pool)
        }
    };
    pool.finish(resolved)
}

/// All events reachable from `events` over `auth_events`, without `events` themselves unless reachable.
pub fn auth_chain(
    events: &[OwnedEventId],
    fetch: &dyn Fn(&EventId) -> Option<Fetched>,
) -> Result<HashSet<OwnedEventId>, Missing> {
    let pool = Pool::new(fetch);
    let mut chain = HashSet::new();
    let mut stack: Vec<OwnedEventId> = events.to_vec();
    let mut visited: HashSet<OwnedEventId> = events.iter().cloned().collect();
    while let Some(id) = stack.pop() {
        for auth_id in pool.auth_events(&id) {
            chain.insert(auth_id.clone());
            if visited.insert(auth_id.clone()) {
                stack.push(auth_id);
            }
        }
    }
    pool.finish(chain)
}

/// What is in some but not all of the sets.
pub fn auth_difference(chains: &[HashSet<OwnedEventId>]) -> HashSet<OwnedEventId> {
    let mut counts: HashMap<&OwnedEventId, usize> = HashMap::new();
    for id in chains.iter().flatten() {
        *counts.entry(id).or_default() += 1;
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count < chains.len())
        .map(|(id, _)| id.clone())
        .collect()
}

/// The events of one resolution: each fetched once, each miss recorded.
struct Pool<'a> {
    fetch: &'a dyn Fn(&EventId) -> Option<Fetched>,
    events: RefCell<HashMap<OwnedEventId, Option<Fetched>>>,
}

impl<'a> Pool<'a> {
    fn new(fetch: &'a dyn Fn(&EventId) -> Option<Fetched>) -> Self {
        Self {
            fetch,
            events: RefCell::default(),
        }
    }

    fn fetched(&self, id: &EventId) -> Option<Fetched> {
        if let Some(known) = self.events.borrow().get(id) {
            return known.clone();
        }
        let fetched = (self.fetch)(id);
        self.events
            .borrow_mut()
            .insert(id.to_owned(), fetched.clone());
        fetched
    }

    fn pdu(&self, id: &EventId) -> Option<Pdu> {
        self.fetched(id).map(|fetched| fetched.pdu)
    }

    fn auth_events(&self, id: &EventId) -> Vec<OwnedEventId> {
        self.pdu(id)
            .map(|pdu| pdu.auth_events().to_vec())
            .unwrap_or_default()
    }

    /// The result, unless an event was missing on the way to it.
    fn finish<T>(self, result: T) -> Result<T, Missing> {
        let missing: BTreeSet<OwnedEventId> = self
            .events
            .into_inner()
            .into_iter()
            .filter(|(_, fetched)| fetched.is_none())
            .map(|(id, _)| id)
            .collect();
        if missing.is_empty() {
            Ok(result)
        } else {
            Err(Missing(missing))
        }
    }
}

/// The distinct events at each key and in how many states they are.
fn occurrences(states: &[StateMap]) -> HashMap<&StateKey, HashMap<&OwnedEventId, usize>> {
    let mut occurrences: HashMap<&StateKey, HashMap<&OwnedEventId, usize>> = HashMap::new();
    for (key, id) in states.iter().flatten() {
        *occurrences.entry(key).or_default().entry(id).or_default() += 1;
    }
    occurrences
}
