//! Files of other servers.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use hearth_data::media::{self as data, MediaKey, MediaRow};
use hearth_ports::{
    ByteStream, MediaPeers, OutError, OutOptions, OutRequest, OutResponse, Signed, no_body,
};
use http::{StatusCode, header};
use http_body_util::BodyDataStream;
use ruma::http_headers::ContentDisposition;
use serde_json::Value;

use crate::multipart::{self, Part};
use crate::upload::FileHead;
use crate::{Error, Media, MediaUri, Result};

/// Time for a file to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(15 * 60);
/// Time for an answer to begin, in addition to what the other server may wait.
const HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// Redirects from where another server says that its file is.
const REDIRECTS_MAX: u8 = 3;
/// What the form adds to a file, at most.
const FORM_BYTES_MAX: u64 = 256 << 10;
/// Largest error that is looked into, in bytes.
const ERROR_BYTES_MAX: usize = 64 << 10;

impl Media {
    /// A file of another server: kept, or fetched now. Many who ask at once cause one request.
    pub(crate) async fn foreign(
        &self,
        uri: &MediaUri,
        key: &MediaKey,
        wait: Duration,
    ) -> Result<MediaRow> {
        if let Some(row) = data::load(&*self.snapshot().await?, key).await? {
            return Ok(row);
        }
        let peers = self.0.parts.peers.clone().ok_or(Error::NotFound)?;
        let _held = self.0.work_locks.lock(uri.to_string().as_bytes()).await;
        if let Some(row) = data::load(&*self.snapshot().await?, key).await? {
            return Ok(row);
        }
        let permit = self.0.remote_fetches.acquire().await;
        let _permit = permit.map_err(|_| Error::Busy)?;
        let (head, body) = self.fetch(&*peers, uri, wait).await?;
        match self.keep_foreign(uri, head, body).await {
            Err(Error::TooLarge { .. }) => Err(Error::RemoteTooLarge),
            Err(Error::Incomplete(cause)) => Err(remote(OutError::from_body(cause))),
            done => done,
        }
    }

    /// Asks as of version 1.11, and in the old way if the other server does not know that one.
    async fn fetch(
        &self,
        peers: &dyn MediaPeers,
        uri: &MediaUri,
        wait: Duration,
    ) -> Result<(FileHead, ByteStream)> {
        let (server, id) = (uri.server(), uri.id());
        let timeout_ms = wait.as_millis();
        let options = self.options(wait);
        let path = format!("/_matrix/federation/v1/media/download/{id}?timeout_ms={timeout_ms}");
        let answer = peers.get(server, &path, Signed::Yes, options.clone());
        let answer = answer.await.map_err(Error::Remote)?;
        let status = answer.response.status();
        if status == StatusCode::OK {
            return self.file_of_parts(answer).await;
        }
        if !is_unrecognized(status, answer).await {
            return Err(refused(status));
        }
        let path = format!(
            "/_matrix/media/v3/download/{server}/{id}?allow_remote=false&timeout_ms={timeout_ms}"
        );
        let answer = peers.get(server, &path, Signed::No, options).await;
        let answer = answer.map_err(Error::Remote)?;
        match answer.response.status() {
            StatusCode::OK => Ok(plain(answer)),
            status => Err(refused(status)),
        }
    }

    fn options(&self, wait: Duration) -> OutOptions {
        OutOptions {
            head_time_max: HEAD_TIME_MAX + wait,
            body_time_max: BODY_TIME_MAX,
            body_bytes_max: self
                .0
                .settings
                .upload_bytes_max
                .saturating_add(FORM_BYTES_MAX),
            ..OutOptions::default()
        }
    }

    async fn file_of_parts(&self, answer: OutResponse) -> Result<(FileHead, ByteStream)> {
        let content_type = header(&answer, &header::CONTENT_TYPE).unwrap_or_default();
        let boundary = multipart::boundary(&content_type).map_err(remote)?;
        let part = multipart::decode(&boundary, stream(answer)).await;
        match part.map_err(remote)? {
            Part::File {
                content_type,
                file_name,
                body,
            } => {
                let head = FileHead {
                    content_type,
                    file_name,
                    bytes: None,
                };
                Ok((head.tolerated(), body))
            }
            Part::Elsewhere { location } => self.elsewhere(&location).await,
        }
    }

    /// A file where another server says that it is: any place that requests may go to, without authorization.
    async fn elsewhere(&self, location: &str) -> Result<(FileHead, ByteStream)> {
        let request = http::Request::get(location)
            .body(no_body())
            .map_err(remote)?;
        let mut request = OutRequest::new(request);
        request.options = self.options(Duration::ZERO);
        request.options.redirects_max = REDIRECTS_MAX;
        let answer = self.0.parts.http.send(request).await.map_err(remote)?;
        match answer.response.status() {
            StatusCode::OK => Ok(plain(answer)),
            status => Err(refused(status)),
        }
    }
}

fn remote(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Remote(Box::new(error))
}

fn refused(status: StatusCode) -> Error {
    match status {
        StatusCode::NOT_FOUND => Error::NotFound,
        StatusCode::GATEWAY_TIMEOUT => Error::NotYetUploaded,
        StatusCode::PAYLOAD_TOO_LARGE => Error::RemoteTooLarge,
        status => Error::Remote(format!("the answer was {status}").into()),
    }
}

/// Whether the other server does not know the endpoint, as opposed to the file: it says so, in whichever way servers have
/// done over the years, or what refuses is none that speaks Matrix.
async fn is_unrecognized(status: StatusCode, answer: OutResponse) -> bool {
    if !status.is_client_error() {
        return false;
    }
    // What breaks off or is longer than an error ever is, is no error that we know.
    let mut pieces = stream(answer);
    let mut body = Vec::new();
    while let Some(Ok(piece)) = pieces.next().await {
        if body.len() + piece.len() > ERROR_BYTES_MAX {
            return false;
        }
        body.extend_from_slice(&piece);
    }
    let error: Value = serde_json::from_slice(&body).unwrap_or_default();
    let errcode = error.get("errcode").and_then(Value::as_str);
    errcode.is_none_or(|errcode| errcode == "M_UNRECOGNIZED")
}

/// An answer that is the file itself.
fn plain(answer: OutResponse) -> (FileHead, ByteStream) {
    let disposition = header(&answer, &header::CONTENT_DISPOSITION)
        .and_then(|value| ContentDisposition::try_from(value.as_bytes()).ok());
    let head = FileHead {
        content_type: header(&answer, &header::CONTENT_TYPE),
        file_name: disposition.and_then(|disposition| disposition.filename),
        bytes: None,
    };
    (head.tolerated(), stream(answer))
}

fn header(answer: &OutResponse, name: &header::HeaderName) -> Option<String> {
    let value = answer.response.headers().get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn stream(answer: OutResponse) -> ByteStream {
    Box::pin(BodyDataStream::new(answer.response.into_body()).into_stream())
}
