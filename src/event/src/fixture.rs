//! Events for unit tests.

use ruma::{EventId, RoomId};
use serde_json::Value;

use crate::{Pdu, RoomVersion};

/// An event as it would be stored.
pub(crate) fn stored(version: RoomVersion, event: &Value) -> Pdu {
    let event_id = EventId::parse(event["event_id"].as_str().unwrap_or("$e")).unwrap();
    let room_id = RoomId::parse(event["room_id"].as_str().unwrap_or("!r:x")).unwrap();
    Pdu::from_stored(version, event_id, room_id, event.to_string().into()).unwrap()
}
