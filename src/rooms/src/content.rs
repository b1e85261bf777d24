//! Contents of events: reading the few fields that matter here, making those that the server writes itself.

use hearth_event::Pdu;
use hearth_event::canonical::{self, Object, Strictness, Value};
use ruma::events::room::member::MembershipState;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{Error, Result};

/// The membership of a member event.
pub(crate) fn membership(event: &Pdu) -> Option<MembershipState> {
    #[derive(Deserialize)]
    struct Content {
        membership: MembershipState,
    }
    let content: Content = event.content_as().ok()?;
    Some(content.membership)
}

/// A text field of an event's content.
pub(crate) fn text(event: &Pdu, field: &str) -> Option<String> {
    match event.content_object().remove(field) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// A content in the form that drafts take.
pub(crate) fn raw(content: &Object) -> Result<Box<RawValue>> {
    RawValue::from_string(canonical::to_string(content))
        .map_err(|_| Error::BadContent("the content is not JSON"))
}

/// A content with one text field.
pub(crate) fn raw_text(field: &str, text: &str) -> Result<Box<RawValue>> {
    raw(&Object::from([(field.to_owned(), text.into())]))
}

/// JSON that a client sent, as an object.
pub(crate) fn object(content: &RawValue) -> Result<Object> {
    canonical::parse_object(content.get().as_bytes(), Strictness::Lenient)
        .map_err(|_| Error::BadContent("the content is not an object"))
}

/// Whether a draft's content says the same as an event's.
pub(crate) fn is_same(event: &Pdu, content: &RawValue) -> bool {
    canonical::parse_object(content.get().as_bytes(), Strictness::Lenient)
        .is_ok_and(|content| content == event.content_object())
}
