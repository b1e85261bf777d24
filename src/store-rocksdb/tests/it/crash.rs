//! What a crash leaves behind.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use hearth_store::{Backend, Batch, Position};
use hearth_store_rocksdb::{RocksBackend, Settings};

use crate::{copy, key, numbers, open, put, write};

const DIRECTORY: &str = "HEARTH_TEST_STORE";

/// Not a test of its own: what [`acknowledged_commits_survive_kill_9`] runs in another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by acknowledged_commits_survive_kill_9 in a process of its own"]
async fn a_process_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = open(Path::new(&path));
    let start = store.snapshot().await.unwrap().position().0;
    let store = &store;
    let writer = async |lane: u64| {
        for step in 0.. {
            let number = start * 1_000 + step * 8 + lane;
            let position = write(store, (lane % 5) as usize, number).await;
            // One line per acknowledgement, in one write, so that no line is torn.
            let line = format!("\nacknowledged {lane} {number} {position}\n");
            std::io::stdout().write_all(line.as_bytes()).unwrap();
        }
    };
    join_all((0..8).map(writer)).await;
}

/// Runs the writer until it has acknowledged some commits, kills it, and returns all that it acknowledged.
fn run_and_kill(path: &Path, acknowledgements: usize) -> Vec<(usize, u64, Position)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture"])
        .arg("crash::a_process_that_writes_until_it_is_killed")
        .env(DIRECTORY, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    for line in lines {
        let line = line.unwrap();
        let Some(words) = line.strip_prefix("acknowledged ") else {
            continue;
        };
        let words: Vec<u64> = words.split(' ').map(|word| word.parse().unwrap()).collect();
        seen.push(((words[0] % 5) as usize, words[1], Position(words[2])));
        if seen.len() == acknowledgements {
            // SIGKILL: nothing in the process can prepare for it. What is in the pipe already still counts.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen.len() >= acknowledgements, "the writer died early");
    seen
}

#[tokio::test]
async fn acknowledged_commits_survive_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let mut all: Vec<(usize, u64, Position)> = Vec::new();
    for round in 1..=6 {
        let killed = path.clone();
        let seen = tokio::task::spawn_blocking(move || run_and_kill(&killed, 100 * round));
        let seen = seen.await.unwrap();
        let newest = all.iter().map(|(_, _, position)| *position).max();
        let reused = seen
            .iter()
            .any(|(_, _, position)| Some(*position) <= newest);
        assert!(!reused, "a position was given out twice");
        all.extend(seen);
        let store = open(&path);
        let mut found = Vec::new();
        for table in 0..5 {
            found.push(numbers(&store, table).await);
        }
        for (table, number, _) in &all {
            let there = found[*table].binary_search(number).is_ok();
            assert!(there, "{number} was acknowledged and is lost");
        }
        store.verify().await.unwrap();
    }
}

/// The newest log file of a store.
fn log_file(path: &Path) -> PathBuf {
    let files = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let logs = files.filter(|file| file.extension().is_some_and(|end| end == "log"));
    logs.max().unwrap()
}

#[tokio::test]
async fn a_torn_log_loses_only_its_tail() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let store = open(&path);
    let mut lengths = vec![fs::metadata(log_file(&path)).unwrap().len()];
    for number in 0..20 {
        write(&store, (number % 5) as usize, number).await;
        lengths.push(fs::metadata(log_file(&path)).unwrap().len());
    }
    for (kept, length) in lengths.iter().enumerate() {
        for extra in [0_u64, 3, 20] {
            // Cut within the record that follows, or right after the last whole one.
            let cut = length + extra;
            if cut > *lengths.last().unwrap() {
                continue;
            }
            let torn = directory.path().join(format!("torn-{kept}-{extra}"));
            copy(&path, &torn);
            let log = log_file(&torn);
            let log = OpenOptions::new().write(true).open(log).unwrap();
            log.set_len(cut).unwrap();
            check_prefix(&open(&torn), kept as u64).await;
        }
    }
    // A tail that was never written in full may also hold anything.
    let torn = directory.path().join("torn-garbage");
    copy(&path, &torn);
    let mut log = OpenOptions::new()
        .append(true)
        .open(log_file(&torn))
        .unwrap();
    log.write_all(&[0xa5; 5_000]).unwrap();
    drop(log);
    check_prefix(&open(&torn), 20).await;
}

async fn check_prefix(store: &RocksBackend, kept: u64) {
    let mut found = Vec::new();
    for table in 0..5 {
        found.extend(numbers(store, table).await);
    }
    found.sort();
    assert_eq!(found, (0..kept).collect::<Vec<_>>());
    write(store, 0, 1_000).await;
}

#[tokio::test]
async fn a_store_that_was_dropped_without_closing_holds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    for number in 0..10 {
        write(&store, 0, number).await;
    }
    let mut buffered = Batch::buffered();
    put(&mut buffered, key(0, 10), "10");
    let last = store.commit(buffered).await.unwrap();
    drop(store);
    let store = open(directory.path());
    assert_eq!(numbers(&store, 0).await.len(), 11);
    assert!(write(&store, 0, 11).await > last);
}

#[tokio::test]
async fn commits_are_synced_once_per_group_and_only_if_asked() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        engine_counts: true,
        ..Settings::default()
    };
    let store = RocksBackend::open(
        directory.path(),
        &hearth_store::conformance::TABLES,
        &settings,
    )
    .unwrap();
    let syncs = || store.statistics().unwrap().wal_syncs;
    let before = syncs();
    for number in 0..10 {
        write(&store, 0, number).await;
    }
    assert_eq!(syncs() - before, 10, "a lone writer pays one sync each");

    let before = syncs();
    for number in 0..10 {
        let mut buffered = Batch::buffered();
        put(&mut buffered, key(0, number), "v");
        store.commit(buffered).await.unwrap();
    }
    assert_eq!(syncs() - before, 0, "what may be lost is not synced");

    let before = store.statistics().unwrap();
    join_all((0..200).map(|number| write(&store, 0, number))).await;
    let after = store.statistics().unwrap();
    assert_eq!(after.commits - before.commits, 200);
    assert!(after.groups - before.groups < 50, "writers share groups");
    let shared = after.synced_groups - before.synced_groups;
    assert_eq!(after.wal_syncs - before.wal_syncs, shared);
}

#[tokio::test]
async fn with_syncing_off_nothing_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        sync: false,
        engine_counts: true,
        ..Settings::default()
    };
    let tables = hearth_store::conformance::TABLES;
    let store = RocksBackend::open(directory.path(), &tables, &settings).unwrap();
    let before = store.statistics().unwrap().wal_syncs;
    for number in 0..10 {
        write(&store, 0, number).await;
    }
    let after = store.statistics().unwrap();
    assert_eq!(after.wal_syncs - before, 0);
    assert_eq!(after.synced_groups, 0);
}
