//! What can go wrong with rooms, in words of rooms. Status codes are the API crates' business.

use std::error::Error as _;
use std::sync::Arc;

use hearth_event::{AuthError, BuildError};
use hearth_ports::remote::{Refusal, RemoteError};

use crate::policy::Unsigned;

/// Why something was not done or is not shown.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No room of this id is known here.
    #[error("no such room")]
    NoSuchRoom,
    /// Joining or knocking needs a room that some reachable server knows; none does.
    #[error("no known server is in that room")]
    NoServerInRoom,
    /// The caller is not, or never was, in the room.
    #[error("you are not in the room")]
    NotInRoom,
    /// The target of a kick or ban is not where it would have to be.
    #[error("the user is not in the room")]
    TargetNotInRoom,
    /// The invited user is joined already.
    #[error("the user is already in the room")]
    AlreadyJoined,
    /// The invited user wants no invites.
    #[error("this user does not accept invites")]
    InviteBlocked,
    /// An authorization rule of the room forbids it.
    #[error("{0}")]
    Forbidden(AuthError),
    /// The room's policy server does not recommend the event, in its words.
    #[error("{0}")]
    NotRecommended(String),
    /// The room's policy server has to sign the event first. Nobody outside sees this.
    #[error("the room's policy server has not signed the event")]
    Unsigned(Box<Unsigned>),
    /// Forbidden by this server rather than by the room.
    #[error("{0}")]
    Refused(&'static str),
    /// The caller may do nothing in rooms because the account is suspended.
    #[error("this account has been suspended")]
    Suspended,
    /// The event does not exist or may not be seen, which must look the same.
    #[error("event not found")]
    NoSuchEvent,
    /// The room has no state event of this type and key.
    #[error("state event not found")]
    NoSuchState,
    /// There is no such local user.
    #[error("there is no such user")]
    NoSuchUser,
    /// The alias leads nowhere.
    #[error("no such alias")]
    NoSuchAlias,
    /// The alias is in use.
    #[error("the alias is in use")]
    AliasTaken,
    /// An alias in `m.room.canonical_alias` does not lead to the room.
    #[error("alias `{0}` does not lead to this room")]
    BadAlias(String),
    /// Something in the request has a value that it cannot have.
    #[error("{0}")]
    Invalid(&'static str),
    /// The content does not have the form that its event type asks for.
    #[error("{0}")]
    BadContent(&'static str),
    /// This server does not make rooms of that version.
    #[error("room version `{0}` is not supported")]
    UnsupportedVersion(String),
    /// The initial state asked for is against the rules of the room itself.
    #[error("the room cannot be made so")]
    InvalidRoomState(#[source] AuthError),
    /// The draft cannot be made an event.
    #[error("{0}")]
    Build(#[source] BuildError),
    /// The same user has annotated the event with the same key before.
    #[error("the event was annotated so before")]
    DuplicateAnnotation,
    /// The root of a thread must not be related to another event.
    #[error("a thread cannot begin at an event that relates to another")]
    ThreadOnRelation,
    /// A room that one is in cannot be forgotten.
    #[error("leave the room before forgetting it")]
    StillInRoom,
    /// No member of this server can let the caller in by a restricted rule.
    #[error("no member here can authorise the join")]
    CannotAuthoriseJoin,
    /// Another server may be able to let the user in by a restricted rule; this one is not.
    #[error("another server has to let you in")]
    CannotGrantJoin,
    /// Another server does not know the room's version.
    #[error("the room has version `{0}`")]
    IncompatibleVersion(String),
    /// An event of another server is not what it has to be.
    #[error("{0}")]
    BadEvent(String),
    /// An invite into a room of version 12 without its create event.
    #[error("the create event is missing in the invite")]
    MissingCreate,
    /// Another server may not do that.
    #[error("the server may not do that")]
    Denied,
    /// The room's state is not complete yet.
    #[error("the room is still being joined")]
    NotYet,
    /// Another server did not do what was asked of it.
    #[error("{0}")]
    Remote(#[source] RemoteError),
    /// Needs another server, and this server does not talk to others.
    #[error("the other server cannot be reached")]
    RemoteUnavailable,
    /// More than the store takes in one commit.
    #[error("the request is too large")]
    TooLarge,
    /// What the caller expected of its own rows did not hold; nothing was written.
    #[error("another request was first")]
    RiderConflict,
    /// Other writers were first again and again.
    #[error("other writers were first too often")]
    Contended,
    /// Too much is waiting for this room; try again.
    #[error("the room is busy")]
    Busy,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The store failed.
    #[error("could not read or write the store")]
    Store(#[source] Arc<hearth_store::Error>),
}

impl Error {
    /// Whether another server refused because we are not, or not any more, in the room.
    pub(crate) fn is_kept_from_us(&self) -> bool {
        let reason = match self {
            Self::Remote(RemoteError::Refused { reason, .. }) => reason,
            _ => return false,
        };
        *reason == Refusal::Forbidden
    }

    /// The error with all its causes, on one line: for logs.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let said = error.to_string();
            // A cause that is part of the text is not said twice.
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl From<hearth_store::Error> for Error {
    fn from(error: hearth_store::Error) -> Self {
        match error {
            hearth_store::Error::Closed => Self::Stopping,
            hearth_store::Error::BatchTooLarge { .. } => Self::TooLarge,
            error => Self::Store(Arc::new(error)),
        }
    }
}

impl From<RemoteError> for Error {
    fn from(error: RemoteError) -> Self {
        Self::Remote(error)
    }
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl From<AuthError> for Error {
    fn from(error: AuthError) -> Self {
        Self::Forbidden(error)
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
