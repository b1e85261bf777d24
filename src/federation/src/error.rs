//! What can go wrong between servers.

use std::sync::Arc;

use hearth_ports::OutError;
use ruma::OwnedServerName;

/// Why something with another server did not work.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Federation is off, or not allowed with this server.
    #[error("this server does not talk to `{0}`")]
    NotAllowed(OwnedServerName),
    /// The other server could not be found or reached, or did not answer in time.
    #[error("could not reach `{server}`")]
    Unreachable {
        /// Which.
        server: OwnedServerName,
        /// Why.
        #[source]
        cause: Arc<OutError>,
    },
    /// It answered with an error.
    #[error("`{server}` answered {status} {errcode}: {message}")]
    Refused {
        /// Which.
        server: OwnedServerName,
        /// The HTTP status.
        status: u16,
        /// The `errcode`, empty if there is none.
        errcode: String,
        /// In its words, cut short.
        message: String,
        /// The room version of `M_INCOMPATIBLE_ROOM_VERSION`.
        room_version: Option<String>,
    },
    /// It answered, and not as the specification has it.
    #[error("`{server}` gave a malformed answer: {what}")]
    Malformed {
        /// Which.
        server: OwnedServerName,
        /// What is wrong.
        what: String,
    },
    /// The store failed.
    #[error("could not read or write the store")]
    Store(#[source] Arc<hearth_store::Error>),
}

impl From<hearth_store::Error> for Error {
    fn from(error: hearth_store::Error) -> Self {
        Self::Store(Arc::new(error))
    }
}

/// What this crate's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
