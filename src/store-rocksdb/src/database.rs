//! The opened RocksDB: how it is set up, which table lives where, and what maintenance can be done with it.

use std::path::Path;

use bytes::Bytes;
use hearth_store::{Error, KeyRange, Profile, Result, TableInfo};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::statistics::Ticker;
use rocksdb::{
    Cache, ColumnFamily, CompactOptions, DB, DBRecoveryMode, InfoLogger, LogLevel, LruCacheOptions,
    Options, WriteBufferManager,
};
use tokio::sync::oneshot;

use crate::statistics::{Counters, Statistics, count};
use crate::{families, format};

const MIB: usize = 1024 * 1024;

/// Less would leave no room for the write buffers of all families.
const MEMORY_BYTES_MIN: usize = 8 * MIB;

/// Open files; each costs a few kilobytes of memory besides the cache.
const OPEN_FILES_MAX: i32 = 512;

/// What is in the write-ahead log must be read back at a start, so it bounds the start's time.
const WAL_BYTES_MAX: u64 = 24 * MIB as u64;

/// Rows of the store itself, in the default family.
const FORMAT_ROW: &[u8] = b"format";
const POSITION_ROW: &[u8] = b"position";
const TABLE_ROW: &[u8] = b"table/";

/// How a store is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Memory for cached blocks and write buffers together, in bytes; at least 8 MiB are used.
    pub memory_bytes: usize,
    /// Whether commits are synced to the disk. Off only in the test which shows that the crash test would notice.
    #[doc(hidden)]
    pub sync: bool,
    /// Whether RocksDB counts what it does, too: for the tests which show that commits are synced. It costs 0.6 MiB, and
    /// some time with each read.
    #[doc(hidden)]
    pub engine_counts: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory_bytes: 32 * MIB,
            sync: true,
            engine_counts: false,
        }
    }
}

/// How much is in a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableSize {
    /// The table's id.
    pub table: u8,
    /// Its rows.
    pub rows: u64,
    /// Its keys, in bytes, the table's id included.
    pub key_bytes: u64,
    /// Its values, in bytes.
    pub value_bytes: u64,
}

impl TableSize {
    /// Keys and values, in bytes.
    pub fn bytes(&self) -> u64 {
        self.key_bytes + self.value_bytes
    }
}

/// The engine failed in its own words.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("table {0:#04x} is not in the catalogue")]
    UnknownTable(u8),
    #[error("table {0:#04x} is in the catalogue twice")]
    TableTwice(u8),
    #[error("a key has no table: it is empty")]
    NoTable,
    #[error("table {0:#04x} is kept under another profile on disk; it must be moved, not renamed")]
    ProfileChanged(u8),
    #[error("the column family `{0}` is missing")]
    NoFamily(&'static str),
    #[error("the store's own row `{0}` is malformed")]
    StoreRow(&'static str),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Engine(Box::new(failure))
    }
}

/// Where positions stand on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PositionRow {
    /// The last position given out, written by a clean stop.
    Exact(u64),
    /// No position above this one was given out; it is not known which was the last.
    Ceiling(u64),
}

/// The open database. It closes when the last snapshot and the writing thread have let go of it.
pub(crate) struct Database {
    pub(crate) db: DB,
    pub(crate) counters: Counters,
    profiles: Box<[Option<Profile>; 256]>,
    catalogue: Vec<TableInfo>,
    cache: Cache,
    options: Options,
    // Dropped after `db`: tells whoever closes the store that its lock is free.
    _closed: oneshot::Sender<()>,
}

impl Database {
    /// Opens or creates the store; the receiver ends when it has been closed.
    pub(crate) fn open(
        path: &Path,
        catalogue: &[TableInfo],
        settings: &Settings,
    ) -> Result<(Self, oneshot::Receiver<()>)> {
        let profiles = profiles(catalogue)?;
        format::check_or_mark(path)?;
        let memory = settings.memory_bytes.max(MEMORY_BYTES_MIN);
        let cache = cache(memory);
        let mut options = options(&cache, memory);
        if settings.engine_counts {
            options.enable_statistics();
        }
        let db = DB::open_cf_descriptors(&options, path, families::descriptors(&cache))
            .map_err(engine)?;
        let (closed, is_closed) = oneshot::channel();
        let database = Self {
            db,
            counters: Counters::default(),
            profiles,
            catalogue: catalogue.to_vec(),
            cache,
            options,
            _closed: closed,
        };
        database.check_own_rows()?;
        Ok((database, is_closed))
    }

    /// The family in which a key lives.
    pub(crate) fn family(&self, key: &[u8]) -> Result<&ColumnFamily> {
        let table = *key.first().ok_or(Failure::NoTable)?;
        let profile = self.profiles[usize::from(table)].ok_or(Failure::UnknownTable(table))?;
        self.profile_family(profile)
    }

    fn profile_family(&self, profile: Profile) -> Result<&ColumnFamily> {
        let name = families::family_name(profile);
        Ok(self.db.cf_handle(name).ok_or(Failure::NoFamily(name))?)
    }

    /// The tables that a range touches, each with its part, in key order.
    pub(crate) fn parts(&self, range: &KeyRange) -> Vec<KeyRange> {
        if range.from >= range.to {
            return Vec::new();
        }
        let first = range.from.first().copied().unwrap_or(0);
        let last = range.to.first().copied().unwrap_or(0);
        if first == last {
            return vec![range.clone()];
        }
        (first..=last)
            .filter(|table| self.profiles[usize::from(*table)].is_some())
            .filter_map(|table| table_range(table).overlap(range))
            .collect()
    }

    /// All tables of the catalogue.
    pub(crate) fn catalogue(&self) -> &[TableInfo] {
        &self.catalogue
    }

    /// Where positions stand; `None` in a new store.
    pub(crate) fn load_position(&self) -> Result<Option<PositionRow>> {
        let Some(row) = self.db.get(POSITION_ROW).map_err(engine)? else {
            return Ok(None);
        };
        let malformed = || Error::from(Failure::StoreRow("position"));
        let (kind, number) = row.split_first().ok_or_else(malformed)?;
        let number = u64::from_be_bytes(number.try_into().map_err(|_| malformed())?);
        match kind {
            b'e' => Ok(Some(PositionRow::Exact(number))),
            b'c' => Ok(Some(PositionRow::Ceiling(number))),
            _ => Err(malformed()),
        }
    }

    /// Checks the store's own rows, and writes those that are missing.
    fn check_own_rows(&self) -> Result<()> {
        let mut batch = rocksdb::WriteBatch::default();
        match self.db.get(FORMAT_ROW).map_err(engine)? {
            Some(row) => {
                let number = row.try_into().map_err(|_| Failure::StoreRow("format"))?;
                format::check(u32::from_be_bytes(number))?;
            }
            None => batch.put(FORMAT_ROW, format::FORMAT.to_be_bytes()),
        }
        for info in &self.catalogue {
            let key = [TABLE_ROW, &[info.id]].concat();
            let code = families::profile_code(info.profile);
            match self.db.get(&key).map_err(engine)? {
                Some(row) if row == [code] => {}
                Some(_) => return Err(Failure::ProfileChanged(info.id).into()),
                None => batch.put(key, [code]),
            }
        }
        if batch.is_empty() {
            return Ok(());
        }
        self.write(batch, WalSync::Yes)
    }

    /// Writes a batch of the engine, all or nothing.
    pub(crate) fn write(&self, batch: rocksdb::WriteBatch, sync: WalSync) -> Result<()> {
        let mut how = rocksdb::WriteOptions::default();
        how.set_sync(sync == WalSync::Yes);
        count(&self.counters.wal_bytes, batch.size_in_bytes() as u64);
        self.db.write_opt(batch, &how).map_err(engine)
    }

    /// A copy of the store as it is now, by hard links where the file system allows. `target` must not exist.
    pub(crate) fn checkpoint(&self, target: &Path) -> Result<()> {
        let checkpoint = Checkpoint::new(&self.db).map_err(engine)?;
        checkpoint.create_checkpoint(target).map_err(engine)?;
        format::mark(target)
    }

    /// Rewrites everything into its final form: no old versions, no tombstones, the final compression.
    pub(crate) fn compact_all(&self) -> Result<()> {
        let mut how = CompactOptions::default();
        how.set_bottommost_level_compaction(rocksdb::BottommostLevelCompaction::Force);
        for profile in families::PROFILES {
            let family = self.profile_family(profile)?;
            // The binding hands back no error; a failed compaction is met again by the next write.
            self.db
                .compact_range_cf_opt(family, None::<&[u8]>, None::<&[u8]>, &how);
        }
        Ok(())
    }

    /// What the engine knows of itself, and what was counted.
    pub(crate) fn statistics(&self) -> Statistics {
        let all = std::iter::once(rocksdb::DEFAULT_COLUMN_FAMILY_NAME)
            .chain(families::PROFILES.map(families::family_name));
        let handles: Vec<_> = all.filter_map(|name| self.db.cf_handle(name)).collect();
        let sum = |property: &str| {
            let value = |family: &&ColumnFamily| self.db.property_int_value_cf(*family, property);
            // A property that the engine does not have counts as nothing; metrics must not fail.
            handles
                .iter()
                .filter_map(|family| value(family).ok().flatten())
                .sum()
        };
        Statistics {
            wal_syncs: self.options.get_ticker_count(Ticker::WalFileSynced),
            block_cache_bytes: self.cache.get_usage() as u64,
            write_buffer_bytes: sum("rocksdb.size-all-mem-tables"),
            table_reader_bytes: sum("rocksdb.estimate-table-readers-mem"),
            disk_bytes: sum("rocksdb.total-sst-files-size"),
            compaction_pending_bytes: sum("rocksdb.estimate-pending-compaction-bytes"),
            // One number of the whole database, which each family answers alike.
            background_errors: sum("rocksdb.background-errors") / handles.len().max(1) as u64,
            ..self.counters.read()
        }
    }
}

/// Whether a write waits until the disk has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WalSync {
    Yes,
    No,
}

/// Adds the row that says where positions stand.
pub(crate) fn put_position(batch: &mut rocksdb::WriteBatch, row: PositionRow) {
    let (kind, number) = match row {
        PositionRow::Exact(number) => (b'e', number),
        PositionRow::Ceiling(number) => (b'c', number),
    };
    let mut value = vec![kind];
    value.extend_from_slice(&number.to_be_bytes());
    batch.put(POSITION_ROW, value);
}

/// All keys of a table.
pub(crate) fn table_range(table: u8) -> KeyRange {
    let to = match table.checked_add(1) {
        Some(next) => Bytes::copy_from_slice(&[next]),
        // No table has this id in practice; its keys would end here.
        None => Bytes::from_static(&[0xff; 64]),
    };
    KeyRange {
        from: Bytes::copy_from_slice(&[table]),
        to,
    }
}

trait Overlap {
    fn overlap(&self, other: &Self) -> Option<KeyRange>;
}

impl Overlap for KeyRange {
    fn overlap(&self, other: &Self) -> Option<KeyRange> {
        let from = self.from.clone().max(other.from.clone());
        let to = self.to.clone().min(other.to.clone());
        (from < to).then_some(KeyRange { from, to })
    }
}

/// An error of RocksDB in the store's words.
pub(crate) fn engine(error: rocksdb::Error) -> Error {
    let text = error.as_ref();
    // The binding hands on only the kind and the text, which ends with the operating system's message.
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        Error::NoSpace
    } else {
        Error::Engine(Box::new(error))
    }
}

fn profiles(catalogue: &[TableInfo]) -> Result<Box<[Option<Profile>; 256]>> {
    let mut profiles = Box::new([None; 256]);
    for info in catalogue {
        let place = &mut profiles[usize::from(info.id)];
        if place.replace(info.profile).is_some() {
            return Err(Failure::TableTwice(info.id).into());
        }
    }
    Ok(profiles)
}

fn cache(memory: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(memory);
    // Four shards: few enough that a shard of a small cache still holds many blocks.
    options.set_num_shard_bits(2);
    Cache::new_lru_cache_opts(&options)
}

fn options(cache: &Cache, memory: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);

    // Write buffers are charged to the cache, so that both share one budget; half of it makes them flush.
    let buffers =
        WriteBufferManager::new_write_buffer_manager_with_cache(memory / 2, false, cache.clone());
    options.set_write_buffer_manager(&buffers);
    options.set_max_open_files(OPEN_FILES_MAX);
    // One thread for flushes and one for compactions: the machine belongs to requests.
    options.set_max_background_jobs(2);

    // Recovery takes the log up to the first record that is not whole and sound. What was synced is whole; what was
    // not may be torn or, after a power loss, have holes in any order. The stricter modes refuse to start over such
    // holes, the laxer one would skip them and bring back commits without the ones before.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // So that stopping early never passes for a whole log: a log that is missing or shorter than what was synced of
    // it when it was full is an error at the start, not a silent loss.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);

    // Only one thread writes: no need to let several into a write buffer, nor to wait for company.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);

    // Files are removed and iterators cleaned up in the background, never on the thread of a request.
    options.set_avoid_unnecessary_blocking_io(true);
    // A start must not read every file's properties.
    options.set_skip_stats_update_on_db_open(true);
    // No thread that wakes up to write statistics; they are asked for at `/metrics`.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    // Smooth the writing of table files, so that a sync of the log does not wait behind a burst.
    options.set_bytes_per_sync(MIB as u64);
    // Its log goes where ours goes, not to files of its own.
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, log));
    options
}

fn log(level: LogLevel, message: &str) {
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{message}"),
        LogLevel::Warn => tracing::warn!(target: "rocksdb", "{message}"),
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => {
            tracing::debug!(target: "rocksdb", "{message}");
        }
    }
}
