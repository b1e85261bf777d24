//! Files in pieces, each with a check sum, so that a part of a file can be checked without reading the rest.

use std::collections::VecDeque;
use std::hash::Hasher;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, TryStreamExt, stream};
use hearth_data::media::{self as data, Sums};
use hearth_ports::{BlobName, ByteStream};
use hearth_store::Batch;
use siphasher::sip::SipHasher13;

use crate::{Error, Media, Result};

/// Length of a piece, in bytes. Part of the format.
pub(crate) const PIECE: usize = 256 << 10;
/// Check sums in one row: those of 256 MiB. Part of the format.
const GROUP: usize = 1_024;

/// The check sum of a piece. Against rotten disks and half-written files, not against malice.
pub(crate) fn sum(piece: &[u8]) -> [u8; 8] {
    let mut hasher = SipHasher13::new();
    hasher.write(piece);
    hasher.finish().to_le_bytes()
}

/// Writes the check sums of a file.
pub(crate) fn put(batch: &mut Batch, name: BlobName, sums: &[[u8; 8]]) {
    for (group, sums) in (0_u32..).zip(sums.chunks(GROUP)) {
        data::sums_put(batch, &name.0, group, &Sums(sums.to_vec()));
    }
}

/// A file being read.
struct Reading {
    media: Media,
    name: BlobName,
    raw: ByteStream,
    buffer: BytesMut,
    sums: VecDeque<[u8; 8]>,
    group: u32,
    /// The number of the next piece.
    piece: u64,
    /// What of the file is wanted.
    range: Range<u64>,
    bytes: u64,
}

impl Media {
    /// A part of a blob of a known length, checked piece by piece before it is handed on. The first piece has been when this
    /// returns.
    pub(crate) async fn read_checked(
        &self,
        name: BlobName,
        bytes: u64,
        range: Range<u64>,
    ) -> Result<ByteStream> {
        let range = range.start.min(bytes)..range.end.min(bytes);
        if range.is_empty() {
            return Ok(Box::pin(stream::empty()));
        }
        let piece = range.start / PIECE as u64;
        let end = range.end.next_multiple_of(PIECE as u64).min(bytes);
        let from_piece = piece * PIECE as u64..end;
        let raw = self.0.parts.blobs.read(name, from_piece).await;
        let raw = raw.map_err(Error::Blobs)?.ok_or(Error::Damaged)?;
        let group = piece / GROUP as u64;
        let mut reading = Reading {
            media: self.clone(),
            name,
            raw,
            buffer: BytesMut::new(),
            sums: VecDeque::new(),
            group: u32::try_from(group).map_err(|_| Error::Damaged)?,
            piece,
            range,
            bytes,
        };
        reading.load_sums().await?;
        for _ in group * GROUP as u64..piece {
            reading.sums.pop_front();
        }
        let mut pieces = Box::pin(stream::try_unfold(reading, Reading::next));
        // Whoever asks learns of what is damaged or away while there still can be another answer.
        let first = pieces.try_next().await?;
        let rest = pieces.map(|piece| piece.map_err(Into::into));
        Ok(Box::pin(stream::iter(first.map(Ok)).chain(rest)))
    }
}

impl Reading {
    async fn load_sums(&mut self) -> Result<()> {
        let snapshot = self.media.snapshot().await?;
        let sums = data::sums(&*snapshot, &self.name.0, self.group).await?;
        self.sums = sums.ok_or(Error::Damaged)?.0.into();
        self.group += 1;
        Ok(())
    }

    async fn next(mut self) -> Result<Option<(Bytes, Self)>> {
        let start = self.piece * PIECE as u64;
        if start >= self.range.end {
            return Ok(None);
        }
        let length = (self.bytes - start).min(PIECE as u64);
        let length = usize::try_from(length).map_err(|_| Error::Damaged)?;
        let piece = self.raw_piece(length).await?;
        if self.sums.is_empty() {
            self.load_sums().await?;
        }
        if self.sums.pop_front() != Some(sum(&piece)) {
            tracing::error!(blob = %self.name, piece = self.piece, "a stored file is damaged");
            return Err(Error::Damaged);
        }
        self.piece += 1;
        let within = |at: u64| {
            let at = at.saturating_sub(start).min(length as u64);
            usize::try_from(at).unwrap_or(length)
        };
        let wanted = piece.slice(within(self.range.start)..within(self.range.end));
        Ok(Some((wanted, self)))
    }

    /// The next piece as it is stored. Not copied where it comes in one.
    async fn raw_piece(&mut self, length: usize) -> Result<Bytes> {
        loop {
            if self.buffer.len() >= length {
                return Ok(self.buffer.split_to(length).freeze());
            }
            let more = self.raw.next().await.ok_or(Error::Damaged)?;
            let more = more.map_err(Error::Blobs)?;
            if self.buffer.is_empty() && more.len() == length {
                return Ok(more);
            }
            self.buffer.extend_from_slice(&more);
        }
    }
}
