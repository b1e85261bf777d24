//! Traits through which one part of Hearth asks something of another without knowing it.
//!
//! A port is owned by the side that asks. It is dyn-safe (boxed futures), so that the binary and the tests decide
//! who answers. A trait is added here when its first user is, not before.
//!
//! Knows no implementation, no HTTP and no store.

mod authenticate;
mod blobs;
mod history;
mod http_out;
mod keys;
mod media_peers;
mod namespaces;
mod presence;
pub mod remote;
mod remote_keys;
mod typing;

use std::future::Future;
use std::pin::Pin;

pub use authenticate::{Acting, AuthFailure, Authenticate, BoxError};
pub use blobs::{BlobName, Blobs, ByteStream};
pub use history::{Filled, History, PageBack};
pub use http_out::{
    HostPort, HttpOut, OutBody, OutError, OutOptions, OutRequest, OutResponse, Service, full_body,
    no_body,
};
pub use keys::{KeySet, Keys, WantedKey};
pub use media_peers::{MediaPeers, Signed};
pub use namespaces::{Namespaces, NoNamespaces, RegisteredService};
pub use presence::{Presence, PresenceSource};
pub use remote::Remote;
pub use remote_keys::{NoRemoteKeys, RemoteKeys, RemoteKeysError};
pub use typing::TypingSource;

/// A boxed future, so that ports are `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
