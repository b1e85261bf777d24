//! `multipart/mixed` with two parts, JSON and a file or where it is: how servers send each other files (server-server
//! API, "Content Repository").
//!
//! Both directions stream: a file of any length passes through bounded memory.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use hearth_ports::{BoxError, ByteStream};
use ruma::http_headers::ContentDisposition;

/// Largest part that is held in memory whole (the JSON), and largest head of a part, in bytes.
const SMALL_BYTES_MAX: usize = 64 << 10;
/// Headers of a part.
const HEADERS_MAX: usize = 32;
/// Longest boundary (RFC 2046).
const BOUNDARY_BYTES_MAX: usize = 70;

/// Why an answer is not of the form.
#[derive(Debug, thiserror::Error)]
pub enum MultipartError {
    /// The type is not `multipart/mixed` with a boundary.
    #[error("not multipart/mixed with a boundary")]
    ContentType,
    /// The parts are not as they should be.
    #[error("malformed parts: {0}")]
    Parts(&'static str),
    /// The body broke off.
    #[error("the body broke off")]
    Body(#[source] BoxError),
}

/// The file of an answer.
pub enum Part {
    /// Its bytes, with what is said of them.
    File {
        /// Its type.
        content_type: Option<String>,
        /// Its name.
        file_name: Option<String>,
        /// The bytes.
        body: ByteStream,
    },
    /// Where to fetch it, without authorization.
    Elsewhere {
        /// An absolute URL.
        location: String,
    },
}

/// The `Content-Type` of an answer with this boundary.
pub fn content_type(boundary: &str) -> String {
    format!("multipart/mixed; boundary={boundary}")
}

/// The body of an answer with a file. The boundary must be random, so that no file can hold it, and a token.
pub fn encode(boundary: &str, file: FilePart<'_>, body: ByteStream) -> ByteStream {
    let head = format!(
        "--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n--{boundary}\r\n\
         Content-Type: {}\r\nContent-Disposition: {}\r\n\r\n",
        file.content_type, file.disposition
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let one = |text: String| stream::iter([Ok(Bytes::from(text))]);
    Box::pin(one(head).chain(body).chain(one(tail)))
}

/// What is said of a file in [`encode`].
pub struct FilePart<'a> {
    /// Its type: printable ASCII.
    pub content_type: &'a str,
    /// Whether it may be shown, and its name.
    pub disposition: &'a ContentDisposition,
}

/// The boundary of a `Content-Type`.
pub fn boundary(content_type: &str) -> Result<String, MultipartError> {
    let mut parameters = content_type.split(';');
    let kind = parameters.next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("multipart/mixed") {
        return Err(MultipartError::ContentType);
    }
    parameters
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("boundary"))
        .map(|(_, value)| value.trim().trim_matches('"').to_owned())
        .filter(|boundary| (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()))
        .ok_or(MultipartError::ContentType)
}

/// Reads an answer up to its file.
pub async fn decode(boundary: &str, body: ByteStream) -> Result<Part, MultipartError> {
    let mut reader = Reader {
        delimiter: format!("\r\n--{boundary}").into_bytes(),
        body,
        // As if a line ended before the body: so the first delimiter is like the others.
        buffer: BytesMut::from(&b"\r\n"[..]),
    };
    reader.part().await?;
    let json = reader.head().await?;
    let is_json = json.iter().all(|(name, value)| {
        name != "content-type" || value.trim_start().starts_with("application/json")
    });
    if !is_json {
        return Err(MultipartError::Parts("the first part is not JSON"));
    }
    if reader.part().await? == After::End {
        return Err(MultipartError::Parts("there is no second part"));
    }
    let head = reader.head().await?;
    let header = |wanted: &str| {
        let found = head.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone())
    };
    if let Some(location) = header("location") {
        return Ok(Part::Elsewhere { location });
    }
    let disposition = header("content-disposition")
        .and_then(|value| ContentDisposition::try_from(value.as_bytes()).ok());
    Ok(Part::File {
        content_type: header("content-type"),
        file_name: disposition.and_then(|disposition| disposition.filename),
        body: reader.into_file(),
    })
}

/// What follows a delimiter.
#[derive(Clone, Copy, PartialEq, Eq)]
enum After {
    Part,
    End,
}

struct Reader {
    /// Line break, two dashes, boundary.
    delimiter: Vec<u8>,
    body: ByteStream,
    buffer: BytesMut,
}

impl Reader {
    /// Reads more; false at the end of the body.
    async fn more(&mut self) -> Result<bool, MultipartError> {
        match self.body.try_next().await.map_err(MultipartError::Body)? {
            Some(more) => {
                self.buffer.extend_from_slice(&more);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Reads until the buffer holds this, and takes what stands before it and it itself.
    async fn take_until(&mut self, end: &[u8]) -> Result<Bytes, MultipartError> {
        loop {
            if let Some(at) = find(&self.buffer, end) {
                let taken = self.buffer.split_to(at + end.len()).freeze();
                return Ok(taken.slice(..at));
            }
            if self.buffer.len() > SMALL_BYTES_MAX {
                return Err(MultipartError::Parts("a part or its head is too long"));
            }
            if !self.more().await? {
                return Err(MultipartError::Parts("the end is missing"));
            }
        }
    }

    /// Skips to the next delimiter and past its line.
    async fn part(&mut self) -> Result<After, MultipartError> {
        let delimiter = self.delimiter.clone();
        self.take_until(&delimiter).await?;
        while self.buffer.len() < 2 {
            if !self.more().await? {
                return Err(MultipartError::Parts("the end is missing"));
            }
        }
        if self.buffer.starts_with(b"--") {
            return Ok(After::End);
        }
        // Blanks may follow a boundary. The line break stays: an empty head begins with it.
        let padding = self.take_until(b"\r\n").await?;
        if !padding.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
            return Err(MultipartError::Parts("something follows a boundary"));
        }
        Ok(After::Part)
    }

    /// The headers of a part, names in lower case.
    async fn head(&mut self) -> Result<Vec<(String, String)>, MultipartError> {
        let mut headers = Vec::new();
        loop {
            let line = self.take_until(b"\r\n").await?;
            if line.is_empty() {
                return Ok(headers);
            }
            let line = std::str::from_utf8(&line).ok();
            let (name, value) = line
                .and_then(|line| line.split_once(':'))
                .ok_or(MultipartError::Parts("a malformed header"))?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            if headers.len() > HEADERS_MAX {
                return Err(MultipartError::Parts("too many headers"));
            }
        }
    }

    /// The bytes up to the next delimiter.
    fn into_file(self) -> ByteStream {
        Box::pin(stream::try_unfold(Some(self), async |reader| {
            let Some(mut reader) = reader else {
                return Ok(None);
            };
            loop {
                if let Some(at) = find(&reader.buffer, &reader.delimiter) {
                    let last = reader.buffer.split_to(at).freeze();
                    return Ok(Some((last, None)));
                }
                // What is left could be the beginning of the delimiter.
                let safe = reader.buffer.len().saturating_sub(reader.delimiter.len());
                if safe > 0 {
                    let bytes = reader.buffer.split_to(safe).freeze();
                    return Ok(Some((bytes, Some(reader))));
                }
                if !reader.more().await? {
                    return Err(MultipartError::Parts("the end is missing").into());
                }
            }
        }))
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests;
