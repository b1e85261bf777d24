//! Where the bytes of media are kept.

use std::ops::Range;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;

use crate::{BoxError, BoxFuture};

/// Pieces of a blob. Ends early only with an error.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

/// Files that are named after their content and never change. Asked by `media`; on a disk or in an object store.
pub trait Blobs: Send + Sync {
    /// Takes a complete, synced file in under a name. Durable when it returns; the file is gone or of no use then.
    /// A blob that is there already is replaced at one stroke: by the same bytes.
    fn put<'a>(&'a self, name: BlobName, file: &'a Path) -> BoxFuture<'a, Result<(), BoxError>>;

    /// A part of a blob; none if there is no such blob.
    fn read(
        &self,
        name: BlobName,
        range: Range<u64>,
    ) -> BoxFuture<'_, Result<Option<ByteStream>, BoxError>>;

    /// Removes a blob. Removing what is not there is no error.
    fn delete(&self, name: BlobName) -> BoxFuture<'_, Result<(), BoxError>>;

    /// All blobs whose name begins with this byte, with their sizes.
    fn list(&self, first: u8) -> BoxFuture<'_, Result<Vec<(BlobName, u64)>, BoxError>>;
}

/// The SHA-256 of a blob's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobName(pub [u8; 32]);

impl BlobName {
    /// The name of its lower-case hexadecimal form.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let mut name = [0; 32];
        for (at, byte) in name.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
        }
        let name = Self(name);
        (name.to_string() == text).then_some(name)
    }
}

impl std::fmt::Display for BlobName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
