//! Media of a data folder: built from the settings, copied for backups, checked.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hearth_config::{ByteSize, Config};
use hearth_data::media as data;
use hearth_media::{Disk, Media, Parts, S3, S3Settings, Settings};
use hearth_ports::{BlobName, Blobs, HttpOut};
use hearth_store::Backend;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{Doing, Error, Result};
use crate::federation::{Ground, Neighbours};
use crate::house::private_folder;
use crate::outside::{self, Reach};

/// Images that are made smaller at once: each takes much memory and a whole core.
const THUMBNAILS_AT_ONCE: usize = 1;
/// Blobs that are looked up at a time.
const PAGE: usize = 500;
/// Problems that are told.
const PROBLEMS_MAX: usize = 100;
/// What is read at a time, in bytes.
const READ_BYTES: usize = 256 << 10;

/// Where files are in a data folder, or in a backup.
pub(crate) fn blobs_path(folder: &Path) -> PathBuf {
    folder.join("media").join("blobs")
}

/// Where the bytes are.
fn blobs(
    config: &Config,
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
) -> Result<Arc<dyn Blobs>> {
    let Some(s3) = &config.media.s3 else {
        let folder = blobs_path(&config.data_dir);
        let disk = Disk::open(&folder).doing("could not make the folder of media")?;
        return Ok(Arc::new(disk));
    };
    let settings = S3Settings {
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        access_key: s3.access_key.clone(),
        secret_key: s3
            .secret_key
            .as_ref()
            .map(|key| key.expose().to_owned())
            .unwrap_or_default(),
    };
    let egress = outside::egress(config, Reach::Anywhere, tasks, shutdown)?;
    let bucket = S3::new(&settings, Arc::new(egress)).doing("could not use the object store")?;
    Ok(Arc::new(bucket))
}

/// Media as the settings want them.
pub(crate) fn open(
    config: &Config,
    ground: Ground,
    http: Arc<dyn HttpOut>,
    neighbours: &Neighbours,
) -> Result<Media> {
    let parts = Parts {
        blobs: blobs(config, &ground.tasks, &ground.shutdown)?,
        store: ground.store,
        http,
        peers: Some(Arc::new(neighbours.client.clone())),
        clock: ground.clock,
        ids: ground.ids,
    };
    Media::new(parts, settings(config)?).doing("could not open the folder of media")
}

fn settings(config: &Config) -> Result<Settings> {
    let media = &config.media;
    let bytes = |size: ByteSize| Some(size.bytes()).filter(|bytes| *bytes > 0);
    let days = |days: u32| {
        let keep = Duration::from_secs(u64::from(days) * 24 * 60 * 60);
        (days > 0).then_some(keep)
    };
    let name = config.server_name.as_str().try_into();
    Ok(Settings {
        server_name: name.doing("server_name is no server name")?,
        incoming: config.data_dir.join("media").join("incoming"),
        upload_bytes_max: media.upload.bytes(),
        quota_bytes_max: bytes(media.user),
        image_pixels_max: u64::from(media.image_megapixels) * 1_000_000,
        thumbnails_at_once: THUMBNAILS_AT_ONCE,
        previews: media.previews,
        unauthenticated: media.unauthenticated,
        remote_keep: days(media.remote_days),
        remote_bytes_max: bytes(media.remote),
        local_keep: days(media.local_days),
    })
}

/// Copies all files; where it can, by links: they never change.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    copy_folder(from, to).doing(format!("could not copy {}", from.display()))
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    private_folder(to).map_err(io::Error::other)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_folder(&source, &target)?;
        } else if !target.exists() && fs::hard_link(&source, &target).is_err() {
            // Under its name only when it is complete.
            let part = target.with_extension("part");
            fs::copy(&source, &part)?;
            fs::File::open(&part)?.sync_all()?;
            fs::rename(&part, &target)?;
        }
    }
    fs::File::open(to)?.sync_all()
}

/// How closely files are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// They are there and of the right length.
    Lengths,
    /// Every byte is as it was uploaded.
    Contents,
}

/// Checks that each file that a store knows is in a folder. A text about their number, or the problems as an error.
pub(crate) async fn check(store: &dyn Backend, folder: &Path, depth: Depth) -> Result<String> {
    let disk = Disk::open(folder).doing("could not open the folder of media")?;
    let (mut count, mut bytes, mut problems) = (0_u64, 0_u64, Vec::new());
    let mut from = [0; 32];
    loop {
        let snapshot = store.snapshot().await.doing("could not read the store")?;
        let page = data::blobs_from(&*snapshot, &from, PAGE).await;
        let page = page.doing("could not read the store")?;
        let Some((last, _)) = page.last() else { break };
        let is_last = page.len() < PAGE || *last == [u8::MAX; 32];
        for (hash, row) in &page {
            // In quarantine, a blob may be remembered without its bytes.
            let name = BlobName(*hash);
            let found = look(&disk.path(name), name, row.bytes, depth);
            count += 1;
            bytes += row.bytes;
            if let (Err(error), false) = (found, row.quarantined) {
                problems.push(format!("{name}: {error}"));
            }
        }
        if is_last || problems.len() > PROBLEMS_MAX {
            break;
        }
        from = next(*last);
    }
    match problems.is_empty() {
        true => Ok(format!("{count} files of media, {bytes} bytes\n")),
        false => Err(Error::refused(format!(
            "files of media are missing or damaged:\n{}",
            problems.join("\n")
        ))),
    }
}

/// The hash after one that is not the last.
fn next(mut hash: [u8; 32]) -> [u8; 32] {
    for byte in hash.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    hash
}

fn look(path: &Path, name: BlobName, bytes: u64, depth: Depth) -> io::Result<()> {
    let mut file = fs::File::open(path)?;
    if file.metadata()?.len() != bytes {
        return Err(io::Error::other("not of the length that it should have"));
    }
    if depth == Depth::Lengths {
        return Ok(());
    }
    let mut hash = Sha256::new();
    let mut piece = vec![0; READ_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    match BlobName(hash.finalize().into()) == name {
        true => Ok(()),
        false => Err(io::Error::other("not what was uploaded")),
    }
}
