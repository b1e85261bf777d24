//! Tells servers the keys of other servers, with this one's signature next to theirs.

use hearth_event::canonical::{self, Object, Strictness, Value};
use hearth_types::UnixMs;
use ruma::{OwnedServerName, ServerName};

use crate::{KeyRing, OwnKeys, Result};

/// Most servers of one question. Who wants more asks again.
const SERVERS_MAX: usize = 100;

/// Answers what keys other servers have.
#[derive(Clone)]
pub struct Notary {
    ring: KeyRing,
    own: OwnKeys,
}

/// Whose keys are asked for, and until when they should be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyQuery {
    /// The server.
    pub server: OwnedServerName,
    /// `minimum_valid_until_ts`; now if absent.
    pub valid_until: UnixMs,
}

impl Notary {
    /// A notary that knows what `ring` knows and signs with `own`.
    pub fn new(ring: KeyRing, own: OwnKeys) -> Self {
        Self { ring, own }
    }

    /// The answer to a question, canonical JSON. Servers of which nothing is known and that cannot be reached are left
    /// out; of those that cannot be reached but were known, what was known is told.
    pub async fn answer(&self, queries: &[KeyQuery]) -> Result<String> {
        let mut documents = Vec::new();
        for query in queries.iter().take(SERVERS_MAX) {
            if let Some(document) = self.document(&query.server, query.valid_until).await? {
                documents.push(Value::Object(document));
            }
        }
        let answer = Object::from([("server_keys".to_owned(), Value::Array(documents))]);
        Ok(canonical::to_string(&answer))
    }

    async fn document(&self, server: &ServerName, until: UnixMs) -> Result<Option<Object>> {
        if server == self.own.server_name() {
            return Ok(Some(self.own.document()));
        }
        let row = self.ring.fresh_row(server, until).await?;
        let document = row.and_then(|row| {
            canonical::parse_object(row.document.as_bytes(), Strictness::Lenient).ok()
        });
        Ok(document.map(|mut document| {
            self.own.sign(&mut document);
            document
        }))
    }
}
