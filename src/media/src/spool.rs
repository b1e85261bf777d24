//! Files on their way in: written aside, piece by piece, until they are complete.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use futures_util::StreamExt;
use hearth_ports::{BlobName, ByteStream};
use hearth_types::Ids;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::pieces::{PIECE, sum};
use crate::{Error, Result};

/// Length of the random names of files on their way in.
const NAME_LENGTH: usize = 24;

/// The folder of files on their way in.
pub(crate) struct Spool {
    folder: PathBuf,
    ids: Arc<Ids>,
}

/// A complete file, synced, not yet at its place. Removed when dropped.
pub(crate) struct Received {
    pub(crate) file: Incoming,
    pub(crate) name: BlobName,
    pub(crate) bytes: u64,
    pub(crate) sums: Vec<[u8; 8]>,
}

/// A file that is gone when it is dropped, unless it was moved away.
pub(crate) struct Incoming(PathBuf);

impl Incoming {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        match fs::remove_file(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, "could not remove an incomplete file");
            }
            _ => {}
        }
    }
}

impl Spool {
    /// Makes the folder, or removes what an earlier run left in it.
    pub(crate) fn open(folder: &Path, ids: Arc<Ids>) -> Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        for entry in fs::read_dir(folder)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(Self {
            folder: folder.to_owned(),
            ids,
        })
    }

    /// Writes a stream down and syncs it. Holds one piece in memory, whatever the size.
    pub(crate) async fn receive(&self, body: &mut ByteStream, bytes_max: u64) -> Result<Received> {
        let path = self.folder.join(self.ids.token(NAME_LENGTH));
        let mut writing = spawn_blocking(move || Writing::create(path)).await??;
        writing = fill(writing, body, bytes_max).await?;
        Ok(spawn_blocking(move || writing.finish()).await??)
    }
}

async fn fill(mut writing: Writing, body: &mut ByteStream, bytes_max: u64) -> Result<Writing> {
    let mut piece = BytesMut::new();
    let mut bytes = 0_u64;
    while let Some(more) = body.next().await {
        let mut more = more.map_err(Error::Incomplete)?;
        bytes = bytes.saturating_add(more.len() as u64);
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes_max });
        }
        while !more.is_empty() {
            piece.reserve(PIECE - piece.len());
            let fitting = more.split_to(more.len().min(PIECE - piece.len()));
            piece.extend_from_slice(&fitting);
            if piece.len() == PIECE {
                (writing, piece) = write(writing, piece).await?;
            }
        }
    }
    if !piece.is_empty() {
        (writing, _) = write(writing, piece).await?;
    }
    Ok(writing)
}

async fn write(mut writing: Writing, mut piece: BytesMut) -> Result<(Writing, BytesMut)> {
    let written = spawn_blocking(move || {
        writing.piece(&piece)?;
        piece.clear();
        io::Result::Ok((writing, piece))
    });
    Ok(written.await??)
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Blobs(Box::new(error))
    }
}

struct Writing {
    file: File,
    incoming: Incoming,
    hash: Sha256,
    bytes: u64,
    sums: Vec<[u8; 8]>,
}

impl Writing {
    fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(Self {
            file,
            incoming: Incoming(path),
            hash: Sha256::new(),
            bytes: 0,
            sums: Vec::new(),
        })
    }

    fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.hash.update(piece);
        self.sums.push(sum(piece));
        self.bytes += piece.len() as u64;
        Ok(())
    }

    fn finish(self) -> io::Result<Received> {
        self.file.sync_all()?;
        Ok(Received {
            file: self.incoming,
            name: BlobName(self.hash.finalize().into()),
            bytes: self.bytes,
            sums: self.sums,
        })
    }
}
