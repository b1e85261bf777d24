//! The endpoints as clients see them, on the store in memory.

mod api;
mod backups;
mod keys;
mod mutations;
mod parts;
