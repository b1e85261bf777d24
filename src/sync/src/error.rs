//! What can go wrong when a client reads.

/// Why a question of a client has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user is not, and was not, in the room, the room is not there, or she asked to have it forgotten. All the
    /// same to the one who asks.
    #[error("not a member of the room")]
    NotInRoom,
    /// There is no such event, or the user may not see it.
    #[error("no such event")]
    NoSuchEvent,
    /// A token that this server did not make.
    #[error("not a token of this server: `{0}`")]
    BadToken(String),
    /// The filter is not there.
    #[error("no such filter")]
    NoSuchFilter,
    /// The filter is no JSON of the right shape.
    #[error("malformed filter")]
    BadFilter(#[source] serde_json::Error),
    /// The follower of the log is not running, or too far behind.
    #[error("the notifier does not keep up")]
    Behind,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] hearth_store::Error),
}

impl Error {
    /// Whether it may work later: the store is full or closing, or the follower is catching up.
    pub fn is_temporary(&self) -> bool {
        use hearth_store::Error as Store;
        matches!(
            self,
            Self::Behind | Self::Store(Store::NoSpace | Store::Closed)
        )
    }
}

/// What questions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
