//! Files that go out.

use std::ops::Range;
use std::time::Duration;

use futures_util::TryStreamExt;
use hearth_data::media::{self as data, Content, MediaKey, MediaRow};
use hearth_ports::{BlobName, ByteStream};
use hearth_store::Batch;
use ruma::http_headers::{ContentDisposition, ContentDispositionType};
use tokio::time::{Instant, timeout_at};

use crate::multipart::{self, FilePart};
use crate::{Error, Media, MediaUri, Result};

/// Longest time that a request waits for a file to be uploaded.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How exactly it is known when a file was last asked for, in milliseconds.
const USED_MS: u64 = 24 * 60 * 60 * 1_000;

/// Length of the boundaries between the parts of answers: 190 bits.
const BOUNDARY_LENGTH: usize = 32;

/// Types that browsers show and that cannot do harm there (client-server API, "Serving inline content").
const INLINE: &[&str] = &[
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

/// A file that is there.
#[derive(Clone)]
pub struct Download {
    media: Media,
    blob: BlobName,
    /// Its length, in bytes.
    pub bytes: u64,
    /// Its type, as its uploader said.
    pub content_type: String,
    /// Its name, as its uploader said.
    pub file_name: Option<String>,
}

/// Whether a browser may show a file or has to save it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Show.
    Inline,
    /// Save.
    Attachment,
}

impl Disposition {
    /// What may become of a file of this type.
    pub fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        match INLINE.iter().any(|safe| safe.eq_ignore_ascii_case(kind)) {
            true => Self::Inline,
            false => Self::Attachment,
        }
    }
}

/// The header for a file of a type, with its name.
pub fn disposition(content_type: &str, file_name: Option<&str>) -> ContentDisposition {
    let kind = match Disposition::of(content_type) {
        Disposition::Inline => ContentDispositionType::Inline,
        Disposition::Attachment => ContentDispositionType::Attachment,
    };
    ContentDisposition::new(kind).with_filename(file_name.map(str::to_owned))
}

impl Download {
    /// A name for this content and no other.
    pub fn tag(&self) -> String {
        self.blob.to_string()
    }

    /// A part of the file; each piece is checked before it comes.
    pub async fn read(&self, range: Range<u64>) -> Result<ByteStream> {
        self.media.read_checked(self.blob, self.bytes, range).await
    }

    /// The file in the form in which servers send each other files: the `Content-Type` of the answer, and its body.
    pub async fn into_parts(self) -> Result<(String, ByteStream)> {
        // Random, so that no file can hold it.
        let boundary = self.media.0.parts.ids.token(BOUNDARY_LENGTH);
        let disposition = disposition(&self.content_type, self.file_name.as_deref());
        let body = self.read(0..self.bytes).await?;
        let file = FilePart {
            content_type: &self.content_type,
            disposition: &disposition,
        };
        let body = multipart::encode(&boundary, file, body);
        Ok((multipart::content_type(&boundary), body))
    }

    /// A whole file of at most `bytes_max` bytes.
    pub(crate) async fn read_all(&self, bytes_max: u64) -> Result<Option<Vec<u8>>> {
        if self.bytes > bytes_max {
            return Ok(None);
        }
        let pieces = self.read(0..self.bytes).await?;
        let whole = pieces.try_fold(Vec::new(), async |mut whole, piece| {
            whole.extend_from_slice(&piece);
            Ok(whole)
        });
        Ok(Some(whole.await.map_err(Error::Blobs)?))
    }

    pub(crate) fn blob(&self) -> BlobName {
        self.blob
    }
}

/// How far a file is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Those of other servers are fetched.
    Anywhere,
    /// Only what is here already: our own files, and those that were fetched before.
    Here,
}

impl Media {
    /// A file; if it is about to be uploaded, waits for it so long, a minute at most.
    pub async fn download(&self, uri: &MediaUri, reach: Reach, wait: Duration) -> Result<Download> {
        let key = self.key(uri);
        let row = match (key.0.is_empty(), reach) {
            (false, Reach::Anywhere) => self.foreign(uri, &key, wait).await?,
            (true, _) | (_, Reach::Here) => self.own(&key, wait).await?,
        };
        self.open(&key, &row).await
    }

    /// A file of our users, by its id alone, as other servers ask for it.
    pub async fn download_own(&self, media_id: &str, wait: Duration) -> Result<Download> {
        let uri = MediaUri::new(&self.0.settings.server_name, media_id);
        let uri = uri.ok_or(Error::NotFound)?;
        self.download(&uri, Reach::Here, wait).await
    }

    pub(crate) fn key(&self, uri: &MediaUri) -> MediaKey {
        uri.key(&self.0.settings.server_name)
    }

    async fn own(&self, key: &MediaKey, wait: Duration) -> Result<MediaRow> {
        let deadline = Instant::now() + wait.min(WAIT_MAX);
        loop {
            let mut arrival = std::pin::pin!(self.0.arrivals.notified());
            arrival.as_mut().enable();
            let row = data::load(&*self.snapshot().await?, key).await?;
            let row = row.ok_or(Error::NotFound)?;
            match row.content {
                Content::Stored { .. } => return Ok(row),
                Content::Pending { expires } if expires <= self.now() => {
                    return Err(Error::NotFound);
                }
                Content::Pending { .. } => {}
            }
            if timeout_at(deadline, arrival).await.is_err() {
                return Err(Error::NotYetUploaded);
            }
        }
    }

    async fn open(&self, key: &MediaKey, row: &MediaRow) -> Result<Download> {
        let Content::Stored { blob, bytes } = row.content else {
            return Err(Error::NotYetUploaded);
        };
        let snapshot = self.snapshot().await?;
        let known = data::blob(&*snapshot, &blob).await?;
        if known.is_none_or(|known| known.quarantined) {
            return Err(Error::NotFound);
        }
        let now = self.now();
        let used = data::used(&*snapshot, key).await?;
        if used.unwrap_or(row.created).saturating_add(USED_MS) <= now {
            let mut batch = Batch::buffered();
            data::used_put(&mut batch, key, now);
            self.commit(batch).await?;
        }
        Ok(Download {
            media: self.clone(),
            blob: BlobName(blob),
            bytes,
            content_type: row.content_type.clone(),
            file_name: row.file_name.clone(),
        })
    }

    /// A blob as a file of its own, such as a thumbnail.
    pub(crate) fn as_download(&self, blob: BlobName, bytes: u64, content_type: &str) -> Download {
        Download {
            media: self.clone(),
            blob,
            bytes,
            content_type: content_type.to_owned(),
            file_name: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_only_harmless_types_are_shown() {
        for (content_type, expected) in [
            ("image/png", Disposition::Inline),
            ("IMAGE/PNG", Disposition::Inline),
            ("text/plain; charset=utf-8", Disposition::Inline),
            ("text/html", Disposition::Attachment),
            ("text/html; image/png", Disposition::Attachment),
            ("image/svg+xml", Disposition::Attachment),
            ("application/xhtml+xml", Disposition::Attachment),
            ("application/javascript", Disposition::Attachment),
            ("application/pdf", Disposition::Attachment),
            ("image/png, text/html", Disposition::Attachment),
            ("", Disposition::Attachment),
        ] {
            assert_eq!(Disposition::of(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn names_survive_in_the_header() {
        for (name, header) in [
            ("a b.pdf", "attachment; filename=\"a b.pdf\""),
            ("ä.pdf", "attachment; filename*=utf-8''%C3%A4.pdf"),
            ("a\"b\r\nx: y", "attachment; filename=\"a\\\"bx: y\""),
        ] {
            let written = disposition("application/pdf", Some(name)).to_string();
            assert_eq!(written, header);
        }
    }
}
