//! `m.relates_to`: how events refer to each other.

use ruma::OwnedEventId;

use crate::Pdu;

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
    let _ = event;
    unimplemented!()
}

/// The relation in a content that is about to be sent.
pub fn relation_in(content: &str) -> Option<Relation> {
    let _ = content;
    unimplemented!()
}

/// The event that this one replies to (`m.in_reply_to`), whether as a rich reply or as a thread's fallback.
pub fn in_reply_to(event: &Pdu) -> Option<OwnedEventId> {
    let _ = event;
    unimplemented!()
}

/// Whether `edit` is a valid replacement of `original` ("Validity of replacement events").
pub fn is_valid_edit(original: &Pdu, edit: &Pdu) -> bool {
    let _ = (original, edit);
    unimplemented!()
}
