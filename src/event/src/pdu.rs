//! The event as servers exchange it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hearth_types::UnixMs;
use hearth_types::limits::{
    AUTH_EVENTS_MAX, EVENT_BYTES_MAX, EVENT_FIELD_BYTES_MAX, PREV_EVENTS_MAX,
};
use ruma::room_version_rules::EventsReferenceFormatVersion;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

use crate::canonical::{self, JsonError, Object, Strictness, Value};
use crate::power::Levels;
use crate::redact::redacted;
use crate::{RoomVersion, hash};

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

struct Inner {
    version: RoomVersion,
    event_id: OwnedEventId,
    room_id: OwnedRoomId,
    sender: OwnedUserId,
    kind: Box<str>,
    state_key: Option<Box<str>>,
    origin_server_ts: UnixMs,
    depth: u64,
    prev_events: Box<[OwnedEventId]>,
    auth_events: Box<[OwnedEventId]>,
    redacts: Option<OwnedEventId>,
    json: Bytes,
    /// Where the content stands in `json`.
    content: Range<usize>,
    /// The content read as power levels, when it was first asked for: each event of a room is checked against them.
    levels: OnceLock<Arc<Levels>>,
}

/// The fields that are kept apart. Absent ones get a default: stored events were checked when they came.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    sender: OwnedUserId,
    #[serde(borrow, default)]
    state_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    content: &'a RawValue,
    #[serde(default)]
    origin_server_ts: u64,
    #[serde(default)]
    depth: u64,
    #[serde(default)]
    prev_events: Vec<Reference>,
    #[serde(default)]
    auth_events: Vec<Reference>,
    #[serde(borrow, default)]
    redacts: Option<&'a RawValue>,
}

/// An event id, or in versions 1 and 2 a pair of event id and hashes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Reference {
    Id(OwnedEventId),
    WithHash(OwnedEventId, IgnoredAny),
}

impl Reference {
    fn into_id(self) -> OwnedEventId {
        match self {
            Self::Id(id) | Self::WithHash(id, _) => id,
        }
    }
}

impl Pdu {
    /// Reads an event as another server sent it: checks format and sizes and computes the event id.
    ///
    /// `unsigned` is dropped. Hashes and signatures are checked by [`crate::received`].
    pub fn parse(version: RoomVersion, json: &[u8]) -> Result<Self, FormatError> {
        Self::from_object(version, &read_object(version, json)?)
    }

    /// Makes the event of an object that was read by [`read_object`].
    pub(crate) fn from_object(version: RoomVersion, event: &Object) -> Result<Self, FormatError> {
        Self::with_redacted(version, event).map(|(pdu, _)| pdu)
    }

    /// The same, with the redacted form, by which its id is made.
    pub(crate) fn with_redacted(
        version: RoomVersion,
        event: &Object,
    ) -> Result<(Self, Object), FormatError> {
        check_format(version, event)?;
        let redacted = redacted(version, event);
        let event_id = match hash::event_id(version, &redacted) {
            Some(id) => id,
            None => text(event, "event_id")?.to_owned(),
        };
        let event_id = EventId::parse(event_id).map_err(|_| FormatError::Field("event_id"))?;
        let room_id = match event.get("room_id").and_then(Value::as_str) {
            Some(room) => RoomId::parse(room).map_err(|_| FormatError::Field("room_id"))?,
            None => room_of_create(&event_id)?,
        };
        let json = canonical::to_string(event);
        if json.len() > EVENT_BYTES_MAX {
            return Err(FormatError::TooLarge(json.len()));
        }
        let pdu = Self::from_stored(version, event_id, room_id, Bytes::from(json))?;
        Ok((pdu, redacted))
    }

    /// Reads an event that was stored as [`Pdu::json`]; hashes nothing and checks no limits.
    pub fn from_stored(
        version: RoomVersion,
        event_id: OwnedEventId,
        room_id: OwnedRoomId,
        json: Bytes,
    ) -> Result<Self, FormatError> {
        let text =
            std::str::from_utf8(&json).map_err(|error| JsonError::Syntax(error.valid_up_to()))?;
        let fields: Fields<'_> =
            serde_json::from_str(text).map_err(|_| FormatError::Field("event"))?;
        let start = fields.content.get().as_ptr() as usize - text.as_ptr() as usize;
        let content = start..start + fields.content.get().len();
        if !fields.content.get().starts_with('{') {
            return Err(FormatError::Field("content"));
        }
        let redacts = redacts(version, &fields);
        Ok(Self(Arc::new(Inner {
            version,
            event_id,
            room_id,
            sender: fields.sender,
            kind: fields.kind.into(),
            state_key: fields.state_key.map(Into::into),
            origin_server_ts: UnixMs(fields.origin_server_ts),
            depth: fields.depth,
            prev_events: ids(fields.prev_events),
            auth_events: ids(fields.auth_events),
            redacts,
            content,
            json,
            levels: OnceLock::new(),
        })))
    }

    /// The version of the room.
    pub fn version(&self) -> RoomVersion {
        self.0.version
    }

    /// The event id.
    pub fn event_id(&self) -> &EventId {
        &self.0.event_id
    }

    /// The room; of a version 12 create event derived from the event id.
    pub fn room_id(&self) -> &RoomId {
        &self.0.room_id
    }

    /// Who sent it.
    pub fn sender(&self) -> &UserId {
        &self.0.sender
    }

    /// The event type.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// The state key of a state event.
    pub fn state_key(&self) -> Option<&str> {
        self.0.state_key.as_deref()
    }

    /// Whether it has a state key.
    pub fn is_state(&self) -> bool {
        self.0.state_key.is_some()
    }

    /// Type and state key of a state event.
    pub fn state_key_pair(&self) -> Option<(&str, &str)> {
        self.state_key().map(|state_key| (self.kind(), state_key))
    }

    /// Whether it is a state event of this type and key.
    pub fn is(&self, kind: &str, state_key: &str) -> bool {
        self.state_key_pair() == Some((kind, state_key))
    }

    /// The content as JSON text, as stored. A view: nothing is copied.
    pub fn content_json(&self) -> &str {
        std::str::from_utf8(&self.0.json[self.0.content.clone()])
            .expect("the range is that of a value in JSON that was read as text")
    }

    /// The content, as stored. A view: nothing is copied.
    pub fn content(&self) -> &RawValue {
        serde_json::from_str(self.content_json()).expect("the content was read as JSON before")
    }

    /// The content, read as `T`.
    pub fn content_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.content_json())
    }

    /// The content, read as canonical JSON of the leniency of its room version.
    pub fn content_object(&self) -> Object {
        canonical::parse_object(self.content_json().as_bytes(), Strictness::Lenient)
            .unwrap_or_default()
    }

    /// When the sender's server made it, by its own clock.
    pub fn origin_server_ts(&self) -> UnixMs {
        self.0.origin_server_ts
    }

    /// Its depth as claimed: one more than the deepest of its `prev_events`.
    pub fn depth(&self) -> u64 {
        self.0.depth
    }

    /// The events before it.
    pub fn prev_events(&self) -> &[OwnedEventId] {
        &self.0.prev_events
    }

    /// The events that allow it.
    pub fn auth_events(&self) -> &[OwnedEventId] {
        &self.0.auth_events
    }

    /// What a redaction redacts, wherever the room version keeps it.
    pub fn redacts(&self) -> Option<&EventId> {
        self.0.redacts.as_deref()
    }

    /// The event in federation format: canonical JSON with hashes and signatures, without `unsigned`.
    pub fn json(&self) -> &Bytes {
        &self.0.json
    }

    /// The event in federation format, taken apart.
    pub fn to_object(&self) -> Object {
        canonical::parse_object(&self.0.json, Strictness::Lenient).unwrap_or_default()
    }

    /// The reference hash in unpadded standard base64, which versions 1 and 2 put next to event ids.
    pub fn reference_hash(&self) -> String {
        hash::encode(&hash::reference_hash(&redacted(
            self.0.version,
            &self.to_object(),
        )))
    }

    /// Whether the content hash fits: not so once the event was redacted.
    pub fn is_intact(&self) -> bool {
        hash::is_intact(&self.to_object())
    }

    /// The content read as power levels.
    pub(crate) fn levels(&self) -> &Levels {
        self.0
            .levels
            .get_or_init(|| Arc::new(Levels::read(&self.content_object())))
    }
}

/// The same event: equal id.
impl PartialEq for Pdu {
    fn eq(&self, other: &Self) -> bool {
        self.0.event_id == other.0.event_id
    }
}

impl Eq for Pdu {}

impl std::fmt::Debug for Pdu {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Pdu")
            .field("event_id", &self.0.event_id)
            .field("room_id", &self.0.room_id)
            .field("kind", &self.0.kind)
            .field("state_key", &self.0.state_key)
            .field("sender", &self.0.sender)
            .finish_non_exhaustive()
    }
}

/// Reads the JSON of a received event and drops `unsigned`, which nobody signed.
pub(crate) fn read_object(version: RoomVersion, json: &[u8]) -> Result<Object, FormatError> {
    // Whitespace and escapes may make the text larger than its canonical form, but not without bound.
    const TEXT_BYTES_MAX: usize = 16 * EVENT_BYTES_MAX;
    if json.len() > TEXT_BYTES_MAX {
        return Err(FormatError::TooLarge(json.len()));
    }
    let mut event = canonical::parse_object(json, Strictness::of(version))?;
    event.remove("unsigned");
    Ok(event)
}

/// The room id of version 12: the create event's id with another sigil.
pub(crate) fn room_of_create(event_id: &EventId) -> Result<OwnedRoomId, FormatError> {
    RoomId::parse(event_id.as_str().replacen('$', "!", 1))
        .map_err(|_| FormatError::Field("room_id"))
}

fn ids(references: Vec<Reference>) -> Box<[OwnedEventId]> {
    references.into_iter().map(Reference::into_id).collect()
}

fn redacts(version: RoomVersion, fields: &Fields<'_>) -> Option<OwnedEventId> {
    #[derive(Deserialize)]
    struct Content {
        redacts: OwnedEventId,
    }
    if fields.kind != "m.room.redaction" {
        return None;
    }
    // A malformed target is no target: the format of `redacts` is not among the checks of a PDU.
    if version.rules().redaction.content_field_redacts {
        serde_json::from_str::<Content>(fields.content.get())
            .map(|content| content.redacts)
            .ok()
    } else {
        serde_json::from_str(fields.redacts?.get()).ok()
    }
}

fn text<'a>(event: &'a Object, field: &'static str) -> Result<&'a str, FormatError> {
    event
        .get(field)
        .and_then(Value::as_str)
        .ok_or(FormatError::Field(field))
}

/// Presence, types and sizes of the fields of a PDU. The size of the whole is checked where its text is made.
fn check_format(version: RoomVersion, event: &Object) -> Result<(), FormatError> {
    let rules = &version.rules().event_format;
    let kind = text(event, "type")?;
    UserId::parse(text(event, "sender")?).map_err(|_| FormatError::Field("sender"))?;
    if kind == "m.room.create" && !rules.require_room_create_room_id {
        if event.contains_key("room_id") {
            return Err(FormatError::Field("room_id"));
        }
    } else {
        text(event, "room_id")?;
    }
    if rules.require_event_id {
        text(event, "event_id")?;
    }
    if event.contains_key("state_key") {
        text(event, "state_key")?;
    }
    for field in ["sender", "room_id", "event_id", "type", "state_key"] {
        let value = event.get(field).and_then(Value::as_str).unwrap_or("");
        if field_length(version, value) > EVENT_FIELD_BYTES_MAX {
            return Err(FormatError::FieldTooLong(field));
        }
    }
    for field in ["origin_server_ts", "depth"] {
        check_natural(event, field)?;
    }
    for field in ["content", "hashes", "signatures"] {
        if event.get(field).and_then(Value::as_object).is_none() {
            return Err(FormatError::Field(field));
        }
    }
    check_references(version, event, "prev_events", PREV_EVENTS_MAX)?;
    check_references(version, event, "auth_events", AUTH_EVENTS_MAX)
}

/// Up to version 10 other servers count characters, so such events are in rooms and must be read.
fn field_length(version: RoomVersion, value: &str) -> usize {
    if version <= RoomVersion::V10 {
        value.chars().count()
    } else {
        value.len()
    }
}

fn check_natural(event: &Object, field: &'static str) -> Result<(), FormatError> {
    let is_natural = match event.get(field) {
        Some(Value::Integer(number)) => *number >= 0,
        // Versions 1 to 5 know depths up to 2^63-1.
        Some(Value::Number(text)) => text.parse::<i64>().is_ok_and(|number| number >= 0),
        _ => false,
    };
    if is_natural {
        Ok(())
    } else {
        Err(FormatError::Field(field))
    }
}

fn check_references(
    version: RoomVersion,
    event: &Object,
    field: &'static str,
    count_max: usize,
) -> Result<(), FormatError> {
    let references = event
        .get(field)
        .and_then(Value::as_array)
        .ok_or(FormatError::Field(field))?;
    if references.len() > count_max {
        return Err(FormatError::TooMany(field));
    }
    let with_hash = version.rules().events_reference_format == EventsReferenceFormatVersion::V1;
    for reference in references {
        let id = match reference {
            Value::String(id) if !with_hash => Some(id.as_str()),
            Value::Array(pair) if with_hash && pair.len() == 2 => pair[0].as_str(),
            _ => None,
        };
        id.and_then(|id| EventId::parse(id).ok())
            .ok_or(FormatError::Field(field))?;
    }
    Ok(())
}
