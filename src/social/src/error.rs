//! What can go wrong between people.

use std::sync::Arc;

use hearth_rooms::Error as RoomsError;

use crate::Standing;

/// Why something was not done.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody has this name here, nor can anybody be asked.
    #[error("there is no such user")]
    NoSuchUser,
    /// Nobody is her own friend.
    #[error("that is yourself")]
    Oneself,
    /// Guests have no friends here.
    #[error("guests have neither friends nor groups")]
    Guest,
    /// The other one does not want it.
    #[error("this user does not take requests from you")]
    Refused,
    /// One has blocked the other oneself.
    #[error("you have blocked this user")]
    Blocked,
    /// What was asked does not go with how the two stand.
    #[error("that does not fit how you stand with this user")]
    WrongState(Standing),
    /// Only friends can be put into a group.
    #[error("`{0}` is not one of your friends")]
    NotInCircle(String),
    /// A list has a limit.
    #[error("you have too many {what}, at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there can be.
        max: usize,
    },
    /// Something in the request has a value that it cannot have.
    #[error("{0}")]
    Invalid(&'static str),
    /// Another server is needed and could not be reached, or refused.
    #[error("the user's server could not be reached, or refused")]
    Unreachable,
    /// Others were first again and again.
    #[error("other writers were first too often")]
    Contended,
    /// A room could not be written.
    #[error(transparent)]
    Rooms(RoomsError),
    /// The store failed.
    #[error("could not read or write the store")]
    Store(#[source] Arc<hearth_store::Error>),
}

impl From<hearth_store::Error> for Error {
    fn from(error: hearth_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl From<RoomsError> for Error {
    fn from(error: RoomsError) -> Self {
        match error {
            RoomsError::Remote(_) | RoomsError::RemoteUnavailable | RoomsError::NoServerInRoom => {
                Self::Unreachable
            }
            error => Self::Rooms(error),
        }
    }
}

/// Whether an error says that the server itself cannot go on, and not that a room refuses.
pub(crate) fn is_own(error: &RoomsError) -> bool {
    matches!(
        error,
        RoomsError::Store(_)
            | RoomsError::Stopping
            | RoomsError::Busy
            | RoomsError::Contended
            | RoomsError::RiderConflict
    )
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
