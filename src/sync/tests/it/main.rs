//! Tests of `sync` through its public functions, on histories that `rooms` writes.

mod counting;
mod history;
mod house;
mod picture;
mod syncing;
mod waking;
