//! The difference of two states.
//!
//! States that are near each other are compared by what was changed on the way from their common ancestor; others by
//! their tries, passing over all that they share.

use std::collections::BTreeMap;

use super::hash::StateHash;
use super::node::{Change, Inner, Node, Rest};
use super::view::{Overlay, StateView};
use crate::{EventNo, Result, StateId};

/// How many rows are read in search of a common ancestor before the tries are compared instead. Enough for two
/// whole chains.
const ANCESTOR_ROWS_MAX: usize = 64;

/// What stands at a key on the two sides.
type Sides = BTreeMap<StateHash, (Option<EventNo>, Option<EventNo>)>;

impl StateView<'_> {
    /// What differs between two states, in the order of the hashes. Costs what the difference is, plus at most a
    /// chain of each state and the nodes of the tries that are not shared.
    pub async fn diff(&self, from: StateId, to: StateId) -> Result<Vec<Change>> {
        if from == to {
            return Ok(Vec::new());
        }
        match self.diff_by_ancestor(from, to).await? {
            Some(changes) => Ok(changes),
            None => self.diff_by_trie(from, to).await,
        }
    }

    async fn diff_by_ancestor(&self, from: StateId, to: StateId) -> Result<Option<Vec<Change>>> {
        let (mut a, mut b) = (Path::new(from), Path::new(to));
        for _ in 0..ANCESTOR_ROWS_MAX {
            if a.at == b.at {
                return Ok(Some(joined(&a, &b)));
            }
            // The ancestor is older than both, so the younger side steps.
            let (younger, other) = if a.at > b.at {
                (&mut a, b.at)
            } else {
                (&mut b, a.at)
            };
            if !self.step_back(younger, other).await? {
                return Ok(None);
            }
        }
        Ok(None)
    }

    async fn step_back(&self, path: &mut Path, other: StateId) -> Result<bool> {
        let Some(node) = self.load_if_present(path.at.0).await? else {
            // The parent of a full row or a run may have been swept.
            return Ok(false);
        };
        let row = self.as_state(path.at.0, node)?;
        if let Some(parent) = row.parent() {
            path.add(&row.state().changes);
            path.at = parent;
        } else {
            return Ok(false);
        }
        if let (Rest::Run { run, .. }, Some(skip)) = (&row.state().rest, row.skip())
            && skip >= other
        {
            path.add(run);
            path.at = skip;
        }
        Ok(true)
    }

    pub(super) async fn diff_by_trie(&self, from: StateId, to: StateId) -> Result<Vec<Change>> {
        let (a, b) = (self.overlay(from).await?, self.overlay(to).await?);
        let mut sides = self.tries_compared(a.trie, b.trie).await?;
        // A key that a chain sets and whose place in the tries is shared: what the trie holds is the same for both.
        let open: Vec<StateHash> = a
            .settings
            .keys()
            .chain(b.settings.keys())
            .filter(|hash| !sides.contains_key(hash))
            .copied()
            .collect();
        for (hash, event) in open.iter().zip(self.trie_values(&a, &open).await?) {
            sides.insert(*hash, (event, event));
        }
        for (hash, (before, after)) in &mut sides {
            *before = a.settings.get(hash).copied().unwrap_or(*before);
            *after = b.settings.get(hash).copied().unwrap_or(*after);
        }
        Ok(differing(sides))
    }

    async fn trie_values(
        &self,
        side: &Overlay,
        hashes: &[StateHash],
    ) -> Result<Vec<Option<EventNo>>> {
        let mut sorted: Vec<super::trie::Setting> =
            hashes.iter().map(|hash| (*hash, None)).collect();
        sorted.sort_unstable();
        sorted.dedup();
        let loaded = self.load_paths(side.trie, &sorted).await?;
        Ok(hashes
            .iter()
            .map(|hash| super::trie::value_at(&loaded, side.trie, *hash))
            .collect())
    }

    /// The entries of two tries in the nodes that they do not share.
    async fn tries_compared(&self, a: Option<u64>, b: Option<u64>) -> Result<Sides> {
        let mut sides = Sides::new();
        let mut pairs = vec![(a, b)];
        while let Some(pair) = pairs.pop() {
            match pair {
                (a, b) if a == b => {}
                (Some(a), Some(b)) => {
                    let nodes = self.load_many(&[a, b]).await?;
                    match (nodes[0].as_ref(), nodes[1].as_ref()) {
                        (Node::Inner(left), Node::Inner(right)) => {
                            pair_children((a, left), (b, right), &mut pairs)
                        }
                        // A leaf is small: what stands against it is either in it or different.
                        _ => {
                            self.add_side(Some(a), &mut sides, Side::From).await?;
                            self.add_side(Some(b), &mut sides, Side::To).await?;
                        }
                    }
                }
                (a, b) => {
                    self.add_side(a, &mut sides, Side::From).await?;
                    self.add_side(b, &mut sides, Side::To).await?;
                }
            }
        }
        Ok(sides)
    }

    async fn add_side(&self, root: Option<u64>, sides: &mut Sides, side: Side) -> Result<()> {
        for entry in self.whole_trie(root).await? {
            let slot = sides.entry(entry.hash).or_default();
            match side {
                Side::From => slot.0 = Some(entry.event),
                Side::To => slot.1 = Some(entry.event),
            }
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Side {
    From,
    To,
}

/// The parts of two forks that have to be compared with each other.
fn pair_children(
    (a, left): (u64, &Inner),
    (b, right): (u64, &Inner),
    pairs: &mut Vec<(Option<u64>, Option<u64>)>,
) {
    let shared = left.prefix.shared_nibbles(right.prefix);
    if left.at == right.at && left.prefix == right.prefix {
        for nibble in 0..16 {
            pairs.push((left.child(a, nibble), right.child(b, nibble)));
        }
    } else if left.at < right.at && shared >= left.at {
        // The right one lies below one child of the left one.
        let below = right.prefix.nibble(left.at);
        for (nibble, child) in left.child_numbers(a) {
            pairs.push((Some(child), (nibble == below).then_some(b)));
        }
        if left.child(a, below).is_none() {
            pairs.push((None, Some(b)));
        }
    } else if right.at < left.at && shared >= right.at {
        let below = left.prefix.nibble(right.at);
        for (nibble, child) in right.child_numbers(b) {
            pairs.push(((nibble == below).then_some(a), Some(child)));
        }
        if right.child(b, below).is_none() {
            pairs.push((Some(a), None));
        }
    } else {
        pairs.push((Some(a), None));
        pairs.push((None, Some(b)));
    }
}

/// The way from a state back to an ancestor, summed up.
struct Path {
    at: StateId,
    changes: BTreeMap<StateHash, Change>,
}

impl Path {
    fn new(state: StateId) -> Self {
        Self {
            at: state,
            changes: BTreeMap::new(),
        }
    }

    fn add(&mut self, older: &[Change]) {
        for change in older {
            self.changes
                .entry(change.hash)
                .and_modify(|newer| newer.before = change.before)
                .or_insert(*change);
        }
    }
}

/// The difference of the ends of two ways from one ancestor.
fn joined(a: &Path, b: &Path) -> Vec<Change> {
    let mut sides = Sides::new();
    for change in a.changes.values() {
        // What the ancestor holds, unless the other way says more.
        sides.insert(change.hash, (change.after, change.before));
    }
    for change in b.changes.values() {
        let slot = sides.entry(change.hash).or_insert((change.before, None));
        slot.1 = change.after;
    }
    differing(sides)
}

fn differing(sides: Sides) -> Vec<Change> {
    sides
        .into_iter()
        .filter(|(_, (before, after))| before != after)
        .map(|(hash, (before, after))| Change {
            hash,
            before,
            after,
        })
        .collect()
}
