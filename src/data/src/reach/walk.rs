//! Questions as walks from higher to lower generations.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use roaring::RoaringTreemap;
use smallvec::SmallVec;

use super::{AuthLinks, FETCH, Reach};
use crate::{EventNo, Result};

/// The events of several states whose auth chains are to be compared.
#[derive(Clone, Debug, Default)]
pub struct StateSets {
    /// Events that all states hold.
    pub common: Vec<EventNo>,
    /// For each state the events that not all hold. An event may stand in any of them.
    pub own: Vec<Vec<EventNo>>,
}

/// Which of the states reach an event: one bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mask(SmallVec<[u64; 1]>);

impl Mask {
    fn none(states: usize) -> Self {
        Self(SmallVec::from_elem(0, states.div_ceil(64)))
    }

    fn all(states: usize) -> Self {
        let mut mask = Self::none(states);
        for state in 0..states {
            mask.insert(state);
        }
        mask
    }

    fn insert(&mut self, state: usize) {
        self.0[state / 64] |= 1 << (state % 64);
    }

    fn join(&mut self, other: &Self) {
        for (own, other) in self.0.iter_mut().zip(&other.0) {
            *own |= other;
        }
    }
}

/// Events that a walk has still to look at; the one of the highest generation comes first, so that all paths to an
/// event are known when it is its turn.
struct Frontier {
    events: BTreeMap<(u64, EventNo), (Arc<AuthLinks>, Mask)>,
    all: Mask,
    // How many of the events are not reached by all states.
    partial: usize,
}

impl Frontier {
    fn new(states: usize) -> Self {
        Self {
            events: BTreeMap::new(),
            all: Mask::all(states),
            partial: 0,
        }
    }

    fn reach(&mut self, event: EventNo, links: Arc<AuthLinks>, mask: &Mask) {
        match self.events.entry((links.generation, event)) {
            Entry::Vacant(slot) => {
                self.partial += usize::from(*mask != self.all);
                slot.insert((links, mask.clone()));
            }
            Entry::Occupied(mut slot) => {
                let known = &mut slot.get_mut().1;
                let before = usize::from(*known != self.all);
                known.join(mask);
                self.partial -= before - usize::from(*known != self.all);
            }
        }
    }

    /// The next event as long as there is one that not all states reach. Below events that all reach there are only
    /// such.
    fn pop(&mut self) -> Option<(EventNo, Arc<AuthLinks>, Mask)> {
        if self.partial == 0 {
            return None;
        }
        let ((_, event), (links, mask)) = self.events.pop_last()?;
        self.partial -= usize::from(mask != self.all);
        Some((event, links, mask))
    }
}

impl Reach<'_> {
    /// All events that are reached from these over `auth_events`; not they themselves, unless one reaches another.
    pub async fn auth_chain(&self, events: &[EventNo]) -> Result<BTreeSet<EventNo>> {
        let mut seen = RoaringTreemap::new();
        self.walk_down(events, 0, |event| {
            seen.insert(event.0);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(seen.into_iter().map(EventNo).collect())
    }

    /// Whether `event` is in the auth chain of `of`. Looks only at events of higher generations.
    pub async fn in_auth_chain(&self, event: EventNo, of: EventNo) -> Result<bool> {
        let floor = self.load_many(&[event]).await?[0].generation;
        let mut found = false;
        self.walk_down(&[of], floor, |reached| {
            if reached != event {
                return ControlFlow::Continue(());
            }
            found = true;
            ControlFlow::Break(())
        })
        .await?;
        Ok(found)
    }

    /// The auth difference: events that are in the full auth chain of at least one state, but not of all.
    ///
    /// Walks from the events that not all states hold; events that all hold are walked from only to take away what
    /// they reach, above the lowest generation in question.
    pub async fn auth_difference(&self, sets: &StateSets) -> Result<BTreeSet<EventNo>> {
        let mut found = self.difference_of_own(&sets.own).await?;
        let mut common = sets.common.clone();
        common.sort_unstable();
        common.dedup();
        let mut seen = RoaringTreemap::new();
        for some in common.chunks(FETCH) {
            let Some(floor) = found.values().copied().min() else {
                break;
            };
            self.walk_unseen(some, floor, &mut seen, |event| {
                found.remove(&event);
                ControlFlow::Continue(())
            })
            .await?;
        }
        Ok(found.into_keys().collect())
    }

    /// All events on the paths between any two of these, with them at the ends (for room version 12: the conflicted
    /// state subgraph), and these events themselves.
    pub async fn paths_between(&self, events: &[EventNo]) -> Result<BTreeSet<EventNo>> {
        let mut between: BTreeSet<EventNo> = events.iter().copied().collect();
        let rows = self.load_many(events).await?;
        let Some(floor) = rows.iter().map(|links| links.generation).min() else {
            return Ok(between);
        };
        let mut reached = BTreeSet::new();
        self.walk_down(events, floor, |event| {
            reached.insert(event);
            ControlFlow::Continue(())
        })
        .await?;
        let reached: Vec<EventNo> = reached.into_iter().collect();
        let mut rising: Vec<(u64, EventNo, Arc<AuthLinks>)> = Vec::with_capacity(reached.len());
        for some in reached.chunks(FETCH) {
            for (event, links) in some.iter().zip(self.load_many(some).await?) {
                rising.push((links.generation, *event, links));
            }
        }
        rising.sort_unstable_by_key(|(generation, event, _)| (*generation, *event));
        // Lower generations first: whether an event's auth events lead to one of the given is known before its turn.
        for (_, event, links) in rising {
            if links.auth.iter().any(|auth| between.contains(auth)) {
                between.insert(event);
            }
        }
        Ok(between)
    }

    /// Calls `visit` once for each event of at least generation `floor` in the auth chain of the given ones, until it
    /// breaks.
    async fn walk_down(
        &self,
        from: &[EventNo],
        floor: u64,
        visit: impl FnMut(EventNo) -> ControlFlow<()>,
    ) -> Result<()> {
        self.walk_unseen(from, floor, &mut RoaringTreemap::new(), visit)
            .await
    }

    /// The same for events that are not in `seen`, to which they are added.
    async fn walk_unseen(
        &self,
        from: &[EventNo],
        floor: u64,
        seen: &mut RoaringTreemap,
        mut visit: impl FnMut(EventNo) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut open = from.to_vec();
        while !open.is_empty() {
            let some = open.split_off(open.len().saturating_sub(FETCH));
            for links in self.load_many(&some).await? {
                // Auth events have lower generations.
                if links.generation <= floor {
                    continue;
                }
                for auth in &links.auth {
                    if seen.insert(auth.0) {
                        if visit(*auth).is_break() {
                            return Ok(());
                        }
                        open.push(*auth);
                    }
                }
            }
        }
        Ok(())
    }

    /// The difference of the chains of the states' own events, with generations.
    async fn difference_of_own(&self, own: &[Vec<EventNo>]) -> Result<HashMap<EventNo, u64>> {
        let mut frontier = Frontier::new(own.len());
        for (state, events) in own.iter().enumerate() {
            let mut mask = Mask::none(own.len());
            mask.insert(state);
            for some in events.chunks(FETCH) {
                for links in self.load_many(some).await? {
                    self.reach_all(&links.auth, &mask, &mut frontier).await?;
                }
            }
        }
        let mut found = HashMap::new();
        while let Some((event, links, mask)) = frontier.pop() {
            if mask != frontier.all {
                found.insert(event, links.generation);
            }
            self.reach_all(&links.auth, &mask, &mut frontier).await?;
        }
        Ok(found)
    }

    async fn reach_all(
        &self,
        events: &[EventNo],
        mask: &Mask,
        frontier: &mut Frontier,
    ) -> Result<()> {
        for (event, links) in events.iter().zip(self.load_many(events).await?) {
            frontier.reach(*event, links, mask);
        }
        Ok(())
    }
}
