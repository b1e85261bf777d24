//! The RocksDB backend on a real disk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod conformance;
mod crash;
mod disk_full;
mod engine;
mod format;

use std::path::Path;

use bytes::Bytes;
use hearth_store::conformance::TABLES;
use hearth_store::{Backend, Batch, KeyRange, Op, Position};
use hearth_store_rocksdb::{RocksBackend, Settings};

fn open(path: &Path) -> RocksBackend {
    RocksBackend::open(path, &TABLES, &Settings::default()).unwrap()
}

/// The key of a number in one of the tables.
fn key(table: usize, number: u64) -> Bytes {
    [&[TABLES[table].id], &number.to_be_bytes()[..]]
        .concat()
        .into()
}

fn put(batch: &mut Batch, key: Bytes, value: impl Into<Bytes>) {
    let value = value.into();
    batch.push(Op::Put { key, value });
}

/// Commits one row and waits until it is synced.
async fn write(store: &RocksBackend, table: usize, number: u64) -> Position {
    let mut batch = Batch::new();
    put(&mut batch, key(table, number), number.to_string());
    store.commit(batch).await.unwrap()
}

/// The numbers of a table, each with the value that belongs to it.
async fn numbers(store: &RocksBackend, table: usize) -> Vec<u64> {
    let snapshot = store.snapshot().await.unwrap();
    let range = KeyRange {
        from: Bytes::copy_from_slice(&[TABLES[table].id]),
        to: Bytes::copy_from_slice(&[TABLES[table].id + 1]),
    };
    let rows = snapshot.range(range, false, usize::MAX).await.unwrap();
    let number = |(key, value): &(Bytes, Bytes)| {
        let number = u64::from_be_bytes(key[1..].try_into().unwrap());
        assert_eq!(*value, number.to_string());
        number
    };
    rows.iter().map(number).collect()
}

/// Copies the files of a store as they are, the way a crash finds them.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "LOCK" {
            match std::fs::copy(entry.path(), to.join(entry.file_name())) {
                // The engine may just be removing a file that it no longer needs.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                done => drop(done.unwrap()),
            }
        }
    }
}
