//! Several servers in one process.

mod devices;
mod joining;
