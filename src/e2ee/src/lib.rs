//! The server's side of encrypted chats: device keys, one-time and fallback keys, cross-signing, signatures, messages
//! to devices, key backups, dehydrated devices, and what other servers ask and tell of all this.
//!
//! [`E2ee`] is the handle. Each operation loads, decides and commits; what it returns is durable. Nothing is kept in
//! memory but locks that spare contended writers a second try.
//!
//! What clients learn through `/sync` is read by the crate `sync` from the same tables: messages to devices
//! (`TO_DEVICE`), key counts (`KEY_HEADS`), changed device lists (`DEVICE_LISTS_AT`). What goes with a device when it is
//! removed is [`hearth_data::e2ee::device_clear`], part of the batch that removes it.
//!
//! For federation: [`E2ee::query_for_server`], [`E2ee::claim_for_server`], [`E2ee::devices_for_server`] answer other
//! servers; [`E2ee::receive_to_device`], [`E2ee::receive_device_list_update`], [`E2ee::receive_signing_key_update`] take
//! their EDUs in. What is to be sent stands in [`hearth_data::federation`]'s outbox, durable until acknowledged: messages with
//! the commit that sends them, changed device lists by the follower [`E2ee::run`]. Questions to other servers go through the
//! port [`hearth_ports::RemoteKeys`].
//!
//! Knows no HTTP, no accounts but their device rows, and no rooms but their members.

mod backup;
mod backup_keys;
mod claim;
mod cross_signing;
mod dehydrated;
mod error;
mod inbound;
mod json;
mod outbound;
mod query;
mod remote;
mod schema;
mod signatures;
mod to_device;
mod upload;

use std::fmt;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use hearth_ports::RemoteKeys;
use hearth_store::{Backend, Batch, Snapshot};
use hearth_types::{Caller, Clock, Ids};
use ruma::{OwnedServerName, UserId};
use tokio::sync::{Mutex, MutexGuard};

pub use crate::backup::{Backup, NewBackup};
pub use crate::backup_keys::{BackupPlace, BackupState};
pub use crate::claim::{Claims, KeyAnswer};
pub use crate::cross_signing::{Authenticated, SigningKeys};
pub use crate::dehydrated::{Dehydrated, DehydratedEvents};
pub use crate::error::{Error, Result};
pub use crate::inbound::Resync;
pub use crate::query::KeyQuery;
pub use crate::to_device::ToDevice;
pub use crate::upload::KeyCounts;
pub use hearth_store::{Error as StoreError, Position};

/// How often a decision is made again because somebody else was first.
const DECISIONS_MAX: usize = 32;
/// Over how many locks users are spread, so that those who write the same rows do it one after the other.
const STRIPES: u64 = 64;

/// What the crate is made of.
#[derive(Clone)]
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Backend>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for message ids.
    pub ids: Arc<Ids>,
    /// Other servers.
    pub remote: Arc<dyn RemoteKeys>,
    /// This server.
    pub server_name: OwnedServerName,
}

/// Encrypted chats. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct E2ee {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    /// Held over a commit, but never over a network call. Several are taken in the order of their numbers. They only
    /// spare retries: what must not happen twice is seen to by `Expect`.
    stripes: Vec<Mutex<()>>,
    acknowledged: to_device::Acknowledged,
}

impl fmt::Debug for E2ee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("E2ee")
            .field("server_name", &self.inner.parts.server_name)
            .finish_non_exhaustive()
    }
}

impl E2ee {
    /// The handle on a store.
    pub fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                stripes: (0..STRIPES).map(|_| Mutex::new(())).collect(),
                acknowledged: to_device::Acknowledged::default(),
            }),
        }
    }

    fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.inner.parts.server_name
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.inner.parts.store.snapshot().await?)
    }

    /// Loads, decides and commits; all again with a newer snapshot when somebody else was first. An empty batch is
    /// not committed.
    async fn decide<T, F, Fut>(&self, decision: F) -> Result<T>
    where
        F: Fn(Arc<dyn Snapshot>) -> Fut,
        Fut: Future<Output = Result<(Batch, T)>>,
    {
        for _ in 0..DECISIONS_MAX {
            let (batch, value) = decision(self.snapshot().await?).await?;
            if batch.is_empty() {
                return Ok(value);
            }
            match self.inner.parts.store.commit(batch).await {
                Ok(_) => return Ok(value),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    /// Waits for whoever writes rows of the same users.
    async fn turn<'a>(&'a self, users: impl Iterator<Item = &'a str>) -> Vec<MutexGuard<'a, ()>> {
        let mut numbers: Vec<u64> = users
            .map(|user| {
                let mut hasher = DefaultHasher::new();
                user.hash(&mut hasher);
                hasher.finish() % STRIPES
            })
            .collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut guards = Vec::with_capacity(numbers.len());
        for number in numbers {
            if let Some(stripe) = usize::try_from(number)
                .ok()
                .and_then(|number| self.inner.stripes.get(number))
            {
                guards.push(stripe.lock().await);
            }
        }
        guards
    }
}

/// The caller's device as the store names it.
fn device_of(caller: &Caller) -> Result<(String, String)> {
    let device = caller.device.as_ref().ok_or(Error::NoDevice)?;
    Ok((caller.user.to_string(), device.to_string()))
}

#[cfg(test)]
mod tests;
