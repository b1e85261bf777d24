use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use hearth_media::{
    Disk, Download, Error, FileHead, Media, MediaUri, Parts, Reach, Settings, ThumbnailSize,
};
use hearth_ports::{
    BoxError, BoxFuture, ByteStream, HttpOut, MediaPeers, OutError, OutOptions, OutRequest,
    OutResponse, Service, Signed, full_body,
};
use hearth_store::{Backend, MemoryBackend};
use hearth_types::{Ids, ManualClock, UnixMs};
use http::{Response, StatusCode};
use ruma::{ServerName, UserId, user_id};
use tempfile::TempDir;

pub(crate) fn anna() -> &'static UserId {
    user_id!("@anna:house")
}

pub(crate) fn bob() -> &'static UserId {
    user_id!("@bob:house")
}

/// Nobody waits in tests.
pub(crate) const AT_ONCE: Duration = Duration::ZERO;

/// A media repository and what it stands on.
pub(crate) struct House {
    pub(crate) media: Media,
    pub(crate) store: MemoryBackend,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) web: Arc<Web>,
    folder: TempDir,
    settings: Settings,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut settings = Settings {
            server_name: "house".try_into().expect("a name"),
            incoming: folder.path().join("incoming"),
            upload_bytes_max: 4 << 20,
            quota_bytes_max: None,
            image_pixels_max: 1 << 20,
            thumbnails_at_once: 1,
            previews: true,
            unauthenticated: false,
            remote_keep: None,
            remote_bytes_max: None,
            local_keep: None,
        };
        change(&mut settings);
        let store = MemoryBackend::new();
        let clock = Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)));
        let web = Arc::new(Web::default());
        let media = open(&settings, &store, &clock, &web, 1);
        Self {
            media,
            store,
            clock,
            web,
            folder,
            settings,
        }
    }

    /// The same after a crash.
    pub(crate) fn restart(&mut self) {
        self.media = open(&self.settings, &self.store, &self.clock, &self.web, 2);
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn disk(&self) -> Disk {
        Disk::open(&self.folder().join("blobs")).expect("a folder")
    }

    /// The files of the folder of blobs.
    pub(crate) fn blob_files(&self) -> usize {
        files(&self.folder().join("blobs"))
    }

    pub(crate) fn incoming_files(&self) -> usize {
        files(&self.folder().join("incoming"))
    }

    pub(crate) async fn upload(&self, content: &[u8]) -> Result<MediaUri, Error> {
        self.upload_as(anna(), "application/octet-stream", content)
            .await
    }

    pub(crate) async fn upload_as(
        &self,
        user: &UserId,
        content_type: &str,
        content: &[u8],
    ) -> Result<MediaUri, Error> {
        let head = FileHead {
            content_type: Some(content_type.to_owned()),
            file_name: Some("ä.bin".to_owned()),
            bytes: None,
        };
        self.media.upload(user, head, &mut body(content)).await
    }

    /// Uploads what was reserved.
    pub(crate) async fn upload_reserved(
        &self,
        user: &UserId,
        uri: &MediaUri,
        content: &[u8],
    ) -> Result<(), Error> {
        let head = FileHead::default();
        let mut content = body(content);
        let done = self.media.upload_reserved(user, uri, head, &mut content);
        done.await
    }

    pub(crate) async fn thumbnail(
        &self,
        uri: &MediaUri,
        size: ThumbnailSize,
    ) -> Result<Download, Error> {
        let source = self.media.download(uri, Reach::Anywhere, AT_ONCE).await?;
        self.media.thumbnail(&source, size).await
    }

    /// The content behind a name.
    pub(crate) async fn content(&self, uri: &MediaUri) -> Result<Vec<u8>, Error> {
        let download = self.media.download(uri, Reach::Anywhere, AT_ONCE).await?;
        Ok(read(&download).await.expect("whole"))
    }

    /// Whether the rows fit together.
    pub(crate) async fn check(&self) {
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let report = hearth_data::fsck::fsck(&*snapshot, &mut |_| {}).await;
        let report = report.expect("read");
        assert!(report.is_clean(), "{:?}", report.problems);
    }
}

fn open(
    settings: &Settings,
    store: &MemoryBackend,
    clock: &Arc<ManualClock>,
    web: &Arc<Web>,
    seed: u64,
) -> Media {
    let folder = settings.incoming.parent().expect("a folder");
    let disk = Disk::open(&folder.join("blobs")).expect("a folder");
    let parts = Parts {
        store: Arc::new(store.clone()),
        blobs: Arc::new(disk),
        http: web.clone(),
        peers: Some(web.clone()),
        clock: clock.clone(),
        ids: Arc::new(Ids::seeded(seed)),
    };
    Media::new(parts, settings.clone()).expect("opened")
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).expect("a folder");
    entries
        .map(|entry| {
            let path = entry.expect("an entry").path();
            if path.is_dir() { files(&path) } else { 1 }
        })
        .sum()
}

/// Content in pieces of odd lengths.
pub(crate) fn body(content: &[u8]) -> ByteStream {
    let pieces: Vec<_> = content
        .chunks(100_003)
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    Box::pin(stream::iter(pieces))
}

/// Content that breaks off.
pub(crate) fn broken(content: &[u8]) -> ByteStream {
    use futures_util::StreamExt;
    let error: BoxError = "the connection broke".into();
    Box::pin(body(content).chain(stream::iter([Err(error)])))
}

pub(crate) async fn read(download: &Download) -> Result<Vec<u8>, BoxError> {
    read_part(download, 0..download.bytes).await
}

pub(crate) async fn read_part(
    download: &Download,
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, BoxError> {
    let pieces = download.read(range).await?;
    pieces
        .try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
}

/// Bytes without a pattern.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// A PNG of some size.
pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    let image = image::RgbImage::from_pixel(width, height, image::Rgb([9, 8, 7]));
    let mut file = std::io::Cursor::new(Vec::new());
    image
        .write_to(&mut file, image::ImageFormat::Png)
        .expect("encoded");
    file.into_inner()
}

/// What a request is answered with.
type Answer = (StatusCode, Vec<(&'static str, String)>, Vec<u8>);

/// The outside: pages by their URL, and files of other servers by server and path.
#[derive(Default)]
pub(crate) struct Web {
    pages: Mutex<HashMap<String, Answer>>,
    asked: Mutex<Vec<String>>,
}

impl Web {
    pub(crate) fn put(&self, url: &str, content_type: &str, content: impl Into<Vec<u8>>) {
        let headers = vec![("content-type", content_type.to_owned())];
        self.put_answer(url, (StatusCode::OK, headers, content.into()));
    }

    pub(crate) fn put_answer(&self, url: &str, answer: Answer) {
        let mut pages = self.pages.lock().expect("no test panicked");
        pages.insert(url.to_owned(), answer);
    }

    /// What was asked for, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panicked").clone()
    }

    fn answer(&self, url: &str) -> Result<OutResponse, OutError> {
        self.asked
            .lock()
            .expect("no test panicked")
            .push(url.to_owned());
        let pages = self.pages.lock().expect("no test panicked");
        let Some((status, headers, content)) = pages.get(url) else {
            return Err(OutError::Unresolved {
                name: url.to_owned(),
                cause: None,
            });
        };
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, value);
        }
        Ok(OutResponse {
            uri: url.parse().expect("a URI"),
            response: response
                .body(full_body(content.clone()))
                .expect("an answer"),
        })
    }
}

impl HttpOut for Web {
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        let answer = self.answer(&request.request.uri().to_string());
        Box::pin(async { answer })
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl MediaPeers for Web {
    fn get<'a>(
        &'a self,
        server: &'a ServerName,
        path_and_query: &'a str,
        signed: Signed,
        _: OutOptions,
    ) -> BoxFuture<'a, Result<OutResponse, BoxError>> {
        let scheme = match signed {
            Signed::Yes => "https",
            Signed::No => "http",
        };
        let answer = self.answer(&format!("{scheme}://{server}{path_and_query}"));
        Box::pin(async { Ok(answer?) })
    }
}
