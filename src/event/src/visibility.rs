//! Who may see an event of the past (client-server API, "Room History Visibility").

use crate::Pdu;
use crate::canonical::Value;

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
    pub fn of(event: &Pdu) -> Self {
        event
            .content_object()
            .get("history_visibility")
            .and_then(Value::as_str)
            .map_or(Self::Shared, Self::parse)
    }

    /// The value as written in an event.
    pub fn parse(value: &str) -> Self {
        match value {
            "joined" => Self::Joined,
            "invited" => Self::Invited,
            "world_readable" => Self::WorldReadable,
            _ => Self::Shared,
        }
    }
}

impl Membership {
    /// The value of a member event's content; `None` if it has none that is known.
    pub fn of(event: &Pdu) -> Option<Self> {
        Self::parse(event.content_object().get("membership")?.as_str()?)
    }

    /// The value as written in an event; `None` if it is not known.
    pub fn parse(value: &str) -> Option<Self> {
        Some(match value {
            "join" => Self::Join,
            "invite" => Self::Invite,
            "knock" => Self::Knock,
            "ban" => Self::Ban,
            "leave" => Self::Leave,
            _ => return None,
        })
    }

    /// The value as written in an event.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Invite => "invite",
            Self::Knock => "knock",
            Self::Ban => "ban",
            Self::Leave => "leave",
        }
    }
}

/// Whether the user may see the event.
///
/// An event that changes the visibility, or the user's own membership, is seen by whoever may see it under the value
/// before or after it.
pub fn is_visible(viewpoint: Viewpoint) -> bool {
    let visibilities = [Some(viewpoint.visibility), viewpoint.visibility_set];
    let memberships = [Some(viewpoint.membership), viewpoint.membership_set];
    visibilities.into_iter().flatten().any(|visibility| {
        memberships
            .into_iter()
            .flatten()
            .any(|membership| allows(visibility, membership, viewpoint.joined_later))
    })
}

fn allows(visibility: Visibility, membership: Membership, joined_later: bool) -> bool {
    match visibility {
        Visibility::WorldReadable => true,
        _ if membership == Membership::Join => true,
        Visibility::Shared => joined_later,
        Visibility::Invited => membership == Membership::Invite,
        Visibility::Joined => false,
    }
}

#[cfg(test)]
mod tests;
