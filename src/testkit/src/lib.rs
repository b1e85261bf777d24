//! Several servers in one process, for tests of what happens between them.
//!
//! [`Net`] is the network: it takes its time, loses, repeats, and can be cut ([`Net::cut`]). [`Node`] is a server on a
//! memory store: its rooms, the real transport with signed requests, and the real router of the server-server API; it can
//! crash and start again on what was durable. Time is tokio's, which tests pause; all chance comes from one seed.
//!
//! For tests only: failures end the test.

#![allow(clippy::unwrap_used, reason = "a failure ends the test")]

mod clock;
mod net;
mod node;
mod sim;

pub use clock::SimClock;
pub use net::{Faults, Net};
pub use node::Node;
pub use sim::{Sim, Weights};
