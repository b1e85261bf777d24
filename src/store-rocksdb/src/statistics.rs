//! Plain numbers for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the histogram of synced writes, in microseconds; a last bucket takes the rest.
pub(crate) const WRITE_BOUNDS_US: [u64; 11] = [
    50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
];

/// What the store has done since it was opened, and what it holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Batches written.
    pub commits: u64,
    /// Batches refused because another writer was first.
    pub conflicts: u64,
    /// Batches refused because the disk was full or the engine failed.
    pub failures: u64,
    /// Groups written; `commits / groups` batches shared one write.
    pub groups: u64,
    /// Groups that were synced before they were answered.
    pub synced_groups: u64,
    /// Times that RocksDB synced a write-ahead log file, if it counts ([`crate::Settings`]).
    #[doc(hidden)]
    pub wal_syncs: u64,
    /// Bytes written to the write-ahead log.
    pub wal_bytes: u64,
    /// How long a synced group took to write, the sync included.
    pub synced_write: Histogram,
    /// Reads answered from memory on the calling task.
    pub reads_cached: u64,
    /// Reads that needed the disk and went to the pool.
    pub reads_pooled: u64,
    /// Memory of the block cache, in bytes; write buffers are charged to it.
    pub block_cache_bytes: u64,
    /// Memory of the write buffers, in bytes.
    pub write_buffer_bytes: u64,
    /// Memory of open files outside the cache, in bytes.
    pub table_reader_bytes: u64,
    /// Table files on disk, in bytes.
    pub disk_bytes: u64,
    /// Bytes that compaction still has to rewrite.
    pub compaction_pending_bytes: u64,
    /// Background errors (disk full and the like) met.
    pub background_errors: u64,
}

/// A histogram of times: `counts[i]` of them were at most `bounds_us[i]` (not cumulative); the last count has no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Upper bounds, in microseconds.
    pub bounds_us: Vec<u64>,
    /// How many fell into each bucket; one more than there are bounds.
    pub counts: Vec<u64>,
    /// The sum of all times, in microseconds.
    pub sum_us: u64,
}

/// Counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) synced_groups: AtomicU64,
    pub(crate) wal_bytes: AtomicU64,
    pub(crate) reads_cached: AtomicU64,
    pub(crate) reads_pooled: AtomicU64,
    write_counts: [AtomicU64; WRITE_BOUNDS_US.len() + 1],
    write_sum_us: AtomicU64,
}

/// Adds to a counter; counters order nothing.
pub(crate) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl Counters {
    pub(crate) fn synced_write(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = WRITE_BOUNDS_US.partition_point(|bound| *bound < us);
        count(&self.write_counts[bucket], 1);
        count(&self.write_sum_us, us);
    }

    /// The counted part of the statistics.
    pub(crate) fn read(&self) -> Statistics {
        Statistics {
            commits: read(&self.commits),
            conflicts: read(&self.conflicts),
            failures: read(&self.failures),
            groups: read(&self.groups),
            synced_groups: read(&self.synced_groups),
            wal_bytes: read(&self.wal_bytes),
            reads_cached: read(&self.reads_cached),
            reads_pooled: read(&self.reads_pooled),
            synced_write: Histogram {
                bounds_us: WRITE_BOUNDS_US.to_vec(),
                counts: self.write_counts.iter().map(read).collect(),
                sum_us: read(&self.write_sum_us),
            },
            ..Statistics::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Counters;

    #[test]
    fn times_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        let counters = Counters::default();
        for us in [0, 50, 51, 100_000, 100_001, 9_000_000] {
            counters.synced_write(Duration::from_micros(us));
        }
        let histogram = counters.read().synced_write;
        assert_eq!(histogram.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(histogram.sum_us, 9_200_102);
    }
}
