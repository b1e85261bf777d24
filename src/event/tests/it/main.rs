//! Tests of the event kernel through its public functions.

mod auth;
mod cost;
mod format;
mod ids;
mod redaction;
mod resolution;
mod support;
