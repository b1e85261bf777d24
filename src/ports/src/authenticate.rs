//! From an access token to the user who holds it.

use std::error::Error as StdError;

use hearth_types::Caller;

use crate::BoxFuture;

/// The cause of a failure that is nobody's fault but the server's.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Who holds an access token. Asked by the API crates for each request, answered by `accounts`.
pub trait Authenticate: Send + Sync {
    /// The caller behind an access token. Takes anything a client may send as a token.
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, AuthFailure>>;

    /// Whether a token is that of an application service, whose requests say in whose name they are made.
    fn is_service(&self, token: &str) -> bool {
        let _ = token;
        false
    }

    /// The caller behind the token of an application service (application service API, "Identity assertion").
    fn authenticate_service<'a>(
        &'a self,
        token: &'a str,
        acting: Acting<'a>,
    ) -> BoxFuture<'a, Result<Caller, AuthFailure>> {
        let _ = (token, acting);
        Box::pin(async { Err(AuthFailure::Unknown { soft_logout: false }) })
    }
}

/// In whose name an application service asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acting<'a> {
    /// The user; `None` for its own.
    pub user_id: Option<&'a str>,
    /// One of her devices; `None` for none.
    pub device_id: Option<&'a str>,
}

/// Why a token does not make a caller.
#[derive(Debug, thiserror::Error)]
pub enum AuthFailure {
    /// Never issued, revoked or expired.
    #[error("the access token is not known")]
    Unknown {
        /// The device is still there: the client may log in again and keep its keys
        /// (client-server API, "Soft logout").
        soft_logout: bool,
    },
    /// The account is locked: the token is good, but only for logging out (client-server API, "Account locking").
    #[error("the account is locked")]
    Locked {
        /// Who it is, for the endpoints that a locked user may use.
        caller: Box<Caller>,
    },
    /// An application service may not ask in the name of this user.
    #[error("{0}")]
    NotInNamespace(&'static str),
    /// The user in whose name an application service asks has no such device.
    #[error("the user has no such device")]
    UnknownDevice,
    /// The answer could not be found out.
    #[error("could not look up the access token")]
    Internal(#[source] BoxError),
}
