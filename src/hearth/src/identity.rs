//! What makes a store this server's: its name, its signing key, and the secret of its hashes.

use hearth_data::meta::{self, MetaRow};
use hearth_data::state::HashKey;
use hearth_data::tables::META;
use hearth_event::SigningKey;
use hearth_federation::{OldKey, is_known_bad};
use hearth_store::{Backend, Batch};
use hearth_types::{Clock, Ids, UnixMs};
use ruma::serde::Base64;
use ruma::{OwnedServerName, ServerName};

use crate::error::{Doing, Error, Result};

/// Made at the first start, the same ever after.
pub(crate) struct Identity {
    /// The name in user ids.
    pub(crate) server_name: OwnedServerName,
    /// Signs events.
    pub(crate) key: SigningKey,
    /// Keys that it signed with before.
    pub(crate) old_keys: Vec<OldKey>,
    /// Keys the hashes of room states.
    pub(crate) hash_key: HashKey,
}

impl Identity {
    /// Reads the identity in a store, or makes it there. Refuses a store of another server name.
    pub(crate) async fn load(store: &dyn Backend, ids: &Ids, server_name: &str) -> Result<Self> {
        let server_name = ServerName::parse(server_name)
            .doing(format!("server_name `{server_name}` is not valid"))?;
        let name = || server_name.as_bytes().to_vec();
        let stored = load_or_put(store, meta::SERVER_NAME, name).await?;
        if stored != server_name.as_bytes() {
            return Err(Error::refused(format!(
                "the store is that of `{}`, but server_name is `{server_name}`: the name of a server cannot be changed",
                String::from_utf8_lossy(&stored)
            )));
        }
        let fresh = || SigningKey::generate(ids.bytes(), &ids.token(6));
        let fresh = fresh().doing("could not make a signing key")?;
        let stored =
            load_or_put(store, meta::SIGNING_KEY, || fresh.to_stored().into_bytes()).await?;
        let key = String::from_utf8(stored)
            .doing("the stored signing key is not text")
            .and_then(|stored| {
                SigningKey::from_stored(&stored).doing("the stored signing key cannot be read")
            })?;
        if is_known_bad(&key.public_key_bytes()) {
            return Err(Error::refused(
                "the stored signing key is one that everybody knows: nobody would believe this server",
            ));
        }
        let old_keys = old_keys(store).await?;
        let hash_key = load_or_put(store, meta::HASH_KEY, || ids.bytes::<16>().to_vec()).await?;
        let hash_key = <[u8; 16]>::try_from(hash_key)
            .map_err(|_| Error::refused("the stored hash key has not 16 bytes"))?;
        Ok(Self {
            server_name,
            key,
            old_keys,
            hash_key: HashKey::new(hash_key),
        })
    }
}

/// Gives the server a new signing key; the one in use becomes an old one. Answers the ids of both.
pub(crate) async fn rotate(
    store: &dyn Backend,
    ids: &Ids,
    clock: &dyn Clock,
) -> Result<(String, String)> {
    let snapshot = store.snapshot().await.doing("could not read the store")?;
    let load = async |name| {
        let loaded = META.get(&*snapshot, &String::from(name)).await;
        loaded.doing("could not read the store")
    };
    let (Some(current), old) = (
        load(meta::SIGNING_KEY).await?,
        load(meta::OLD_SIGNING_KEYS).await?,
    ) else {
        return Err(Error::refused("the store has no signing key yet"));
    };
    let text = String::from_utf8_lossy(&current.0).into_owned();
    let key = SigningKey::from_stored(&text).doing("the stored signing key cannot be read")?;
    let fresh = SigningKey::generate(ids.bytes(), &ids.token(6));
    let fresh = fresh.doing("could not make a signing key")?;
    let mut lines = old.clone().map(|row| row.0).unwrap_or_default();
    // What everybody can sign with proves nothing, also for the past.
    if !is_known_bad(&key.public_key_bytes()) {
        let line = format!("{} {} {}\n", key.key_id(), key.public_key(), clock.now().0);
        lines.extend_from_slice(line.as_bytes());
    }
    let mut batch = Batch::new();
    for (name, before, after) in [
        (
            meta::SIGNING_KEY,
            Some(&current),
            fresh.to_stored().into_bytes(),
        ),
        (meta::OLD_SIGNING_KEYS, old.as_ref(), lines),
    ] {
        META.expect(&mut batch, &name.to_owned(), before);
        META.put(&mut batch, &name.to_owned(), &MetaRow(after));
    }
    store
        .commit(batch)
        .await
        .doing("could not write the store")?;
    Ok((key.key_id().to_owned(), fresh.key_id().to_owned()))
}

async fn old_keys(store: &dyn Backend) -> Result<Vec<OldKey>> {
    let snapshot = store.snapshot().await.doing("could not read the store")?;
    let stored = meta::load(&*snapshot, meta::OLD_SIGNING_KEYS).await;
    let stored = stored
        .doing("could not read the store")?
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&stored).into_owned();
    let read = text.lines().map(|line| {
        let mut words = line.split(' ');
        let (key_id, public_key, expired) = (words.next()?, words.next()?, words.next()?);
        let bytes: Base64 = Base64::parse(public_key).ok()?;
        Some(OldKey {
            key_id: key_id.to_owned(),
            public_key: bytes.as_bytes().try_into().ok()?,
            expired_at: UnixMs(expired.parse().ok()?),
        })
    });
    read.collect::<Option<Vec<OldKey>>>()
        .ok_or_else(|| Error::refused("the stored old signing keys cannot be read"))
}

async fn load_or_put(
    store: &dyn Backend,
    name: &str,
    make: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>> {
    meta::load_or_put(store, name, make)
        .await
        .doing(format!("could not read `{name}` from the store"))
}
