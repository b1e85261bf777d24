//! What administrators do with media.

use hearth_data::media::{self as data, BlobRow, Content, MediaKey, MediaRow};
use hearth_store::Batch;
use ruma::{ServerName, UserId};

use crate::{Error, Media, MediaUri, Result};

/// Media that are removed at a time.
const PAGE: usize = 256;

/// What is known of a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaInfo {
    /// Its name.
    pub uri: MediaUri,
    /// Who uploaded it, of our users.
    pub user: Option<String>,
    /// When, in milliseconds since the epoch.
    pub created: u64,
    /// When it was last asked for, about.
    pub used: u64,
    /// Its length in bytes; none if it is only reserved.
    pub bytes: Option<u64>,
    /// Its type.
    pub content_type: String,
    /// Its name as a file.
    pub file_name: Option<String>,
    /// Not served.
    pub is_quarantined: bool,
}

/// Whether a file is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quarantine {
    /// It is not, nor is any copy of it, and it cannot be uploaded again.
    Set,
    /// It is again.
    Lift,
}

impl Media {
    /// A medium.
    pub async fn info(&self, uri: &MediaUri) -> Result<Option<MediaInfo>> {
        let key = self.key(uri);
        match data::load(&*self.snapshot().await?, &key).await? {
            Some(row) => Ok(Some(self.describe(uri.clone(), &key, &row).await?)),
            None => Ok(None),
        }
    }

    /// All media after one, at most `limit`.
    pub async fn list(&self, after: Option<&MediaUri>, limit: usize) -> Result<Vec<MediaInfo>> {
        let after = after.map(|uri| self.key(uri)).unwrap_or_default();
        let rows = data::after(&*self.snapshot().await?, &after, limit).await?;
        let mut page = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            if let Some(uri) = self.uri(&key) {
                page.push(self.describe(uri, &key, &row).await?);
            }
        }
        Ok(page)
    }

    /// Media of one of our users after one, at most `limit`.
    pub async fn list_of_user(
        &self,
        user: &UserId,
        after: Option<&MediaUri>,
        limit: usize,
    ) -> Result<Vec<MediaInfo>> {
        let after = after.map(MediaUri::id).unwrap_or_default();
        let snapshot = self.snapshot().await?;
        let ids = data::of_user(&*snapshot, user.as_str(), after, limit).await?;
        let mut page = Vec::with_capacity(ids.len());
        for id in ids {
            let key = (String::new(), id);
            let row = data::load(&*snapshot, &key).await?;
            if let (Some(uri), Some(row)) = (self.uri(&key), row) {
                page.push(self.describe(uri, &key, &row).await?);
            }
        }
        Ok(page)
    }

    /// The bytes that the media of one of our users take.
    pub async fn usage(&self, user: &UserId) -> Result<u64> {
        let usage = data::usage(&*self.snapshot().await?, user.as_str()).await?;
        Ok(u64::try_from(usage.unwrap_or(0)).unwrap_or(0))
    }

    /// Removes a medium for good. Says whether it was there.
    pub async fn delete(&self, uri: &MediaUri) -> Result<bool> {
        self.remove(&self.key(uri)).await
    }

    /// Removes all media of one of our users. Answers how many.
    pub async fn delete_of_user(&self, user: &UserId) -> Result<u64> {
        let mut count = 0;
        loop {
            let snapshot = self.snapshot().await?;
            let ids = data::of_user(&*snapshot, user.as_str(), "", PAGE).await?;
            drop(snapshot);
            if ids.is_empty() {
                return Ok(count);
            }
            for id in ids {
                count += u64::from(self.remove_own(&id).await?);
            }
        }
    }

    /// Takes a file out of service, or back into it, with everything that has the same bytes.
    pub async fn quarantine(&self, uri: &MediaUri, quarantine: Quarantine) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let row = data::load(&*snapshot, &self.key(uri)).await?;
        let Some(Content::Stored { blob, bytes }) = row.map(|row| row.content) else {
            return Err(Error::NotFound);
        };
        drop(snapshot);
        let _held = self.0.blob_locks.lock(&blob).await;
        let mut batch = Batch::new();
        let row = BlobRow {
            bytes,
            quarantined: quarantine == Quarantine::Set,
        };
        data::blob_put(&mut batch, &blob, &row);
        self.commit(batch).await
    }

    fn uri(&self, key: &MediaKey) -> Option<MediaUri> {
        let own = &self.0.settings.server_name;
        match key.0.is_empty() {
            true => MediaUri::new(own, &key.1),
            false => MediaUri::new(&ServerName::parse(&key.0).ok()?, &key.1),
        }
    }

    async fn describe(&self, uri: MediaUri, key: &MediaKey, row: &MediaRow) -> Result<MediaInfo> {
        let snapshot = self.snapshot().await?;
        let (bytes, blob) = match row.content {
            Content::Pending { .. } => (None, None),
            Content::Stored { blob, bytes } => (Some(bytes), data::blob(&*snapshot, &blob).await?),
        };
        Ok(MediaInfo {
            uri,
            user: row.user.clone(),
            created: row.created,
            used: data::used(&*snapshot, key).await?.unwrap_or(row.created),
            bytes,
            content_type: row.content_type.clone(),
            file_name: row.file_name.clone(),
            is_quarantined: blob.is_some_and(|blob| blob.quarantined),
        })
    }
}
