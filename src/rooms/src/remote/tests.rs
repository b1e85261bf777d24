//! What comes from other servers, on a memory store, with other servers that do as they are told.

mod counts;
mod fixture;
mod inbox;
mod outside;
mod policy;
mod script;
mod security;
mod spaces;
