//! Blobs in a folder: `ab/cd/abcd…`, named by their SHA-256.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream;
use hearth_ports::{BlobName, Blobs, BoxError, BoxFuture, ByteStream};
use tokio::task::spawn_blocking;

use crate::pieces::PIECE;

/// The local disk.
#[derive(Clone, Debug)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Blobs below a folder, which is made if it is not there.
    pub fn open(folder: &Path) -> io::Result<Self> {
        private(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Where a blob is.
    pub fn path(&self, name: BlobName) -> PathBuf {
        let name = name.to_string();
        let mut path = self.folder.join(&name[..2]);
        path.push(&name[2..4]);
        path.push(name);
        path
    }
}

fn private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Moves a synced file to its place, and returns when the move is on the disk.
fn place(from: &Path, to: &Path, root: &Path) -> io::Result<()> {
    let folder = to.parent().unwrap_or(root);
    let is_new = !folder.is_dir();
    private(folder)?;
    fs::rename(from, to)?;
    sync(folder)?;
    if is_new {
        if let Some(parent) = folder.parent() {
            sync(parent)?;
        }
        sync(root)?;
    }
    Ok(())
}

async fn blocking<T, F>(work: F) -> Result<T, BoxError>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    Ok(spawn_blocking(work).await??)
}

fn absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl Blobs for Disk {
    fn put<'a>(&'a self, name: BlobName, file: &'a Path) -> BoxFuture<'a, Result<(), BoxError>> {
        let (from, to, root) = (file.to_owned(), self.path(name), self.folder.clone());
        Box::pin(blocking(move || place(&from, &to, &root)))
    }

    fn read(
        &self,
        name: BlobName,
        range: Range<u64>,
    ) -> BoxFuture<'_, Result<Option<ByteStream>, BoxError>> {
        let path = self.path(name);
        Box::pin(async move {
            let file = blocking(move || absent(File::open(path))).await?;
            Ok(file.map(|file| pieces(Arc::new(file), range)))
        })
    }

    fn delete(&self, name: BlobName) -> BoxFuture<'_, Result<(), BoxError>> {
        let path = self.path(name);
        Box::pin(blocking(move || absent(fs::remove_file(path)).map(drop)))
    }

    fn list(&self, first: u8) -> BoxFuture<'_, Result<Vec<(BlobName, u64)>, BoxError>> {
        let folder = self.folder.join(format!("{first:02x}"));
        Box::pin(blocking(move || list(&folder)))
    }
}

fn list(folder: &Path) -> io::Result<Vec<(BlobName, u64)>> {
    let mut found = Vec::new();
    let Some(folders) = absent(fs::read_dir(folder))? else {
        return Ok(found);
    };
    for folder in folders {
        for entry in fs::read_dir(folder?.path())? {
            let entry = entry?;
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(BlobName::parse)
                && let Some(metadata) = absent(entry.metadata())?
            {
                found.push((name, metadata.len()));
            }
        }
    }
    Ok(found)
}

/// Reads a piece when it is asked for.
fn pieces(file: Arc<File>, range: Range<u64>) -> ByteStream {
    Box::pin(stream::try_unfold(
        (file, range),
        async |(file, range): (Arc<File>, Range<u64>)| {
            if range.is_empty() {
                return Ok(None);
            }
            let reader = file.clone();
            let length = (range.end - range.start).min(PIECE as u64);
            let at = range.start;
            let piece = blocking(move || read(&reader, at, length)).await?;
            Ok::<_, BoxError>(Some((piece, (file, at + length..range.end))))
        },
    ))
}

fn read(file: &File, at: u64, length: u64) -> io::Result<Bytes> {
    let mut piece = BytesMut::zeroed(usize::try_from(length).map_err(io::Error::other)?);
    file.read_exact_at(&mut piece, at)?;
    Ok(piece.freeze())
}
