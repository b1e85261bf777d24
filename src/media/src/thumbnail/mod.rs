//! Thumbnails: made once for each content and form, a few at a time, within limits.

mod form;
mod make;

use std::time::Duration;

use futures_util::stream;
use hearth_data::media::{self as data, BlobRow, ThumbnailRow};
use hearth_ports::{BlobName, ByteStream};
use hearth_store::Batch;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::{Download, Error, Media, Result};

pub use form::{Animation, Fit, ThumbnailSize};

pub(crate) use make::inspect;
use make::{Limits, Made, MakeError, Thumbnail, make};

/// Largest file of which a thumbnail is made, in bytes. It is held in memory meanwhile.
const SOURCE_BYTES_MAX: u64 = 32 << 20;
/// Time to make one; afterwards its maker gives up at the next piece of input or the next frame.
const TIME_MAX: Duration = Duration::from_secs(20);
/// Time to wait for one's turn.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(30);

impl Media {
    /// A thumbnail of a file: at least as large as asked for, or as large as the image where that is smaller.
    pub async fn thumbnail(&self, source: &Download, size: ThumbnailSize) -> Result<Download> {
        let size = size.standard();
        let (name, form) = (source.blob(), size.form());
        if let Some(row) = self.made(name, &form).await? {
            return self.as_made(&row);
        }
        let key = [&name.0[..], form.as_bytes()].concat();
        let _held = self.0.work_locks.lock(&key).await;
        if let Some(row) = self.made(name, &form).await? {
            return self.as_made(&row);
        }
        match self.make(source, size).await {
            Ok(Thumbnail::Made(made)) => self.keep_thumbnail(name, &form, made).await,
            Ok(Thumbnail::Original(kind)) => self.keep_original(source, &form, kind).await,
            Err(MakeError::NotAnImage) => self.remember_none(name, &form).await,
            Err(MakeError::TooLarge) => Err(Error::ImageTooLarge),
            Err(MakeError::Busy) => Err(Error::Busy),
            Err(MakeError::Read(error)) => Err(*error),
        }
    }

    async fn made(&self, source: BlobName, form: &str) -> Result<Option<ThumbnailRow>> {
        let snapshot = self.snapshot().await?;
        Ok(data::thumbnail(&*snapshot, &source.0, form).await?)
    }

    fn as_made(&self, row: &ThumbnailRow) -> Result<Download> {
        let blob = row.blob.ok_or(Error::NoThumbnail)?;
        Ok(self.as_download(BlobName(blob), row.bytes, &row.content_type))
    }

    async fn make(&self, source: &Download, size: ThumbnailSize) -> Result<Thumbnail, MakeError> {
        let permit = self.0.thumbnails.clone().acquire_owned();
        let permit = tokio::time::timeout(QUEUE_TIME_MAX, permit).await;
        let Ok(Ok(permit)) = permit else {
            return Err(MakeError::Busy);
        };
        let file = source.read_all(SOURCE_BYTES_MAX).await;
        let file = file.map_err(|error| MakeError::Read(Box::new(error)))?;
        let file = file.ok_or(MakeError::TooLarge)?;
        let limits = Limits {
            pixels_max: self.0.settings.image_pixels_max,
            until: Instant::now() + TIME_MAX,
        };
        let made = spawn_blocking(move || {
            // Held until the work is done, also if nobody waits for it any more.
            let _permit = permit;
            make(&file, size, limits)
        });
        // A decoder that panics has met something that is no image.
        made.await.unwrap_or(Err(MakeError::NotAnImage))
    }

    /// That there is none is remembered, so that it is not tried again and again.
    async fn remember_none(&self, source: BlobName, form: &str) -> Result<Download> {
        let row = ThumbnailRow {
            blob: None,
            bytes: 0,
            content_type: String::new(),
        };
        let mut batch = Batch::new();
        self.keep_row(&mut batch, source, form, &row).await?;
        self.commit_thumbnail(batch).await?;
        Err(Error::NoThumbnail)
    }

    /// That the image itself will do is remembered, too: under the type that it has, whatever its uploader said.
    async fn keep_original(
        &self,
        source: &Download,
        form: &str,
        content_type: &str,
    ) -> Result<Download> {
        let row = ThumbnailRow {
            blob: Some(source.blob().0),
            bytes: source.bytes,
            content_type: content_type.to_owned(),
        };
        let mut batch = Batch::new();
        self.keep_row(&mut batch, source.blob(), form, &row).await?;
        self.commit_thumbnail(batch).await?;
        self.as_made(&row)
    }

    /// Writes what became of a thumbnail, unless its source is gone: then nobody would ever remove it.
    async fn keep_row(
        &self,
        batch: &mut Batch,
        source: BlobName,
        form: &str,
        row: &ThumbnailRow,
    ) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let known = data::blob(&*snapshot, &source.0).await?;
        data::blob_expect(batch, &source.0, &known.ok_or(Error::NotFound)?);
        data::thumbnail_put(batch, &source.0, form, row);
        Ok(())
    }

    async fn commit_thumbnail(&self, batch: Batch) -> Result<()> {
        match self.commit(batch).await {
            Err(Error::Store(error)) if error.is_conflict() => Err(Error::NotFound),
            done => done,
        }
    }

    async fn keep_thumbnail(&self, source: BlobName, form: &str, made: Made) -> Result<Download> {
        let length = made.bytes.len() as u64;
        let mut body: ByteStream = Box::pin(stream::iter([Ok(made.bytes.into())]));
        let received = self.0.spool.receive(&mut body, length).await?;
        let _held = self.0.blob_locks.lock(&received.name.0).await;
        let put = self.0.parts.blobs.put(received.name, received.file.path());
        put.await.map_err(Error::Blobs)?;
        let row = ThumbnailRow {
            blob: Some(received.name.0),
            bytes: length,
            content_type: made.content_type.to_owned(),
        };
        let mut batch = Batch::new();
        let known = data::blob(&*self.snapshot().await?, &received.name.0).await?;
        if known.is_none() {
            let blob = BlobRow {
                bytes: length,
                quarantined: false,
            };
            data::blob_put(&mut batch, &received.name.0, &blob);
            crate::pieces::put(&mut batch, received.name, &received.sums);
        }
        self.keep_row(&mut batch, source, form, &row).await?;
        self.commit_thumbnail(batch).await?;
        self.as_made(&row)
    }
}
