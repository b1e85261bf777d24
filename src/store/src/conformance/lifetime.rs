//! What outlasts the process.

use super::{Instance, Stop, TABLES, commit, get, key, keys, put, snapshot};
use crate::{Batch, Position, TableInfo};

pub(super) async fn acknowledged_commits_survive(instance: Box<dyn Instance>, info: TableInfo) {
    let mut instance = instance;
    let mut expected = Vec::new();
    for (round, stop) in [Stop::Clean, Stop::Crash, Stop::Crash, Stop::Clean]
        .into_iter()
        .enumerate()
    {
        let row = key(info, &(round as u64));
        commit(instance.backend(), [put(&row, "kept")]).await;
        expected.push(row);
        let Some(next) = instance.restart(stop).await else {
            return;
        };
        instance = next;
        let found = keys(instance.backend(), info).await;
        assert_eq!(found, expected, "after {stop:?}");
    }
    let value = get(instance.backend(), &expected[0]).await;
    assert_eq!(value, Some("kept".into()));
}

pub(super) async fn positions_are_never_given_out_twice(instance: Box<dyn Instance>) {
    let mut instance = instance;
    let mut last = Position::ZERO;
    for stop in [
        Stop::Crash,
        Stop::Clean,
        Stop::Clean,
        Stop::Crash,
        Stop::Crash,
    ] {
        let store = instance.backend();
        let start = snapshot(store).await.position();
        assert!(start >= last, "{start} after {last}");
        for _ in 0..3 {
            let row = key(TABLES[0], &1_u64);
            let position = commit(store, [put(&row, "v")]).await;
            assert!(position > last, "{position} after {last}");
            last = position;
        }
        // One that may be lost: its position was seen all the same.
        let lost = store.commit(Batch::buffered()).await;
        last = lost.expect("a commit without conflict succeeds");
        let Some(next) = instance.restart(stop).await else {
            return;
        };
        instance = next;
        if stop == Stop::Clean {
            let start = snapshot(instance.backend()).await.position();
            assert_eq!(start, last, "a clean stop skips nothing");
        }
    }
}
