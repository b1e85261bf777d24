//! The suite that every backend passes: call [`run`] from a test with a [`Subject`].
//!
//! A failure is a panic that names what did not hold. The suite knows nothing of the engine; what only an engine can
//! show (syncs, torn files, formats) is tested beside it.

mod changes;
mod concurrency;
mod lifetime;
mod model;
mod reads;

use bytes::Bytes;

use crate::{
    Backend, Batch, BoxFuture, Error, Key, KeyRange, Op, Position, Profile, Snapshot, TableInfo,
    encode_key,
};

/// The tables that the suite uses, one of each profile. A backend is opened with them.
pub const TABLES: [TableInfo; 5] = [
    table(0x11, "conformance_point", Profile::Point),
    table(0x12, "conformance_scan", Profile::Scan),
    table(0x13, "conformance_log", Profile::Log),
    table(0x14, "conformance_queue", Profile::Queue),
    table(0x15, "conformance_blob", Profile::Blob),
];

/// How a store came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// In order.
    Clean,
    /// As by `kill -9`.
    Crash,
}

/// What is put to the test.
pub trait Subject {
    /// A new, empty store with [`TABLES`].
    fn create(&self) -> BoxFuture<'_, Box<dyn Instance>>;
}

/// One store under test.
pub trait Instance: Send {
    /// The store.
    fn backend(&self) -> &dyn Backend;
    /// Stops the store and starts it again; `None` where the backend cannot do that.
    fn restart(self: Box<Self>, stop: Stop) -> BoxFuture<'static, Option<Box<dyn Instance>>>;
}

/// Runs the whole suite. Needs a Tokio runtime.
pub async fn run(subject: &dyn Subject) {
    for info in TABLES {
        changes::expectations_hold_against_the_store(fresh(subject).await.backend(), info).await;
        changes::a_refused_batch_leaves_no_trace(fresh(subject).await.backend(), info).await;
        changes::later_operations_win(fresh(subject).await.backend(), info).await;
        changes::positions_stand_in_keys_and_values(fresh(subject).await.backend(), info).await;
        changes::counters_add_up(fresh(subject).await.backend(), info).await;
        changes::ranges_are_deleted(fresh(subject).await.backend(), info).await;
        reads::rows_are_read_in_key_order(fresh(subject).await.backend(), info).await;
        reads::many_rows_are_answered_in_the_order_asked(fresh(subject).await.backend(), info)
            .await;
        reads::a_snapshot_stays_as_it_is(fresh(subject).await.backend(), info).await;
        reads::large_values_come_back(fresh(subject).await.backend(), info).await;
        lifetime::acknowledged_commits_survive(fresh(subject).await, info).await;
    }
    model::random_batches_do_what_a_plain_map_does(fresh(subject).await.backend()).await;
    reads::a_range_goes_over_tables(fresh(subject).await.backend()).await;
    changes::batches_over_the_limits_are_refused(fresh(subject).await.backend()).await;
    changes::an_empty_batch_has_a_position(fresh(subject).await.backend()).await;
    concurrency::no_update_is_lost(fresh(subject).await.backend()).await;
    concurrency::of_equal_claims_one_wins(fresh(subject).await.backend()).await;
    concurrency::nobody_sees_a_commit_before_its_predecessors(fresh(subject).await.backend()).await;
    concurrency::followers_are_woken_and_miss_nothing(fresh(subject).await.backend()).await;
    concurrency::waiting_for_the_past_returns_at_once(fresh(subject).await.backend()).await;
    concurrency::followers_of_tables_sleep_through_the_others(fresh(subject).await.backend()).await;
    lifetime::positions_are_never_given_out_twice(fresh(subject).await).await;
}

async fn fresh(subject: &dyn Subject) -> Box<dyn Instance> {
    subject.create().await
}

const fn table(id: u8, name: &'static str, profile: Profile) -> TableInfo {
    TableInfo { id, name, profile }
}

/// A key of a table.
fn key<K: Key>(info: TableInfo, rest: &K) -> Bytes {
    [&[info.id], &encode_key(rest)[..]].concat().into()
}

fn all_of(info: TableInfo) -> KeyRange {
    KeyRange {
        from: Bytes::copy_from_slice(&[info.id]),
        to: Bytes::copy_from_slice(&[info.id + 1]),
    }
}

fn put(key: &Bytes, value: &'static str) -> Op {
    Op::Put {
        key: key.clone(),
        value: value.into(),
    }
}

fn expect(key: &Bytes, value: Option<&'static str>) -> Op {
    Op::Expect {
        key: key.clone(),
        value: value.map(Bytes::from),
    }
}

fn batch<const N: usize>(ops: [Op; N]) -> Batch {
    let mut batch = Batch::new();
    for op in ops {
        batch.push(op);
    }
    batch
}

async fn commit<const N: usize>(store: &dyn Backend, ops: [Op; N]) -> Position {
    let done = store.commit(batch(ops)).await;
    done.expect("a commit without conflict succeeds")
}

async fn refuse<const N: usize>(store: &dyn Backend, ops: [Op; N]) {
    let answer = store.commit(batch(ops)).await;
    assert!(
        matches!(answer, Err(Error::Conflict)),
        "expected a conflict, got {answer:?}"
    );
}

async fn snapshot(store: &dyn Backend) -> std::sync::Arc<dyn Snapshot> {
    store
        .snapshot()
        .await
        .expect("an open store has a snapshot")
}

async fn get(store: &dyn Backend, key: &Bytes) -> Option<Bytes> {
    let row = snapshot(store).await.get(key).await;
    row.expect("a row can be read")
}

async fn rows(snapshot: &dyn Snapshot, range: KeyRange) -> Vec<(Bytes, Bytes)> {
    let rows = snapshot.range(range, false, usize::MAX).await;
    rows.expect("a range can be read")
}

async fn keys(store: &dyn Backend, info: TableInfo) -> Vec<Bytes> {
    let snapshot = snapshot(store).await;
    let rows = rows(&*snapshot, all_of(info)).await;
    rows.into_iter().map(|(key, _)| key).collect()
}

#[cfg(test)]
mod tests;
