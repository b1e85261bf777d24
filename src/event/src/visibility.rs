//! Who may see an event of the past (client-server API, "Room History Visibility").

/// A value of `m.room.history_visibility`, from the most closed to the most open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Visibility {
    /// Only those joined at the event.
    Joined,
    /// Those invited or joined at the event.
    Invited,
    /// Those joined at the event or ever after. Also when there is no such event or its value is unknown.
    #[default]
    Shared,
    /// Everybody.
    WorldReadable,
}

/// A user's membership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Membership {
    /// `join`
    Join,
    /// `invite`
    Invite,
    /// `knock`
    Knock,
    /// `ban`
    Ban,
    /// `leave`, or never heard of.
    #[default]
    Leave,
}

/// What visibility of one event to one user depends on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Viewpoint {
    /// The room's visibility before the event.
    pub visibility: Visibility,
    /// The visibility that the event itself sets, if it is an `m.room.history_visibility` state event.
    pub visibility_set: Option<Visibility>,
    /// The user's membership before the event.
    pub membership: Membership,
    /// The membership that the event itself gives the user, if it is the user's own `m.room.member` event.
    pub membership_set: Option<Membership>,
    /// Whether the user joined the room at any time after the event.
    pub joined_later: bool,
}

impl Visibility {
    /// The value of a history visibility event's content; unknown or missing values are `shared`.
    pub fn of(event: &crate::Pdu) -> Self {
        let _ = event;
        unimplemented!()
    }

    /// The value as written in an event.
    pub fn parse(value: &str) -> Self {
        let _ = value;
        unimplemented!()
    }
}

impl Membership {
    /// The value of a member event's content; `None` if it has none that is known.
    pub fn of(event: &crate::Pdu) -> Option<Self> {
        let _ = event;
        unimplemented!()
    }
}

/// Whether the user may see the event.
pub fn is_visible(viewpoint: Viewpoint) -> bool {
    let _ = viewpoint;
    unimplemented!()
}
