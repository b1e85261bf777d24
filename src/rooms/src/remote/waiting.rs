//! What is kept of the events in one room's inbox that cannot be decided upon yet: what each lacks, when it is tried
//! again, and which become ready when something arrives.
//!
//! Knows neither store nor network: decisions on values, under the lock of `intake.rs`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use hearth_data::inbox::InboxKey;
use ruma::{EventId, OwnedEventId, OwnedServerName};
use tokio::time::Instant;

/// How long after the first failed try an event is tried again; doubles with each up to an hour.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// How often other servers are asked for what an event lacks: about a week. After that it is dropped; should later
/// events refer to it, it is fetched again.
const TRIES_MAX: u32 = 180;

/// Why an event waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// A key by which its signatures are checked: nothing else is known of it.
    Keys,
    /// These events.
    Events(Vec<OwnedEventId>),
    /// These events, which others keep from us: they say that we are not in the room.
    Kept(Vec<OwnedEventId>),
    /// The signature of the room's policy server.
    Policy,
    /// Nothing: it was this server that failed.
    Nothing,
}

/// An event that waits.
#[derive(Clone, Debug)]
pub(crate) struct Parked {
    /// Who sent it.
    pub(crate) origin: OwnedServerName,
    /// Its id, once its signatures are checked.
    pub(crate) event_id: Option<OwnedEventId>,
    pub(crate) lack: Lack,
}

struct Entry {
    parked: Parked,
    tries: u32,
    due: Instant,
    is_fetching: bool,
}

/// Whether an event is kept after a try that did not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    /// It was tried often enough, and is no longer known here.
    No,
}

/// The events of a room that wait.
#[derive(Default)]
pub(crate) struct Waiting {
    rows: BTreeMap<InboxKey, Entry>,
    /// Which events lack an event.
    by_lack: HashMap<OwnedEventId, BTreeSet<InboxKey>>,
    /// The rows of an event that waits itself.
    by_id: HashMap<OwnedEventId, BTreeSet<InboxKey>>,
    /// To be decided upon anew.
    ready: BTreeSet<InboxKey>,
    /// Servers for whose events something is just being fetched: one at a time, oldest first.
    fetching: HashSet<OwnedServerName>,
}

impl Waiting {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a row is known to wait.
    pub(crate) fn has(&self, key: InboxKey) -> bool {
        self.rows.contains_key(&key)
    }

    /// Who sent an event that waits.
    pub(crate) fn origin(&self, key: InboxKey) -> Option<OwnedServerName> {
        self.rows.get(&key).map(|entry| entry.parked.origin.clone())
    }

    /// Keeps an event, or notes what it lacks now.
    pub(crate) fn park(&mut self, key: InboxKey, parked: Parked, now: Instant) {
        // What it lacked may have come while it was being looked at.
        let is_ready = self.ready.contains(&key);
        let before = self.remove(key);
        let (tries, due, is_fetching) = before.map_or((0, now, false), |entry| {
            (entry.tries, entry.due, entry.is_fetching)
        });
        if let Lack::Events(ids) | Lack::Kept(ids) = &parked.lack {
            for id in ids {
                self.by_lack.entry(id.clone()).or_default().insert(key);
            }
        }
        if let Some(id) = &parked.event_id {
            self.by_id.entry(id.clone()).or_default().insert(key);
        }
        let due = match (&parked.lack, tries) {
            // What fails here would fail again at once.
            (Lack::Nothing, 0) => now + RETRY,
            _ => due,
        };
        let entry = Entry {
            parked,
            tries,
            due,
            is_fetching,
        };
        self.rows.insert(key, entry);
        if is_ready {
            self.ready.insert(key);
        }
    }

    /// An event is decided upon, or dropped.
    pub(crate) fn settle(&mut self, key: InboxKey) {
        self.remove(key);
    }

    fn remove(&mut self, key: InboxKey) -> Option<Entry> {
        let entry = self.rows.remove(&key)?;
        self.ready.remove(&key);
        if let Lack::Events(ids) | Lack::Kept(ids) = &entry.parked.lack {
            for id in ids {
                forget(&mut self.by_lack, id, key);
            }
        }
        if let Some(id) = &entry.parked.event_id {
            forget(&mut self.by_id, id, key);
        }
        Some(entry)
    }

    /// An event is here now: those that lack it are ready, and those that lack only these. Answers whether there are any.
    pub(crate) fn arrived(&mut self, event_id: &EventId) -> bool {
        let mut open = vec![event_id.to_owned()];
        let mut is_news = false;
        while let Some(id) = open.pop() {
            for key in self.by_lack.get(&id).into_iter().flatten() {
                if self.ready.insert(*key) {
                    is_news = true;
                    let entry = self.rows.get(key);
                    open.extend(entry.and_then(|entry| entry.parked.event_id.clone()));
                }
            }
        }
        is_news
    }

    /// Keys were fetched: those that lack some are looked at again.
    pub(crate) fn keys_arrived(&mut self) {
        let lacking = self.rows.iter();
        let lacking = lacking.filter(|(_, entry)| entry.parked.lack == Lack::Keys);
        self.ready.extend(lacking.map(|(key, _)| *key));
    }

    /// The oldest events that are ready, in their order.
    pub(crate) fn take_ready(&mut self, limit: usize) -> Vec<InboxKey> {
        let free = |key: &&InboxKey| {
            let entry = self.rows.get(*key);
            entry.is_some_and(|entry| !entry.is_fetching)
        };
        let some: Vec<InboxKey> = self
            .ready
            .iter()
            .filter(free)
            .take(limit)
            .copied()
            .collect();
        for key in &some {
            self.ready.remove(key);
        }
        some
    }

    /// Gives back what was taken as ready and not decided upon.
    pub(crate) fn still_ready(&mut self, keys: &[InboxKey]) {
        let known = keys.iter().filter(|key| self.rows.contains_key(*key));
        self.ready.extend(known.copied());
    }

    /// The next event for which something is to be fetched now, and who sent it.
    pub(crate) fn next_fetch(&mut self, now: Instant) -> Option<(InboxKey, OwnedServerName)> {
        let (key, origin) = self
            .rows
            .iter()
            .filter(|(key, _)| !self.ready.contains(*key))
            .find(|(_, entry)| self.fetch_at(entry).is_some_and(|at| at <= now))
            .map(|(key, entry)| (*key, entry.parked.origin.clone()))?;
        self.rows.get_mut(&key)?.is_fetching = true;
        self.fetching.insert(origin.clone());
        Some((key, origin))
    }

    /// When the next event is to be fetched for, if it is not one of those that are fetched for now.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.rows
            .values()
            .filter_map(|entry| self.fetch_at(entry))
            .min()
    }

    /// When something is to be fetched for an event; not while its server has another one fetched for.
    fn fetch_at(&self, entry: &Entry) -> Option<Instant> {
        let parked = &entry.parked;
        if entry.is_fetching || self.fetching.contains(&parked.origin) {
            return None;
        }
        Some(match self.waits_for_another(entry) {
            // It comes with the other one, if that comes at all.
            true => entry.due + RETRY_MAX,
            false => entry.due,
        })
    }

    /// Whether all that an event lacks waits itself, sent by the same server, and it is tried for these first. What
    /// another server sent is not relied upon: it would be that one's to hold it up. Nor is what lacks events that are kept
    /// from us: one after it may be what made us leave, which is decided upon without them.
    fn waits_for_another(&self, entry: &Entry) -> bool {
        let parked = &entry.parked;
        let Lack::Events(ids) = &parked.lack else {
            return false;
        };
        ids.iter().all(|id| {
            let mut rows = self.by_id.get(id).into_iter().flatten();
            rows.any(|key| {
                self.rows.get(key).is_some_and(|other| {
                    let is_first = other.tries == 0 || entry.tries > 0;
                    let is_hopeful = !matches!(other.parked.lack, Lack::Kept(_));
                    is_first && is_hopeful && other.parked.origin == parked.origin
                })
            })
        })
    }

    /// How often was tried in vain to fetch what an event lacks.
    pub(crate) fn tries(&self, key: InboxKey) -> u32 {
        self.rows.get(&key).map_or(0, |entry| entry.tries)
    }

    /// Something was fetched for an event, and it is not settled by that.
    pub(crate) fn fetched_in_vain(&mut self, key: InboxKey, now: Instant) -> Kept {
        let Some(entry) = self.rows.get_mut(&key) else {
            return Kept::Yes;
        };
        entry.tries += 1;
        entry.due = now + (RETRY * 2_u32.saturating_pow(entry.tries.min(16) - 1)).min(RETRY_MAX);
        if entry.tries < TRIES_MAX {
            return Kept::Yes;
        }
        self.remove(key);
        Kept::No
    }

    /// The fetching for an event has ended.
    pub(crate) fn end_fetch(&mut self, key: InboxKey, origin: &OwnedServerName) {
        self.fetching.remove(origin);
        if let Some(entry) = self.rows.get_mut(&key) {
            entry.is_fetching = false;
        }
    }

    /// Whether something can be decided upon now.
    pub(crate) fn has_ready(&self) -> bool {
        self.ready.iter().any(|key| {
            let entry = self.rows.get(key);
            entry.is_some_and(|entry| !entry.is_fetching)
        })
    }
}

fn forget(index: &mut HashMap<OwnedEventId, BTreeSet<InboxKey>>, id: &EventId, key: InboxKey) {
    if let Some(keys) = index.get_mut(id) {
        keys.remove(&key);
        if keys.is_empty() {
            index.remove(id);
        }
    }
}

#[cfg(test)]
mod tests;
