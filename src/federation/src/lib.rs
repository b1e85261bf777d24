//! This server among others: its keys, theirs, where they are, how they are asked, and what is sent to them.
//!
//! Main types: [`OwnKeys`], what this server signs with; [`XMatrix`], how requests are signed; [`KeyRing`], other
//! servers' keys (implements [`hearth_ports::Keys`]); [`Resolver`], where a server is; [`Client`], which asks them
//! (implements [`hearth_ports::Remote`]); [`Sender`], which follows the change log and sends what happened.
//!
//! Knows no room: what another server sends is for `rooms` to judge. Opens no socket: `egress` does.

mod asks;
mod bad_keys;
mod client;
mod discovery;
mod error;
#[cfg(test)]
mod fake;
mod island;
mod key_ring;
mod media;
mod notary;
mod own_keys;
mod policy;
mod published;
mod remote;
mod remote_keys;
mod resolver;
mod sender;
mod x_matrix;

pub use bad_keys::is_known_bad;
pub use client::{Answer, Ask, Client};
pub use discovery::Target;
pub use error::{Error, Result};
pub use key_ring::KeyRing;
pub use notary::{KeyQuery, Notary};
pub use own_keys::{OldKey, OwnKeys};
pub use policy::Policy;
pub use resolver::Resolver;
pub use sender::{Sender, SenderParts};
pub use x_matrix::{SignedRequest, XMatrix};
