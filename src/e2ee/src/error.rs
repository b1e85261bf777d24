//! What can go wrong with keys.

/// What every operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] hearth_store::Error),
    /// Too many others changed the same rows at the same time.
    #[error("too many changes at once")]
    Contended,
    /// What stands in the store is not what this crate writes.
    #[error("a stored {what} cannot be read")]
    Corrupt {
        /// What it is.
        what: &'static str,
    },
    /// The caller has no device, or it is gone.
    #[error("there is no such device")]
    NoDevice,
    /// The JSON is not what it should be.
    #[error("{0}")]
    Schema(String),
    /// Something names another user or device than it should, or is named as something else already.
    #[error("{0}")]
    Param(&'static str),
    /// A signature does not fit.
    #[error("{0}")]
    Signature(&'static str),
    /// Something that is needed first is missing.
    #[error("{0}")]
    Missing(&'static str),
    /// The public key is named like a device.
    #[error("this key is named like one of the devices")]
    KeyNamedLikeDevice,
    /// The user has to authenticate to replace her cross-signing keys.
    #[error("replacing cross-signing keys needs authentication")]
    NeedsAuthentication,
    /// There is no such thing.
    #[error("{0}")]
    NotFound(&'static str),
    /// Too large or too many.
    #[error("{what}: at most {max}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Keys may be written into the newest version of a backup only.
    #[error("the newest version of the backup is {current}")]
    WrongBackupVersion {
        /// The newest version.
        current: u64,
    },
    /// Another server names users that are not its own.
    #[error("a server speaks for its own users only")]
    Foreign,
}

impl From<crate::schema::Malformed> for Error {
    fn from(malformed: crate::schema::Malformed) -> Self {
        use crate::schema::Malformed;
        match malformed {
            Malformed::Shape(text) => Self::Schema(text),
            Malformed::Other(text) => Self::Param(text),
            Malformed::Signature(text) => Self::Signature(text),
            Malformed::Large { what, max } => Self::TooLarge { what, max },
        }
    }
}
