//! What can go wrong with users.

use crate::account_data::AccountDataError;
use crate::profile::ProfileError;
use crate::push_rules::PushRuleError;

/// Why a name cannot be a user's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing in it.
    #[error("a username cannot be empty")]
    Empty,
    /// Other characters than `a-z`, `0-9` and `._=-/+`.
    #[error("a username has only the characters a-z, 0-9 and ._=-/+")]
    Characters,
    /// The user id would be longer than 255 bytes.
    #[error("this username is too long")]
    Long,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] hearth_store::Error),
    /// Too many others changed the same rows at the same time.
    #[error("too many changes at once")]
    Contended,
    /// Too many passwords wait to be hashed.
    #[error("too many logins at once")]
    Busy,
    /// A password could not be hashed.
    #[error("could not hash a password: {0}")]
    Hash(String),
    /// What stands in the store is not what this crate writes.
    #[error("a stored {what} cannot be read")]
    Corrupt {
        /// What it is.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Registration is closed.
    #[error("registration is closed")]
    RegistrationClosed,
    /// There are no guests here.
    #[error("guest access is off")]
    GuestsForbidden,
    /// The name cannot be a user's.
    #[error(transparent)]
    InvalidUsername(#[from] NameError),
    /// The name is somebody's.
    #[error("this username is taken")]
    UserInUse,
    /// The name belongs to an application service, or is outside of what the one that asks may have.
    #[error("this username is reserved for an application service, or not one of its own")]
    Exclusive,
    /// The password does not do.
    #[error("a password has {min} characters or more, and at most {max} bytes")]
    WeakPassword {
        /// Fewest characters.
        min: usize,
        /// Most bytes.
        max: usize,
    },
    /// No such user, or another password.
    #[error("wrong username or password")]
    BadCredentials,
    /// The login or refresh token is unknown, spent or expired.
    #[error("this token is not known")]
    UnknownToken,
    /// The registration token is unknown, used up or expired.
    #[error("this registration token is not valid")]
    BadRegistrationToken,
    /// A registration token with this name exists.
    #[error("this registration token exists")]
    RegistrationTokenInUse,
    /// The text cannot be a registration token.
    #[error("a registration token has 1 to 64 of the characters A-Z, a-z, 0-9 and ._~-")]
    InvalidRegistrationToken,
    /// The account is locked.
    #[error("this account is locked")]
    Locked,
    /// The account is suspended and may not do this.
    #[error("this account is suspended")]
    Suspended,
    /// The account is deactivated.
    #[error("this account is deactivated")]
    Deactivated,
    /// There is no such local user.
    #[error("there is no such user")]
    NoSuchUser,
    /// There is no such device.
    #[error("there is no such device")]
    NoSuchDevice,
    /// A device id or name is too long.
    #[error("a device id or name is empty or longer than {max} bytes")]
    InvalidDevice {
        /// Most bytes.
        max: usize,
    },
    /// There are too many rows of a kind already.
    #[error("there are {max} {what} already")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// The shared secret is not set up.
    #[error("registration with a shared secret is not set up")]
    NoSharedSecret,
    /// The nonce is unknown or spent.
    #[error("this nonce is not known")]
    UnknownNonce,
    /// The message authentication code is not that of the request.
    #[error("the mac is wrong")]
    BadMac,
    /// The request was authenticated as somebody else, or the session belongs to another request.
    #[error("{0}")]
    UiaForeign(&'static str),
    /// The `auth` object is not what it should be.
    #[error("malformed auth: {0}")]
    MalformedAuth(String),
    /// Something is missing in the `auth` object or the login.
    #[error("missing {0}")]
    IncompleteAuth(&'static str),
    /// The request is too large to be kept while its user authenticates.
    #[error("the request is longer than {max} bytes")]
    UiaTooLarge {
        /// Most bytes.
        max: usize,
    },
    /// A profile was not changed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Account data was not changed.
    #[error(transparent)]
    AccountData(#[from] AccountDataError),
    /// Push rules were not changed.
    #[error(transparent)]
    PushRule(#[from] PushRuleError),
}
