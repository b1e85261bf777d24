//! Blobs in an object store that speaks S3.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt};
use hearth_ports::{
    BlobName, Blobs, BoxError, BoxFuture, ByteStream, HttpOut, OutBody, OutError, OutOptions,
    OutRequest,
};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::path::Path as Key;
use object_store::{
    ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart,
};
use tokio::task::spawn_blocking;

/// Length of the parts that a file is sent in, in bytes. S3 takes 10,000 of them: 78 GiB.
const PART: usize = 8 << 20;
/// Parts that are under way at once for one file.
const PARTS_AT_ONCE: usize = 1;
/// How often, and for how long, a request is tried again that the object store did not answer well: somebody waits.
const RETRIES_MAX: usize = 4;
const RETRY_TIME_MAX: Duration = Duration::from_secs(15);
/// Time for an answer to begin: the object store has read a whole part by then.
const HEAD_TIME_MAX: Duration = Duration::from_secs(60);
/// Time for an object to arrive: it goes on to a client as quickly as that one reads.
const BODY_TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the object store is, and who may write to it.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// The URL of the service, `https://s3.example.org`; that of AWS if none.
    pub endpoint: Option<String>,
    /// The region.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// What the names of objects begin with; may be empty.
    pub prefix: String,
    /// The id of the access key.
    pub access_key: String,
    /// The access key.
    pub secret_key: String,
}

/// A bucket.
pub struct S3 {
    store: AmazonS3,
    prefix: String,
}

impl S3 {
    /// A bucket that is reached through `http`.
    pub fn new(settings: &S3Settings, http: Arc<dyn HttpOut>) -> Result<Self, BoxError> {
        let is_plain = |endpoint: &String| endpoint.starts_with("http://");
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&settings.bucket)
            .with_region(&settings.region)
            .with_access_key_id(&settings.access_key)
            .with_secret_access_key(&settings.secret_key)
            .with_allow_http(settings.endpoint.as_ref().is_some_and(is_plain))
            .with_disable_bulk_delete(true)
            .with_retry(RetryConfig {
                max_retries: RETRIES_MAX,
                retry_timeout: RETRY_TIME_MAX,
                ..RetryConfig::default()
            })
            .with_http_connector(Connector(http));
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        Ok(Self {
            store: builder.build()?,
            prefix: settings.prefix.trim_matches('/').to_owned(),
        })
    }

    fn key(&self, name: BlobName) -> Key {
        let name = name.to_string();
        self.folder(&name[..2]).join(name.as_str())
    }

    fn folder(&self, first: &str) -> Key {
        Key::from(format!("{}/{first}", self.prefix))
    }

    async fn send(&self, key: &Key, path: &Path) -> Result<(), BoxError> {
        let path = path.to_owned();
        let (file, length) = spawn_blocking(move || {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            io::Result::Ok((Arc::new(file), length))
        })
        .await??;
        if length <= PART as u64 {
            let whole = part(file, 0).await?;
            self.store.put(key, whole.into()).await?;
            return Ok(());
        }
        let upload = self.store.put_multipart(key).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART);
        match send_parts(&mut upload, &file, length).await {
            // Tidies up after itself if it fails.
            Ok(()) => drop(upload.finish().await?),
            Err(error) => {
                // Parts of an upload that does not end take room for which somebody pays.
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "could not remove the parts of a broken upload");
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

async fn send_parts(
    upload: &mut WriteMultipart,
    file: &Arc<File>,
    length: u64,
) -> Result<(), BoxError> {
    for at in (0..length).step_by(PART) {
        let part = part(file.clone(), at).await?;
        upload.wait_for_capacity(PARTS_AT_ONCE).await?;
        upload.put(part);
    }
    Ok(())
}

/// A part of a file, from a place to the end of the part or of the file.
async fn part(file: Arc<File>, at: u64) -> Result<Bytes, BoxError> {
    use std::os::unix::fs::FileExt;
    let read = spawn_blocking(move || {
        let mut part = BytesMut::zeroed(PART);
        let mut filled = 0;
        while filled < PART {
            match file.read_at(&mut part[filled..], at + filled as u64)? {
                0 => break,
                count => filled += count,
            }
        }
        part.truncate(filled);
        io::Result::Ok(part.freeze())
    });
    Ok(read.await??)
}

impl Blobs for S3 {
    fn put<'a>(&'a self, name: BlobName, file: &'a Path) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move { self.send(&self.key(name), file).await })
    }

    fn read(
        &self,
        name: BlobName,
        range: Range<u64>,
    ) -> BoxFuture<'_, Result<Option<ByteStream>, BoxError>> {
        Box::pin(async move {
            let options = GetOptions::default().with_range(Some(range));
            match self.store.get_opts(&self.key(name), options).await {
                Ok(found) => {
                    let pieces = found.into_stream().map_err(BoxError::from);
                    Ok(Some(Box::pin(pieces) as ByteStream))
                }
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn delete(&self, name: BlobName) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            match self.store.delete(&self.key(name)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    }

    fn list(&self, first: u8) -> BoxFuture<'_, Result<Vec<(BlobName, u64)>, BoxError>> {
        Box::pin(async move {
            let folder = self.folder(&format!("{first:02x}"));
            let mut objects = self.store.list(Some(&folder));
            let mut found = Vec::new();
            while let Some(object) = objects.next().await {
                let object = object?;
                let name = object.location.filename().and_then(BlobName::parse);
                found.extend(name.map(|name| (name, object.size)));
            }
            Ok(found)
        })
    }
}

/// Our way out, as the object store's library would like it.
struct Connector(Arc<dyn HttpOut>);

impl fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Connector")
    }
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Self(self.0.clone())))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = request.map(|body| body.map_err(BoxError::from).boxed_unsync());
        let mut request = OutRequest::new(request);
        request.options = OutOptions {
            head_time_max: HEAD_TIME_MAX,
            body_time_max: BODY_TIME_MAX,
            idle_time_max: HEAD_TIME_MAX,
            body_bytes_max: u64::MAX,
            ..OutOptions::default()
        };
        let answer = self.0.send(request).await.map_err(http_error)?;
        let response = answer.response.map(|body| {
            let body = Shared(Mutex::new(body));
            HttpResponseBody::new(body.map_err(|error| http_error(OutError::from_body(error))))
        });
        Ok(response)
    }
}

fn http_error(error: OutError) -> HttpError {
    let kind = match error {
        OutError::Connect(_) | OutError::Unresolved { .. } => HttpErrorKind::Connect,
        OutError::Timeout => HttpErrorKind::Timeout,
        OutError::Exchange(_) => HttpErrorKind::Interrupted,
        _ => HttpErrorKind::Request,
    };
    HttpError::new(kind, error)
}

/// A body that several threads may hold, as that library demands; only one reads.
struct Shared(Mutex<OutBody>);

impl Body for Shared {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let body = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        Pin::new(body).poll_frame(context)
    }
}
