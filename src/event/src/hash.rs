//! Content hash, reference hash and event ids.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ruma::room_version_rules::EventIdFormatVersion;
use sha2::{Digest as _, Sha256};

use crate::RoomVersion;
use crate::canonical::{Object, Value, to_string_without};
use crate::keys::decode_base64;

/// SHA-256 of the event without `unsigned`, `signatures` and `hashes`.
pub(crate) fn content_hash(event: &Object) -> [u8; 32] {
    let text = to_string_without(event, &["unsigned", "signatures", "hashes"]);
    Sha256::digest(text.as_bytes()).into()
}

/// Whether the event has the content hash that it claims to have.
pub(crate) fn is_intact(event: &Object) -> bool {
    let claimed = event
        .get("hashes")
        .and_then(Value::as_object)
        .and_then(|hashes| decode_base64(hashes.get("sha256")?.as_str()?));
    claimed.as_deref() == Some(content_hash(event).as_slice())
}

/// SHA-256 of the redacted event without `signatures` and `unsigned`. (In versions 1 and 2 the event id is part of
/// what is hashed.)
pub(crate) fn reference_hash(redacted: &Object) -> [u8; 32] {
    let text = to_string_without(redacted, &["unsigned", "signatures"]);
    Sha256::digest(text.as_bytes()).into()
}

/// A hash as events write it.
pub(crate) fn encode(hash: &[u8; 32]) -> String {
    STANDARD_NO_PAD.encode(hash)
}

/// The event id that a reference hash makes; `None` in versions 1 and 2, where the id is in the event.
pub(crate) fn event_id(version: RoomVersion, redacted: &Object) -> Option<String> {
    match version.rules().event_id_format {
        EventIdFormatVersion::V1 => None,
        EventIdFormatVersion::V2 => Some(format!(
            "${}",
            STANDARD_NO_PAD.encode(reference_hash(redacted))
        )),
        _ => Some(format!(
            "${}",
            URL_SAFE_NO_PAD.encode(reference_hash(redacted))
        )),
    }
}
