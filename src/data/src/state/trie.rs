//! The trie below the chains: pure functions over nodes that are in memory.
//!
//! A trie branches by half-bytes of the hash; forks with one child are left out (a fork holds its whole prefix), so
//! that the path through a type's sixteen half-bytes costs nothing. Nodes never change: changing entries makes new
//! nodes on the paths to them and shares all others.

use std::collections::HashMap;
use std::sync::Arc;

use super::hash::StateHash;
use super::node::{Entry, Inner, Node};
use crate::EventNo;

/// Most entries of a leaf; one more and it becomes a fork.
pub(crate) const LEAF_ENTRIES_MAX: usize = 12;

/// A key and what shall stand there.
pub(crate) type Setting = (StateHash, Option<EventNo>);

/// Nodes that were loaded for a change or a look-up, by number.
pub(crate) type Loaded = HashMap<u64, Arc<Node>>;

/// New nodes with consecutive numbers.
pub(crate) struct Fresh {
    pub(crate) next: u64,
    pub(crate) nodes: Vec<(u64, Node)>,
}

impl Fresh {
    fn add(&mut self, node: impl FnOnce(u64) -> Node) -> u64 {
        let number = self.next;
        self.next += 1;
        self.nodes.push((number, node(number)));
        number
    }
}

/// The parts of sorted settings that go into each child of a fork at `at`.
pub(crate) fn by_nibble(settings: &[Setting], at: u32) -> impl Iterator<Item = (u8, &[Setting])> {
    settings
        .chunk_by(move |a, b| a.0.nibble(at) == b.0.nibble(at))
        .filter_map(move |part| Some((part.first()?.0.nibble(at), part)))
}

/// The part of sorted settings whose keys begin as a fork's prefix does.
pub(crate) fn below<'a>(settings: &'a [Setting], inner: &Inner) -> &'a [Setting] {
    let from = settings.partition_point(|(hash, _)| hash.head(inner.at) < inner.prefix);
    let to = settings.partition_point(|(hash, _)| hash.head(inner.at) <= inner.prefix);
    &settings[from..to]
}

/// What stands at a key, if the nodes on its path were loaded.
pub(crate) fn value_at(loaded: &Loaded, root: Option<u64>, hash: StateHash) -> Option<EventNo> {
    let mut number = root?;
    loop {
        match loaded.get(&number)?.as_ref() {
            Node::Inner(inner) => {
                if hash.head(inner.at) != inner.prefix {
                    return None;
                }
                number = inner.child(number, hash.nibble(inner.at))?;
            }
            Node::Leaf(entries) => {
                let at = entries
                    .binary_search_by_key(&hash, |entry| entry.hash)
                    .ok()?;
                return Some(entries[at].event);
            }
            Node::State(_) => return None,
        }
    }
}

impl Inner {
    /// The number of a child of this fork, whose own number is given.
    pub(crate) fn child(&self, number: u64, nibble: u8) -> Option<u64> {
        let (_, back) = self.children.iter().find(|(at, _)| *at == nibble)?;
        number.checked_sub(*back)
    }

    /// The numbers of all children.
    pub(crate) fn child_numbers(&self, number: u64) -> impl Iterator<Item = (u8, u64)> {
        self.children
            .iter()
            .map(move |(nibble, back)| (*nibble, number.saturating_sub(*back)))
    }
}

/// The trie after sorted settings with distinct keys. All nodes on the paths to the keys must be in `loaded`.
/// `None` is the empty trie.
pub(crate) fn apply(
    loaded: &Loaded,
    root: Option<u64>,
    settings: &[Setting],
    fresh: &mut Fresh,
) -> Option<u64> {
    let Some(number) = root else {
        return build(&inserted(settings), fresh);
    };
    match loaded.get(&number).map(Arc::as_ref) {
        Some(Node::Leaf(entries)) => {
            let merged = merge(entries, settings);
            if merged == *entries {
                Some(number)
            } else {
                build(&merged, fresh)
            }
        }
        Some(Node::Inner(inner)) => {
            let outside = settings
                .iter()
                .filter(|(_, event)| event.is_some())
                .map(|(hash, _)| hash.shared_nibbles(inner.prefix))
                .min()
                .filter(|shared| *shared < inner.at);
            match outside {
                Some(at) => fork_above(loaded, (number, inner), settings, (at, fresh)),
                None => apply_inside(loaded, (number, inner), settings, fresh),
            }
        }
        // The caller loaded all that the settings touch and refused rows of another kind.
        Some(Node::State(_)) | None => Some(number),
    }
}

fn apply_inside(
    loaded: &Loaded,
    (number, inner): (u64, &Inner),
    settings: &[Setting],
    fresh: &mut Fresh,
) -> Option<u64> {
    let mut children = [None; 16];
    for (nibble, child) in inner.child_numbers(number) {
        children[usize::from(nibble)] = Some(child);
    }
    let before = children;
    for (nibble, part) in by_nibble(below(settings, inner), inner.at) {
        let child = &mut children[usize::from(nibble)];
        *child = apply(loaded, *child, part, fresh);
    }
    if children == before {
        return Some(number);
    }
    fork(inner.at, inner.prefix, &children, fresh)
}

/// A key does not begin as the fork's prefix does: a new fork where they part takes the old one as a child.
fn fork_above(
    loaded: &Loaded,
    (number, inner): (u64, &Inner),
    settings: &[Setting],
    (at, fresh): (u32, &mut Fresh),
) -> Option<u64> {
    let prefix = inner.prefix.head(at);
    let own = inner.prefix.nibble(at);
    let mut children = [None; 16];
    children[usize::from(own)] = Some(number);
    // Removals elsewhere find nothing to remove.
    let inside: Vec<Setting> = settings
        .iter()
        .filter(|(hash, _)| hash.head(at) == prefix)
        .copied()
        .collect();
    for (nibble, part) in by_nibble(&inside, at) {
        let child = &mut children[usize::from(nibble)];
        *child = apply(loaded, *child, part, fresh);
    }
    fork(at, prefix, &children, fresh)
}

fn fork(
    at: u32,
    prefix: StateHash,
    children: &[Option<u64>; 16],
    fresh: &mut Fresh,
) -> Option<u64> {
    let present: Vec<(u8, u64)> = (0..)
        .zip(children)
        .filter_map(|(nibble, child)| Some((nibble, (*child)?)))
        .collect();
    if let [] | [_] = present[..] {
        return present.first().map(|(_, child)| *child);
    }
    Some(fresh.add(|number| {
        Node::Inner(Inner {
            at,
            prefix,
            children: present
                .iter()
                .map(|(nibble, child)| (*nibble, number - child))
                .collect(),
        })
    }))
}

/// A trie of sorted entries.
fn build(entries: &[Entry], fresh: &mut Fresh) -> Option<u64> {
    let (first, last) = (entries.first()?.hash, entries.last()?.hash);
    if entries.len() <= LEAF_ENTRIES_MAX {
        return Some(fresh.add(|_| Node::Leaf(entries.to_vec())));
    }
    let at = first.shared_nibbles(last);
    let mut children = [None; 16];
    for part in entries.chunk_by(|a, b| a.hash.nibble(at) == b.hash.nibble(at)) {
        let nibble = part.first()?.hash.nibble(at);
        children[usize::from(nibble)] = build(part, fresh);
    }
    fork(at, first.head(at), &children, fresh)
}

fn inserted(settings: &[Setting]) -> Vec<Entry> {
    settings
        .iter()
        .filter_map(|(hash, event)| {
            Some(Entry {
                hash: *hash,
                event: (*event)?,
            })
        })
        .collect()
}

fn merge(entries: &[Entry], settings: &[Setting]) -> Vec<Entry> {
    let mut merged = inserted(settings);
    let kept = entries.iter().filter(|entry| {
        settings
            .binary_search_by_key(&entry.hash, |(hash, _)| *hash)
            .is_err()
    });
    merged.extend(kept);
    merged.sort_unstable();
    merged
}
