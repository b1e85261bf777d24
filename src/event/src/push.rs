//! Push rules: which events notify whom (client-server API, "Push Notifications").

use ruma::push::Ruleset;
use ruma::{OwnedUserId, UserId};

use crate::{Pdu, PowerLevels};

/// What the conditions of push rules look at besides the event.
#[derive(Clone, Debug)]
pub struct PushContext {
    /// Whose rules they are.
    pub user_id: OwnedUserId,
    /// The user's display name in the room.
    pub display_name: Option<String>,
    /// How many members are joined.
    pub joined_members: u64,
    /// The room's power levels at the event. Without them no permission is granted.
    pub power_levels: Option<PowerLevels>,
}

/// What the first matching rule says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Whether to notify.
    pub notify: bool,
    /// Whether to highlight.
    pub highlight: bool,
    /// The sound to play.
    pub sound: Option<String>,
    /// The rule that matched.
    pub rule_id: Option<String>,
}

/// The server-default rules for a user, as of version 1.19 of the specification.
pub fn default_ruleset(user_id: &UserId) -> Ruleset {
    let _ = user_id;
    unimplemented!()
}

/// An event made ready to be matched against the rules of several users.
#[derive(Debug)]
pub struct PushEvent {}

impl PushEvent {
    /// Reads the event once.
    pub fn new(event: &Pdu) -> Self {
        let _ = event;
        unimplemented!()
    }

    /// What the user's rules say about the event. One's own events never notify.
    pub fn evaluate(&self, ruleset: &Ruleset, context: &PushContext) -> PushOutcome {
        let _ = (ruleset, context);
        unimplemented!()
    }
}

/// [`PushEvent::evaluate`] for a single user.
pub fn evaluate(ruleset: &Ruleset, event: &Pdu, context: &PushContext) -> PushOutcome {
    PushEvent::new(event).evaluate(ruleset, context)
}
