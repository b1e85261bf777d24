//! Why a command of the binary did not do what it should.

use std::error::Error as StdError;
use std::fmt::Write;

/// An error with what was being done, for people at a terminal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The settings are wrong.
    #[error("the settings are not valid: {0}")]
    Config(#[from] hearth_config::Error),
    /// Something below failed.
    #[error("{what}")]
    Because {
        /// What was being done.
        what: String,
        /// Why it failed.
        #[source]
        cause: Box<dyn StdError + Send + Sync>,
    },
    /// It cannot be done as asked.
    #[error("{0}")]
    Refused(String),
}

/// What every step of a command returns.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// The error and all its causes on one line.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            // A cause that is formatted into the text is not said twice.
            let error_text = error.to_string();
            if !text.ends_with(&error_text) {
                write!(text, ": {error_text}").expect("writing to a string cannot fail");
            }
            cause = error.source();
        }
        text
    }
}

/// Says what was being done when an error came up.
pub(crate) trait Doing<T> {
    /// As `std::result::Result::map_err` with [`Error::Because`].
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|cause| Error::Because {
            what: what.into(),
            cause: cause.into(),
        })
    }
}
