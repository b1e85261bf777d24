//! The files, by name: in the binary, or in a folder.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::{Digest, Sha256};

/// The page, which no address under `/assets/` shows.
pub(crate) const INDEX: &str = "index.html";
/// What the page has in place of the version.
const VERSION_PLACE: &str = "{version}";
/// The version of files that may change at any time.
const VERSION_OF_FOLDER: &str = "live";
/// Bytes of the hash that names a version.
const VERSION_BYTES: usize = 8;
/// Largest file that is read from a folder, in bytes.
const FOLDER_FILE_BYTES_MAX: u64 = 4 << 20;

#[derive(RustEmbed)]
#[folder = "client"]
struct Embedded;

/// All files of the client.
pub(crate) enum Files {
    /// In memory, never changing.
    BuiltIn {
        /// A hash of all of them.
        version: String,
        /// By their path, with slashes.
        by_path: BTreeMap<String, File>,
    },
    /// On disk.
    Folder(PathBuf),
}

/// One file.
pub(crate) struct File {
    pub(crate) plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Files {
    pub(crate) fn built_in() -> Self {
        let mut all = Sha256::new();
        let mut by_path = BTreeMap::new();
        for path in Embedded::iter() {
            let Some(file) = Embedded::get(&path) else {
                continue;
            };
            all.update(path.as_bytes());
            all.update([0]);
            all.update(file.metadata.sha256_hash());
            let plain = match file.data {
                std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
                std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
            };
            by_path.insert(path.into_owned(), File::new(plain));
        }
        let version = hex(&all.finalize()[..VERSION_BYTES]);
        if let Some(index) = by_path.get_mut(INDEX) {
            *index = File::new(with_version(&index.plain, &version));
        }
        Self::BuiltIn { version, by_path }
    }

    pub(crate) fn folder(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }

    /// The version that the page names.
    pub(crate) fn version(&self) -> &str {
        match self {
            Self::BuiltIn { version, .. } => version,
            Self::Folder(_) => VERSION_OF_FOLDER,
        }
    }

    /// Whether a browser may keep a file for ever.
    pub(crate) fn never_change(&self) -> bool {
        matches!(self, Self::BuiltIn { .. })
    }

    /// The bytes of a file; compressed if there is a gain in it and the browser can.
    pub(crate) async fn bytes(&self, path: &str, encoding: Encoding) -> Option<(Bytes, Encoding)> {
        match self {
            Self::BuiltIn { by_path, .. } => Some(by_path.get(path)?.bytes(encoding)),
            Self::Folder(folder) => {
                let bytes = read(folder, path).await?;
                let bytes = if path == INDEX {
                    with_version(&bytes, VERSION_OF_FOLDER)
                } else {
                    bytes
                };
                Some(File::new(bytes).bytes(encoding))
            }
        }
    }
}

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
}

impl File {
    fn new(plain: Bytes) -> Self {
        Self {
            plain,
            gzip: OnceLock::new(),
        }
    }

    fn bytes(&self, encoding: Encoding) -> (Bytes, Encoding) {
        if encoding == Encoding::Identity {
            return (self.plain.clone(), Encoding::Identity);
        }
        let gzip = self.gzip.get_or_init(|| gzip(&self.plain));
        if gzip.len() < self.plain.len() {
            (gzip.clone(), Encoding::Gzip)
        } else {
            (self.plain.clone(), Encoding::Identity)
        }
    }
}

/// Compressed; as it is if that fails, which writing into memory does not.
fn gzip(plain: &Bytes) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let compressed = encoder.write_all(plain).and_then(|()| encoder.finish());
    compressed.map_or_else(|_| plain.clone(), Bytes::from)
}

fn with_version(page: &[u8], version: &str) -> Bytes {
    let page = String::from_utf8_lossy(page);
    Bytes::from(page.replace(VERSION_PLACE, version))
}

/// A file below the folder; none for what is not there, too large, or named by a path that leads out of it.
async fn read(folder: &Path, path: &str) -> Option<Bytes> {
    let inside = Path::new(path);
    let is_inside = inside
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if !is_inside || path.contains('\\') {
        return None;
    }
    let path = folder.join(inside);
    let metadata = tokio::fs::metadata(&path).await.ok()?;
    if !metadata.is_file() || metadata.len() > FOLDER_FILE_BYTES_MAX {
        return None;
    }
    match tokio::fs::read(&path).await {
        Ok(bytes) => Some(Bytes::from(bytes)),
        Err(error) => {
            tracing::warn!(%error, "could not read a file of the web client's folder");
            None
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
