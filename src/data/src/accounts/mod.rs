//! Users and everything that is theirs alone: devices, tokens, profiles, account data, push rules, filters.
//!
//! Rows and queries only; what may become of them is decided in the crate `accounts`. Users are named by their full
//! user id everywhere, as in the rows of rooms.

pub mod account_data;
pub mod devices;
pub mod filters;
pub mod profiles;
pub mod push_rules;
pub mod tokens;
pub mod users;
