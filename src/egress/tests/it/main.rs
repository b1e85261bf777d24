//! Tests of the client against servers on loopback.

mod client;
mod peer;
mod ssrf;
