//! What the store knows about itself: secrets, signing keys, allocators.

use std::sync::{Mutex, PoisonError};

use hearth_store::{Backend, Batch, Snapshot};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::META;

/// Bytes under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaRow(pub Vec<u8>);
rows!(MetaRow = 1);

/// The keyed hashes' secret: 16 random bytes, made at first start.
pub const HASH_KEY: &str = "hash_key";
/// The server name, so that a store is not served under another.
pub const SERVER_NAME: &str = "server_name";
/// The signing keys of before, public: a line each, of key id, unpadded base64, and when it was replaced.
pub const OLD_SIGNING_KEYS: &str = "old_signing_keys";
/// The signing key in use: `ed25519`, version and 32 secret bytes in unpadded base64, between spaces.
pub const SIGNING_KEY: &str = "signing_key";

/// One value.
pub async fn load(snapshot: &dyn Snapshot, name: &str) -> Result<Option<Vec<u8>>> {
    Ok(META.get(snapshot, &name.to_owned()).await?.map(|row| row.0))
}

/// Writes a value that only one part of the server writes.
pub fn put(batch: &mut Batch, name: &str, value: Vec<u8>) {
    META.put(batch, &name.to_owned(), &MetaRow(value));
}

/// The value under a name; makes it if it is not there. Of two at once, both get the first one's.
pub async fn load_or_put(
    store: &dyn Backend,
    name: &str,
    make: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>> {
    let snapshot = store.snapshot().await?;
    if let Some(found) = load(&*snapshot, name).await? {
        return Ok(found);
    }
    let key = name.to_owned();
    let row = MetaRow(make());
    let mut batch = Batch::new();
    META.expect(&mut batch, &key, None);
    META.put(&mut batch, &key, &row);
    match store.commit(batch).await {
        Ok(_) => Ok(row.0),
        Err(error) if error.is_conflict() => {
            let snapshot = store.snapshot().await?;
            Ok(load(&*snapshot, name).await?.unwrap_or(row.0))
        }
        Err(error) => Err(error),
    }
}

/// How many numbers are taken from the store at once.
const BLOCK: u64 = 64;
/// How often taking a block is tried while other processes take some too.
const TRIES_MAX: usize = 100;

/// Gives out numbers that are never given out twice, also not after a crash; gaps are possible.
#[derive(Debug)]
pub struct Numbers {
    name: &'static str,
    free: Mutex<std::ops::Range<u64>>,
}

impl Numbers {
    /// The allocator of that name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            free: Mutex::new(0..0),
        }
    }

    /// The next number, from 1 on.
    pub async fn next(&self, store: &dyn Backend) -> Result<u64> {
        for _ in 0..TRIES_MAX {
            if let Some(number) = self
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .next()
            {
                return Ok(number);
            }
            self.refill(store).await?;
        }
        Err(hearth_store::Error::Conflict)
    }

    async fn refill(&self, store: &dyn Backend) -> Result<()> {
        let key = self.name.to_owned();
        let before = META.get(&*store.snapshot().await?, &key).await?;
        let start = match &before {
            Some(MetaRow(bytes)) => bytes.as_slice().try_into().map_or(1, u64::from_be_bytes),
            None => 1,
        };
        let end = start + BLOCK;
        let mut batch = Batch::new();
        META.expect(&mut batch, &key, before.as_ref());
        META.put(&mut batch, &key, &MetaRow(end.to_be_bytes().to_vec()));
        match store.commit(batch).await {
            Ok(_) => {
                let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
                // Somebody else may have refilled meanwhile; then this block is a gap, which is allowed.
                if free.is_empty() {
                    *free = start..end;
                }
                Ok(())
            }
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}
