//! This server's signing key, and those of before, as others see them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_event::canonical::{self, Object, Value};
use hearth_event::{SigningKey, VerifyKey};
use hearth_types::{Clock, UnixMs};
use ruma::{OwnedServerName, ServerName};

/// How long others may rely on the published key before they ask again. The specification has them cap it at seven
/// days (server-server API, "Publishing keys"); a day lets a key be replaced soon.
const VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);

/// A key that this server signed with until it was replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldKey {
    /// `ed25519:<version>`.
    pub key_id: String,
    /// The 32 bytes of the public key.
    pub public_key: [u8; 32],
    /// When it was replaced.
    pub expired_at: UnixMs,
}

/// This server's signing keys.
#[derive(Clone)]
pub struct OwnKeys(Arc<Inner>);

struct Inner {
    server_name: OwnedServerName,
    key: SigningKey,
    old: Vec<OldKey>,
    clock: Arc<dyn Clock>,
}

impl OwnKeys {
    /// The key of a server, with those that it had before.
    pub fn new(
        server_name: OwnedServerName,
        key: SigningKey,
        old: Vec<OldKey>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner {
            server_name,
            key,
            old,
            clock,
        }))
    }

    /// Whose they are.
    pub fn server_name(&self) -> &ServerName {
        &self.0.server_name
    }

    /// Adds this server's signature to an object.
    pub fn sign(&self, object: &mut Object) {
        self.0.key.sign_json(&self.0.server_name, object);
    }

    /// The key in use, without its secret part: id and signing function are in [`OwnKeys::sign`].
    pub(crate) fn key(&self) -> &SigningKey {
        &self.0.key
    }

    /// One of this server's keys, for whoever checks its own events.
    pub(crate) fn verify_key(&self, key_id: &str) -> Option<VerifyKey> {
        let Inner { key, old, .. } = &*self.0;
        if key.key_id() == key_id {
            return Some(VerifyKey {
                key: key.public_key_bytes(),
                valid_until: UnixMs(u64::MAX),
            });
        }
        let old = old.iter().find(|old| old.key_id == key_id)?;
        Some(VerifyKey {
            key: old.public_key,
            valid_until: old.expired_at,
        })
    }

    /// The signed document of `GET /_matrix/key/v2/server`.
    pub fn document(&self) -> Object {
        let Inner {
            server_name,
            key,
            old,
            clock,
        } = &*self.0;
        let valid_until = integer(clock.now().after(VALIDITY));
        let verify_key = object([("key", Value::String(key.public_key()))]);
        let old_keys: Object = old.iter().map(old_key).collect();
        let mut document = BTreeMap::from([
            ("old_verify_keys".to_owned(), Value::Object(old_keys)),
            (
                "server_name".to_owned(),
                Value::String(server_name.to_string()),
            ),
            ("valid_until_ts".to_owned(), valid_until),
            (
                "verify_keys".to_owned(),
                object([(key.key_id(), verify_key)]),
            ),
        ]);
        self.sign(&mut document);
        document
    }

    /// [`OwnKeys::document`] as canonical JSON.
    pub fn document_text(&self) -> String {
        canonical::to_string(&self.document())
    }
}

fn old_key(old: &OldKey) -> (String, Value) {
    let public = ruma::serde::Base64::<ruma::serde::base64::Standard>::new(old.public_key.to_vec());
    let value = object([
        ("expired_ts", integer(old.expired_at)),
        ("key", Value::String(public.encode())),
    ]);
    (old.key_id.clone(), value)
}

fn integer(at: UnixMs) -> Value {
    Value::Integer(i64::try_from(at.0).unwrap_or(i64::MAX))
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use hearth_event::canonical::Strictness;
    use hearth_event::verify_json;
    use hearth_types::ManualClock;

    use super::*;

    fn key(seed: u8, version: &str) -> SigningKey {
        SigningKey::generate([seed; 32], version).unwrap()
    }

    #[test]
    fn the_published_document_is_signed_with_the_key_it_names() {
        let clock = Arc::new(ManualClock::at(UnixMs(1_000)));
        let old = OldKey {
            key_id: "ed25519:zero".to_owned(),
            public_key: key(6, "zero").public_key_bytes(),
            expired_at: UnixMs(900),
        };
        let name: OwnedServerName = "hearth.example".try_into().unwrap();
        let keys = OwnKeys::new(name, key(7, "one"), vec![old], clock);
        let text = keys.document_text();
        let object = canonical::parse_object(text.as_bytes(), Strictness::Strict).unwrap();
        let public = key(7, "one").public_key_bytes();
        verify_json(&object, "hearth.example", "ed25519:one", &public).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["valid_until_ts"], 86_401_000);
        assert!(document["verify_keys"]["ed25519:one"]["key"].is_string());
        let old = &document["old_verify_keys"]["ed25519:zero"];
        assert_eq!(old["expired_ts"], 900);
        assert_eq!(old["key"], key(6, "zero").public_key());
    }
}
