//! Previews of links: what a page says of itself, kept for a while.

mod page;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use hearth_data::media::{self as data, PreviewRow};
use hearth_ports::{OutError, OutOptions, OutRequest, OutResponse, no_body};
use hearth_store::Batch;
use http::header;
use http_body_util::BodyDataStream;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use url::Url;

use crate::thumbnail::inspect;
use crate::upload::FileHead;
use crate::{Error, Media, Result};

/// How long a preview is served before the link is looked at again, in milliseconds.
const FRESH_MS: u64 = 60 * 60 * 1_000;
/// Longest link, in bytes.
const URL_BYTES_MAX: usize = 2_048;
/// How much of a page is read, in bytes: what it says of itself stands at its beginning.
const PAGE_BYTES_MAX: usize = 512 << 10;
/// Largest image, in bytes.
const IMAGE_BYTES_MAX: usize = 8 << 20;
/// Time to take a page apart.
const PAGE_TIME_MAX: Duration = Duration::from_secs(2);
/// Time for a page or an image to arrive.
const FETCH_TIME_MAX: Duration = Duration::from_secs(15);
/// Redirects from a link to its page.
const REDIRECTS_MAX: u8 = 5;
/// Time to wait for one's turn.
const QUEUE_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest name of an image, in bytes.
const NAME_BYTES_MAX: usize = 100;

impl Media {
    /// What is known of a link, as the JSON that clients get.
    pub async fn preview(&self, link: &str) -> Result<String> {
        let url = parse(link)?;
        let key = url.as_str();
        if let Some(row) = self.fresh(key).await? {
            return Ok(row.json);
        }
        let _held = self.0.work_locks.lock(key.as_bytes()).await;
        if let Some(row) = self.fresh(key).await? {
            return Ok(row.json);
        }
        let permit = tokio::time::timeout(QUEUE_TIME_MAX, self.0.previews.acquire()).await;
        let Ok(Ok(_permit)) = permit else {
            return Err(Error::Busy);
        };
        let row = self.look(&url).await?;
        let snapshot = self.snapshot().await?;
        let before = data::preview(&*snapshot, key).await?;
        let mut batch = Batch::new();
        data::preview_put(&mut batch, key, before.as_ref(), &row);
        self.commit(batch).await?;
        if let Some(image) = before.and_then(|before| before.image) {
            self.remove_own(&image).await?;
        }
        Ok(row.json)
    }

    async fn fresh(&self, url: &str) -> Result<Option<PreviewRow>> {
        let row = data::preview(&*self.snapshot().await?, url).await?;
        let now = self.now();
        Ok(row.filter(|row| row.fetched.saturating_add(FRESH_MS) > now))
    }

    async fn look(&self, url: &Url) -> Result<PreviewRow> {
        let accept = "text/html, application/xhtml+xml, image/*;q=0.9, */*;q=0.1";
        let answer = self.fetch_link(url, accept).await?;
        let at = Url::parse(&answer.uri.to_string()).unwrap_or_else(|_| url.clone());
        let content_type = content_type(&answer);
        let is_page = content_type.contains("html") || content_type.is_empty();
        let mut said = Map::new();
        let mut image = None;
        if is_page {
            let (bytes, _) = beginning(answer, PAGE_BYTES_MAX).await?;
            let page = spawn_blocking(move || {
                page::read(&page::text(&bytes), Instant::now() + PAGE_TIME_MAX)
            });
            let page = page
                .await
                .map_err(|_| Error::NoPreview("the page is broken"))?;
            said = page.said();
            if let Some(source) = page.image().and_then(|source| at.join(source).ok()) {
                // A page without its image is better than nothing.
                image = self
                    .image(&source, &mut said)
                    .await
                    .unwrap_or_else(|error| {
                        tracing::debug!(%error, "could not fetch the image of a preview");
                        None
                    });
            }
        } else if content_type.starts_with("image/") {
            image = self.keep_image(answer, &at, &mut said).await?;
        }
        Ok(PreviewRow {
            fetched: self.now(),
            json: Value::Object(said).to_string(),
            image,
        })
    }

    async fn image(&self, source: &Url, said: &mut Map<String, Value>) -> Result<Option<String>> {
        let answer = self.fetch_link(source, "image/*").await?;
        self.keep_image(answer, source, said).await
    }

    /// Keeps an image as a file of this server, and says of it what clients are told.
    async fn keep_image(
        &self,
        answer: OutResponse,
        source: &Url,
        said: &mut Map<String, Value>,
    ) -> Result<Option<String>> {
        let (bytes, is_whole) = beginning(answer, IMAGE_BYTES_MAX).await?;
        let Some(info) = inspect(&bytes).filter(|_| is_whole) else {
            return Ok(None);
        };
        let name = source.path_segments().and_then(Iterator::last);
        let head = FileHead {
            content_type: Some(info.content_type.to_owned()),
            file_name: name
                .filter(|name| name.len() <= NAME_BYTES_MAX)
                .map(str::to_owned),
            bytes: None,
        };
        let uri = self.new_uri();
        let length = bytes.len();
        let body = Box::pin(stream::iter([Ok(bytes)]));
        self.keep_foreign(&uri, head, body).await?;
        for (name, value) in [
            ("og:image", Value::from(uri.to_string())),
            ("og:image:type", Value::from(info.content_type)),
            ("og:image:width", Value::from(info.width)),
            ("og:image:height", Value::from(info.height)),
            ("matrix:image:size", Value::from(length)),
        ] {
            said.insert(name.to_owned(), value);
        }
        Ok(Some(uri.id().to_owned()))
    }

    async fn fetch_link(&self, url: &Url, accept: &'static str) -> Result<OutResponse> {
        let request = http::Request::get(url.as_str())
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_LANGUAGE, "en, *;q=0.5")
            .body(no_body())
            .map_err(|_| Error::NoPreview("the link makes no sense"))?;
        let mut request = OutRequest::new(request);
        request.options = OutOptions {
            redirects_max: REDIRECTS_MAX,
            head_time_max: FETCH_TIME_MAX,
            body_time_max: FETCH_TIME_MAX,
            // Read no further than needed, whatever it says of its length.
            body_bytes_max: u64::MAX,
            ..OutOptions::default()
        };
        let answer = self
            .0
            .parts
            .http
            .send(request)
            .await
            .map_err(Error::Preview)?;
        match answer.response.status().is_success() {
            true => Ok(answer),
            false => Err(Error::NoPreview("the answer is an error")),
        }
    }
}

fn parse(link: &str) -> Result<Url> {
    if link.len() > URL_BYTES_MAX {
        return Err(Error::NoPreview("the link is too long"));
    }
    let mut url = Url::parse(link).map_err(|_| Error::NoPreview("the link makes no sense"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Error::NoPreview("the link is not HTTP"));
    }
    url.set_fragment(None);
    Ok(url)
}

fn content_type(answer: &OutResponse) -> String {
    let value = answer.response.headers().get(header::CONTENT_TYPE);
    let value = value.and_then(|value| value.to_str().ok());
    value.unwrap_or_default().to_ascii_lowercase()
}

/// The beginning of a body, and whether it is all of it.
async fn beginning(answer: OutResponse, bytes_max: usize) -> Result<(Bytes, bool)> {
    let mut body = BodyDataStream::new(answer.response.into_body());
    let mut read = BytesMut::new();
    while let Some(more) = body.next().await {
        let more = more.map_err(|error| Error::Preview(OutError::from_body(error)))?;
        let fitting = more.len().min(bytes_max - read.len());
        read.extend_from_slice(&more[..fitting]);
        if fitting < more.len() {
            return Ok((read.freeze(), false));
        }
    }
    Ok((read.freeze(), true))
}
