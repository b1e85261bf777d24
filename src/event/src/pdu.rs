//! The event as servers exchange it.

use std::sync::Arc;

use bytes::Bytes;
use hearth_types::UnixMs;
use ruma::{EventId, OwnedEventId, OwnedRoomId, RoomId, UserId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::RoomVersion;
use crate::canonical::JsonError;

/// Why bytes are not an event of the room version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not JSON, or a number that the room version forbids.
    #[error("event is not valid JSON for its room version")]
    Json(#[from] JsonError),
    /// A field is absent or has the wrong type.
    #[error("field `{0}` is missing or malformed")]
    Field(&'static str),
    /// The whole event is larger than 65,536 bytes of canonical JSON.
    #[error("event has {0} bytes, more than 65536")]
    TooLarge(usize),
    /// A field that is limited to 255 bytes is longer.
    #[error("field `{0}` is longer than 255 bytes")]
    FieldTooLong(&'static str),
    /// More than 20 `prev_events` or 10 `auth_events`.
    #[error("field `{0}` has too many entries")]
    TooMany(&'static str),
}

/// An immutable event of a known room version. Cloning copies a pointer.
#[derive(Clone)]
pub struct Pdu(Arc<Inner>);

struct Inner;

#[expect(unused_variables, reason = "skeleton")]
impl Pdu {
    /// Reads an event as another server sent it: checks format and sizes and computes the event id.
    ///
    /// `unsigned` is dropped. Hashes and signatures are checked by [`crate::received`].
    pub fn parse(version: RoomVersion, json: &[u8]) -> Result<Self, FormatError> {
        unimplemented!()
    }

    /// Reads an event that was stored as [`Pdu::json`]; hashes nothing and checks no limits.
    pub fn from_stored(
        version: RoomVersion,
        event_id: OwnedEventId,
        room_id: OwnedRoomId,
        json: Bytes,
    ) -> Result<Self, FormatError> {
        unimplemented!()
    }

    /// The version of the room.
    pub fn version(&self) -> RoomVersion {
        unimplemented!()
    }

    /// The event id.
    pub fn event_id(&self) -> &EventId {
        unimplemented!()
    }

    /// The room; of a version 12 create event derived from the event id.
    pub fn room_id(&self) -> &RoomId {
        unimplemented!()
    }

    /// Who sent it.
    pub fn sender(&self) -> &UserId {
        unimplemented!()
    }

    /// The event type.
    pub fn kind(&self) -> &str {
        unimplemented!()
    }

    /// The state key of a state event.
    pub fn state_key(&self) -> Option<&str> {
        unimplemented!()
    }

    /// Whether it has a state key.
    pub fn is_state(&self) -> bool {
        unimplemented!()
    }

    /// Type and state key of a state event.
    pub fn state_key_pair(&self) -> Option<(&str, &str)> {
        unimplemented!()
    }

    /// Whether it is a state event of this type and key.
    pub fn is(&self, kind: &str, state_key: &str) -> bool {
        unimplemented!()
    }

    /// The content, as stored. A view: nothing is copied.
    pub fn content(&self) -> &RawValue {
        unimplemented!()
    }

    /// The content, read as `T`.
    pub fn content_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        unimplemented!()
    }

    /// When the sender's server made it, by its own clock.
    pub fn origin_server_ts(&self) -> UnixMs {
        unimplemented!()
    }

    /// Its depth as claimed: one more than the deepest of its `prev_events`.
    pub fn depth(&self) -> u64 {
        unimplemented!()
    }

    /// The events before it.
    pub fn prev_events(&self) -> &[OwnedEventId] {
        unimplemented!()
    }

    /// The events that allow it.
    pub fn auth_events(&self) -> &[OwnedEventId] {
        unimplemented!()
    }

    /// What a redaction redacts, wherever the room version keeps it.
    pub fn redacts(&self) -> Option<&EventId> {
        unimplemented!()
    }

    /// The event in federation format: canonical JSON with hashes and signatures, without `unsigned`.
    pub fn json(&self) -> &Bytes {
        unimplemented!()
    }

    /// The reference hash in unpadded standard base64, which versions 1 and 2 put next to event ids.
    pub fn reference_hash(&self) -> String {
        unimplemented!()
    }
}

impl std::fmt::Debug for Pdu {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pdu").finish_non_exhaustive()
    }
}
