//! Room state: per room a persistent map (event type, state key) → event number, whose versions share all that did
//! not change. `spec/decisions/002-state-structure.md` says why it is built so.
//!
//! A [`crate::StateId`] names one version and never changes its meaning. [`StateWriter`] makes new ones out of old
//! ones within a batch; [`StateView`] reads them: single keys, all entries, those of a type, fingerprints, and the
//! difference of two. [`States`] is what both need besides a snapshot: the store's secret and a cache.
//!
//! The structure, from a state downwards: a chain of rows with the changes of one step each; every sixteen changes a
//! row that sums up those before it; after at most 128 changes a trie of all entries. What a row holds is the hash of
//! a key, not its text; the event has the text.
//!
//! Does not know what the types mean, nor which state is current.

mod audit;
mod compact;
mod diff;
mod hash;
mod node;
mod sweep;
mod trie;
mod view;
mod writer;

#[cfg(test)]
mod tests;

pub use compact::RoomItem;
pub use hash::{HashKey, StateHash};
pub use node::{Change, Entry, Inner, Node, StateRow};
pub use sweep::{Marker, sweep};
pub use view::{StateCache, StateView, States};
pub use writer::{
    CHAIN_CHANGES_MAX, CHANGES_PER_COMMIT_MAX, KeyedEvent, RUN_CHANGES, StateWriter, import_chunks,
};

pub(crate) use audit::Audit;
pub(crate) use compact::{Reader, put_varint};
