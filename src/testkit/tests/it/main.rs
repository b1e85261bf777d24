//! Several servers in one process.

mod devices;
mod joining;
mod random;
