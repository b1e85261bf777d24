//! Events as clients are shown them, made by splicing the stored bytes.

use ruma::OwnedEventId;
use serde_json::value::RawValue;

use crate::Pdu;

/// What the server adds in `unsigned`. Absent fields are left out.
#[derive(Clone, Debug, Default)]
pub struct Unsigned {
    /// Milliseconds since the event was sent, by the server's clock.
    pub age: Option<i64>,
    /// The transaction id, for the device that sent the event.
    pub transaction_id: Option<String>,
    /// The content of the state event that this one replaced.
    pub prev_content: Option<Box<RawValue>>,
    /// The state event that this one replaced.
    pub replaces_state: Option<OwnedEventId>,
    /// The redaction, in the client format, if the event was redacted.
    pub redacted_because: Option<Box<RawValue>>,
    /// The reading user's membership at the event.
    pub membership: Option<String>,
    /// `m.relations`: the bundled aggregations.
    pub relations: Option<Box<RawValue>>,
}

/// `ClientEvent`: with `room_id`. For everything but `/sync`.
pub fn event(pdu: &Pdu, unsigned: &Unsigned) -> Box<RawValue> {
    let _ = (pdu, unsigned);
    unimplemented!()
}

/// `ClientEventWithoutRoomID`: for `/sync`.
pub fn sync_event(pdu: &Pdu, unsigned: &Unsigned) -> Box<RawValue> {
    let _ = (pdu, unsigned);
    unimplemented!()
}

/// Stripped state for invites and knocks: sender, type, state_key, content; the create event in full.
pub fn stripped(pdu: &Pdu) -> Box<RawValue> {
    let _ = pdu;
    unimplemented!()
}

/// The event in federation format.
pub fn federation(pdu: &Pdu) -> Box<RawValue> {
    let _ = pdu;
    unimplemented!()
}
