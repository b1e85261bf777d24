//! The few words that every part of Hearth shares: time, randomness, who is asking, and size limits.
//!
//! Knows nothing of events, storage or the network. Not a place for helpers: a type comes here only when crates
//! that do not know each other have to speak of the same thing.

mod caller;
mod clock;
mod ids;
pub mod limits;

pub use caller::{Caller, ServiceCaller};
pub use clock::{Clock, ManualClock, SystemClock, UnixMs};
pub use ids::Ids;
