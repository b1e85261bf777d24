//! What can go wrong in a store.

/// An error of a backend or of decoding what it holds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An [`crate::Op::Expect`] did not hold: somebody else was first. Load again, decide again, try again.
    #[error("another writer was first")]
    Conflict,
    /// The batch is larger than [`crate::Limits`] allow; nothing was written.
    #[error("a batch of {bytes} bytes and {ops} operations is over the store's limits")]
    BatchTooLarge {
        /// Keys and values of the batch, in bytes.
        bytes: usize,
        /// Its number of operations.
        ops: usize,
    },
    /// A row cannot be read as what it should be. A person must look (`hearth fsck`).
    #[error("the row {key} of table `{table}` is corrupt: {reason}")]
    Corrupt {
        /// The table's name.
        table: &'static str,
        /// The key, in hexadecimal.
        key: String,
        /// What was wrong with it.
        reason: String,
    },
    /// The disk is full; nothing was written. Service resumes when there is space.
    #[error("no space is left on the store's disk")]
    NoSpace,
    /// The engine failed (disk, memory).
    #[error("the storage engine failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The store was written by a newer Hearth, or is not one of Hearth's.
    #[error(
        "the store has format {found}, this version of Hearth reads up to {known}; nothing was changed"
    )]
    Format {
        /// The format number on disk.
        found: u32,
        /// The newest format that this program knows.
        known: u32,
    },
}

impl Error {
    /// Whether loading again and deciding again can succeed.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict)
    }
}
