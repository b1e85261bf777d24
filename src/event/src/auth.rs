//! Auth event selection and the authorization rules of room versions 1 to 12.

use ruma::{OwnedEventId, UserId};

use crate::build::Draft;
use crate::{Pdu, RoomVersion};

/// The authorization rule that an event breaks, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(pub(crate) String);

/// What selection of auth events looks at.
#[derive(Clone, Copy, Debug)]
pub struct EventFields<'a> {
    /// Who sends it.
    pub sender: &'a UserId,
    /// The event type.
    pub kind: &'a str,
    /// The state key of a state event.
    pub state_key: Option<&'a str>,
    /// The content as JSON text.
    pub content: &'a str,
}

/// One of an event's auth events, with its standing.
#[derive(Clone)]
pub struct AuthEvent {
    /// The event.
    pub pdu: Pdu,
    /// Whether it was rejected.
    pub rejected: bool,
}

/// The state that must be in an event's `auth_events`, if the room has it: pairs of type and state key.
#[expect(unused_variables, reason = "skeleton")]
pub fn auth_keys(version: RoomVersion, event: EventFields<'_>) -> Vec<(String, String)> {
    unimplemented!()
}

/// [`auth_keys`] of a draft.
#[expect(unused_variables, reason = "skeleton")]
pub fn auth_keys_of_draft(version: RoomVersion, draft: &Draft) -> Vec<(String, String)> {
    unimplemented!()
}

/// The rules that need no room state: those of the create event and those about the list of auth events.
///
/// `auth_events` gives each of the event's auth events, `None` for one that is unknown.
#[expect(unused_variables, reason = "skeleton")]
pub fn check_auth_events(
    event: &Pdu,
    auth_events: &dyn Fn(&OwnedEventId) -> Option<AuthEvent>,
) -> Result<(), AuthError> {
    unimplemented!()
}

/// The rules that need room state. `state` gives the state event at a type and state key.
///
/// Of a create event all rules are checked here.
#[expect(unused_variables, reason = "skeleton")]
pub fn authorize(event: &Pdu, state: &dyn Fn(&str, &str) -> Option<Pdu>) -> Result<(), AuthError> {
    unimplemented!()
}
