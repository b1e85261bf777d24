//! Several servers in one process, for tests of what happens between them.
//!
//! [`Net`] is the network: it takes its time, loses, repeats, and can be cut ([`Net::cut`]). [`Node`] is a server on a
//! memory store: its rooms, the real transport with signed requests, the real router of the server-server API, and what
//! clients read; it can crash and start again on what was durable. [`Sim`] has users do things at random while all that
//! happens ([`Sim::act`]), heals it and says what is not as it should be ([`Sim::settle`]). Time is tokio's, which tests
//! pause; all chance comes from one seed.
//!
//! For tests only: failures end the test.

#![allow(clippy::unwrap_used, reason = "a failure ends the test")]

mod act;
mod client;
mod clock;
mod look;
mod net;
mod node;
mod settle;
mod sim;

pub use clock::SimClock;
pub use net::{Faults, Net};
pub use node::Node;
pub use sim::{Sim, Weights};
