//! The document in which a server publishes its keys, checked.

use hearth_data::federation::ServerKeysRow;
use hearth_event::canonical::{self, Object, Strictness, Value};
use hearth_event::verify_json;
use hearth_types::UnixMs;
use ruma::ServerName;
use ruma::serde::Base64;

use crate::is_known_bad;

/// Most keys of a server that are kept, in use and old each. Servers have one or two, and a few old ones.
const KEYS_MAX: usize = 64;
/// Longest key id.
const KEY_ID_BYTES_MAX: usize = 255;

/// Reads and checks the document of `GET /_matrix/key/v2/server`, or one out of a notary's answer: it must be that of
/// `server`, and signed by at least one of the keys in use that it names, by none of them wrongly.
pub(crate) fn read(
    server: &ServerName,
    document: &Object,
    now: UnixMs,
) -> Result<ServerKeysRow, &'static str> {
    if document.get("server_name").and_then(Value::as_str) != Some(server.as_str()) {
        return Err("the keys are those of another server");
    }
    let valid_until = match document.get("valid_until_ts") {
        Some(Value::Integer(at)) => UnixMs(u64::try_from(*at).unwrap_or(0)),
        _ => return Err("`valid_until_ts` is missing"),
    };
    let verify_keys = entries(document, "verify_keys")
        .filter_map(|(id, entry)| Some((id.clone(), public_key(entry)?)))
        .take(KEYS_MAX)
        .collect::<Vec<_>>();
    check_signatures(server, document, &verify_keys)?;
    let old_verify_keys = entries(document, "old_verify_keys")
        .filter_map(|(id, entry)| {
            let expired = match entry.get("expired_ts")? {
                Value::Integer(at) => UnixMs(u64::try_from(*at).ok()?),
                _ => return None,
            };
            Some((id.clone(), public_key(entry)?, expired))
        })
        .take(KEYS_MAX)
        .collect();
    Ok(ServerKeysRow {
        fetched_at: now,
        valid_until,
        verify_keys,
        old_verify_keys,
        document: canonical::to_string(document),
    })
}

/// [`read`] from the document's text.
pub(crate) fn read_text(
    server: &ServerName,
    text: &[u8],
    now: UnixMs,
) -> Result<ServerKeysRow, &'static str> {
    let document = canonical::parse_object(text, Strictness::Lenient)
        .map_err(|_| "it is not a JSON object")?;
    read(server, &document, now)
}

fn check_signatures(
    server: &ServerName,
    document: &Object,
    keys: &[(String, [u8; 32])],
) -> Result<(), &'static str> {
    let signatures = document
        .get("signatures")
        .and_then(|all| all.as_object()?.get(server.as_str())?.as_object());
    let is_signed_by = |id: &String| signatures.is_some_and(|made| made.contains_key(id));
    let mut signed = keys.iter().filter(|(id, _)| is_signed_by(id)).peekable();
    if signed.peek().is_none() {
        return Err("the keys are not signed by one of them");
    }
    let is_right =
        |(id, key): &(String, [u8; 32])| verify_json(document, server.as_str(), id, key).is_ok();
    match signed.all(is_right) {
        true => Ok(()),
        false => Err("a signature on the keys is wrong"),
    }
}

/// The entries of an object of keys, those with usable ids.
fn entries<'a>(
    document: &'a Object,
    field: &str,
) -> impl Iterator<Item = (&'a String, &'a Object)> {
    let entries = document.get(field).and_then(Value::as_object);
    entries
        .into_iter()
        .flatten()
        .filter(|(id, _)| id.starts_with("ed25519:") && id.len() <= KEY_ID_BYTES_MAX)
        .filter_map(|(id, entry)| Some((id, entry.as_object()?)))
}

/// The key of an entry, unless it is malformed or everybody has its secret half.
fn public_key(entry: &Object) -> Option<[u8; 32]> {
    let text = entry.get("key")?.as_str()?;
    let bytes: Base64 = Base64::parse(text).ok()?;
    let key = <[u8; 32]>::try_from(bytes.as_bytes()).ok()?;
    (!is_known_bad(&key)).then_some(key)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use hearth_event::SigningKey;
    use hearth_types::ManualClock;
    use ruma::OwnedServerName;

    use super::*;
    use crate::OwnKeys;

    pub(crate) fn keys_of(server: &str, seed: u8, version: &str, now: u64) -> OwnKeys {
        let key = SigningKey::generate([seed; 32], version).unwrap();
        let name: OwnedServerName = server.try_into().unwrap();
        OwnKeys::new(
            name,
            key,
            Vec::new(),
            Arc::new(ManualClock::at(UnixMs(now))),
        )
    }

    fn reading(server: &str, document: &Object) -> Result<ServerKeysRow, &'static str> {
        let name: OwnedServerName = server.try_into().unwrap();
        read(&name, document, UnixMs(5))
    }

    #[test]
    fn a_server_s_own_document_is_read() {
        let keys = keys_of("a.example", 1, "x", 1_000);
        let row = reading("a.example", &keys.document()).unwrap();
        assert_eq!(row.valid_until, UnixMs(1_000 + 24 * 60 * 60 * 1_000));
        assert_eq!(row.verify_keys.len(), 1);
        assert_eq!(row.verify_keys[0].0, "ed25519:x");
    }

    #[test]
    fn s08_documents_of_others_unsigned_or_wrongly_signed_are_refused() {
        let document = keys_of("a.example", 1, "x", 1_000).document();
        assert!(reading("b.example", &document).is_err());
        let mut unsigned = document.clone();
        unsigned.remove("signatures");
        assert!(reading("a.example", &unsigned).is_err());
        let mut changed = document.clone();
        changed.insert("valid_until_ts".to_owned(), Value::Integer(9_999_999));
        assert!(reading("a.example", &changed).is_err());
        let mut by_other = keys_of("a.example", 2, "y", 1_000).document();
        by_other.insert("verify_keys".to_owned(), document["verify_keys"].clone());
        assert!(reading("a.example", &by_other).is_err());
    }

    #[test]
    fn s09_a_key_that_everybody_has_is_no_key() {
        let seed = crate::bad_keys::tests::SEED;
        let key = SigningKey::generate(seed, "bad").unwrap();
        assert!(is_known_bad(&key.public_key_bytes()));
        let name: OwnedServerName = "a.example".try_into().unwrap();
        let clock = Arc::new(ManualClock::at(UnixMs(0)));
        let document = OwnKeys::new(name, key, Vec::new(), clock).document();
        assert!(reading("a.example", &document).is_err());
    }
}
