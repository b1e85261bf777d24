//! Many at once.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{join, join_all};

use super::{TABLES, all_of, batch, commit, expect, get, key, keys, put, rows, snapshot};
use crate::{Backend, Error, Op, Position};

const WRITERS: u64 = 24;
const ROUNDS: u64 = 20;

pub(super) async fn no_update_is_lost(store: &dyn Backend) {
    let row = key(TABLES[0], &1_u64);
    let writer = async |_| {
        let mut left = ROUNDS;
        while left > 0 {
            let seen = get(store, &row).await;
            // Lets the others load the same value, so that some must lose.
            tokio::task::yield_now().await;
            let count = seen.as_ref().map_or(0, |seen| {
                u64::from_be_bytes(seen[..].try_into().expect("the suite wrote a number"))
            });
            let value = Bytes::copy_from_slice(&(count + 1).to_be_bytes());
            let ops = [
                Op::Expect {
                    key: row.clone(),
                    value: seen,
                },
                Op::Put {
                    key: row.clone(),
                    value,
                },
            ];
            match store.commit(batch(ops)).await {
                Ok(_) => left -= 1,
                Err(Error::Conflict) => {}
                Err(error) => panic!("a commit failed: {error}"),
            }
        }
    };
    join_all((0..WRITERS).map(writer)).await;
    let total = Bytes::copy_from_slice(&(WRITERS * ROUNDS).to_be_bytes());
    assert_eq!(get(store, &row).await, Some(total));
}

/// All ask at the same time, so batches of one group meet each other.
pub(super) async fn of_equal_claims_one_wins(store: &dyn Backend) {
    for round in 0..ROUNDS {
        let claimed = key(TABLES[0], &round);
        let claim = async |number: u64| {
            let mine = key(TABLES[1], &(round, number));
            let ops = [
                expect(&claimed, None),
                put(&claimed, "taken"),
                put(&mine, "won"),
            ];
            match store.commit(batch(ops)).await {
                Ok(_) => true,
                Err(Error::Conflict) => false,
                Err(error) => panic!("a commit failed: {error}"),
            }
        };
        let won = join_all((0..WRITERS).map(claim)).await;
        assert_eq!(won.iter().filter(|won| **won).count(), 1);
    }
    assert_eq!(keys(store, TABLES[1]).await.len() as u64, ROUNDS);
}

pub(super) async fn nobody_sees_a_commit_before_its_predecessors(store: &dyn Backend) {
    let info = TABLES[2];
    let acknowledged = Mutex::new(Vec::new());
    let known = || acknowledged.lock().expect("no holder panics");
    let writer = async |_| {
        for _ in 0..ROUNDS {
            let log = Op::PutAtPosition {
                prefix: Bytes::copy_from_slice(&[info.id]),
                suffix: Bytes::new(),
                value: Bytes::new(),
            };
            let position = commit(store, [log]).await;
            known().push(position);
        }
    };
    let reader = async |_| {
        let mut seen = Vec::new();
        for _ in 0..ROUNDS {
            let before = known().clone();
            let snapshot = snapshot(store).await;
            let rows = rows(&*snapshot, all_of(info)).await;
            let positions: Vec<Position> = rows.iter().map(|(key, _)| position(key)).collect();
            let missing = before.iter().find(|position| !positions.contains(position));
            assert_eq!(missing, None, "an acknowledged commit is not visible");
            seen.push((snapshot.position(), positions));
            tokio::task::yield_now().await;
        }
        seen
    };
    let writers = join_all((0..WRITERS).map(writer));
    let (_, seen) = join(writers, join_all((0..8).map(reader))).await;
    let mut all = known().clone();
    all.sort();
    let distinct = all.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(distinct, "a position was given out twice");
    assert_eq!(all.len() as u64, WRITERS * ROUNDS);
    for (at, positions) in seen.into_iter().flatten() {
        let until = all.partition_point(|position| *position <= at);
        assert_eq!(positions, all[..until], "at {at}: all up to it, none after");
    }
}

fn position(key: &Bytes) -> Position {
    Position(u64::from_be_bytes(
        key[1..9].try_into().expect("the suite wrote a position"),
    ))
}

pub(super) async fn followers_are_woken_and_miss_nothing(store: &dyn Backend) {
    let info = TABLES[2];
    let total = (WRITERS * ROUNDS) as usize;
    let follower = async |_| {
        let mut cursor = Position::ZERO;
        let mut followed = 0;
        while followed < total {
            let reached = store.wait_past(cursor).await.expect("the store is open");
            assert!(reached > cursor);
            let snapshot = snapshot(store).await;
            assert!(snapshot.position() >= reached, "woken before it is visible");
            let mut range = all_of(info);
            range.from = [&[info.id], &cursor.next().0.to_be_bytes()[..]]
                .concat()
                .into();
            followed += rows(&*snapshot, range).await.len();
            cursor = snapshot.position();
        }
        assert_eq!(followed, total, "each commit is met once");
    };
    let writer = async |_| {
        for _ in 0..ROUNDS {
            let log = Op::PutAtPosition {
                prefix: Bytes::copy_from_slice(&[info.id]),
                suffix: Bytes::new(),
                value: Bytes::new(),
            };
            commit(store, [log]).await;
            tokio::task::yield_now().await;
        }
    };
    let writers = join_all((0..WRITERS).map(writer));
    join(join_all((0..5).map(follower)), writers).await;
}

pub(super) async fn waiting_for_the_past_returns_at_once(store: &dyn Backend) {
    let at = commit(store, [put(&key(TABLES[0], &1_u64), "v")]).await;
    let reached = store.wait_past(just_before(at)).await;
    assert!(reached.expect("the store is open") >= at);
    let reached = store.wait_past(Position::ZERO).await;
    assert!(reached.expect("the store is open") >= at);
    // A future that is dropped while it waits takes nothing with it.
    let newest = snapshot(store).await.position();
    let waiting = store.wait_past(newest);
    let write = commit(store, [put(&key(TABLES[0], &1_u64), "w")]);
    let abandoned = store.wait_past(Position::MAX);
    let (reached, next) = tokio::select! {
        biased;
        _ = abandoned => panic!("there is nothing past the end"),
        both = join(waiting, write) => both,
    };
    assert!(reached.expect("the store is open") >= next);
}

pub(super) async fn followers_of_tables_sleep_through_the_others(store: &dyn Backend) {
    let (followed, other) = (TABLES[0], TABLES[1]);
    let row = key(followed, &1_u64);
    let seen = commit(store, [put(&row, "v")]).await;
    let tables = [followed.id];
    let reached = store.wait_past_in(&tables, just_before(seen)).await;
    assert_eq!(reached.expect("the store is open"), seen);
    let reached = store.wait_past_in(&tables, Position::ZERO).await;
    assert_eq!(reached.expect("the store is open"), seen);
    let mut waiting = store.wait_past_in(&tables, seen);
    commit(store, [put(&key(other, &1_u64), "v")]).await;
    commit(store, [expect(&row, Some("v"))]).await;
    assert!(
        (&mut waiting).now_or_never().is_none(),
        "woken by another table"
    );
    for change in [
        put(&row, "w"),
        Op::Delete { key: row.clone() },
        put(&row, "x"),
        Op::DeleteRange {
            from: row.clone(),
            to: key(followed, &2_u64),
        },
    ] {
        let at = commit(store, [change]).await;
        assert_eq!(waiting.await.expect("the store is open"), at);
        waiting = store.wait_past_in(&tables, at);
    }
    // Both tables, and the newest of what was written in either.
    let both = [followed.id, other.id];
    let at = commit(store, [put(&key(other, &1_u64), "w")]).await;
    let reached = store.wait_past_in(&both, just_before(at)).await;
    assert_eq!(reached.expect("the store is open"), at);
    let reached = store.wait_past_in(&both, seen).await;
    assert_eq!(reached.expect("the store is open"), at);
}

/// What is waited past to have the followers told of a commit, which may be a moment after it is acknowledged.
fn just_before(at: Position) -> Position {
    Position(at.0 - 1)
}
