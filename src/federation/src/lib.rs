//! What this server is to other servers: so far its signing key, published for whoever checks its events.
//!
//! Main type: [`OwnKeys`]. Knows no HTTP: `federation-api` serves what is made here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hearth_event::SigningKey;
use hearth_event::canonical::{self, Object, Value};
use hearth_types::Clock;
use ruma::OwnedServerName;

/// How long others may rely on the published key before they ask again. The specification has them cap it at seven
/// days (server-server API, "Publishing keys"); a day lets a key be replaced soon.
const VALIDITY: Duration = Duration::from_secs(24 * 60 * 60);

/// This server's signing key, as others see it.
#[derive(Clone)]
pub struct OwnKeys(Arc<Inner>);

struct Inner {
    server_name: OwnedServerName,
    key: SigningKey,
    clock: Arc<dyn Clock>,
}

impl OwnKeys {
    /// The key of a server.
    pub fn new(server_name: OwnedServerName, key: SigningKey, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Inner {
            server_name,
            key,
            clock,
        }))
    }

    /// The signed document of `GET /_matrix/key/v2/server`, canonical JSON.
    pub fn document(&self) -> String {
        let Inner {
            server_name,
            key,
            clock,
        } = &*self.0;
        let valid_until = i64::try_from(clock.now().after(VALIDITY).0).unwrap_or(i64::MAX);
        let verify_key = object([("key", Value::String(key.public_key()))]);
        let mut document = BTreeMap::from([
            ("old_verify_keys".to_owned(), Value::Object(Object::new())),
            (
                "server_name".to_owned(),
                Value::String(server_name.to_string()),
            ),
            ("valid_until_ts".to_owned(), Value::Integer(valid_until)),
            (
                "verify_keys".to_owned(),
                object([(key.key_id(), verify_key)]),
            ),
        ]);
        key.sign_json(server_name, &mut document);
        canonical::to_string(&document)
    }
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
    use hearth_types::{ManualClock, UnixMs};

    use super::*;

    #[test]
    fn the_published_document_is_signed_with_the_key_it_names() {
        let key = SigningKey::generate([7; 32], "one").unwrap();
        let public = key.public_key_bytes();
        let clock = Arc::new(ManualClock::at(UnixMs(1_000)));
        let keys = OwnKeys::new("hearth.example".try_into().unwrap(), key, clock);
        let text = keys.document();
        let object = canonical::parse_object(text.as_bytes(), Strictness::Strict).unwrap();
        verify_json(&object, "hearth.example", "ed25519:one", &public).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["valid_until_ts"], 86_401_000);
        assert!(document["verify_keys"]["ed25519:one"]["key"].is_string());
    }
}
