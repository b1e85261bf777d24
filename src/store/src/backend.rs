//! What an engine implements.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;

use crate::{Batch, Position, Result};

/// A boxed future, so that backends are `dyn`.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How large one batch may be. Larger work is several commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys and values of a batch, in bytes.
    pub batch_bytes_max: usize,
    /// Operations in a batch.
    pub batch_ops_max: usize,
}

/// `from <= key < to`, on whole keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: Bytes,
    /// The key after the last.
    pub to: Bytes,
}

/// A store: one total order of commits, and snapshots that know their place in it.
pub trait Backend: Send + Sync {
    /// The newest published state. Cheap; many callers may share one.
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<dyn Snapshot>>>;

    /// Writes all of a batch or, with an error, nothing. The answer comes when the batch is durable (see
    /// [`crate::Durability`]) and visible to every later [`Backend::snapshot`].
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Position>>;

    /// Waits until the newest position is greater than `seen` and returns it. Of a commit that was just acknowledged this may
    /// tell a moment later: who wrote is answered first. Dropping the future is safe.
    fn wait_past(&self, seen: Position) -> BoxFuture<'_, Result<Position>>;

    /// Waits until a commit after `seen` has written in one of some tables (the first bytes of their keys), and returns the
    /// newest position of such a one. Where nothing was written since the store was opened counts as written then.
    /// Dropping the future is safe.
    fn wait_past_in<'a>(
        &'a self,
        tables: &'a [u8],
        seen: Position,
    ) -> BoxFuture<'a, Result<Position>>;

    /// Whether a commit after `seen` has written in one of some tables: what [`Backend::wait_past_in`] would not wait for.
    fn is_written_past(&self, tables: &[u8], seen: Position) -> bool {
        let mut written = self.wait_past_in(tables, seen);
        let mut context = Context::from_waker(Waker::noop());
        written.as_mut().poll(&mut context).is_ready()
    }

    /// How large a batch may be.
    fn limits(&self) -> Limits;
}

/// The state of the store at one position. Not to be held across a wait or a network call.
pub trait Snapshot: Send + Sync {
    /// The newest commit that it shows: all up to it are seen, nothing after.
    fn position(&self) -> Position;

    /// One row.
    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>>>;

    /// Several rows, answered in the order of the keys.
    fn get_many<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>>;

    /// Rows of a range in key order (or against it), at most `limit`.
    fn range<'a>(
        &'a self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>>>;
}
