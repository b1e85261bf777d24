//! What readers see.

use bytes::Bytes;

use super::{TABLES, all_of, commit, get, key, put, rows, snapshot};
use crate::{Backend, Batch, KeyRange, Op, TableInfo};

/// More rows than an engine may read in one go.
const ROWS: u64 = 900;

async fn fill(store: &dyn Backend, info: TableInfo, count: u64) {
    let mut batch = Batch::new();
    // Written from both ends inwards, so that the order of writing is not the order of keys.
    for number in 0..count {
        let number = if number % 2 == 0 {
            number / 2
        } else {
            count - 1 - number / 2
        };
        batch.push(Op::Put {
            key: key(info, &number),
            value: number.to_string().into(),
        });
    }
    store.commit(batch).await.expect("the batch is in limits");
}

pub(super) async fn rows_are_read_in_key_order(store: &dyn Backend, info: TableInfo) {
    fill(store, info, ROWS).await;
    let snapshot = snapshot(store).await;
    let between = |from: u64, to: u64| KeyRange {
        from: key(info, &from),
        to: key(info, &to),
    };
    let ask = async |range: KeyRange, reverse: bool, limit: usize| -> Vec<u64> {
        let rows = snapshot.range(range, reverse, limit).await;
        let rows = rows.expect("a range can be read");
        let number = |(key, value): (Bytes, Bytes)| {
            let number = u64::from_be_bytes(key[1..].try_into().expect("the key is a number"));
            assert_eq!(value, number.to_string(), "the value belongs to the key");
            number
        };
        rows.into_iter().map(number).collect()
    };
    let counted: Vec<u64> = (0..ROWS).collect();
    let backwards: Vec<u64> = (0..ROWS).rev().collect();
    assert_eq!(ask(all_of(info), false, usize::MAX).await, counted);
    assert_eq!(ask(all_of(info), true, usize::MAX).await, backwards);
    assert_eq!(ask(all_of(info), false, 800).await, counted[..800]);
    assert_eq!(ask(all_of(info), true, 800).await, backwards[..800]);
    assert_eq!(ask(between(3, 6), false, 9).await, [3, 4, 5]);
    assert_eq!(ask(between(3, 6), true, 9).await, [5, 4, 3]);
    assert_eq!(ask(between(3, 6), false, 2).await, [3, 4]);
    assert_eq!(ask(between(3, 6), true, 2).await, [5, 4]);
    assert_eq!(ask(between(3, 6), false, 0).await, [0; 0]);
    assert_eq!(ask(between(6, 3), false, 9).await, [0; 0]);
    assert_eq!(ask(between(3, 3), true, 9).await, [0; 0]);
    assert_eq!(ask(between(ROWS, u64::MAX), false, 9).await, [0; 0]);
}

pub(super) async fn many_rows_are_answered_in_the_order_asked(
    store: &dyn Backend,
    info: TableInfo,
) {
    fill(store, info, 10).await;
    let asked = [9, 77, 0, 9, 3].map(|number: u64| key(info, &number));
    let snapshot = snapshot(store).await;
    let answered = snapshot.get_many(&asked).await.expect("rows can be read");
    let expected = [Some("9"), None, Some("0"), Some("9"), Some("3")];
    assert_eq!(answered, expected.map(|value| value.map(Bytes::from)));
    let nothing = snapshot.get_many(&[]).await.expect("nothing can be read");
    assert!(nothing.is_empty());
}

pub(super) async fn a_snapshot_stays_as_it_is(store: &dyn Backend, info: TableInfo) {
    let (kept, gone, come) = (key(info, &1_u64), key(info, &2_u64), key(info, &3_u64));
    let first = commit(store, [put(&kept, "old"), put(&gone, "old")]).await;
    let before = snapshot(store).await;
    assert!(
        before.position() >= first,
        "a commit is visible when answered"
    );
    let delete = Op::Delete { key: gone.clone() };
    let second = commit(store, [put(&kept, "new"), delete, put(&come, "new")]).await;
    let after = snapshot(store).await;
    assert!(after.position() >= second && before.position() < second);

    let old = [
        (kept.clone(), Bytes::from("old")),
        (gone.clone(), Bytes::from("old")),
    ];
    assert_eq!(rows(&*before, all_of(info)).await, old);
    let row = before.get(&kept).await.expect("a row can be read");
    assert_eq!(row, Some("old".into()));
    let many = before.get_many(&[come.clone(), gone]).await;
    let many = many.expect("rows can be read");
    assert_eq!(many, [None, Some("old".into())]);
    let new = [(kept, Bytes::from("new")), (come, Bytes::from("new"))];
    assert_eq!(rows(&*after, all_of(info)).await, new);
}

pub(super) async fn large_values_come_back(store: &dyn Backend, info: TableInfo) {
    let room = store.limits().batch_bytes_max - 100;
    for size in [0, 1, 4_096, 70_000, room.min(8_000_000)] {
        // Not all alike, so that a value cut or shifted is noticed.
        let value: Bytes = (0..size).map(|at| (at % 251) as u8).collect();
        let row = key(info, &(size as u64));
        let write = Op::Put {
            key: row.clone(),
            value: value.clone(),
        };
        commit(store, [write]).await;
        assert!(get(store, &row).await == Some(value), "{size} bytes");
    }
}

pub(super) async fn a_range_goes_over_tables(store: &dyn Backend) {
    for info in TABLES {
        fill(store, info, 3).await;
    }
    let snapshot = snapshot(store).await;
    let all = KeyRange {
        from: key(TABLES[0], &1_u64),
        to: key(TABLES[4], &1_u64),
    };
    let forward = rows(&*snapshot, all.clone()).await;
    assert_eq!(forward.len(), 12);
    assert!(forward.is_sorted());
    let backward = snapshot.range(all, true, 6).await;
    let backward = backward.expect("a range can be read");
    assert!(forward.iter().rev().take(6).eq(&backward));
}
