//! State resolution: version 1 (room version 1), 2 (2 to 11) and 2.1 (12).

use std::collections::{BTreeSet, HashMap, HashSet};

use ruma::{EventId, OwnedEventId};

use crate::{Pdu, RoomVersion};

/// Type and state key.
pub type StateKey = (String, String);

/// A room state: the event at each type and state key.
pub type StateMap = HashMap<StateKey, OwnedEventId>;

/// An event loaded for resolution, with its standing.
#[derive(Clone)]
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
/// `states` may be limited to the keys that differ and the other keys that auth can ask for; what comes back has the
/// same keys. `auth_difference` is the union of the states' full auth chains without their intersection
/// ([`auth_difference`], or from an index); room version 1 does not look at it.
#[expect(unused_variables, reason = "skeleton")]
pub fn resolve(
    version: RoomVersion,
    states: &[StateMap],
    auth_difference: &HashSet<OwnedEventId>,
    fetch: &dyn Fn(&EventId) -> Option<Fetched>,
) -> Result<StateMap, Missing> {
    unimplemented!()
}

/// All events reachable from `events` over `auth_events`, without `events` themselves unless reachable.
#[expect(unused_variables, reason = "skeleton")]
pub fn auth_chain(
    events: &[OwnedEventId],
    fetch: &dyn Fn(&EventId) -> Option<Fetched>,
) -> Result<HashSet<OwnedEventId>, Missing> {
    unimplemented!()
}

/// What is in some but not all of the sets.
#[expect(unused_variables, reason = "skeleton")]
pub fn auth_difference(chains: &[HashSet<OwnedEventId>]) -> HashSet<OwnedEventId> {
    unimplemented!()
}
