//! What comes from other servers, in the form in which the room's worker takes it, and what becomes of it.

use hearth_data::append::Standing;
use hearth_data::inbox::InboxKey;
use hearth_data::timeline::Whereabouts;
use hearth_data::{EventNo, Place, StateId};
use hearth_event::{AuthError, Pdu, Verdict};
use ruma::{OwnedEventId, OwnedServerName};

use crate::remote::lift::Whole;

/// Something to be taken in.
#[derive(Clone, Debug)]
pub(crate) enum Intake {
    /// An event of now.
    Live(Live),
    /// An event that ends the stay of a user here; the events before it are kept from us.
    Ending(Live),
    /// An event of which only is known that others refer to it.
    Outlier(Pdu),
    /// A state put together of known events.
    State(NewState),
    /// Events of the past, oldest first.
    Past(Past),
    /// Rows of the inbox that lead to nothing.
    Drop(Vec<InboxKey>),
    /// What an import or its like has prepared.
    Import(Box<crate::remote::import::Step>),
}

/// An event of now.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    pub(crate) pdu: Pdu,
    /// The state before it, where history between it and what is here is missing.
    pub(crate) after_gap: Option<StateId>,
    /// Its row in the inbox.
    pub(crate) inbox: Option<InboxKey>,
    /// The server in whose name we send it to the others.
    pub(crate) relay_from: Option<OwnedServerName>,
    /// The room's policy server, if there is one, was asked for its signature.
    pub(crate) is_judged: bool,
}

/// A state made from another.
#[derive(Clone, Debug)]
pub(crate) struct NewState {
    pub(crate) base: StateId,
    /// Known events that shall be in it.
    pub(crate) set: Vec<OwnedEventId>,
    /// Keys that shall not be in it.
    pub(crate) unset: Vec<(String, String)>,
}

/// A part of a gap.
#[derive(Clone, Debug)]
pub(crate) struct Past {
    /// The place of the live event above the gap.
    pub(crate) above: Place,
    /// Oldest first.
    pub(crate) events: Vec<Pdu>,
    /// The state before the oldest.
    pub(crate) state: StateId,
    /// What is to be asked for next; nothing if the gap is closed.
    pub(crate) awaited: Vec<OwnedEventId>,
}

/// What became of it.
#[derive(Clone, Debug)]
pub(crate) enum Taken {
    /// It was decided upon, now or before.
    Decided { verdict: Verdict, event: EventNo },
    /// These events are missing.
    Missing(Vec<OwnedEventId>),
    /// The signature of the room's policy server is missing.
    Unjudged,
    /// The state.
    State(StateId),
    /// A part is done; this comes next.
    Next(Box<Whole>),
    /// It is done.
    Done,
}

/// A known event of the room.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) event: EventNo,
    /// `None` for an outlier.
    pub(crate) place: Option<Place>,
    pub(crate) standing: Standing,
    pub(crate) state_after: StateId,
    pub(crate) pdu: Pdu,
}

impl Found {
    pub(crate) fn rejected(&self) -> bool {
        self.standing == Standing::Rejected
    }

    pub(crate) fn whereabouts(&self) -> Whereabouts {
        self.place.map_or(Whereabouts::Outlier, Whereabouts::Placed)
    }

    /// How it stands, if that is settled: outliers are not, and what was rejected may be looked at anew.
    pub(crate) fn settled(&self) -> Option<Verdict> {
        self.place?;
        match self.standing {
            Standing::Accepted => Some(Verdict::Accepted),
            Standing::SoftFailed => Some(Verdict::SoftFailed(AuthError::new("soft-failed before"))),
            Standing::Rejected | Standing::Outlier => None,
        }
    }
}
