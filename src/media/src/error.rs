//! What can go wrong.

use hearth_ports::{BoxError, OutError};

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why there is no file, no thumbnail, no preview.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such medium, or one that must not be served.
    #[error("there is no such file")]
    NotFound,
    /// The medium is reserved, but nobody has uploaded it yet.
    #[error("the file has not been uploaded yet")]
    NotYetUploaded,
    /// The medium has been uploaded before.
    #[error("the file is there already")]
    AlreadyUploaded,
    /// The medium was reserved by somebody else.
    #[error("the file is another user's to upload")]
    NotYours,
    /// The file is larger than this server takes.
    #[error("the file is larger than {bytes_max} bytes")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// The user's files would take more than one user's may.
    #[error("the user's files would take more than {bytes_max} bytes")]
    Quota {
        /// The limit.
        bytes_max: u64,
    },
    /// The user has reserved too many files without uploading them.
    #[error("too many files are reserved")]
    TooManyPending,
    /// An administrator does not want this file here.
    #[error("this file is not welcome")]
    Unwelcome,
    /// The body of an upload, or of another server's answer, broke off.
    #[error("the file did not arrive whole")]
    Incomplete(#[source] BoxError),
    /// The file's type or name is not one that can be kept.
    #[error("the {0} is too long or malformed")]
    Malformed(&'static str),
    /// There can be no thumbnail of this.
    #[error("this is no image of which there can be a thumbnail")]
    NoThumbnail,
    /// The image is too large for a thumbnail to be made.
    #[error("the image is too large for thumbnails")]
    ImageTooLarge,
    /// Too much is being worked on.
    #[error("there is too much to do at this time")]
    Busy,
    /// The other server has not answered well.
    #[error("could not fetch the file from its server")]
    Remote(#[source] BoxError),
    /// The other server's file is larger than this server takes.
    #[error("the other server's file is too large")]
    RemoteTooLarge,
    /// The link cannot be previewed.
    #[error("could not preview the link")]
    Preview(#[source] OutError),
    /// The link leads to nothing that can be previewed.
    #[error("there is nothing to preview: {0}")]
    NoPreview(&'static str),
    /// Files could not be read or written.
    #[error("could not reach the files")]
    Blobs(#[source] BoxError),
    /// What was stored is not what was uploaded.
    #[error("a file is damaged")]
    Damaged,
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] hearth_store::Error),
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::Blobs(Box::new(error))
    }
}
