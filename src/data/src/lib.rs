//! Every table and every query of Hearth, one file per area. `tables.rs` shows the whole key space on one screen.
//!
//! Knows how things are kept, not who may see or do what: no policy, no clock, no network.

pub mod accounts;
pub mod append;
pub mod appservices;
pub mod changes;
pub mod counts;
pub mod e2ee;
pub mod federation;
pub mod fsck;
pub mod gaps;
pub mod inbox;
pub mod jobs;
pub mod media;
pub mod members;
pub mod meta;
pub mod partial;
pub mod reach;
pub mod receipts;
pub mod relations;
pub mod reports;
pub mod retention;
pub mod rooms;
pub mod row;
pub mod social;
pub mod state;
pub mod tables;
pub mod timeline;
pub mod txns;

mod numbers;

pub use numbers::{EventNo, Place, RoomNo, StateId};

/// What every query of this crate returns; the errors are the store's.
pub type Result<T, E = hearth_store::Error> = std::result::Result<T, E>;
