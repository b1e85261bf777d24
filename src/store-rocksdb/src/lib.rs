//! The embedded backend: RocksDB behind the boundary of `hearth-store`.
//!
//! Main type: [`RocksBackend`]. One thread writes: it gathers the batches that wait, checks what they expect, writes
//! them as one record of the write-ahead log, syncs once, and publishes one snapshot for all readers (`committer`).
//! Reads try the block cache on the calling task and go to a bounded pool when the disk is needed (`view`). Tables
//! are kept in column families by their profile (`families`).
//!
//! Knows no Matrix, and of the tables only what `TableInfo` says.

mod backend;
mod committer;
mod database;
mod families;
mod format;
mod overlay;
mod statistics;
mod view;

pub use backend::RocksBackend;
pub use database::{Settings, TableSize};
pub use statistics::{Histogram, Statistics};
