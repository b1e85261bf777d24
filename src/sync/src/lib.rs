//! The only reader for clients: sync, messages, context, relations, threads; and the [`Notifier`], which wakes them.
//!
//! [`Sync`] is the handle; [`Parts`] is what it is made of. Answers are JSON bytes, spliced from what is stored.
//!
//! Writes nothing but derived rows (checkpoints of unread counts) and trims the log that it follows. Knows no HTTP.

pub mod ask;

mod bundle;
mod counts;
mod encryption;
mod error;
mod filter;
mod json;
mod lazy;
mod notifier;
mod pages;
mod partials;
mod profile;
mod render;
mod room;
mod service;
mod token;
mod v3;
mod viewer;

pub use error::{Error, Result};
pub use notifier::Notifier;
pub use service::{Parts, Settings, Sync};
pub use token::{SyncToken, Token};
