//! Media: what users upload, what other servers keep for us to fetch, thumbnails, and previews of links.
//!
//! Main types: [`Media`], the handle; [`MediaUri`], what is behind an `mxc://`; [`Download`], a file on its way out;
//! [`Disk`], the [`Blobs`] of a folder; [`multipart`], the form in which servers send each other files.
//!
//! Bytes are kept once, under their SHA-256, outside of the store; the rows that give them meaning are in it. An upload
//! is written aside, synced, moved to its name, and only then becomes a row, in one commit; so a crash leaves a file that
//! nobody knows, which [`Media::sweep`] removes, and never a row without its bytes. Pieces of a file are checked before they leave.
//!
//! Knows no HTTP of clients: which headers and errors they get is the business of the API crates. Other servers are
//! asked through [`MediaPeers`], everything else on the network through [`HttpOut`].

mod disk;
mod download;
mod error;
mod manage;
pub mod multipart;
mod pieces;
mod preview;
mod remote;
mod s3;
mod spool;
mod stripes;
mod sweep;
mod thumbnail;
mod upload;
mod uri;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hearth_ports::{Blobs, HttpOut, MediaPeers};
use hearth_store::{Backend, Batch, Snapshot};
use hearth_types::{Clock, Ids};
use ruma::OwnedServerName;
use tokio::sync::{Notify, RwLock, Semaphore};

pub use disk::Disk;
pub use download::{Disposition, Download, Reach, disposition};
pub use error::{Error, Result};
pub use manage::{MediaInfo, Quarantine};
pub use s3::{S3, S3Settings};
pub use sweep::Swept;
pub use thumbnail::{Animation, Fit, ThumbnailSize};
pub use upload::{FileHead, Reservation};
pub use uri::MediaUri;

use spool::Spool;
use stripes::Stripes;

/// Files that are fetched from other servers at once.
const REMOTE_FETCHES_MAX: usize = 16;
/// Links that are previewed at once.
const PREVIEWS_MAX: usize = 8;

/// What there may be, and how long it is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of this server.
    pub server_name: OwnedServerName,
    /// Where uploads are written until they are complete.
    pub incoming: PathBuf,
    /// Largest file, in bytes, of our users and of other servers.
    pub upload_bytes_max: u64,
    /// What all files of one user may take; any number of bytes if none.
    pub quota_bytes_max: Option<u64>,
    /// Largest image of which there are thumbnails, in pixels of all its frames together.
    pub image_pixels_max: u64,
    /// Images that are made smaller at once.
    pub thumbnails_at_once: usize,
    /// Whether links are previewed.
    pub previews: bool,
    /// Whether files are also served in the old way, to whoever knows their name.
    pub unauthenticated: bool,
    /// How long files of other servers are kept after they were last asked for; they can be fetched again.
    pub remote_keep: Option<Duration>,
    /// What all files of other servers may take; those not asked for longest go first.
    pub remote_bytes_max: Option<u64>,
    /// How long files of our users are kept after they were last asked for. They are lost then.
    pub local_keep: Option<Duration>,
}

/// What the crate stands on.
#[derive(Clone)]
pub struct Parts {
    /// The rows.
    pub store: Arc<dyn Backend>,
    /// The bytes.
    pub blobs: Arc<dyn Blobs>,
    /// Where links lead.
    pub http: Arc<dyn HttpOut>,
    /// Other servers; without them there are only our own files.
    pub peers: Option<Arc<dyn MediaPeers>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<Ids>,
}

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Media(Arc<Inner>);

struct Inner {
    settings: Settings,
    parts: Parts,
    spool: Spool,
    /// Held while a blob and the rows that use it come into being or go. Taken before no other lock.
    blob_locks: Stripes,
    /// Held while something is fetched or made that many may ask for at once. Taken before `blob_locks`.
    work_locks: Stripes,
    /// Woken whenever an upload is complete.
    arrivals: Notify,
    /// Taken for writing while blobs must not go: during a backup.
    removal: RwLock<()>,
    thumbnails: Arc<Semaphore>,
    remote_fetches: Semaphore,
    previews: Semaphore,
}

impl Media {
    /// Media in a store and its blobs. What an earlier run left incomplete is removed.
    pub fn new(parts: Parts, settings: Settings) -> Result<Self> {
        let spool = Spool::open(&settings.incoming, parts.ids.clone())?;
        Ok(Self(Arc::new(Inner {
            spool,
            blob_locks: Stripes::default(),
            work_locks: Stripes::default(),
            arrivals: Notify::new(),
            removal: RwLock::new(()),
            thumbnails: Arc::new(Semaphore::new(settings.thumbnails_at_once.max(1))),
            remote_fetches: Semaphore::new(REMOTE_FETCHES_MAX),
            previews: Semaphore::new(PREVIEWS_MAX),
            settings,
            parts,
        })))
    }

    /// Largest file that is taken, in bytes.
    pub fn upload_bytes_max(&self) -> u64 {
        self.0.settings.upload_bytes_max
    }

    /// Whether links are previewed.
    pub fn makes_previews(&self) -> bool {
        self.0.settings.previews
    }

    /// Whether files are also served in the old way, to whoever knows their name.
    pub fn is_unauthenticated(&self) -> bool {
        self.0.settings.unauthenticated
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.0.parts.store.snapshot().await?)
    }

    async fn commit(&self, batch: Batch) -> Result<()> {
        self.0.parts.store.commit(batch).await?;
        Ok(())
    }

    fn now(&self) -> u64 {
        self.0.parts.clock.now().0
    }
}
