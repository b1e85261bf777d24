//! Snapshots: the cache first on the calling task, the disk on a bounded pool.

use std::sync::Arc;

use bytes::Bytes;
use hearth_store::{BoxFuture, Error, KeyRange, Position, Result, Snapshot};
use rocksdb::{DBRawIterator, ErrorKind, ReadOptions, ReadTier};
use self_cell::self_cell;
use tokio::sync::Semaphore;

use crate::database::{Database, TableSize, engine, table_range};
use crate::statistics::count;

/// Reads that may wait for the disk at once. More would only queue in the kernel, and each holds a thread.
///
/// The threads are tokio's blocking threads: they are there already, end when idle, and are few because of this
/// limit; a pool of our own would add threads that sleep most of the time.
pub(crate) const DISK_READS_MAX: usize = 8;

/// Rows of a range that are read on the calling task; longer ranges go on in the pool, so that one long scan does
/// not hold up the other requests of its thread.
const INLINE_ROWS_MAX: usize = 512;

type EngineSnapshot<'a> = rocksdb::Snapshot<'a>;

self_cell!(
    /// A snapshot of RocksDB together with the database that it borrows.
    struct Pinned {
        owner: Arc<Database>,
        #[covariant]
        dependent: EngineSnapshot,
    }
);

/// The store at one position.
pub(crate) struct View {
    position: Position,
    pinned: Pinned,
    // Made once per snapshot instead of once per read. They refer to the snapshot above and never leave this struct.
    cached: ReadOptions,
    complete: ReadOptions,
}

/// Where a read may look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    Cache,
    Disk,
}

/// A read that may have needed more than the cache.
enum Read<T> {
    Done(T),
    NeedsDisk,
}

/// A part of a range, and what is left of it.
struct Page {
    rows: Vec<(Bytes, Bytes)>,
    rest: Option<KeyRange>,
}

impl View {
    pub(crate) fn new(database: Arc<Database>, position: Position) -> Self {
        let pinned = Pinned::new(database, |database| database.db.snapshot());
        let options = |reach| read_options(pinned.borrow_dependent(), reach);
        Self {
            position,
            cached: options(Reach::Cache),
            complete: options(Reach::Disk),
            pinned,
        }
    }

    pub(crate) fn database(&self) -> &Arc<Database> {
        self.pinned.borrow_owner()
    }

    fn get(&self, key: &[u8], reach: Reach) -> Result<Read<Option<Bytes>>> {
        let database = self.database();
        let options = match reach {
            Reach::Cache => &self.cached,
            Reach::Disk => &self.complete,
        };
        match database
            .db
            .get_pinned_cf_opt(database.family(key)?, key, options)
        {
            Ok(value) => Ok(Read::Done(
                value.map(|value| Bytes::copy_from_slice(&value)),
            )),
            Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Read::NeedsDisk),
            Err(error) => Err(engine(error)),
        }
    }

    fn get_complete(&self, key: &[u8]) -> Result<Option<Bytes>> {
        match self.get(key, Reach::Disk)? {
            Read::Done(value) => Ok(value),
            Read::NeedsDisk => Err(incomplete()),
        }
    }

    /// Reads a range until it ends, the limit is reached, or the cache does not suffice.
    fn page(&self, range: &KeyRange, ask: Ask) -> Result<Page> {
        let mut parts = self.database().parts(range);
        if ask.order == Order::Reverse {
            parts.reverse();
        }
        let mut rows = Vec::new();
        for part in parts {
            let ended = self.read_part(part, ask, &mut rows)?;
            if ended != Ended::AtEnd {
                let rest = rest(range, ask.order, rows.last());
                return Ok(Page { rows, rest });
            }
        }
        Ok(Page { rows, rest: None })
    }

    fn read_part(&self, part: KeyRange, ask: Ask, rows: &mut Vec<(Bytes, Bytes)>) -> Result<Ended> {
        let family = self.database().family(&part.from)?;
        let mut options = read_options(self.pinned.borrow_dependent(), ask.reach);
        options.set_iterate_lower_bound(part.from);
        options.set_iterate_upper_bound(part.to);
        let mut cursor = self.database().db.raw_iterator_cf_opt(family, options);
        match ask.order {
            Order::Forward => cursor.seek_to_first(),
            Order::Reverse => cursor.seek_to_last(),
        }
        loop {
            if rows.len() >= ask.limit {
                return Ok(Ended::AtLimit);
            }
            let Some((key, value)) = cursor.item() else {
                return ended(&cursor);
            };
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            match ask.order {
                Order::Forward => cursor.next(),
                Order::Reverse => cursor.prev(),
            }
        }
    }

    fn page_complete(&self, range: &KeyRange, ask: Ask) -> Result<Vec<(Bytes, Bytes)>> {
        let page = self.page(range, ask)?;
        if page.rest.is_some() && page.rows.len() < ask.limit {
            return Err(incomplete());
        }
        Ok(page.rows)
    }

    /// Reads all of a table, checks each block's checksum, and measures.
    pub(crate) fn measure(&self, table: u8) -> Result<TableSize> {
        let range = table_range(table);
        let family = self.database().family(&range.from)?;
        let mut options = read_options(self.pinned.borrow_dependent(), Reach::Disk);
        options.set_verify_checksums(true);
        // It must not drive out what requests need.
        options.fill_cache(false);
        options.set_iterate_lower_bound(range.from);
        options.set_iterate_upper_bound(range.to);
        let mut cursor = self.database().db.raw_iterator_cf_opt(family, options);
        let mut size = TableSize {
            table,
            ..TableSize::default()
        };
        cursor.seek_to_first();
        while let Some((key, value)) = cursor.item() {
            size.rows += 1;
            size.key_bytes += key.len() as u64;
            size.value_bytes += value.len() as u64;
            cursor.next();
        }
        cursor.status().map_err(engine)?;
        Ok(size)
    }
}

/// How a range is read.
#[derive(Clone, Copy)]
struct Ask {
    order: Order,
    limit: usize,
    reach: Reach,
}

/// Which way a range is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Forward,
    Reverse,
}

/// Why reading a part of a range stopped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    AtEnd,
    AtLimit,
    NeedsDisk,
}

fn ended(cursor: &DBRawIterator<'_>) -> Result<Ended> {
    match cursor.status() {
        Ok(()) => Ok(Ended::AtEnd),
        Err(error) if error.kind() == ErrorKind::Incomplete => Ok(Ended::NeedsDisk),
        Err(error) => Err(engine(error)),
    }
}

/// What is left of a range after its rows up to `last` were read.
fn rest(range: &KeyRange, order: Order, last: Option<&(Bytes, Bytes)>) -> Option<KeyRange> {
    let mut rest = range.clone();
    if let Some((key, _)) = last {
        match order {
            // The smallest key after this one.
            Order::Forward => rest.from = [key, &[0][..]].concat().into(),
            Order::Reverse => rest.to = key.clone(),
        }
    }
    Some(rest)
}

fn read_options(snapshot: &EngineSnapshot<'_>, reach: Reach) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_snapshot(snapshot);
    if reach == Reach::Cache {
        options.set_read_tier(ReadTier::BlockCache);
    }
    // Unpinning old files must not delete them on the thread of a request.
    options.set_background_purge_on_iterator_cleanup(true);
    options
}

/// A read of the disk that calls itself incomplete would otherwise be tried for ever.
fn incomplete() -> Error {
    Error::Engine("a read of the disk was incomplete".into())
}

/// What requests hold: a view, and the pool for reads that need the disk.
pub(crate) struct RocksSnapshot {
    view: Arc<View>,
    disk_reads: Arc<Semaphore>,
}

impl RocksSnapshot {
    pub(crate) fn new(view: View, disk_reads: Arc<Semaphore>) -> Self {
        Self {
            view: Arc::new(view),
            disk_reads,
        }
    }

    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }

    fn count_cached(&self) {
        count(&self.view.database().counters.reads_cached, 1);
    }

    async fn on_disk<T, F>(&self, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&View) -> Result<T> + Send + 'static,
    {
        count(&self.view.database().counters.reads_pooled, 1);
        let permit = self.disk_reads.clone().acquire_owned().await;
        let permit = permit.map_err(|_| Error::Closed)?;
        let view = self.view.clone();
        let job = move || {
            let result = read(&view);
            // Kept until here, so that an abandoned read still counts while it holds its thread.
            drop(permit);
            result
        };
        let done = tokio::task::spawn_blocking(job).await;
        done.map_err(|error| Error::Engine(Box::new(error)))?
    }
}

impl Snapshot for RocksSnapshot {
    fn position(&self) -> Position {
        self.view.position
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>>> {
        Box::pin(async move {
            if let Read::Done(value) = self.view.get(key, Reach::Cache)? {
                self.count_cached();
                return Ok(value);
            }
            let key = Bytes::copy_from_slice(key);
            self.on_disk(move |view| view.get_complete(&key)).await
        })
    }

    fn get_many<'a>(&'a self, keys: &'a [Bytes]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(async move {
            let mut values = vec![None; keys.len()];
            let mut missing = Vec::new();
            for (index, key) in keys.iter().enumerate() {
                match self.view.get(key, Reach::Cache)? {
                    Read::Done(value) => values[index] = value,
                    Read::NeedsDisk => missing.push((index, key.clone())),
                }
            }
            if missing.is_empty() {
                self.count_cached();
                return Ok(values);
            }
            let read = move |view: &View| {
                let get = |(index, key): (usize, Bytes)| Ok((index, view.get_complete(&key)?));
                missing.into_iter().map(get).collect::<Result<Vec<_>>>()
            };
            for (index, value) in self.on_disk(read).await? {
                values[index] = value;
            }
            Ok(values)
        })
    }

    fn range<'a>(
        &'a self,
        range: KeyRange,
        reverse: bool,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>>> {
        let order = if reverse {
            Order::Reverse
        } else {
            Order::Forward
        };
        Box::pin(async move {
            let ask = Ask {
                order,
                limit: limit.min(INLINE_ROWS_MAX),
                reach: Reach::Cache,
            };
            let Page { mut rows, rest } = self.view.page(&range, ask)?;
            let rest = match rest {
                Some(rest) if rows.len() < limit => rest,
                _ => {
                    self.count_cached();
                    return Ok(rows);
                }
            };
            let ask = Ask {
                order,
                limit: limit - rows.len(),
                reach: Reach::Disk,
            };
            let read = move |view: &View| view.page_complete(&rest, ask);
            rows.extend(self.on_disk(read).await?);
            Ok(rows)
        })
    }
}
