//! Removing states that nothing refers to any more, in bounded steps.
//!
//! States have no reference counts. A job takes the room's counter as `ceiling`, marks from every state id that
//! remains (of event rows, of the head, of the log of current states), and sweeps what is below the ceiling and
//! unmarked. Rows made meanwhile lie above the ceiling and build on marked ones: each new state is made from one
//! that an event or the head refers to.

use hearth_store::{Batch, Snapshot};
use roaring::RoaringTreemap;

use super::compact::RoomItem;
use super::node::{Node, Rest};
use super::view::{LoadedState, StateView};
use crate::tables::STATE_NODES;
use crate::{Result, RoomNo, StateId};

/// How many rows are read at once.
const FETCH: usize = 256;

/// Finds all rows that some states need.
#[derive(Clone, Debug, Default)]
pub struct Marker {
    marked: RoaringTreemap,
    open: Vec<u64>,
}

impl Marker {
    /// Nothing marked.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds states that must stay.
    pub fn add(&mut self, roots: impl IntoIterator<Item = StateId>) {
        for root in roots {
            self.reach(root.0);
        }
    }

    /// Follows pointers for at most `rows_max` rows, rounded up to whole fetches. `true`: nothing is left to follow.
    pub async fn step(&mut self, view: &StateView<'_>, rows_max: usize) -> Result<bool> {
        let mut rows = 0;
        while rows < rows_max && !self.open.is_empty() {
            let some = self.open.split_off(self.open.len().saturating_sub(FETCH));
            rows += some.len();
            for (number, node) in some.iter().zip(view.load_many(&some).await?) {
                match node.as_ref() {
                    Node::State(_) => self.reach_from_state(&view.as_state(*number, node.clone())?),
                    Node::Inner(inner) => {
                        for (_, child) in inner.child_numbers(*number) {
                            self.reach(child);
                        }
                    }
                    Node::Leaf(_) => {}
                }
            }
        }
        Ok(self.open.is_empty())
    }

    /// How many rows are marked.
    pub fn rows(&self) -> u64 {
        self.marked.len()
    }

    /// Whether a row is marked.
    pub(crate) fn holds(&self, number: u64) -> bool {
        self.marked.contains(number)
    }

    fn reach_from_state(&mut self, row: &LoadedState) {
        // Parents of full rows and of runs help comparing, but are not needed.
        match (&row.state().rest, row.skip(), row.parent()) {
            (
                Rest::Full {
                    trie_back: Some(back),
                },
                _,
                _,
            ) => {
                self.reach(row.number.saturating_sub(*back));
            }
            (Rest::Run { .. }, Some(below), _) | (Rest::Plain { .. }, _, Some(below)) => {
                self.reach(below.0)
            }
            _ => {}
        }
    }

    fn reach(&mut self, number: u64) {
        if number > 0 && self.marked.insert(number) {
            self.open.push(number);
        }
    }
}

/// Puts into the batch the removal of unmarked rows of a room with `from <= number < ceiling`, looking at at most
/// `rows_max` rows. Returns where to go on, `None` at the end. The marker must have finished.
pub async fn sweep(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    (from, ceiling): (u64, u64),
    (marker, rows_max): (&Marker, usize),
    batch: &mut Batch,
) -> Result<Option<u64>> {
    debug_assert!(marker.open.is_empty());
    let item = |number| RoomItem { room, number };
    let range = STATE_NODES.between(&item(from), &item(ceiling));
    let rows = STATE_NODES.range(snapshot, range, rows_max).await?;
    for (key, _) in &rows {
        if !marker.holds(key.number) {
            STATE_NODES.delete(batch, key);
        }
    }
    let full = rows.len() == rows_max;
    Ok(rows.last().filter(|_| full).map(|(key, _)| key.number + 1))
}
