//! Other servers' signing keys.

use std::collections::HashMap;

use hearth_event::VerifyKey;
use hearth_types::UnixMs;
use ruma::{OwnedServerName, ServerName};

use crate::BoxFuture;

/// The keys by which events of other servers are checked. Asked by `rooms`, answered by `federation`'s key ring.
///
/// Our own keys, also old ones, are among them.
pub trait Keys: Send + Sync {
    /// Those of the wanted keys that are in memory or in the store. Never waits for the network.
    fn at_hand<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet>;

    /// The wanted keys, asked of their servers and of notaries where they are not at hand or end too early. What cannot
    /// be had is left out; how often a server is asked is limited by the ring.
    fn fetch<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet>;
}

/// A key that is needed to check an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WantedKey {
    /// Whose.
    pub server: OwnedServerName,
    /// Which: `ed25519:…`.
    pub key_id: String,
    /// The key should be valid then: `origin_server_ts` of the event.
    pub at: UnixMs,
}

/// Keys by server and id.
#[derive(Clone, Debug, Default)]
pub struct KeySet(HashMap<OwnedServerName, HashMap<String, VerifyKey>>);

impl KeySet {
    /// Adds a key; of two the one that is valid longer stays.
    pub fn insert(&mut self, server: OwnedServerName, key_id: String, key: VerifyKey) {
        let keys = self.0.entry(server).or_default();
        match keys.get(&key_id) {
            Some(known) if known.valid_until >= key.valid_until => {}
            _ => {
                keys.insert(key_id, key);
            }
        }
    }

    /// A key, in the form that [`hearth_event::received`] asks for.
    pub fn get(&self, server: &ServerName, key_id: &str) -> Option<VerifyKey> {
        self.0.get(server)?.get(key_id).cloned()
    }

    /// Takes the keys of another set.
    pub fn extend(&mut self, other: Self) {
        for (server, keys) in other.0 {
            for (key_id, key) in keys {
                self.insert(server.clone(), key_id, key);
            }
        }
    }
}
