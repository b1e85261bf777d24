//! What makes a store this server's: its name, its signing key, and the secret of its hashes.

use hearth_data::meta;
use hearth_data::state::HashKey;
use hearth_event::SigningKey;
use hearth_store::Backend;
use hearth_types::Ids;
use ruma::{OwnedServerName, ServerName};

use crate::error::{Doing, Error, Result};

/// Made at the first start, the same ever after.
pub(crate) struct Identity {
    /// The name in user ids.
    pub(crate) server_name: OwnedServerName,
    /// Signs events.
    pub(crate) key: SigningKey,
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
        let hash_key = load_or_put(store, meta::HASH_KEY, || ids.bytes::<16>().to_vec()).await?;
        let hash_key = <[u8; 16]>::try_from(hash_key)
            .map_err(|_| Error::refused("the stored hash key has not 16 bytes"))?;
        Ok(Self {
            server_name,
            key,
            hash_key: HashKey::new(hash_key),
        })
    }
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
