//! What this engine does besides the boundary.

use bytes::Bytes;
use hearth_store::conformance::TABLES;
use hearth_store::{Backend, Batch, Error, KeyRange, Op, Position};
use hearth_store_rocksdb::{RocksBackend, Settings};

use crate::{key, numbers, open, put, write};

/// Values that do not compress away.
fn noise(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_not_in_memory_come_from_the_pool() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        memory_bytes: 8 << 20,
        ..Settings::default()
    };
    let open = || RocksBackend::open(directory.path(), &TABLES, &settings).unwrap();
    let store = open();
    for number in 0..40 {
        let mut batch = Batch::new();
        for part in 0..50 {
            let number = number * 50 + part;
            put(&mut batch, key(4, number), noise(number, 20_000));
        }
        store.commit(batch).await.unwrap();
    }
    store.compact_all().await.unwrap();
    store.close().await.unwrap();
    let store = open();
    let snapshot = store.snapshot().await.unwrap();
    for number in (0..2_000).step_by(37) {
        let value = snapshot.get(&key(4, number)).await.unwrap();
        assert!(value == Some(noise(number, 20_000)));
    }
    let keys: Vec<Bytes> = (0..2_010).rev().step_by(41).map(|n| key(4, n)).collect();
    let values = snapshot.get_many(&keys).await.unwrap();
    for (key, value) in keys.iter().zip(values) {
        let number = u64::from_be_bytes(key[1..].try_into().unwrap());
        assert!(value == (number < 2_000).then(|| noise(number, 20_000)));
    }
    for reverse in [false, true] {
        let range = KeyRange {
            from: key(4, 100),
            to: key(4, 1_500),
        };
        let rows = snapshot.range(range, reverse, 1_000).await.unwrap();
        let first = if reverse { 1_499 } else { 100 };
        assert_eq!(rows.len(), 1_000);
        for (at, (found, value)) in rows.iter().enumerate() {
            let at = at as u64;
            let number = if reverse { first - at } else { first + at };
            assert!(*found == key(4, number) && *value == noise(number, 20_000));
        }
    }
    let statistics = store.statistics().unwrap();
    assert!(statistics.reads_pooled > 20, "{statistics:?}");
    assert!(statistics.block_cache_bytes < 10 << 20, "{statistics:?}");
}

#[tokio::test]
async fn a_checkpoint_is_a_store_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(&directory.path().join("live"));
    let mut last = Position::ZERO;
    for number in 0..50 {
        last = write(&store, 1, number).await;
    }
    let copy = directory.path().join("copy");
    store.checkpoint(&copy).await.unwrap();
    write(&store, 1, 50).await;
    let copied = open(&copy);
    assert_eq!(numbers(&copied, 1).await.len(), 50);
    assert!(copied.snapshot().await.unwrap().position() >= last);
    write(&copied, 1, 60).await;
    assert_eq!(numbers(&store, 1).await.last(), Some(&50));
    let again = store.checkpoint(&copy).await;
    assert!(again.is_err(), "what is there is not overwritten");
}

#[tokio::test]
async fn tables_are_measured_and_verified() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 10..20 {
        write(&store, 1, number).await;
    }
    let size = store.table_size(TABLES[1].id).await.unwrap();
    assert_eq!((size.rows, size.key_bytes, size.value_bytes), (10, 90, 20));
    store.compact_all().await.unwrap();
    let sizes = store.verify().await.unwrap();
    assert_eq!(sizes.len(), 5);
    assert_eq!(sizes[1], size);
    assert_eq!(sizes.iter().map(|size| size.rows).sum::<u64>(), 10);
}

#[tokio::test]
async fn verify_finds_a_flipped_bit() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..5_000 {
        let mut batch = Batch::buffered();
        put(&mut batch, key(4, number), noise(number, 100));
        store.commit(batch).await.unwrap();
    }
    store.compact_all().await.unwrap();
    store.close().await.unwrap();
    let files = std::fs::read_dir(directory.path()).unwrap();
    let tables = files.map(|entry| entry.unwrap().path());
    let tables = tables.filter(|file| file.extension().is_some_and(|end| end == "sst"));
    let largest = tables
        .max_by_key(|file| file.metadata().unwrap().len())
        .unwrap();
    let mut bytes = std::fs::read(&largest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&largest, bytes).unwrap();
    let store = open(directory.path());
    assert!(store.verify().await.is_err());
}

#[tokio::test]
async fn a_table_that_is_not_in_the_catalogue_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for strange in [Bytes::from_static(b"\x77x"), Bytes::new()] {
        let mut batch = Batch::new();
        put(&mut batch, key(0, 1), "1");
        put(&mut batch, strange.clone(), "v");
        let refused = store.commit(batch).await;
        assert!(matches!(refused, Err(Error::Engine(_))), "{refused:?}");
        let snapshot = store.snapshot().await.unwrap();
        assert!(matches!(
            snapshot.get(&strange).await,
            Err(Error::Engine(_))
        ));
    }
    assert!(numbers(&store, 0).await.is_empty());
    write(&store, 0, 2).await;
}

#[tokio::test]
async fn a_dropped_commit_does_not_stop_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..20 {
        let abandoned = write(&store, 0, 100 + number);
        // Polled once, so that it is under way, and dropped.
        futures_util::future::select(Box::pin(abandoned), std::future::ready(())).await;
        write(&store, 0, number).await;
    }
    let found = numbers(&store, 0).await;
    assert!(found.iter().filter(|number| **number < 100).count() == 20);
}

#[tokio::test]
async fn an_old_snapshot_outlives_compaction_and_the_close_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, 3, 1).await;
    let old = store.snapshot().await.unwrap();
    let mut batch = Batch::new();
    batch.push(Op::DeleteRange {
        from: key(3, 0),
        to: key(3, 9),
    });
    store.commit(batch).await.unwrap();
    store.compact_all().await.unwrap();
    assert_eq!(old.get(&key(3, 1)).await.unwrap(), Some("1".into()));
    assert!(numbers(&store, 3).await.is_empty());
    tokio::time::pause();
    assert!(store.close().await.is_err(), "a reader holds a snapshot");
    assert_eq!(old.get(&key(3, 1)).await.unwrap(), Some("1".into()));
}
