//! The storage boundary: an ordered key-value store with snapshots, atomic batches and one total order of commits.
//!
//! Main types: [`Backend`] and [`Snapshot`], which an engine implements; [`Batch`], which is data; [`Table`], which
//! gives keys and values their types; [`Position`], the place of a commit in the total order.
//!
//! Knows no Matrix: neither rooms nor users nor events.

mod backend;
mod batch;
pub mod conformance;
mod error;
mod key;
mod memory;
mod position;
mod progress;
mod table;

pub use backend::{Backend, BoxFuture, KeyRange, Limits, Snapshot};
pub use batch::{Batch, Durability, Op};
pub use error::Error;
pub use key::{Key, KeyError, decode_key, encode_key};
pub use memory::{Fault, MemoryBackend};
pub use position::Position;
pub use progress::Progress;
pub use table::{PositionedValue, Profile, Table, TableInfo, Value, ValueError, counter};

/// What every operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
