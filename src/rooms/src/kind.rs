//! What a room of this server says of itself in its create event: a chat of two, a group, or the group of one exact
//! set of users.

/// The field of the create event's content.
pub const KIND: &str = "chat.hearth.kind";

/// What a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RoomKind {
    /// The chat of two users.
    Direct,
    /// A group.
    Group,
    /// The group of one exact set of users.
    PrivateGroup,
}

impl RoomKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::PrivateGroup => "private_group",
        }
    }

    /// What is written, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Direct, Self::Group, Self::PrivateGroup]
            .into_iter()
            .find(|kind| kind.as_str() == text)
    }
}
