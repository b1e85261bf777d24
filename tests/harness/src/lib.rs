//! Tests of the real server binary from outside: crash, full disk, fuzz, load.
//!
//! It knows the Matrix client-server API and the server's command line, and no crate of Hearth: what it finds holds for
//! any homeserver, and the load generator measures another one just as well. The parts: [`server::Server`] starts and
//! kills the binary, [`client::User`] is a minimal client, [`device`] makes its keys, [`process`] reads CPU and memory from `/proc`, [`shim`] makes
//! a disk that loses what was not synced, [`ledger`] judges what was acknowledged. On these stand [`crash`],
//! [`disk_full`], [`retention`], [`media`], [`fuzz`], [`coverage`] and [`bench`].

pub mod bench;
pub mod client;
pub mod coverage;
pub mod crash;
pub mod device;
pub mod disk_full;
pub mod fuzz;
pub mod ledger;
pub mod media;
pub mod process;
pub mod report;
pub mod retention;
pub mod senders;
pub mod server;
pub mod shim;

/// A finding or a failure in words. These are tests: the message is all that anyone does with an error.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of everything here that can fail.
pub type Result<T> = std::result::Result<T, Error>;
