//! What goes: reservations that ran out, previews, files past their time, and bytes that nobody uses.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_data::media::{self as data, BlobHash, Content, MediaKey, MediaRow};
use hearth_ports::BlobName;
use hearth_store::Batch;
use tokio::sync::RwLockWriteGuard;
use tokio_util::sync::CancellationToken;

use crate::{Error, Media, Result};

/// How often it is done by itself.
const SWEEP_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// Pause after the start before the first time.
const FIRST_SWEEP: Duration = Duration::from_secs(10 * 60);
/// How long a preview is kept, in milliseconds.
const PREVIEW_KEEP_MS: u64 = 24 * 60 * 60 * 1_000;
/// Previews that are kept; the oldest go first.
const PREVIEWS_KEPT_MAX: usize = 10_000;
/// Rows that are read at a time.
const PAGE: usize = 256;
/// Forms of thumbnails that one image can have, with room for those of later versions.
const FORMS_MAX: usize = 64;
/// How finely ages are told apart when the oldest files of other servers go, in milliseconds.
const AGE_STEP_MS: u64 = 60 * 60 * 1_000;

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Reservations.
    pub reservations: u64,
    /// Previews of links.
    pub previews: u64,
    /// Files of other servers.
    pub remote: u64,
    /// Files of our users.
    pub local: u64,
    /// Blobs that nobody used.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Media {
    /// Sweeps from time to time, until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pause = FIRST_SWEEP;
        while shutdown
            .run_until_cancelled(tokio::time::sleep(pause))
            .await
            .is_some()
        {
            match shutdown.run_until_cancelled(self.sweep()).await {
                Some(Ok(swept)) => tracing::info!(?swept, "swept media"),
                Some(Err(error)) => tracing::warn!(%error, "could not sweep media"),
                None => return,
            }
            pause = SWEEP_INTERVAL;
        }
    }

    /// Removes all that need not be kept, and the bytes that nobody uses: what a crash left behind, too.
    pub async fn sweep(&self) -> Result<Swept> {
        let mut swept = Swept {
            reservations: self.sweep_reservations().await?,
            previews: self.sweep_previews().await?,
            ..Swept::default()
        };
        self.sweep_old(&mut swept).await?;
        for first in 0..=u8::MAX {
            let listed = self.0.parts.blobs.list(first).await;
            for (name, bytes) in listed.map_err(Error::Blobs)? {
                if self.reclaim(name.0).await? {
                    swept.blobs += 1;
                    swept.bytes += bytes;
                }
            }
        }
        Ok(swept)
    }

    /// While this is held, no bytes go: for copies.
    pub async fn pause_removal(&self) -> RwLockWriteGuard<'_, ()> {
        self.0.removal.write().await
    }

    async fn sweep_reservations(&self) -> Result<u64> {
        let mut count = 0;
        loop {
            let expired = data::expired(&*self.snapshot().await?, self.now(), PAGE).await?;
            if expired.is_empty() {
                return Ok(count);
            }
            for id in expired {
                count += u64::from(self.remove_own(&id).await?);
            }
        }
    }

    async fn sweep_previews(&self) -> Result<u64> {
        let mut count = 0;
        let keep_from = self.now().saturating_sub(PREVIEW_KEEP_MS);
        loop {
            let old = data::previews_before(&*self.snapshot().await?, keep_from, PAGE).await?;
            if old.is_empty() {
                break;
            }
            count += self.remove_previews(old).await?;
        }
        let snapshot = self.snapshot().await?;
        let all = data::previews_before(&*snapshot, u64::MAX, PREVIEWS_KEPT_MAX + PAGE).await?;
        drop(snapshot);
        let surplus = all.len().saturating_sub(PREVIEWS_KEPT_MAX);
        let surplus = all.into_iter().take(surplus).collect();
        Ok(count + self.remove_previews(surplus).await?)
    }

    async fn remove_previews(&self, links: Vec<String>) -> Result<u64> {
        let mut count = 0;
        for link in links {
            let row = data::preview(&*self.snapshot().await?, &link).await?;
            let Some(row) = row else {
                continue;
            };
            let mut batch = Batch::new();
            data::preview_delete(&mut batch, &link, &row);
            self.commit(batch).await?;
            count += 1;
            if let Some(image) = row.image {
                self.remove_own(&image).await?;
            }
        }
        Ok(count)
    }

    /// Removes files past their time. Reads the list once to see how old the files of other servers may be so that the
    /// rest fits, and once to remove.
    async fn sweep_old(&self, swept: &mut Swept) -> Result<()> {
        let settings = &self.0.settings;
        let now = self.now();
        let before = |keep: Option<Duration>| {
            let keep = u64::try_from(keep?.as_millis()).unwrap_or(u64::MAX);
            now.checked_sub(keep)
        };
        let local_before = before(settings.local_keep);
        let mut remote_before = before(settings.remote_keep);
        if let Some(bytes_max) = settings.remote_bytes_max {
            remote_before = remote_before.max(self.oldest_that_fit(bytes_max).await?);
        }
        if local_before.is_none() && remote_before.is_none() {
            return Ok(());
        }
        let mut after = MediaKey::default();
        while let Some(page) = self.page(&mut after).await? {
            for (key, row, used) in page {
                let (before, count) = match key.0.is_empty() {
                    true => (local_before, &mut swept.local),
                    false => (remote_before, &mut swept.remote),
                };
                // What belongs to a preview goes with it.
                let is_of_preview = key.0.is_empty() && row.user.is_none();
                if before.is_some_and(|before| used < before) && !is_of_preview {
                    *count += u64::from(self.remove(&key).await?);
                }
            }
        }
        Ok(())
    }

    /// The moment from which on the files of other servers were asked for that fit; none if all do.
    async fn oldest_that_fit(&self, bytes_max: u64) -> Result<Option<u64>> {
        let mut by_age: BTreeMap<u64, u64> = BTreeMap::new();
        let mut after = MediaKey::default();
        while let Some(page) = self.page(&mut after).await? {
            for (key, row, used) in page {
                if let (false, Content::Stored { bytes, .. }) = (key.0.is_empty(), row.content) {
                    *by_age.entry(used / AGE_STEP_MS).or_default() += bytes;
                }
            }
        }
        let mut sum = 0_u64;
        for (age, bytes) in by_age.into_iter().rev() {
            sum = sum.saturating_add(bytes);
            if sum > bytes_max {
                return Ok(Some((age + 1) * AGE_STEP_MS));
            }
        }
        Ok(None)
    }

    /// The next media, each with when it was last asked for.
    async fn page(&self, after: &mut MediaKey) -> Result<Option<Vec<(MediaKey, MediaRow, u64)>>> {
        let snapshot = self.snapshot().await?;
        let rows = data::after(&*snapshot, after, PAGE).await?;
        let Some((last, _)) = rows.last() else {
            return Ok(None);
        };
        *after = last.clone();
        let mut page = Vec::with_capacity(rows.len());
        for (key, row) in rows {
            let used = data::used(&*snapshot, &key).await?.unwrap_or(row.created);
            page.push((key, row, used));
        }
        Ok(Some(page))
    }

    /// Removes a medium of ours.
    pub(crate) async fn remove_own(&self, id: &str) -> Result<bool> {
        self.remove(&(String::new(), id.to_owned())).await
    }

    /// Removes a medium, and its bytes if nobody else uses them. Says whether it was there.
    pub(crate) async fn remove(&self, key: &MediaKey) -> Result<bool> {
        let row = data::load(&*self.snapshot().await?, key).await?;
        let Some(row) = row else {
            return Ok(false);
        };
        let mut batch = Batch::new();
        data::change(&mut batch, key, Some(&row), None);
        match self.commit(batch).await {
            // Somebody else was quicker, in one way or another.
            Err(Error::Store(error)) if error.is_conflict() => return Ok(false),
            done => done?,
        }
        if let Content::Stored { blob, .. } = row.content {
            self.reclaim(blob).await?;
        }
        Ok(true)
    }

    /// Removes a blob if nobody uses it, with its thumbnails. First the rows: a crash then leaves a file that nobody
    /// knows, and the next sweep finds it.
    async fn reclaim(&self, blob: BlobHash) -> Result<bool> {
        let _paused = self.0.removal.read().await;
        let mut left = vec![blob];
        let mut is_removed = false;
        while let Some(blob) = left.pop() {
            let _held = self.0.blob_locks.lock(&blob).await;
            let snapshot = self.snapshot().await?;
            // A blob in quarantine is remembered, so that it does not come back.
            let known = data::blob(&*snapshot, &blob).await?;
            let is_kept = known.is_some_and(|known| known.quarantined);
            if is_kept || data::is_used(&*snapshot, &blob).await? {
                continue;
            }
            let mut batch = Batch::new();
            left.extend(data::blob_remove(&*snapshot, &mut batch, &blob, FORMS_MAX).await?);
            drop(snapshot);
            self.commit(batch).await?;
            let deleted = self.0.parts.blobs.delete(BlobName(blob)).await;
            deleted.map_err(Error::Blobs)?;
            is_removed = true;
        }
        Ok(is_removed)
    }
}
