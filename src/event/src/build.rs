//! Making our own events.

use std::collections::BTreeMap;

use hearth_types::UnixMs;
use ruma::{OwnedEventId, OwnedRoomId, OwnedUserId, ServerName};
use serde_json::value::RawValue;

use crate::canonical::JsonError;
use crate::{Pdu, RoomVersion, SigningKey};

/// What somebody wants to send.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Who sends it.
    pub sender: OwnedUserId,
    /// The event type.
    pub kind: String,
    /// The state key of a state event.
    pub state_key: Option<String>,
    /// The content, a JSON object as the client wrote it.
    pub content: Box<RawValue>,
    /// The target of a redaction. May also stand in the content; [`build`] moves it to where the room version wants it.
    pub redacts: Option<OwnedEventId>,
}

/// Where an event goes.
#[derive(Clone, Debug, Default)]
pub struct Parents {
    /// The room. `None` only for the create event of room version 12, whose id becomes the room's.
    pub room_id: Option<OwnedRoomId>,
    /// The room's forward extremities.
    pub prev_events: Vec<OwnedEventId>,
    /// The events at [`crate::auth_keys_of_draft`] in the room state.
    pub auth_events: Vec<OwnedEventId>,
    /// One more than the deepest of `prev_events`.
    pub depth: u64,
    /// Now.
    pub origin_server_ts: UnixMs,
    /// [`Pdu::reference_hash`] of previous and auth events. Only room versions 1 and 2 write them.
    pub reference_hashes: BTreeMap<OwnedEventId, String>,
}

/// Why a draft cannot become an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Not JSON, or a number that the room version forbids (400 `M_BAD_JSON`).
    #[error("content is not valid JSON for the room version")]
    Json(#[from] JsonError),
    /// The content is not an object (400 `M_BAD_JSON`).
    #[error("content is not an object")]
    NotAnObject,
    /// The event would be larger than 65,536 bytes (413 `M_TOO_LARGE`).
    #[error("event would have {0} bytes, more than 65536")]
    TooLarge(usize),
    /// A field would be longer than 255 bytes (413 `M_TOO_LARGE`).
    #[error("field `{0}` would be longer than 255 bytes")]
    FieldTooLong(&'static str),
    /// Too many previous or auth events.
    #[error("field `{0}` would have too many entries")]
    TooMany(&'static str),
    /// A redaction without a valid `redacts`, or a field of `parents` that does not fit (400).
    #[error("field `{0}` is missing or malformed")]
    Field(&'static str),
}

impl BuildError {
    /// Whether the client is to be told 413 `M_TOO_LARGE`.
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::FieldTooLong(_))
    }
}

/// Makes an event: canonical JSON, content hash, signature, event id, limits.
#[expect(unused_variables, reason = "skeleton")]
pub fn build(
    draft: &Draft,
    parents: &Parents,
    version: RoomVersion,
    key: &SigningKey,
    server_name: &ServerName,
) -> Result<Pdu, BuildError> {
    unimplemented!()
}
