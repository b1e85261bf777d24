//! Several servers in one process.

mod joining;
