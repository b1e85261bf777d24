//! Through the crate's public functions, on one server in memory.

mod away;
mod fixture;
mod friends;
mod groups;
mod ordinary;
mod races;
mod remote;
