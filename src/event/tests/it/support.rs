//! Fixtures: events by their parts, and ruma's view of an event as the second implementation.

use std::collections::HashMap;

use hearth_event::{Pdu, RoomVersion, SigningKey};
use ruma::events::TimelineEventType;
use ruma::state_res::Event;
use ruma::{EventId, MilliSecondsSinceUnixEpoch, OwnedEventId, RoomId, UInt, UserId};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// An event as it would be stored, with a name in place of a hash for an id.
pub(crate) fn stored(version: RoomVersion, event: &Value) -> Pdu {
    let event_id = EventId::parse(event["event_id"].as_str().unwrap()).unwrap();
    let room_id = match event["room_id"].as_str() {
        Some(room_id) => RoomId::parse(room_id).unwrap(),
        None => RoomId::parse(event_id.as_str().replacen('$', "!", 1)).unwrap(),
    };
    let bytes = serde_json::to_vec(event).unwrap();
    Pdu::from_stored(version, event_id, room_id, bytes.into()).unwrap()
}

pub(crate) fn key() -> SigningKey {
    SigningKey::generate([7; 32], "test").unwrap()
}

pub(crate) fn raw(value: &Value) -> Box<RawValue> {
    RawValue::from_string(value.to_string()).unwrap()
}

/// A complete event in the format of a version, unsigned.
pub(crate) fn event_json(version: RoomVersion) -> Value {
    let mut event = json!({
        "type": "m.room.message",
        "room_id": "!room:x",
        "sender": "@u:x",
        "content": {"body": "hello", "msgtype": "m.text"},
        "origin_server_ts": 1_700_000_000_000_u64,
        "depth": 7,
        "prev_events": [],
        "auth_events": [],
        "hashes": {"sha256": "AAAA"},
        "signatures": {},
    });
    if version < RoomVersion::V3 {
        event["event_id"] = json!("$abc:x");
    }
    event
}

/// ruma's view of an event.
#[derive(Clone)]
pub(crate) struct Theirs {
    pdu: Pdu,
    id: OwnedEventId,
    kind: TimelineEventType,
    redacts: Option<OwnedEventId>,
    /// The room id as it stands in the JSON.
    has_room_id: bool,
    rejected: bool,
}

impl Theirs {
    pub(crate) fn of(pdu: &Pdu) -> Self {
        Self {
            id: pdu.event_id().to_owned(),
            kind: pdu.kind().into(),
            redacts: pdu.redacts().map(ToOwned::to_owned),
            has_room_id: pdu.to_object().contains_key("room_id"),
            rejected: false,
            pdu: pdu.clone(),
        }
    }
}

impl Event for Theirs {
    type Id = OwnedEventId;

    fn event_id(&self) -> &Self::Id {
        &self.id
    }

    fn room_id(&self) -> Option<&RoomId> {
        self.has_room_id.then(|| self.pdu.room_id())
    }

    fn sender(&self) -> &UserId {
        self.pdu.sender()
    }

    fn origin_server_ts(&self) -> MilliSecondsSinceUnixEpoch {
        MilliSecondsSinceUnixEpoch(UInt::new(self.pdu.origin_server_ts().0).unwrap())
    }

    fn event_type(&self) -> &TimelineEventType {
        &self.kind
    }

    fn content(&self) -> &RawValue {
        self.pdu.content()
    }

    fn state_key(&self) -> Option<&str> {
        self.pdu.state_key()
    }

    fn prev_events(&self) -> Box<dyn DoubleEndedIterator<Item = &Self::Id> + '_> {
        Box::new(self.pdu.prev_events().iter())
    }

    fn auth_events(&self) -> Box<dyn DoubleEndedIterator<Item = &Self::Id> + '_> {
        Box::new(self.pdu.auth_events().iter())
    }

    fn redacts(&self) -> Option<&Self::Id> {
        self.redacts.as_ref()
    }

    fn rejected(&self) -> bool {
        self.rejected
    }
}

/// A room state by type and state key.
pub(crate) type State = HashMap<(String, String), Pdu>;

pub(crate) fn at(state: &State) -> impl Fn(&str, &str) -> Option<Pdu> + '_ {
    |kind, state_key| state.get(&(kind.to_owned(), state_key.to_owned())).cloned()
}
