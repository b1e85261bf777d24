//! Making our own events.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hearth_types::UnixMs;
use hearth_types::limits::{EVENT_FIELD_BYTES_MAX, INTEGER_MAX};
use ruma::room_version_rules::EventsReferenceFormatVersion;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, ServerName};
use serde_json::value::RawValue;

use crate::canonical::{self, JsonError, Object, Strictness, Value};
use crate::keys::add_signature;
use crate::redact::redacted;
use crate::{FormatError, Pdu, RoomVersion, SigningKey, hash};

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
pub fn build(
    draft: &Draft,
    parents: &Parents,
    version: RoomVersion,
    key: &SigningKey,
    server_name: &ServerName,
) -> Result<Pdu, BuildError> {
    let mut event = unsigned_event(draft, parents, version)?;
    if version.rules().event_format.require_event_id {
        // Versions 1 and 2 choose their ids; the hash of the event is as good as chance, and needs none.
        let opaque = URL_SAFE_NO_PAD.encode(hash::content_hash(&event));
        event.insert(
            "event_id".to_owned(),
            format!("${opaque}:{server_name}").into(),
        );
    }
    check_fields(&event)?;
    hash_and_sign(version, &mut event, key, server_name);
    Pdu::from_object(version, &event).map_err(BuildError::from)
}

/// Adds our signature to an event that another server made: as the authorising server of a restricted join, or as the
/// server of an invited user. Check the event first: a signature vouches for it.
pub fn cosign(pdu: &Pdu, key: &SigningKey, server_name: &ServerName) -> Result<Pdu, FormatError> {
    let mut event = pdu.to_object();
    sign_redacted(pdu.version(), &mut event, key, server_name);
    Pdu::from_stored(
        pdu.version(),
        pdu.event_id().to_owned(),
        pdu.room_id().to_owned(),
        canonical::to_string(&event).into(),
    )
}

/// Puts the content hash and our signature into an event.
pub(crate) fn hash_and_sign(
    version: RoomVersion,
    event: &mut Object,
    key: &SigningKey,
    server_name: &ServerName,
) {
    let content_hash = hash::encode(&hash::content_hash(event));
    let hashes = Object::from([("sha256".to_owned(), content_hash.into())]);
    event.insert("hashes".to_owned(), Value::Object(hashes));
    sign_redacted(version, event, key, server_name);
}

fn sign_redacted(
    version: RoomVersion,
    event: &mut Object,
    key: &SigningKey,
    server_name: &ServerName,
) {
    let message =
        canonical::to_string_without(&redacted(version, event), &["signatures", "unsigned"]);
    let signature = key.sign_bytes(message.as_bytes());
    add_signature(event, server_name, key.key_id(), signature);
}

fn unsigned_event(
    draft: &Draft,
    parents: &Parents,
    version: RoomVersion,
) -> Result<Object, BuildError> {
    let content = canonical::parse(draft.content.get().as_bytes(), Strictness::of(version))?;
    let Value::Object(mut content) = content else {
        return Err(BuildError::NotAnObject);
    };
    let mut event = Object::new();
    if draft.kind == "m.room.redaction" {
        place_redacts(draft, version, &mut content, &mut event)?;
    }
    let is_room_id_derived =
        draft.kind == "m.room.create" && !version.rules().event_format.require_room_create_room_id;
    if !is_room_id_derived {
        let room_id = parents
            .room_id
            .as_ref()
            .ok_or(BuildError::Field("room_id"))?;
        event.insert("room_id".to_owned(), room_id.as_str().into());
    }
    if let Some(state_key) = &draft.state_key {
        event.insert("state_key".to_owned(), state_key.as_str().into());
    }
    let depth = i64::try_from(parents.depth)
        .unwrap_or(INTEGER_MAX)
        .min(INTEGER_MAX);
    let origin_server_ts = i64::try_from(parents.origin_server_ts.0)
        .map_err(|_| BuildError::Field("origin_server_ts"))?;
    event.extend([
        ("type".to_owned(), draft.kind.as_str().into()),
        ("sender".to_owned(), draft.sender.as_str().into()),
        ("content".to_owned(), Value::Object(content)),
        ("depth".to_owned(), Value::Integer(depth)),
        (
            "origin_server_ts".to_owned(),
            Value::Integer(origin_server_ts),
        ),
        (
            "prev_events".to_owned(),
            references(&parents.prev_events, parents, version),
        ),
        (
            "auth_events".to_owned(),
            references(&parents.auth_events, parents, version),
        ),
    ]);
    Ok(event)
}

/// Moves the target of a redaction to where the version wants it: the content from version 11 on, the top before.
fn place_redacts(
    draft: &Draft,
    version: RoomVersion,
    content: &mut Object,
    event: &mut Object,
) -> Result<(), BuildError> {
    let in_content = match content.remove("redacts") {
        Some(Value::String(id)) => Some(id),
        Some(_) => return Err(BuildError::Field("redacts")),
        None => None,
    };
    let target = draft
        .redacts
        .as_ref()
        .map(ToString::to_string)
        .or(in_content)
        .filter(|id| EventId::parse(id).is_ok())
        .ok_or(BuildError::Field("redacts"))?;
    let place = if version.rules().redaction.content_field_redacts {
        content
    } else {
        event
    };
    place.insert("redacts".to_owned(), target.into());
    Ok(())
}

fn references(ids: &[OwnedEventId], parents: &Parents, version: RoomVersion) -> Value {
    let with_hash = version.rules().events_reference_format == EventsReferenceFormatVersion::V1;
    let reference = |id: &OwnedEventId| {
        let id_value = Value::from(id.as_str());
        if !with_hash {
            return id_value;
        }
        let hashes = parents
            .reference_hashes
            .get(id)
            .map(|hash| ("sha256".to_owned(), hash.as_str().into()));
        Value::Array(vec![id_value, Value::Object(hashes.into_iter().collect())])
    };
    Value::Array(ids.iter().map(reference).collect())
}

/// Our own events keep to 255 bytes in every version, whatever peers accept.
fn check_fields(event: &Object) -> Result<(), BuildError> {
    for field in ["sender", "room_id", "event_id", "type", "state_key"] {
        let length = event.get(field).and_then(Value::as_str).map_or(0, str::len);
        if length > EVENT_FIELD_BYTES_MAX {
            return Err(BuildError::FieldTooLong(field));
        }
    }
    Ok(())
}

impl From<FormatError> for BuildError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Json(error) => Self::Json(error),
            FormatError::Field(field) => Self::Field(field),
            FormatError::TooLarge(bytes) => Self::TooLarge(bytes),
            FormatError::FieldTooLong(field) => Self::FieldTooLong(field),
            FormatError::TooMany(field) => Self::TooMany(field),
        }
    }
}

#[cfg(test)]
mod tests;
