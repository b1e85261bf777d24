//! What becomes of an event of another server whose format, hash and signatures are checked: checks 4 to 6 on receipt of
//! a PDU.

use ruma::EventId;

use crate::auth::create_event_id;
use crate::{AuthError, AuthEvent, Pdu, authorize, check_auth_events};

/// A state: the event at a type and state key.
pub type StateLookup<'a> = dyn Fn(&str, &str) -> Option<Pdu> + 'a;

/// What is looked at to decide on an event.
pub struct Grounds<'a> {
    /// Each of its auth events, and in version 12 the room's create event.
    pub auth_events: &'a dyn Fn(&EventId) -> Option<AuthEvent>,
    /// The state before it.
    pub before: &'a StateLookup<'a>,
    /// The room's current state; `None` for an event of the past, which is not measured by it.
    pub current: Option<&'a StateLookup<'a>>,
}

/// How an event stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is part of the room.
    Accepted,
    /// It was allowed where it was sent, but is not by the current state: it is not shown, and nothing is built on it.
    SoftFailed(AuthError),
    /// It is against the rules of the room.
    Rejected(AuthError),
}

/// Decides on an event (server-server API, "Checks performed on receipt of a PDU").
pub fn admit(event: &Pdu, grounds: &Grounds<'_>) -> Verdict {
    if let Err(error) = allowed_by_auth_events(event, grounds.auth_events) {
        return Verdict::Rejected(error);
    }
    if let Err(error) = authorize(event, grounds.before) {
        return Verdict::Rejected(error);
    }
    match grounds.current.map(|current| authorize(event, current)) {
        Some(Err(error)) => Verdict::SoftFailed(error),
        Some(Ok(())) | None => Verdict::Accepted,
    }
}

/// Check 4: whether an event is allowed by its own auth events, and these are what they should be. All that can be
/// said of an event whose place in the room is not known.
pub fn allowed_by_auth_events(
    event: &Pdu,
    lookup: &dyn Fn(&EventId) -> Option<AuthEvent>,
) -> Result<(), AuthError> {
    check_auth_events(event, lookup)?;
    let rules = &event.version().rules().authorization;
    let create = match rules.room_create_event_id_as_room_id {
        true => create_event_id(event),
        false => None,
    };
    let events: Vec<Pdu> = event
        .auth_events()
        .iter()
        .chain(&create)
        .filter_map(|id| lookup(id))
        .map(|auth_event| auth_event.pdu)
        .collect();
    authorize(event, &|kind, state_key| {
        events.iter().find(|auth| auth.is(kind, state_key)).cloned()
    })
}
