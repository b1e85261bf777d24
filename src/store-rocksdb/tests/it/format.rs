//! Which stores are opened.

use std::fs;
use std::path::Path;

use hearth_store::conformance::TABLES;
use hearth_store::{Backend, Error, Profile, TableInfo};
use hearth_store_rocksdb::{RocksBackend, Settings};

use crate::{numbers, open, write};

fn try_open(path: &Path) -> Result<RocksBackend, Error> {
    RocksBackend::open(path, &TABLES, &Settings::default())
}

/// All files with what is in them.
fn contents(path: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|file| (file.display().to_string(), fs::read(&file).unwrap()))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, 0, 1).await;
    store.close().await.unwrap();
    drop(store);
    for (marker, number) in [("hearth-store 2\n", 2), ("something else", 0), ("", 0)] {
        fs::write(directory.path().join("HEARTH"), marker).unwrap();
        let before = contents(directory.path());
        match try_open(directory.path()) {
            Err(Error::Format { found, known: 1 }) => assert_eq!(found, number),
            other => panic!("{other:?}"),
        }
        assert_eq!(contents(directory.path()), before);
    }
    fs::write(directory.path().join("HEARTH"), "hearth-store 1\n").unwrap();
    assert_eq!(numbers(&open(directory.path()), 0).await, [1]);
}

#[tokio::test]
async fn a_newer_format_row_is_refused_even_under_an_old_marker() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let options = rocksdb::Options::default();
    let families = rocksdb::DB::list_cf(&options, directory.path()).unwrap();
    let db = rocksdb::DB::open_cf(&options, directory.path(), families).unwrap();
    db.put(b"format", 2_u32.to_be_bytes()).unwrap();
    drop(db);
    let refused = try_open(directory.path());
    assert!(matches!(refused, Err(Error::Format { found: 2, known: 1 })));
}

/// What format 1 looks like on disk: a change here needs a new format number.
#[tokio::test]
async fn the_stores_own_rows_are_those_of_format_1() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    write(&store, 0, 1).await;
    write(&store, 0, 1).await;
    let rows = || {
        let options = rocksdb::Options::default();
        let families = rocksdb::DB::list_cf(&options, directory.path()).unwrap();
        assert_eq!(
            families,
            ["default", "point", "scan", "log", "queue", "blob"]
        );
        let db = rocksdb::DB::open_cf(&options, directory.path(), families).unwrap();
        let rows = db.iterator(rocksdb::IteratorMode::Start);
        let rows = rows.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())));
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let format = row(b"format", &[0, 0, 0, 1]);
    let tables = (0x11..=0x15_u8).map(|id| row(&[b"table/", &[id][..]].concat(), &[id - 0x10]));

    store.close().await.unwrap();
    drop(store);
    let exact = row(b"position", b"e\0\0\0\0\0\0\0\x02");
    let expected = [format.clone(), exact].into_iter().chain(tables.clone());
    assert!(rows().into_iter().eq(expected));

    drop(open(directory.path()));
    let ceiling = row(b"position", b"c\0\0\0\0\0\x0f\x42\x42");
    let expected = [format, ceiling].into_iter().chain(tables);
    assert!(rows().into_iter().eq(expected));
}

#[tokio::test]
async fn somebody_elses_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let db = rocksdb::DB::open_default(directory.path()).unwrap();
    db.put(b"\x11theirs", b"v").unwrap();
    drop(db);
    let before = contents(directory.path());
    let refused = try_open(directory.path());
    assert!(matches!(refused, Err(Error::Format { found: 0, known: 1 })));
    assert_eq!(contents(directory.path()), before);
}

#[tokio::test]
async fn a_creation_that_was_interrupted_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("HEARTH.new"), "hea").unwrap();
    drop(open(directory.path()));
    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("HEARTH"), "hearth-store 1\n").unwrap();
    drop(open(other.path()));
}

#[tokio::test]
async fn a_table_cannot_change_its_profile_unnoticed() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()));
    let mut tables = TABLES.to_vec();
    tables[0].profile = Profile::Blob;
    let refused = RocksBackend::open(directory.path(), &tables, &Settings::default());
    assert!(matches!(refused, Err(Error::Engine(_))));
    // A new table is welcome.
    let mut tables = TABLES.to_vec();
    tables.push(TableInfo {
        id: 0x20,
        name: "new",
        profile: Profile::Point,
    });
    RocksBackend::open(directory.path(), &tables, &Settings::default()).unwrap();
    tables.push(tables[0]);
    let twice = RocksBackend::open(directory.path(), &tables, &Settings::default());
    assert!(matches!(twice, Err(Error::Engine(_))));
}

#[tokio::test]
async fn one_store_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    assert!(matches!(try_open(directory.path()), Err(Error::Engine(_))));
    store.close().await.unwrap();
    open(directory.path());
    assert!(matches!(store.snapshot().await, Err(Error::Closed)));
}
