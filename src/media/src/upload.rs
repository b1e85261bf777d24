//! Files that come in.

use hearth_data::media::{self as data, BlobRow, Content, MediaRow};
use hearth_ports::ByteStream;
use hearth_store::Batch;
use ruma::UserId;

use crate::spool::Received;
use crate::{Error, Media, MediaUri, Result};

/// Length of media ids that we give: 142 bits.
const MEDIA_ID_LENGTH: usize = 24;
/// Longest content type that is kept, in bytes (CVE-2024-52805).
const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Longest file name that is kept, in bytes.
const FILE_NAME_BYTES_MAX: usize = 1_024;
/// How long a reserved file may be uploaded, in milliseconds.
const RESERVED_MS: u64 = 24 * 60 * 60 * 1_000;
/// Files that one user may have reserved at once.
const PENDING_MAX: i64 = 100;
/// The type of a file whose uploader gives none.
const TYPE_UNKNOWN: &str = "application/octet-stream";
/// How often a commit is tried that others get in the way of.
const ATTEMPTS_MAX: usize = 10;

/// What an uploader says about a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileHead {
    /// Its type.
    pub content_type: Option<String>,
    /// Its name.
    pub file_name: Option<String>,
    /// Its length in bytes, if it is known beforehand.
    pub bytes: Option<u64>,
}

/// A file that may be uploaded later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// Its name.
    pub uri: MediaUri,
    /// Until when, in milliseconds since the epoch.
    pub expires: u64,
}

impl FileHead {
    /// Refuses what cannot be kept or sent in a header.
    fn checked(self) -> Result<(String, Option<String>)> {
        let content_type = self.content_type.unwrap_or_else(|| TYPE_UNKNOWN.to_owned());
        if !is_content_type(&content_type) {
            return Err(Error::Malformed("content type"));
        }
        let file_name = self.file_name.filter(|name| !name.is_empty());
        if file_name
            .as_ref()
            .is_some_and(|name| name.len() > FILE_NAME_BYTES_MAX)
        {
            return Err(Error::Malformed("file name"));
        }
        Ok((content_type, file_name))
    }

    /// Drops what cannot be kept: what another server says is no reason not to have its file.
    pub(crate) fn tolerated(self) -> Self {
        let fits = |name: &String| name.len() <= FILE_NAME_BYTES_MAX;
        Self {
            content_type: self.content_type.filter(|kind| is_content_type(kind)),
            file_name: self.file_name.filter(fits),
            bytes: self.bytes,
        }
    }
}

fn is_content_type(text: &str) -> bool {
    (1..=CONTENT_TYPE_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

impl Media {
    /// Takes a file of a user. Durable when it returns. Of a file that is refused, the rest of the body is left unread.
    pub async fn upload(
        &self,
        user: &UserId,
        head: FileHead,
        body: &mut ByteStream,
    ) -> Result<MediaUri> {
        self.check_room(user, head.bytes.unwrap_or(0)).await?;
        let (content_type, file_name) = head.checked()?;
        let received = self.receive(body).await?;
        let row = MediaRow {
            user: Some(user.as_str().to_owned()),
            created: self.now(),
            content_type,
            file_name,
            content: received.content(),
        };
        let uri = self.new_uri();
        self.keep(&uri, None, &row, received).await?;
        Ok(uri)
    }

    /// Reserves the name of a file that is uploaded later.
    pub async fn reserve(&self, user: &UserId) -> Result<Reservation> {
        let snapshot = self.snapshot().await?;
        if data::pending(&*snapshot, user.as_str()).await? >= PENDING_MAX {
            return Err(Error::TooManyPending);
        }
        let now = self.now();
        let expires = now + RESERVED_MS;
        let row = MediaRow {
            user: Some(user.as_str().to_owned()),
            created: now,
            content_type: TYPE_UNKNOWN.to_owned(),
            file_name: None,
            content: Content::Pending { expires },
        };
        let uri = self.new_uri();
        let mut batch = Batch::new();
        data::change(&mut batch, &self.key(&uri), None, Some(&row));
        self.commit(batch).await?;
        Ok(Reservation { uri, expires })
    }

    /// Takes a file whose name its user reserved. Durable when it returns. Of a file that is refused, the rest of the body is
    /// left unread.
    pub async fn upload_reserved(
        &self,
        user: &UserId,
        uri: &MediaUri,
        head: FileHead,
        body: &mut ByteStream,
    ) -> Result<()> {
        let key = self.key(uri);
        let before = data::load(&*self.snapshot().await?, &key).await?;
        let before = before.filter(|_| key.0.is_empty()).ok_or(Error::NotFound)?;
        if before.user.as_deref() != Some(user.as_str()) {
            return Err(Error::NotYours);
        }
        match before.content {
            Content::Stored { .. } => return Err(Error::AlreadyUploaded),
            Content::Pending { expires } if expires <= self.now() => return Err(Error::NotFound),
            Content::Pending { .. } => {}
        }
        self.check_room(user, head.bytes.unwrap_or(0)).await?;
        let (content_type, file_name) = head.checked()?;
        let received = self.receive(body).await?;
        let row = MediaRow {
            content_type,
            file_name,
            content: received.content(),
            ..before.clone()
        };
        self.keep(uri, Some(&before), &row, received).await?;
        self.0.arrivals.notify_waiters();
        Ok(())
    }

    /// Keeps a file that is no user's upload: of another server, or of a preview.
    pub(crate) async fn keep_foreign(
        &self,
        uri: &MediaUri,
        head: FileHead,
        mut body: ByteStream,
    ) -> Result<MediaRow> {
        let (content_type, file_name) = head.checked()?;
        let received = self.receive(&mut body).await?;
        let row = MediaRow {
            user: None,
            created: self.now(),
            content_type,
            file_name,
            content: received.content(),
        };
        self.keep(uri, None, &row, received).await?;
        Ok(row)
    }

    pub(crate) fn new_uri(&self) -> MediaUri {
        let id = self.0.parts.ids.token(MEDIA_ID_LENGTH);
        MediaUri::new(&self.0.settings.server_name, &id).expect("letters and digits are an id")
    }

    async fn receive(&self, body: &mut ByteStream) -> Result<Received> {
        let bytes_max = self.0.settings.upload_bytes_max;
        self.0.spool.receive(body, bytes_max).await
    }

    /// Refuses early what would be refused in the end.
    async fn check_room(&self, user: &UserId, bytes: u64) -> Result<()> {
        let bytes_max = self.0.settings.upload_bytes_max;
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes_max });
        }
        let usage = data::usage(&*self.snapshot().await?, user.as_str()).await?;
        self.check_quota(usage, bytes)
    }

    fn check_quota(&self, usage: Option<i64>, bytes: u64) -> Result<()> {
        let Some(bytes_max) = self.0.settings.quota_bytes_max else {
            return Ok(());
        };
        let after = u64::try_from(usage.unwrap_or(0))
            .unwrap_or(0)
            .saturating_add(bytes);
        match after > bytes_max {
            true => Err(Error::Quota { bytes_max }),
            false => Ok(()),
        }
    }

    /// Moves the bytes to their place, then writes all rows in one commit.
    async fn keep(
        &self,
        uri: &MediaUri,
        before: Option<&MediaRow>,
        row: &MediaRow,
        received: Received,
    ) -> Result<()> {
        let name = received.name;
        let _held = self.0.blob_locks.lock(&name.0).await;
        let put = self.0.parts.blobs.put(name, received.file.path()).await;
        put.map_err(Error::Blobs)?;
        for _ in 0..ATTEMPTS_MAX {
            let batch = self.keep_batch(uri, before, row, &received).await?;
            match self.commit(batch).await {
                Err(Error::Store(error)) if error.is_conflict() => {}
                done => return done,
            }
            // Either the user's usage changed, or the medium itself.
            let now = data::load(&*self.snapshot().await?, &self.key(uri)).await?;
            if now.as_ref() != before {
                return Err(Error::AlreadyUploaded);
            }
        }
        Err(Error::Busy)
    }

    async fn keep_batch(
        &self,
        uri: &MediaUri,
        before: Option<&MediaRow>,
        row: &MediaRow,
        received: &Received,
    ) -> Result<Batch> {
        let snapshot = self.snapshot().await?;
        let mut batch = Batch::new();
        if let Some(user) = &row.user {
            let usage = data::usage(&*snapshot, user).await?;
            self.check_quota(usage, received.bytes)?;
            data::expect_usage(&mut batch, user, usage);
        }
        match data::blob(&*snapshot, &received.name.0).await? {
            Some(blob) if blob.quarantined => return Err(Error::Unwelcome),
            Some(_) => {}
            None => {
                let blob = BlobRow {
                    bytes: received.bytes,
                    quarantined: false,
                };
                data::blob_put(&mut batch, &received.name.0, &blob);
                crate::pieces::put(&mut batch, received.name, &received.sums);
            }
        }
        data::change(&mut batch, &self.key(uri), before, Some(row));
        Ok(batch)
    }
}

impl Received {
    fn content(&self) -> Content {
        Content::Stored {
            blob: self.name.0,
            bytes: self.bytes,
        }
    }
}
