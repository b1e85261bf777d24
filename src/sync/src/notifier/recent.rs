//! What changed lately, each thing once at its newest change.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use hearth_store::Position;

/// How many users' news of presence are remembered per user; who asks after more is told of all that are there.
const FACES_MAX: usize = 64;

/// Things by their last change.
#[derive(Debug)]
pub(super) struct Recent<K, A> {
    by_age: BTreeSet<(A, K)>,
    by_key: HashMap<K, A>,
}

impl<K, A> Default for Recent<K, A> {
    fn default() -> Self {
        Self {
            by_age: BTreeSet::new(),
            by_key: HashMap::new(),
        }
    }
}

impl<K: Clone + Ord + Hash, A: Copy + Ord> Recent<K, A> {
    pub(super) fn touch(&mut self, key: K, at: A) {
        if let Some(before) = self.by_key.insert(key.clone(), at) {
            self.by_age.remove(&(before, key.clone()));
        }
        self.by_age.insert((at, key));
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(before) = self.by_key.remove(key) {
            self.by_age.remove(&(before, key.clone()));
        }
    }

    /// What changed after a moment, oldest change first.
    pub(super) fn since(&self, moment: A) -> Vec<K> {
        let newest_first = self.by_age.iter().rev();
        let newer = newest_first.take_while(|(at, _)| *at > moment);
        let mut found: Vec<K> = newer.map(|(_, key)| key.clone()).collect();
        found.reverse();
        found
    }

    /// Forgets the oldest ones beyond a number. Answers up to when something is forgotten.
    fn shrink(&mut self, max: usize) -> Option<A> {
        let mut forgotten = None;
        while self.by_key.len() > max
            && let Some((at, key)) = self.by_age.pop_first()
        {
            self.by_key.remove(&key);
            forgotten = Some(at);
        }
        forgotten
    }
}

/// Whose presence is news to a user: of those whose presence changed, and of those who came into one of her rooms.
#[derive(Debug)]
pub(super) struct Faces {
    changed: Recent<Arc<str>, u64>,
    met: Recent<Arc<str>, Position>,
    changes_known_after: u64,
    meetings_known_after: Position,
}

impl Faces {
    /// Nothing is known of what was before.
    pub(super) fn new(version: u64, position: Position) -> Self {
        Self {
            changed: Recent::default(),
            met: Recent::default(),
            changes_known_after: version,
            meetings_known_after: position,
        }
    }

    pub(super) fn change(&mut self, user: Arc<str>, version: u64) {
        self.changed.touch(user, version);
        if let Some(forgotten) = self.changed.shrink(FACES_MAX) {
            self.changes_known_after = forgotten;
        }
    }

    pub(super) fn meet(&mut self, user: Arc<str>, position: Position) {
        self.met.touch(user, position);
        if let Some(forgotten) = self.met.shrink(FACES_MAX) {
            self.meetings_known_after = forgotten;
        }
    }

    /// Whose presence is news after a version of presences and a position; `None` if it is not remembered so far back.
    pub(super) fn since(&self, version: u64, position: Position) -> Option<Vec<Arc<str>>> {
        if version < self.changes_known_after || position < self.meetings_known_after {
            return None;
        }
        let mut found = self.changed.since(version);
        found.extend(self.met.since(position));
        found.sort_unstable();
        found.dedup();
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_where_it_changed_last() {
        let mut recent = Recent::default();
        for (key, at) in [("a", 1), ("b", 2), ("a", 3), ("c", 4)] {
            recent.touch(key, at);
        }
        assert_eq!(recent.since(0), ["b", "a", "c"]);
        assert_eq!(recent.since(3), ["c"]);
        recent.remove(&"c");
        assert!(recent.since(3).is_empty());
    }

    #[test]
    fn faces_are_bounded_and_say_what_they_no_longer_know() {
        let mut faces = Faces::new(10, Position(5));
        assert_eq!(faces.since(9, Position(5)), None);
        assert_eq!(faces.since(10, Position(4)), None);
        faces.change("@a:x".into(), 11);
        faces.meet("@b:x".into(), Position(6));
        let both: Vec<Arc<str>> = vec!["@a:x".into(), "@b:x".into()];
        assert_eq!(faces.since(10, Position(5)), Some(both));
        for n in 0..FACES_MAX as u64 {
            faces.change(format!("@{n}:x").into(), 12 + n);
        }
        assert_eq!(faces.since(10, Position(6)), None);
        assert_eq!(faces.since(11, Position(6)).unwrap().len(), FACES_MAX);
    }
}
