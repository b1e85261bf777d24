//! The backend: the boundary's calls, and what a program does with a store besides.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hearth_store::{
    Backend, Batch, BoxFuture, Error, Limits, Position, Result, Snapshot, TableInfo,
};
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::committer::{Committer, Published, QUEUE_MAX, Request};
use crate::database::{Database, Settings, TableSize, WalSync};
use crate::statistics::Statistics;
use crate::view::View;

/// RocksDB has none itself, but a batch must fit into memory a few times over.
const LIMITS: Limits = Limits {
    batch_bytes_max: 64_000_000,
    batch_ops_max: 500_000,
};

/// How long a close waits for readers to let go of their snapshots.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// A store on disk. Dropping it without [`RocksBackend::close`] is safe, like a crash: nothing that was acknowledged
/// is lost, but positions jump at the next start.
pub struct RocksBackend {
    published: Arc<Published>,
    // `None` only while it is dropped.
    requests: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    // Resolves when the database has been closed and its lock is free.
    closed: Mutex<oneshot::Receiver<()>>,
}

impl std::fmt::Debug for RocksBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksBackend")
            .field("progress", &self.published.progress)
            .finish_non_exhaustive()
    }
}

impl RocksBackend {
    /// Opens the store in a directory, or makes a new one there. Blocks while the log is read back (bounded, well
    /// under a second). A store of a newer format, or somebody else's RocksDB, is refused and left untouched.
    pub fn open(path: &Path, catalogue: &[TableInfo], settings: &Settings) -> Result<Self> {
        let (database, closed) = Database::open(path, catalogue, settings)?;
        let sync = if settings.sync {
            WalSync::Yes
        } else {
            WalSync::No
        };
        let (requests, queue) = mpsc::channel(QUEUE_MAX);
        let committer = Committer::start(Arc::new(database), queue, sync)?;
        let published = committer.published();
        let thread = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || committer.run())
            .map_err(|error| Error::Engine(Box::new(error)))?;
        Ok(Self {
            published,
            requests: Some(requests),
            thread: Some(thread),
            closed: Mutex::new(closed),
        })
    }

    /// Stops in order: commits what waits, syncs, writes the exact position, and closes the database, whose lock is
    /// free when this returns. Fails if a reader keeps a snapshot for longer than five seconds; everything is safe
    /// on disk then, too.
    pub async fn close(&self) -> Result<()> {
        let (answer, answered) = oneshot::channel();
        self.request(Request::Close { answer }).await?;
        answered.await.map_err(|_| Error::Closed)??;
        let mut closed = self.closed.lock().await;
        // The sender is dropped, never used: an error is the answer.
        tokio::time::timeout(CLOSE_WAIT, &mut *closed)
            .await
            .map(|_| ())
            .map_err(|_| Error::Engine("a reader still holds a snapshot".into()))
    }

    /// A copy of the store as it is now, in a directory that must not exist yet; hard links where the file system
    /// allows. The copy opens like a store after a crash.
    pub async fn checkpoint(&self, target: &Path) -> Result<()> {
        let target = target.to_owned();
        self.blocking(move |view| view.database().checkpoint(&target))
            .await
    }

    /// Rewrites everything into its final form on disk. Takes long.
    pub async fn compact_all(&self) -> Result<()> {
        self.blocking(|view| view.database().compact_all()).await
    }

    /// How much is in a table, by reading all of it.
    pub async fn table_size(&self, table: u8) -> Result<TableSize> {
        self.blocking(move |view| view.measure(table)).await
    }

    /// Reads everything, checks all checksums, and tells how much is in each table of the catalogue.
    pub async fn verify(&self) -> Result<Vec<TableSize>> {
        self.blocking(|view| {
            let catalogue = view.database().catalogue();
            catalogue.iter().map(|info| view.measure(info.id)).collect()
        })
        .await
    }

    /// What was counted, and what is held now.
    pub fn statistics(&self) -> Result<Statistics> {
        let newest = self.published.newest().ok_or(Error::Closed)?;
        Ok(newest.view().database().statistics())
    }

    async fn blocking<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&View) -> Result<T> + Send + 'static,
    {
        let newest = self.published.newest().ok_or(Error::Closed)?;
        let done = tokio::task::spawn_blocking(move || work(newest.view())).await;
        done.map_err(|error| Error::Engine(Box::new(error)))?
    }

    async fn request(&self, request: Request) -> Result<()> {
        let requests = self.requests.as_ref().ok_or(Error::Closed)?;
        requests.send(request).await.map_err(|_| Error::Closed)
    }
}

impl Drop for RocksBackend {
    fn drop(&mut self) {
        // The thread ends when nobody can ask any more, after the group that it is writing.
        drop(self.requests.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writing thread panicked");
        }
    }
}

impl Backend for RocksBackend {
    fn snapshot(&self) -> BoxFuture<'_, Result<Arc<dyn Snapshot>>> {
        Box::pin(async {
            let newest: Arc<dyn Snapshot> = self.published.newest().ok_or(Error::Closed)?;
            Ok(newest)
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Position>> {
        Box::pin(async {
            let (bytes, ops) = (batch.bytes(), batch.ops().len());
            if bytes > LIMITS.batch_bytes_max || ops > LIMITS.batch_ops_max {
                return Err(Error::BatchTooLarge { bytes, ops });
            }
            let (answer, answered) = oneshot::channel();
            self.request(Request::Commit { batch, answer }).await?;
            answered.await.map_err(|_| Error::Closed)?
        })
    }

    fn wait_past(&self, seen: Position) -> BoxFuture<'_, Result<Position>> {
        Box::pin(self.published.progress.wait_past(seen))
    }

    fn wait_past_in<'a>(
        &'a self,
        tables: &'a [u8],
        seen: Position,
    ) -> BoxFuture<'a, Result<Position>> {
        Box::pin(self.published.progress.wait_past_in(tables, seen))
    }

    fn limits(&self) -> Limits {
        LIMITS
    }
}
