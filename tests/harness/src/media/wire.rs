//! Files of any length over plain HTTP/1.1, piece by piece: sent, broken off, received and compared, in little memory.

use std::{ops::Range, sync::OnceLock, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{Error, Result, client::User};

/// Length of the blocks that contents are made of, in bytes.
const BLOCK: usize = 64 << 10;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Longest answer that is not a file, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Longest pause of the server.
const PAUSE_MAX: Duration = Duration::from_secs(120);

/// A content that is known without being kept: noise in which each block bears the seed and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Content {
    /// Tells contents apart.
    pub seed: u64,
    /// In bytes.
    pub length: u64,
}

impl Content {
    /// A block; the last one may be shorter, and those behind it are empty.
    fn block(self, number: u64) -> Vec<u8> {
        static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
        let noise = NOISE.get_or_init(|| {
            let mut noise = vec![0; BLOCK];
            StdRng::seed_from_u64(1).fill_bytes(&mut noise);
            noise
        });
        let mut block = noise.clone();
        block[..8].copy_from_slice(&self.seed.to_le_bytes());
        block[8..16].copy_from_slice(&number.to_le_bytes());
        let left = self.length.saturating_sub(number * BLOCK as u64);
        block.truncate(usize::try_from(left).unwrap_or(BLOCK));
        block
    }
}

/// Compares what comes with what should.
struct Comparison {
    content: Content,
    at: u64,
    end: u64,
    block: Vec<u8>,
}

impl Comparison {
    fn new(content: Content, range: &Range<u64>) -> Self {
        Self {
            content,
            at: range.start,
            end: range.end.min(content.length),
            block: content.block(range.start / BLOCK as u64),
        }
    }

    fn next(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            let within = usize::try_from(self.at % BLOCK as u64)?;
            let count = piece.len().min(BLOCK - within);
            let wanted = self.block.get(within..within + count);
            if self.at + count as u64 > self.end || wanted != Some(&piece[..count]) {
                return Err(format!(
                    "other bytes than were sent, at {} of {:?}",
                    self.at, self.content
                )
                .into());
            }
            piece = &piece[count..];
            self.at += count as u64;
            if self.at.is_multiple_of(BLOCK as u64) {
                self.block = self.content.block(self.at / BLOCK as u64);
            }
        }
        Ok(())
    }

    fn end(&self) -> Result<()> {
        match self.at == self.end {
            true => Ok(()),
            false => Err(format!("{} of {} bytes came", self.at, self.end).into()),
        }
    }
}

/// The beginning of an answer, and the connection that brings the rest.
struct Answer {
    stream: TcpStream,
    status: u16,
    length: u64,
    /// What has come of the body.
    buffer: Vec<u8>,
}

/// What a server said of a file.
#[derive(Clone, Debug)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// The body, if it is no file.
    pub body: Value,
}

impl Told {
    /// A field of a 200.
    pub fn field(&self, name: &str) -> Result<String> {
        match (self.status, self.body[name].as_str()) {
            (200, Some(text)) => Ok(text.to_owned()),
            _ => Err(format!("status {}: {}", self.status, self.body).into()),
        }
    }
}

/// Sends and fetches files as one user.
#[derive(Clone, Debug)]
pub struct Wire {
    address: String,
    token: String,
}

impl Wire {
    /// To the server that listens on this port of the loopback.
    #[must_use]
    pub fn new(port: u16, user: &User) -> Self {
        Self {
            address: format!("127.0.0.1:{port}"),
            token: user.token.clone(),
        }
    }

    /// Uploads a file; its `mxc://` URI.
    pub async fn upload(&self, content: Content) -> Result<String> {
        let told = self.send(
            "POST",
            "/_matrix/media/v3/upload?filename=noise.bin",
            content,
        );
        told.await?.field("content_uri")
    }

    /// Uploads a file whose name was reserved, and says what the server said.
    pub async fn upload_reserved(&self, uri: &str, content: Content) -> Result<Told> {
        let path = format!("/_matrix/media/v3/upload/{}", path_of(uri)?);
        self.send("PUT", &path, content).await
    }

    async fn send(&self, method: &str, path: &str, content: Content) -> Result<Told> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.address, self.token, content.length
        );
        stream.write_all(head.as_bytes()).await?;
        for number in 0..content.length.div_ceil(BLOCK as u64) {
            timeout(PAUSE_MAX, stream.write_all(&content.block(number))).await??;
        }
        Answer::read(stream).await?.told().await
    }

    /// Fetches a file and compares it, whole or a part of it.
    pub async fn compare(
        &self,
        uri: &str,
        content: Content,
        part: Option<Range<u64>>,
    ) -> Result<()> {
        let (status, range) = match &part {
            Some(part) => (
                206,
                format!("Range: bytes={}-{}\r\n", part.start, part.end - 1),
            ),
            None => (200, String::new()),
        };
        let path = format!("/_matrix/client/v1/media/download/{}", path_of(uri)?);
        let mut answer = self.get(&path, &range).await?;
        if answer.status != status {
            let told = answer.told().await?;
            return Err(format!("{uri}: status {}: {}", told.status, told.body).into());
        }
        let mut comparison = Comparison::new(content, &part.unwrap_or(0..content.length));
        while let Some(piece) = answer.piece().await? {
            comparison.next(&piece)?;
        }
        comparison.end()
    }

    /// The status and error of a download; the body of one that succeeds is read and dropped.
    pub async fn status(&self, uri: &str) -> Result<Told> {
        let path = format!(
            "/_matrix/client/v1/media/download/{}?timeout_ms=0",
            path_of(uri)?
        );
        let mut answer = self.get(&path, "").await?;
        if answer.status != 200 {
            return answer.told().await;
        }
        while answer.piece().await?.is_some() {}
        Ok(Told {
            status: 200,
            body: Value::Null,
        })
    }

    async fn get(&self, path: &str, headers: &str) -> Result<Answer> {
        let mut stream = TcpStream::connect(&self.address).await?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n{headers}Connection: close\r\n\r\n",
            self.address, self.token
        );
        stream.write_all(head.as_bytes()).await?;
        Answer::read(stream).await
    }
}

/// Server and media id of an `mxc://` URI, as they stand in paths.
fn path_of(uri: &str) -> Result<&str> {
    uri.strip_prefix("mxc://")
        .ok_or_else(|| format!("{uri} is not an mxc:// URI").into())
}

impl Answer {
    async fn read(mut stream: TcpStream) -> Result<Self> {
        let mut buffer = Vec::new();
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            let mut piece = [0; 4 << 10];
            let count = timeout(PAUSE_MAX, stream.read(&mut piece)).await??;
            if count == 0 || buffer.len() > HEAD_BYTES_MAX {
                return Err("the answer broke off before its body".into());
            }
            buffer.extend_from_slice(&piece[..count]);
        };
        let head = std::str::from_utf8(&buffer[..end])?.to_ascii_lowercase();
        let status = head
            .split_whitespace()
            .nth(1)
            .and_then(|status| status.parse().ok());
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok());
        let strange = || Error::from(format!("a strange answer: {head}"));
        Ok(Self {
            status: status.ok_or_else(strange)?,
            length: length.ok_or_else(strange)?,
            buffer: buffer.split_off(end + 4),
            stream,
        })
    }

    /// The next piece of the body.
    async fn piece(&mut self) -> Result<Option<Vec<u8>>> {
        if self.length == 0 {
            return Ok(None);
        }
        let mut piece = std::mem::take(&mut self.buffer);
        if piece.is_empty() {
            piece.resize(BLOCK, 0);
            let count = timeout(PAUSE_MAX, self.stream.read(&mut piece)).await??;
            if count == 0 {
                return Err(
                    format!("the answer broke off {} bytes before its end", self.length).into(),
                );
            }
            piece.truncate(count);
        }
        self.length = self
            .length
            .checked_sub(piece.len() as u64)
            .ok_or("more came than was announced")?;
        Ok(Some(piece))
    }

    async fn told(mut self) -> Result<Told> {
        if self.length > ANSWER_BYTES_MAX {
            return Err(format!("status {} with {} bytes", self.status, self.length).into());
        }
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        Ok(Told {
            status: self.status,
            body: serde_json::from_slice(&body)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(content: Content) -> Vec<u8> {
        (0..=content.length / BLOCK as u64)
            .flat_map(|number| content.block(number))
            .collect()
    }

    #[test]
    fn what_was_sent_is_recognized_in_pieces_of_any_length() {
        let content = Content {
            seed: 3,
            length: 200_000,
        };
        let bytes = whole(content);
        assert_eq!(bytes.len(), 200_000);
        for length in [1_000, 65_536, 70_001] {
            let mut comparison = Comparison::new(content, &(0..200_000));
            for piece in bytes.chunks(length) {
                comparison.next(piece).unwrap();
            }
            comparison.end().unwrap();
        }
        let mut part = Comparison::new(content, &(65_530..65_540));
        part.next(&bytes[65_530..65_540]).unwrap();
        part.end().unwrap();
    }

    #[test]
    fn one_other_byte_one_more_and_one_less_are_seen() {
        let content = Content {
            seed: 3,
            length: 70_000,
        };
        let mut bytes = whole(content);
        let mut short = Comparison::new(content, &(0..70_000));
        short.next(&bytes[..69_999]).unwrap();
        assert!(short.end().is_err());
        let mut long = Comparison::new(content, &(0..70_000));
        long.next(&bytes).unwrap();
        assert!(long.next(b"x").is_err());
        bytes[66_000] ^= 1;
        assert!(Comparison::new(content, &(0..70_000)).next(&bytes).is_err());
        let other = Content { seed: 4, ..content };
        assert!(
            Comparison::new(content, &(0..70_000))
                .next(&whole(other))
                .is_err()
        );
    }
}
