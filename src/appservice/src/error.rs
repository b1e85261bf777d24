//! What can go wrong with application services.

use hearth_ports::OutError;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] hearth_store::Error),
    /// A registration cannot be read.
    #[error("this is not a registration of an application service")]
    NotARegistration(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A registration contradicts itself or another one.
    #[error("{0}")]
    Refused(String),
    /// A service did not take what was sent.
    #[error("the application service cannot be reached")]
    Unreachable(#[from] OutError),
    /// A service answered with an error.
    #[error("the application service answered with status {0}")]
    Status(u16),
}

/// An alias belongs to an application service, or is outside of what the one that asks may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this alias is reserved for an application service, or not one of its own")]
pub struct AliasReserved;

/// Why a service could not be pinged (client-server API, `POST /appservice/{appserviceId}/ping`).
#[derive(Debug, thiserror::Error)]
pub enum PingError {
    /// It is another one than the one that asks.
    #[error("the access token is that of another application service")]
    Foreign,
    /// It has no address.
    #[error("the application service has no URL")]
    NoUrl,
    /// It answered with an error.
    #[error("the application service answered with status {status}")]
    Status {
        /// The status.
        status: u16,
        /// What it said, at most 64 KiB.
        body: String,
    },
    /// It took too long.
    #[error("the connection to the application service timed out")]
    TimedOut,
    /// It could not be reached.
    #[error("could not connect to the application service")]
    Unreachable(#[source] OutError),
}
