//! Events as clients are shown them, made by splicing the stored bytes.

use std::borrow::Cow;

use ruma::{OwnedEventId, OwnedUserId};
use serde_json::value::RawValue;

use crate::Pdu;
use crate::canonical::{self, quote};

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
    /// Who sent that one. Not in the specification, but clients are used to it.
    pub prev_sender: Option<OwnedUserId>,
    /// The redaction, in the client format, if the event was redacted.
    pub redacted_because: Option<Box<RawValue>>,
    /// The reading user's membership at the event.
    pub membership: Option<String>,
    /// `m.relations`: the bundled aggregations.
    pub relations: Option<Box<RawValue>>,
}

impl Unsigned {
    /// The JSON of the object; `None` if there is nothing in it.
    fn to_json(&self) -> Option<String> {
        let quoted = |text: &String| quote(text);
        let raw = |json: &RawValue| json.get().to_owned();
        let fields = [
            ("age", self.age.map(|age| age.to_string())),
            ("membership", self.membership.as_ref().map(quoted)),
            ("m.relations", self.relations.as_deref().map(raw)),
            ("prev_content", self.prev_content.as_deref().map(raw)),
            (
                "prev_sender",
                self.prev_sender.as_ref().map(|id| quote(id.as_str())),
            ),
            (
                "redacted_because",
                self.redacted_because.as_deref().map(raw),
            ),
            (
                "replaces_state",
                self.replaces_state.as_ref().map(|id| quote(id.as_str())),
            ),
            ("transaction_id", self.transaction_id.as_ref().map(quoted)),
        ];
        let mut splice = Splice::new();
        for (key, value) in fields {
            if let Some(value) = value {
                splice.field(key, &value);
            }
        }
        (splice.fields > 0).then(|| splice.finish())
    }
}

/// `ClientEvent`: with `room_id`. For everything but `/sync`.
pub fn event(pdu: &Pdu, unsigned: &Unsigned) -> Box<RawValue> {
    let mut splice = client_fields(pdu, unsigned);
    splice.field("room_id", &quote(pdu.room_id().as_str()));
    splice.raw()
}

/// `ClientEventWithoutRoomID`: for `/sync`.
pub fn sync_event(pdu: &Pdu, unsigned: &Unsigned) -> Box<RawValue> {
    client_fields(pdu, unsigned).raw()
}

/// Stripped state for invites and knocks: sender, type, state_key, content. The create event is given in full, as
/// clients find the room's version, type and creators in it.
pub fn stripped(pdu: &Pdu) -> Box<RawValue> {
    if pdu.is("m.room.create", "") {
        return sync_event(pdu, &Unsigned::default());
    }
    let mut splice = Splice::new();
    splice.field("content", pdu.content_json());
    splice.field("sender", &quote(pdu.sender().as_str()));
    splice.field("state_key", &quote(pdu.state_key().unwrap_or("")));
    splice.field("type", &quote(pdu.kind()));
    splice.raw()
}

/// Stripped state with the time at which it was sent, as the tree of a space shows children.
pub fn stripped_dated(pdu: &Pdu) -> Box<RawValue> {
    let mut splice = Splice::new();
    splice.field("content", pdu.content_json());
    splice.field("origin_server_ts", &pdu.origin_server_ts().0.to_string());
    splice.field("sender", &quote(pdu.sender().as_str()));
    splice.field("state_key", &quote(pdu.state_key().unwrap_or("")));
    splice.field("type", &quote(pdu.kind()));
    splice.raw()
}

/// The event in federation format.
pub fn federation(pdu: &Pdu) -> Box<RawValue> {
    let json = String::from_utf8_lossy(pdu.json()).into_owned();
    RawValue::from_string(json).expect("an event's bytes are JSON")
}

fn client_fields(pdu: &Pdu, unsigned: &Unsigned) -> Splice {
    let mut splice = Splice::new();
    splice.field("content", &client_content(pdu));
    splice.field("event_id", &quote(pdu.event_id().as_str()));
    splice.field("origin_server_ts", &pdu.origin_server_ts().0.to_string());
    // At the top for older clients, in the content for newer ones, whatever the room version ("Redactions").
    if let Some(target) = pdu.redacts() {
        splice.field("redacts", &quote(target.as_str()));
    }
    splice.field("sender", &quote(pdu.sender().as_str()));
    if let Some(state_key) = pdu.state_key() {
        splice.field("state_key", &quote(state_key));
    }
    splice.field("type", &quote(pdu.kind()));
    if let Some(unsigned) = unsigned.to_json() {
        splice.field("unsigned", &unsigned);
    }
    splice
}

fn client_content(pdu: &Pdu) -> Cow<'_, str> {
    let is_in_content = pdu.version().rules().redaction.content_field_redacts;
    match pdu.redacts() {
        Some(target) if !is_in_content => {
            let mut content = pdu.content_object();
            content.insert("redacts".to_owned(), target.as_str().into());
            Cow::Owned(canonical::to_string(&content))
        }
        _ => Cow::Borrowed(pdu.content_json()),
    }
}

/// A JSON object put together of ready values.
struct Splice {
    json: String,
    fields: usize,
}

impl Splice {
    fn new() -> Self {
        Self {
            json: String::with_capacity(512),
            fields: 0,
        }
    }

    fn field(&mut self, key: &str, value: &str) {
        self.json
            .push_str(if self.fields == 0 { "{\"" } else { ",\"" });
        self.json.push_str(key);
        self.json.push_str("\":");
        self.json.push_str(value);
        self.fields += 1;
    }

    fn finish(mut self) -> String {
        if self.fields == 0 {
            self.json.push('{');
        }
        self.json.push('}');
        self.json
    }

    fn raw(self) -> Box<RawValue> {
        RawValue::from_string(self.finish()).expect("an object of JSON values is JSON")
    }
}

#[cfg(test)]
mod tests;
