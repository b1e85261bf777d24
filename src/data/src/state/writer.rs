//! Making states.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_store::{Batch, Snapshot};

use super::compact::RoomItem;
use super::hash::{HashKey, StateHash};
use super::node::{Change, Node, Rest, StateRow};
use super::trie::{self, Fresh, Setting};
use super::view::{LoadedState, StateView, States};
use crate::tables::STATE_NODES;
use crate::{EventNo, Result, RoomNo, StateId};

/// Most changes of a chain; one more and they go into the trie.
pub const CHAIN_CHANGES_MAX: u64 = 128;

/// A row that brings the changes since the last run to this many sums them up.
pub const RUN_CHANGES: u64 = 16;

/// More changes than this at once go into the trie directly and are not written down one by one.
const ROW_CHANGES_MAX: usize = 64;

/// Most changes that one commit should make to one state, so that the nodes they touch stay within a batch of 1,000
/// operations and 5 MB. See [`import_chunks`].
pub const CHANGES_PER_COMMIT_MAX: usize = 400;

/// A type, a state key, and the event that shall stand there.
pub type KeyedEvent<'a> = (&'a str, &'a str, Option<EventNo>);

/// Splits the changes of an import into parts for one commit each, in an order that touches each node of the trie
/// once or twice in all. Between two commits the states so far are kept from the last [`StateWriter::set`].
pub fn import_chunks<'a>(
    states: &States,
    mut changes: Vec<KeyedEvent<'a>>,
) -> Vec<Vec<KeyedEvent<'a>>> {
    changes
        .sort_by_cached_key(|(event_type, state_key, _)| states.key().hash(event_type, state_key));
    changes
        .chunks(CHANGES_PER_COMMIT_MAX)
        .map(<[_]>::to_vec)
        .collect()
}

/// Makes states of one room for one batch. States made here can be read and built upon at once.
pub struct StateWriter<'a> {
    states: &'a States,
    room: RoomNo,
    snapshot: &'a dyn Snapshot,
    staged: BTreeMap<u64, Arc<Node>>,
    next: u64,
}

impl<'a> StateWriter<'a> {
    /// `next_state` is the room's counter, as its head holds it; a new room has 1 (0 is taken as 1).
    pub fn new(
        states: &'a States,
        room: RoomNo,
        snapshot: &'a dyn Snapshot,
        next_state: u64,
    ) -> Self {
        Self {
            states,
            room,
            snapshot,
            staged: BTreeMap::new(),
            next: next_state.max(1),
        }
    }

    /// The room's states including those made here.
    pub fn view(&self) -> StateView<'_> {
        StateView {
            staged: Some(&self.staged),
            ..self.states.view(self.room, self.snapshot)
        }
    }

    /// The state that `base` becomes by the changes (`None` removes a key; of two changes to a key the last counts).
    /// It is `base` itself if nothing is different after them.
    pub async fn set(&mut self, base: StateId, changes: &[KeyedEvent<'_>]) -> Result<StateId> {
        let settings: BTreeMap<StateHash, Option<EventNo>> = changes
            .iter()
            .map(|(event_type, state_key, event)| {
                (self.states.key().hash(event_type, state_key), *event)
            })
            .collect();
        self.set_hashes(base, settings.into_iter().collect()).await
    }

    /// The same with hashed keys, each once and in rising order.
    pub(crate) async fn set_hashes(
        &mut self,
        base: StateId,
        settings: Vec<Setting>,
    ) -> Result<StateId> {
        let view = self.view();
        let hashes: Vec<StateHash> = settings.iter().map(|(hash, _)| *hash).collect();
        let before = view.lookup_hashes(base, &hashes).await?;
        let changes: Vec<Change> = settings
            .into_iter()
            .zip(before)
            .filter(|((_, after), before)| after != before)
            .map(|((hash, after), before)| Change {
                hash,
                before,
                after,
            })
            .collect();
        if changes.is_empty() {
            return Ok(base);
        }
        let base_row = view.state_row(base).await?;
        let chain = Chain::of(base_row.as_ref());
        let (len, fingerprint) = base_row
            .as_ref()
            .map_or((0, 0), |row| (row.state().len, row.state().fingerprint));
        let added = changes.len() as u64;
        let recorded = changes.len() <= ROW_CHANGES_MAX;
        let (mut fresh, trie) = if !recorded || chain.since_full + added > CHAIN_CHANGES_MAX {
            self.full(base, &changes).await?
        } else {
            (self.fresh(), None)
        };
        let number = fresh.next;
        let back = number - base.0;
        let rest = match trie {
            Some(trie) => Rest::Full {
                trie_back: trie.map(|trie| number - trie),
            },
            None if chain.since_run + added >= RUN_CHANGES && chain.since_run > 0 => {
                let (skip, run) = self.run(base).await?;
                Rest::Run {
                    since_full: chain.since_full + added,
                    skip_back: number - skip.0,
                    run,
                }
            }
            None => Rest::Plain {
                since_run: chain.since_run + added,
                since_full: chain.since_full + added,
            },
        };
        let row = StateRow {
            parent_back: if recorded { back } else { 0 },
            len: len_after(len, &changes),
            fingerprint: print_after(self.states.key(), fingerprint, &changes),
            changes: if recorded { changes } else { Vec::new() },
            rest,
        };
        fresh.nodes.push((number, Node::State(row)));
        self.next = number + 1;
        let nodes = fresh.nodes.into_iter();
        self.staged
            .extend(nodes.map(|(number, node)| (number, Arc::new(node))));
        Ok(StateId(number))
    }

    /// Puts the new rows into the batch and returns the room's counter for its new head.
    pub fn flush(self, batch: &mut Batch) -> u64 {
        for (number, node) in self.staged {
            let key = RoomItem {
                room: self.room,
                number,
            };
            STATE_NODES.put(batch, &key, &node);
        }
        self.next
    }

    /// How many rows the batch will get.
    pub fn rows(&self) -> usize {
        self.staged.len()
    }

    fn fresh(&self) -> Fresh {
        Fresh {
            next: self.next,
            nodes: Vec::new(),
        }
    }

    /// The trie that holds all of `base` and the changes.
    async fn full(
        &self,
        base: StateId,
        changes: &[Change],
    ) -> Result<(Fresh, Option<Option<u64>>)> {
        let view = self.view();
        let mut overlay = view.overlay(base).await?;
        overlay
            .settings
            .extend(changes.iter().map(|change| (change.hash, change.after)));
        let settings: Vec<Setting> = overlay.settings.into_iter().collect();
        let loaded = view.load_paths(overlay.trie, &settings).await?;
        let mut fresh = self.fresh();
        let trie = trie::apply(&loaded, overlay.trie, &settings, &mut fresh);
        Ok((fresh, Some(trie)))
    }

    /// The changes from the last run (or full row) up to and with `base`, and the state there.
    async fn run(&self, base: StateId) -> Result<(StateId, Vec<Change>)> {
        let view = self.view();
        let mut sum: BTreeMap<StateHash, Change> = BTreeMap::new();
        let mut at = base;
        while let Some(row) = view.state_row(at).await? {
            let (Rest::Plain { .. }, Some(parent)) = (&row.state().rest, row.parent()) else {
                break;
            };
            for change in &row.state().changes {
                // Walking back: a change seen later is the older one.
                sum.entry(change.hash)
                    .and_modify(|newer| newer.before = change.before)
                    .or_insert(*change);
            }
            at = parent;
        }
        Ok((at, sum.into_values().collect()))
    }
}

/// How long the chain of a state is.
struct Chain {
    since_run: u64,
    since_full: u64,
}

impl Chain {
    fn of(row: Option<&LoadedState>) -> Self {
        let (since_run, since_full) = match row.map(|row| &row.state().rest) {
            Some(Rest::Plain {
                since_run,
                since_full,
            }) => (*since_run, *since_full),
            Some(Rest::Run { since_full, .. }) => (0, *since_full),
            Some(Rest::Full { .. }) | None => (0, 0),
        };
        Self {
            since_run,
            since_full,
        }
    }
}

/// How many entries a state of `len` entries has after changes.
pub(super) fn len_after(len: u64, changes: &[Change]) -> u64 {
    let added = changes
        .iter()
        .filter(|change| change.before.is_none())
        .count() as u64;
    let removed = changes
        .iter()
        .filter(|change| change.after.is_none())
        .count() as u64;
    len.saturating_add(added).saturating_sub(removed)
}

/// The fingerprint of a state after changes.
pub(super) fn print_after(key: &HashKey, fingerprint: u128, changes: &[Change]) -> u128 {
    let print =
        |hash, event: Option<EventNo>| event.map_or(0, |event| key.entry_print(hash, event));
    changes.iter().fold(fingerprint, |sum, change| {
        sum.wrapping_sub(print(change.hash, change.before))
            .wrapping_add(print(change.hash, change.after))
    })
}
