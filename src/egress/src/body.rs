//! Bodies of answers, within limits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_compression::tokio::bufread::GzipDecoder;
use bytes::Bytes;
use futures_util::TryStreamExt;
use hearth_ports::{BoxError, OutBody, OutError, OutOptions};
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyDataStream, BodyExt, StreamBody};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::{ReaderStream, StreamReader};

/// The body as the caller gets it: decompressed, bounded in size and time. Headers are changed to fit.
pub(crate) fn bounded(
    body: Incoming,
    headers: &mut HeaderMap,
    options: &OutOptions,
) -> Result<OutBody, OutError> {
    let is_gzip = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if !is_gzip && body.size_hint().lower() > options.body_bytes_max {
        return Err(OutError::TooLarge);
    }
    let inner = match is_gzip {
        false => body.map_err(BoxError::from).boxed_unsync(),
        true => {
            headers.remove(header::CONTENT_ENCODING);
            headers.remove(header::CONTENT_LENGTH);
            gunzip(body)
        }
    };
    Ok(Bounded::new(inner, options).boxed_unsync())
}

fn gunzip(body: Incoming) -> OutBody {
    let compressed = BodyDataStream::new(body).map_err(io::Error::other);
    let plain = ReaderStream::new(GzipDecoder::new(StreamReader::new(compressed)));
    StreamBody::new(plain.map_ok(Frame::data).map_err(BoxError::from)).boxed_unsync()
}

struct Bounded {
    inner: OutBody,
    left: u64,
    idle_max: Duration,
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Bounded {
    fn new(inner: OutBody, options: &OutOptions) -> Self {
        let now = Instant::now();
        let end = now + options.body_time_max;
        Self {
            inner,
            left: options.body_bytes_max,
            idle_max: options.idle_time_max,
            end,
            timer: Box::pin(sleep_until(end.min(now + options.idle_time_max))),
        }
    }
}

impl Body for Bounded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if polled.is_pending() {
            ready!(self.timer.as_mut().poll(context));
            return Poll::Ready(Some(Err(OutError::Timeout.into())));
        }
        let now = Instant::now();
        if now >= self.end {
            return Poll::Ready(Some(Err(OutError::Timeout.into())));
        }
        let next = self.end.min(now + self.idle_max);
        self.timer.as_mut().reset(next);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            match self.left.checked_sub(data.len() as u64) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(OutError::TooLarge.into()))),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
