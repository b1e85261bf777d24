//! `m.relates_to`: how events refer to each other.

use ruma::{EventId, OwnedEventId};

use crate::Pdu;
use crate::canonical::{self, Object, Strictness, Value};

/// The relation that an event declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `m.replace`, `m.annotation`, `m.thread`, `m.reference` or any other type.
    pub rel_type: String,
    /// The event that it relates to.
    pub event_id: OwnedEventId,
    /// The `key` of an annotation.
    pub key: Option<String>,
    /// Of a thread: the reply is there only for clients that do not know threads.
    pub is_falling_back: bool,
}

/// The relation of an event, if it has a well-formed one.
pub fn relation(event: &Pdu) -> Option<Relation> {
    if event.is_state() {
        return None;
    }
    relation_in(event.content_json())
}

/// The relation in a content that is about to be sent.
pub fn relation_in(content: &str) -> Option<Relation> {
    let relates_to = relates_to(content)?;
    let text = |key: &str| relates_to.get(key).and_then(Value::as_str);
    Some(Relation {
        rel_type: text("rel_type")?.to_owned(),
        event_id: EventId::parse(text("event_id")?).ok()?,
        key: text("key").map(str::to_owned),
        is_falling_back: relates_to.get("is_falling_back") == Some(&Value::Bool(true)),
    })
}

/// The event that this one replies to (`m.in_reply_to`), whether as a rich reply or as a thread's fallback.
pub fn in_reply_to(event: &Pdu) -> Option<OwnedEventId> {
    let relates_to = relates_to(event.content_json())?;
    let target = relates_to.get("m.in_reply_to")?.as_object()?;
    EventId::parse(target.get("event_id")?.as_str()?).ok()
}

fn relates_to(content: &str) -> Option<Object> {
    // Most events have no relation; do not take them apart to find that out. (With a backslash, the key may
    // be written with escapes.)
    if !content.contains("m.relates_to") && !content.contains('\\') {
        return None;
    }
    let mut content = canonical::parse_object(content.as_bytes(), Strictness::Lenient).ok()?;
    match content.remove("m.relates_to")? {
        Value::Object(relates_to) => Some(relates_to),
        _ => None,
    }
}

/// Whether `edit` is a valid replacement of `original` ("Validity of replacement events").
pub fn is_valid_edit(original: &Pdu, edit: &Pdu) -> bool {
    let is_replacement = |pdu: &Pdu, of: Option<&EventId>| {
        relation(pdu).is_some_and(|relation| {
            relation.rel_type == "m.replace" && of.is_none_or(|id| relation.event_id == id)
        })
    };
    // The new content of an encrypted edit cannot be seen here.
    let has_new_content = edit.kind() == "m.room.encrypted"
        || matches!(
            edit.content_object().get("m.new_content"),
            Some(Value::Object(_))
        );
    original.room_id() == edit.room_id()
        && original.sender() == edit.sender()
        && original.kind() == edit.kind()
        && !original.is_state()
        && !edit.is_state()
        && is_replacement(edit, Some(original.event_id()))
        && !is_replacement(original, None)
        && has_new_content
}

#[cfg(test)]
mod tests;
