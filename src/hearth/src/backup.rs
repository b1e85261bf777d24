//! `hearth backup`: copies of the store.
//!
//! A backup is a folder with `store`, which opens like a store after a crash, `media/blobs`, unless these are in an
//! object store, and `backup.json`, which is written last:
//! a folder without it is not a complete backup.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use hearth_config::Config;
use hearth_data::tables::CATALOGUE;
use hearth_media::Media;
use hearth_store_rocksdb::{RocksBackend, Settings};
use hearth_types::{Clock, SystemClock, UnixMs};
use serde::{Deserialize, Serialize};

use crate::error::{Doing, Error, Result};
use crate::fsck;
use crate::house::{private_folder, store_path};
use crate::media::{self, Depth, blobs_path};

const DESCRIPTION: &str = "backup.json";

/// What `backup.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    server_name: String,
    created: UnixMs,
    hearth: String,
    /// Whether the files of media are in it.
    #[serde(default)]
    has_media: bool,
}

/// The files of a running server.
pub(crate) struct Files<'a> {
    /// Who must not remove any meanwhile.
    pub(crate) media: &'a Media,
    /// Where they are; none if in an object store.
    pub(crate) folder: Option<&'a Path>,
}

/// Makes a backup of an open store in a folder that does not exist yet.
pub(crate) async fn create(
    store: &RocksBackend,
    server_name: &str,
    files: Files<'_>,
    folder: &Path,
) -> Result<String> {
    if folder.exists() {
        return Err(Error::refused(format!(
            "{} is already there",
            folder.display()
        )));
    }
    private_folder(folder)?;
    // What the copied rows name must still be there when the files are copied; what comes meanwhile does no harm.
    let paused = files.media.pause_removal().await;
    let copied = store.checkpoint(&store_path(folder)).await;
    copied.doing("could not copy the store")?;
    if let Some(blobs) = files.folder {
        let (from, to) = (blobs.to_owned(), blobs_path(folder));
        let copied = tokio::task::spawn_blocking(move || media::copy(&from, &to)).await;
        copied.doing("could not copy the files of media")??;
    }
    drop(paused);
    let description = Description {
        server_name: server_name.to_owned(),
        created: SystemClock.now(),
        hearth: env!("CARGO_PKG_VERSION").to_owned(),
        has_media: files.folder.is_some(),
    };
    let text = serde_json::to_vec_pretty(&description).doing("could not describe the backup")?;
    let path = folder.join(DESCRIPTION);
    let write = || {
        fs::write(&path, text)?;
        fs::File::open(&path)?.sync_all()?;
        fs::File::open(folder)?.sync_all()
    };
    write().doing("could not describe the backup")?;
    Ok(format!("made a backup in {}\n", folder.display()))
}

fn describe(folder: &Path) -> Result<Description> {
    let path = folder.join(DESCRIPTION);
    let text = fs::read(&path).doing(format!(
        "{} is not a complete backup: could not read {DESCRIPTION}",
        folder.display()
    ))?;
    serde_json::from_slice(&text).doing(format!("could not read {}", path.display()))
}

/// Reads a whole backup and checks it. The backup itself is not written to: opening a store writes, so a copy is
/// opened, which shares the files that never change.
pub(crate) async fn verify(folder: &Path) -> Result<()> {
    let description = describe(folder)?;
    let scratch = Scratch::beside(folder)?;
    copy_store(&store_path(folder), &scratch.0, copy_or_link)?;
    let store = RocksBackend::open(&scratch.0, CATALOGUE, &Settings::default())
        .doing("could not open the backup")?;
    if description.has_media {
        let blobs = blobs_path(folder);
        print!("{}", media::check(&store, &blobs, Depth::Contents).await?);
    }
    let report = fsck::check(store).await?;
    print!("{report}");
    println!(
        "{} is a good backup of `{}`",
        folder.display(),
        description.server_name
    );
    Ok(())
}

/// Puts a backup into an empty data folder.
pub(crate) async fn restore(folder: &Path, config: &Config) -> Result<()> {
    let description = describe(folder)?;
    if description.server_name != config.server_name {
        return Err(Error::refused(format!(
            "the backup is of `{}`, but server_name is `{}`",
            description.server_name, config.server_name
        )));
    }
    private_folder(&config.data_dir)?;
    let target = store_path(&config.data_dir);
    if target.exists() {
        return Err(Error::refused(format!(
            "{} is already there: move it away first",
            target.display()
        )));
    }
    // The files first: without a store, nobody knows them, and trying again goes on.
    if description.has_media {
        media::copy(&blobs_path(folder), &blobs_path(&config.data_dir))?;
    }
    // Copied under another name and moved when complete, so that no half store is ever opened.
    let scratch = Scratch::beside(&target)?;
    copy_store(&store_path(folder), &scratch.0, copy)?;
    fs::rename(&scratch.0, &target)
        .and_then(|()| fs::File::open(&config.data_dir)?.sync_all())
        .doing("could not move the store to its place")?;
    println!("restored `{}`", description.server_name);
    Ok(())
}

/// A folder that is gone in the end, unless it was moved.
struct Scratch(PathBuf);

impl Scratch {
    fn beside(path: &Path) -> Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let folder = PathBuf::from(name);
        private_folder(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                eprintln!("hearth: could not remove {}: {error}", self.0.display());
            }
            _ => {}
        }
    }
}

type CopyFile = fn(&Path, &Path) -> std::io::Result<()>;

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    fs::File::open(to)?.sync_all()
}

/// Table files are never written to again, only removed.
fn copy_or_link(from: &Path, to: &Path) -> std::io::Result<()> {
    let is_table = from.extension().is_some_and(|extension| extension == "sst");
    if is_table && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map(drop)
}

/// Copies the files of a store; it has no folders within.
fn copy_store(from: &Path, to: &Path, copy_file: CopyFile) -> Result<()> {
    let copy_all = || {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                copy_file(&entry.path(), &to.join(entry.file_name()))?;
            }
        }
        fs::File::open(to)?.sync_all()
    };
    copy_all().doing(format!("could not copy {}", from.display()))
}
