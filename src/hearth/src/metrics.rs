//! What the process and the store add to `/metrics`.

use std::sync::{Arc, Weak};

use hearth_http::Metrics;
use hearth_store_rocksdb::{RocksBackend, Statistics};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Bytes of a page of memory, as `/proc/self/statm` counts.
const PAGE_BYTES: u64 = 4096;

/// Shows the figures of a store, as long as it is open.
pub(crate) fn register(metrics: &Metrics, store: &Arc<RocksBackend>) {
    // Not kept alive by the counters: it has to close.
    let store = Arc::downgrade(store);
    metrics.register(|registry| registry.register_collector(Box::new(Figures(store))));
}

#[derive(Debug)]
struct Figures(Weak<RocksBackend>);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        gauge(
            &mut encoder,
            "memory_bytes",
            "Resident memory of the process",
            resident_bytes(),
        )?;
        let Some(store) = self.0.upgrade() else {
            return Ok(());
        };
        match store.statistics() {
            Ok(statistics) => encode(&mut encoder, &statistics),
            Err(error) => {
                tracing::debug!(%error, "no figures of the store");
                Ok(())
            }
        }
    }
}

fn encode(encoder: &mut DescriptorEncoder<'_>, store: &Statistics) -> Result<(), std::fmt::Error> {
    for (name, help, value) in counters(store) {
        let counter = ConstCounter::new(value);
        let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
        counter.encode(metric)?;
    }
    for (name, help, value) in gauges(store) {
        gauge(encoder, name, help, value)?;
    }
    Ok(())
}

/// Name, help and value.
type Figure = (&'static str, &'static str, u64);

fn counters(store: &Statistics) -> [Figure; 9] {
    [
        ("store_commits", "Batches written", store.commits),
        (
            "store_conflicts",
            "Batches refused because another was first",
            store.conflicts,
        ),
        (
            "store_failures",
            "Batches refused because the disk was full or failed",
            store.failures,
        ),
        (
            "store_groups",
            "Groups of batches written together",
            store.groups,
        ),
        (
            "store_wal_syncs",
            "Syncs of the write-ahead log",
            store.synced_groups,
        ),
        (
            "store_wal_bytes",
            "Bytes written to the write-ahead log",
            store.wal_bytes,
        ),
        (
            "store_reads_cached",
            "Reads answered from memory",
            store.reads_cached,
        ),
        (
            "store_reads_pooled",
            "Reads that needed the disk",
            store.reads_pooled,
        ),
        (
            "store_background_errors",
            "Failures of the engine's own work",
            store.background_errors,
        ),
    ]
}

fn gauges(store: &Statistics) -> [Figure; 4] {
    [
        (
            "store_block_cache_bytes",
            "Memory of the block cache",
            store.block_cache_bytes,
        ),
        (
            "store_write_buffer_bytes",
            "Memory of the write buffers",
            store.write_buffer_bytes,
        ),
        ("store_disk_bytes", "Table files on disk", store.disk_bytes),
        (
            "store_compaction_bytes",
            "Bytes still to be compacted",
            store.compaction_pending_bytes,
        ),
    ]
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), std::fmt::Error> {
    let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
    let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
    gauge.encode(metric)
}

/// Zero where the system does not tell.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or_default() * PAGE_BYTES
}
