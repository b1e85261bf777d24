//! What batches do.

use bytes::Bytes;

use super::{all_of, batch, commit, expect, get, key, keys, put, refuse, snapshot};
use crate::{Backend, Batch, Error, KeyRange, Op, TableInfo};

pub(super) async fn expectations_hold_against_the_store(store: &dyn Backend, info: TableInfo) {
    let (row, other) = (key(info, &1_u64), key(info, &2_u64));
    refuse(store, [expect(&row, Some("1")), put(&row, "2")]).await;
    commit(store, [expect(&row, None), put(&row, "1")]).await;
    refuse(store, [expect(&row, None), put(&row, "2")]).await;
    refuse(store, [expect(&row, Some("0")), put(&row, "2")]).await;
    refuse(store, [expect(&row, Some("")), put(&row, "2")]).await;
    assert_eq!(get(store, &row).await, Some("1".into()));

    // It is the state before the batch that counts, wherever in the batch the expectation stands.
    commit(store, [put(&row, "2"), expect(&row, Some("1"))]).await;
    refuse(store, [put(&row, "3"), expect(&row, Some("3"))]).await;
    commit(store, [Op::Delete { key: row.clone() }, put(&other, "x")]).await;
    commit(store, [expect(&row, None), expect(&other, Some("x"))]).await;
    // An empty value is not an absent row.
    commit(store, [put(&row, "")]).await;
    refuse(store, [expect(&row, None)]).await;
    commit(store, [expect(&row, Some(""))]).await;
}

pub(super) async fn a_refused_batch_leaves_no_trace(store: &dyn Backend, info: TableInfo) {
    let (first, guarded, last) = (key(info, &1_u64), key(info, &2_u64), key(info, &3_u64));
    let counter = key(info, &4_u64);
    let before = commit(store, [put(&guarded, "stands")]).await;
    let add = Op::Add {
        key: counter.clone(),
        delta: 1,
    };
    let clear = Op::DeleteRange {
        from: all_of(info).from,
        to: all_of(info).to,
    };
    let ops = [
        put(&first, "no"),
        add,
        clear,
        expect(&guarded, None),
        put(&last, "no"),
    ];
    refuse(store, ops).await;
    // An operation that cannot be done fails the whole batch as well.
    let add = Op::Add {
        key: guarded.clone(),
        delta: 1,
    };
    let answer = store.commit(batch([put(&first, "no"), add])).await;
    assert!(
        matches!(answer, Err(Error::Corrupt { .. })),
        "adding to a row that is no counter: {answer:?}"
    );
    assert_eq!(keys(store, info).await, std::slice::from_ref(&guarded));
    assert_eq!(get(store, &guarded).await, Some("stands".into()));
    assert!(snapshot(store).await.position() >= before);
    assert!(commit(store, [put(&last, "yes")]).await > before);
}

pub(super) async fn later_operations_win(store: &dyn Backend, info: TableInfo) {
    let row = key(info, &1_u64);
    let delete = || Op::Delete { key: row.clone() };
    commit(store, [put(&row, "1"), put(&row, "2")]).await;
    assert_eq!(get(store, &row).await, Some("2".into()));
    commit(store, [put(&row, "3"), delete()]).await;
    assert_eq!(get(store, &row).await, None);
    commit(store, [delete(), put(&row, "4")]).await;
    assert_eq!(get(store, &row).await, Some("4".into()));
    let all = all_of(info);
    let clear = Op::DeleteRange {
        from: all.from,
        to: all.to,
    };
    commit(store, [put(&row, "5"), clear.clone()]).await;
    assert_eq!(get(store, &row).await, None);
    commit(store, [clear, put(&row, "6")]).await;
    assert_eq!(get(store, &row).await, Some("6".into()));
}

pub(super) async fn positions_stand_in_keys_and_values(store: &dyn Backend, info: TableInfo) {
    let prefix = key(info, &7_u64);
    let valued = key(info, &8_u64);
    let ops = || {
        [
            Op::PutAtPosition {
                prefix: prefix.clone(),
                suffix: "end".into(),
                value: "v".into(),
            },
            Op::PutPosition {
                key: valued.clone(),
                value: "at".into(),
            },
        ]
    };
    let first = commit(store, ops()).await;
    let second = commit(store, ops()).await;
    assert!(second > first);
    let expected: Vec<Bytes> = [first, second]
        .iter()
        .map(|at| [&prefix[..], &at.0.to_be_bytes(), b"end"].concat().into())
        .chain([valued.clone()])
        .collect();
    assert_eq!(keys(store, info).await, expected);
    let value = [&b"at"[..], &second.0.to_be_bytes()].concat();
    assert_eq!(get(store, &valued).await, Some(value.into()));
    assert_eq!(get(store, &expected[0]).await, Some("v".into()));
}

pub(super) async fn counters_add_up(store: &dyn Backend, info: TableInfo) {
    let counter = key(info, &1_u64);
    let add = |delta| Op::Add {
        key: counter.clone(),
        delta,
    };
    let is = |count: i64| Some(Bytes::copy_from_slice(&count.to_be_bytes()));
    commit(store, [add(5)]).await;
    assert_eq!(get(store, &counter).await, is(5));
    commit(store, [add(-7), add(1)]).await;
    assert_eq!(get(store, &counter).await, is(-1));
    commit(store, [add(i64::MIN), add(0)]).await;
    assert_eq!(get(store, &counter).await, is(i64::MAX), "wraps");
    let gone = Op::Delete {
        key: counter.clone(),
    };
    commit(store, [gone, add(3)]).await;
    assert_eq!(get(store, &counter).await, is(3));
}

/// How many rows the longer of the two range deletions removes: engines do short and long ones differently.
const LONG: u64 = 700;

pub(super) async fn ranges_are_deleted(store: &dyn Backend, info: TableInfo) {
    for count in [10, LONG] {
        let mut fill = Batch::new();
        for number in 0..count {
            fill.push(put(&key(info, &number), "v"));
        }
        store.commit(fill).await.expect("the batch is in limits");
        let (from, to) = (key(info, &1_u64), key(info, &(count - 2)));
        let empty = Op::DeleteRange {
            from: to.clone(),
            to: from.clone(),
        };
        commit(store, [empty]).await;
        assert_eq!(keys(store, info).await.len() as u64, count, "reversed");
        let inside = key(info, &2_u64);
        commit(store, [Op::DeleteRange { from, to }, put(&inside, "new")]).await;
        let left = [0, 2, count - 2, count - 1].map(|number| key(info, &number));
        assert_eq!(keys(store, info).await, left);
        refuse(store, [expect(&inside, Some("v"))]).await;
        commit(store, [expect(&key(info, &3_u64), None)]).await;
        let KeyRange { from, to } = all_of(info);
        commit(store, [Op::DeleteRange { from, to }]).await;
        assert!(keys(store, info).await.is_empty());
    }
}

pub(super) async fn batches_over_the_limits_are_refused(store: &dyn Backend) {
    let info = super::TABLES[0];
    let limits = store.limits();
    let mut many = Batch::new();
    for number in 0..limits.batch_ops_max as u64 {
        many.push(Op::Delete {
            key: key(info, &number),
        });
    }
    let mut too_many = many.clone();
    too_many.push(put(&key(info, &1_u64), "v"));
    store
        .commit(many)
        .await
        .expect("the limit itself is in limits");
    let answer = store.commit(too_many).await;
    assert!(
        matches!(answer, Err(Error::BatchTooLarge { .. })),
        "{answer:?}"
    );
    let mut large = Batch::new();
    large.push(Op::Put {
        key: key(info, &1_u64),
        value: vec![7; limits.batch_bytes_max].into(),
    });
    let answer = store.commit(large).await;
    assert!(
        matches!(answer, Err(Error::BatchTooLarge { .. })),
        "{answer:?}"
    );
    assert!(keys(store, info).await.is_empty());
}

pub(super) async fn an_empty_batch_has_a_position(store: &dyn Backend) {
    let first = commit(store, []).await;
    let second = commit(store, []).await;
    assert!(second > first);
    assert!(snapshot(store).await.position() >= second);
}
