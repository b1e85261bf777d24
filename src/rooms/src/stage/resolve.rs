//! State resolution on what differs: loads what `hearth_event::resolve` asks for, and makes the result a state.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use hearth_data::append::Standing;
use hearth_data::reach::StateSets;
use hearth_data::state::StateHash;
use hearth_data::{EventNo, StateId};
use hearth_event::{Fetched, Missing, Pdu, RoomVersion, StateKey, StateMap, auth_keys, resolve};
use ruma::{EventId, OwnedEventId};
use tokio::sync::Semaphore;

use super::Stage;
use crate::{Error, Result};

/// Resolutions of more events than this go to the pool.
const INLINE_EVENTS_MAX: usize = 128;
/// How many resolutions run at the same time on the pool.
const POOL: usize = 2;
/// How often events that turn out to be missing are loaded.
const ROUNDS_MAX: usize = 1_000;

/// Who may run a large resolution now.
#[derive(Clone)]
pub(crate) struct Resolvers(Arc<Semaphore>);

impl Default for Resolvers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(POOL)))
    }
}

/// All that one resolution looks at.
struct Question {
    version: RoomVersion,
    states: Vec<StateMap>,
    difference: HashSet<OwnedEventId>,
    events: HashMap<OwnedEventId, Fetched>,
}

impl Question {
    fn answer(&self) -> std::result::Result<StateMap, Missing> {
        let fetch = |id: &EventId| self.events.get(id).cloned();
        resolve(self.version, &self.states, &self.difference, &fetch)
    }
}

/// The keys at which states differ, with the events of each state there.
struct Conflict {
    hashes: Vec<StateHash>,
    /// By state, then by key.
    own: Vec<Vec<Option<EventNo>>>,
}

impl Stage<'_> {
    /// Resolves states of this room into one.
    pub(crate) async fn resolve(&mut self, states: Vec<StateId>) -> Result<StateId> {
        let states = self.distinct(states).await?;
        let Some(&base) = states.first() else {
            return Ok(StateId::EMPTY);
        };
        if states.len() == 1 {
            return Ok(base);
        }
        let conflict = self.conflict(&states).await?;
        if conflict.hashes.is_empty() {
            return Ok(base);
        }
        let mut question = self.question(base, &conflict).await?;
        let resolved = self.answered(&mut question).await?;
        let keys: BTreeSet<&StateKey> = question.states.iter().flat_map(HashMap::keys).collect();
        let mut changes = Vec::with_capacity(keys.len());
        for key in keys {
            let number = match resolved.get(key) {
                Some(id) => Some(self.number_of(id).await?),
                None => None,
            };
            changes.push((key.0.as_str(), key.1.as_str(), number));
        }
        Ok(self.writer.set(base, &changes).await?)
    }

    /// Each content once; the current state first, as the result is likely near it.
    async fn distinct(&self, mut states: Vec<StateId>) -> Result<Vec<StateId>> {
        let current = self.state();
        states.sort_unstable_by_key(|state| (*state != current, *state));
        states.dedup();
        let mut seen = HashSet::new();
        let mut distinct = Vec::with_capacity(states.len());
        for state in states {
            if seen.insert(self.writer.view().fingerprint(state).await?) {
                distinct.push(state);
            }
        }
        Ok(distinct)
    }

    async fn conflict(&self, states: &[StateId]) -> Result<Conflict> {
        let view = self.writer.view();
        let mut hashes = BTreeSet::new();
        for state in &states[1..] {
            let changes = view.diff(states[0], *state).await?;
            hashes.extend(changes.into_iter().map(|change| change.hash));
        }
        let hashes: Vec<StateHash> = hashes.into_iter().collect();
        let mut own = Vec::with_capacity(states.len());
        for state in states {
            own.push(view.lookup_hashes(*state, &hashes).await?);
        }
        Ok(Conflict { hashes, own })
    }

    async fn question(&mut self, base: StateId, conflict: &Conflict) -> Result<Question> {
        let version = self.view.version;
        let own: Vec<Vec<EventNo>> = conflict
            .own
            .iter()
            .map(|events| events.iter().copied().flatten().collect())
            .collect();
        let conflicted: BTreeSet<EventNo> = own.iter().flatten().copied().collect();
        let difference = self.difference(base, conflict, own).await?;
        let mut wanted: BTreeSet<EventNo> = conflicted.union(&difference).copied().collect();
        if version >= RoomVersion::V12 {
            // The conflicted state subgraph is looked for in the whole auth chain.
            let all: Vec<EventNo> = conflicted.iter().copied().collect();
            wanted.extend(self.links.view().auth_chain(&all).await?);
        }
        let numbers: Vec<EventNo> = wanted.into_iter().collect();
        let pdus = self.pdus(&numbers).await?;
        let mut question = Question {
            version,
            states: Vec::new(),
            difference: ids(&pdus, &difference),
            events: pdus.values().map(fetched).collect(),
        };
        let common = self.common(base, conflict, &pdus).await?;
        for events in &conflict.own {
            let mut state = common.clone();
            for (pdu, _) in events
                .iter()
                .flatten()
                .filter_map(|number| pdus.get(number))
            {
                if let Some((kind, key)) = pdu.state_key_pair() {
                    let key = (kind.to_owned(), key.to_owned());
                    state.insert(key, pdu.event_id().to_owned());
                }
            }
            question.states.push(state);
        }
        self.load_levels(&mut question).await?;
        Ok(question)
    }

    /// The auth difference. What all states hold is looked at only if there is something to take away by it.
    async fn difference(
        &self,
        base: StateId,
        conflict: &Conflict,
        own: Vec<Vec<EventNo>>,
    ) -> Result<BTreeSet<EventNo>> {
        let reach = self.links.view();
        let mut sets = StateSets {
            common: Vec::new(),
            own,
        };
        let found = reach.auth_difference(&sets).await?;
        if found.is_empty() {
            return Ok(found);
        }
        let entries = self.writer.view().entries(base).await?;
        sets.common = entries
            .into_iter()
            .filter(|entry| conflict.hashes.binary_search(&entry.hash).is_err())
            .map(|entry| entry.event)
            .collect();
        Ok(reach.auth_difference(&sets).await?)
    }

    /// What all states hold at keys that the auth rules of these events may ask for.
    async fn common(
        &mut self,
        base: StateId,
        conflict: &Conflict,
        pdus: &HashMap<EventNo, (Pdu, Standing)>,
    ) -> Result<StateMap> {
        let mut keys: HashSet<StateKey> = HashSet::new();
        for (pdu, _) in pdus.values() {
            keys.extend(auth_keys(pdu.version(), pdu.into()));
        }
        keys.insert(("m.room.create".to_owned(), String::new()));
        let hash = |key: &StateKey| self.inner.states.key().hash(&key.0, &key.1);
        let keys: Vec<StateKey> = keys
            .into_iter()
            .filter(|key| conflict.hashes.binary_search(&hash(key)).is_err())
            .collect();
        let wanted: Vec<(&str, &str)> = keys
            .iter()
            .map(|(kind, key)| (kind.as_str(), key.as_str()))
            .collect();
        let numbers = self.writer.view().lookup_many(base, &wanted).await?;
        let present: Vec<EventNo> = numbers.iter().copied().flatten().collect();
        let found = self.pdus(&present).await?;
        Ok(keys
            .into_iter()
            .zip(numbers)
            .filter_map(|(key, number)| {
                let (pdu, _) = found.get(&number?)?;
                Some((key, pdu.event_id().to_owned()))
            })
            .collect())
    }

    /// Loads the auth events of all events in question, and the power levels before power levels, down to the first.
    async fn load_levels(&self, question: &mut Question) -> Result<()> {
        let mut open: Vec<OwnedEventId> = question
            .events
            .values()
            .flat_map(|fetched| fetched.pdu.auth_events().to_vec())
            .chain(
                question
                    .states
                    .iter()
                    .flat_map(|state| state.values().cloned()),
            )
            .collect();
        while let Some(id) = open.pop() {
            if question.events.contains_key(&id) {
                continue;
            }
            let Some(found) = self.found(&id).await? else {
                continue;
            };
            if found.pdu.is("m.room.power_levels", "") {
                open.extend(found.pdu.auth_events().iter().cloned());
            }
            question.events.insert(
                id,
                Fetched {
                    rejected: found.rejected(),
                    pdu: found.pdu,
                },
            );
        }
        Ok(())
    }

    async fn answered(&mut self, question: &mut Question) -> Result<StateMap> {
        for _ in 0..ROUNDS_MAX {
            let answer = if question.events.len() <= INLINE_EVENTS_MAX {
                question.answer()
            } else {
                self.answered_on_pool(question).await?
            };
            match answer {
                Ok(resolved) => return Ok(resolved),
                Err(Missing(ids)) => self.load_missing(question, ids).await?,
            }
        }
        Err(missing("an auth chain has no end"))
    }

    async fn answered_on_pool(
        &self,
        question: &mut Question,
    ) -> Result<std::result::Result<StateMap, Missing>> {
        let permit = self.inner.resolvers.0.clone().acquire_owned().await;
        let owned = std::mem::replace(
            question,
            Question {
                version: question.version,
                states: Vec::new(),
                difference: HashSet::new(),
                events: HashMap::new(),
            },
        );
        let (owned, answer) = tokio::task::spawn_blocking(move || {
            let answer = owned.answer();
            drop(permit);
            (owned, answer)
        })
        .await
        .map_err(|_| Error::Stopping)?;
        *question = owned;
        Ok(answer)
    }

    async fn load_missing(
        &self,
        question: &mut Question,
        ids: BTreeSet<OwnedEventId>,
    ) -> Result<()> {
        for id in ids {
            let found = self
                .found(&id)
                .await?
                .ok_or_else(|| missing("an auth event is not in the store"))?;
            question.events.insert(
                id,
                Fetched {
                    rejected: found.rejected(),
                    pdu: found.pdu,
                },
            );
        }
        Ok(())
    }

    async fn number_of(&self, id: &EventId) -> Result<EventNo> {
        let found = self.found(id).await?;
        found
            .map(|found| found.event)
            .ok_or_else(|| missing("an event of a state is not in the store"))
    }
}

fn fetched((pdu, standing): &(Pdu, Standing)) -> (OwnedEventId, Fetched) {
    let fetched = Fetched {
        pdu: pdu.clone(),
        rejected: *standing == Standing::Rejected,
    };
    (pdu.event_id().to_owned(), fetched)
}

fn ids(
    pdus: &HashMap<EventNo, (Pdu, Standing)>,
    numbers: &BTreeSet<EventNo>,
) -> HashSet<OwnedEventId> {
    numbers
        .iter()
        .filter_map(|number| pdus.get(number))
        .map(|(pdu, _)| pdu.event_id().to_owned())
        .collect()
}

fn missing(reason: &str) -> Error {
    Error::from(hearth_store::Error::Corrupt {
        table: "events",
        key: "state resolution".to_owned(),
        reason: reason.to_owned(),
    })
}
