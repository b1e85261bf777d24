//! Messages to devices: a queue per local device in the order of commits. What is for other servers stands in
//! [`crate::federation`]'s outbox.

use hearth_store::{Batch, Position, Snapshot};
use hearth_types::UnixMs;
use serde::{Deserialize, Serialize};

use super::keys::DeviceId;
use crate::Result;
use crate::row::{Json, rows};
use crate::tables::{TO_DEVICE, TO_DEVICE_SEEN, TO_DEVICE_SEEN_AT, TO_DEVICE_TXNS};

/// How far a transaction of a client has got. Large ones take several commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDeviceTxnRow {
    /// All recipients up to and including this user and device have it.
    Upto(String, String),
    /// All have it.
    Done,
}

/// When a message of another server came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenMessageRow(pub UnixMs);

rows!(ToDeviceTxnRow = 1, SeenMessageRow = 1);

/// A client's transaction: user, device, event type and transaction id.
pub type ToDeviceTxn = (String, String, String);

/// How far a transaction has got.
pub async fn txn(snapshot: &dyn Snapshot, txn: &ToDeviceTxn) -> Result<Option<ToDeviceTxnRow>> {
    TO_DEVICE_TXNS.get(snapshot, txn).await
}

/// Moves a transaction on. Fails the batch if another request with it was first.
pub fn txn_put(
    batch: &mut Batch,
    txn: &ToDeviceTxn,
    before: Option<&ToDeviceTxnRow>,
    row: &ToDeviceTxnRow,
) {
    TO_DEVICE_TXNS.expect(batch, txn, before);
    TO_DEVICE_TXNS.put(batch, txn, row);
}

/// Puts a message into a device's queue. A commit puts at most one there, so that a position tells which were read.
pub fn put(batch: &mut Batch, device: &DeviceId, message: &Json) {
    TO_DEVICE.put_at_position(batch, device, &(), message);
}

/// The messages that wait for a device after `from` up to `to`, oldest first, at most `limit`.
pub async fn waiting(
    snapshot: &dyn Snapshot,
    device: &DeviceId,
    (from, to): (Position, Position),
    limit: usize,
) -> Result<Vec<(Position, Json)>> {
    let range = TO_DEVICE.between(&(device.clone(), from.next()), &(device.clone(), to.next()));
    let rows = TO_DEVICE.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, position, ()), message)| (position, message))
        .collect())
}

/// Removes messages that the device has.
pub fn delete(batch: &mut Batch, device: &DeviceId, positions: &[Position]) {
    for position in positions {
        TO_DEVICE.delete(batch, &(device.clone(), *position, ()));
    }
}

/// Whether a message of another server was taken in before.
pub async fn is_seen(snapshot: &dyn Snapshot, message: &(String, String)) -> Result<bool> {
    Ok(TO_DEVICE_SEEN.get(snapshot, message).await?.is_some())
}

/// Notes a message of another server; fails the batch if it came twice at once.
pub fn seen_put(batch: &mut Batch, message: &(String, String), now: UnixMs) {
    TO_DEVICE_SEEN.expect(batch, message, None);
    TO_DEVICE_SEEN.put(batch, message, &SeenMessageRow(now));
    TO_DEVICE_SEEN_AT.put_at_position(batch, &(), message, &SeenMessageRow(now));
}

/// Forgets a few of the oldest messages that came before a moment.
pub async fn seen_forget(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    before: UnixMs,
    limit: usize,
) -> Result<()> {
    let range = TO_DEVICE_SEEN_AT.prefix(&());
    let oldest = TO_DEVICE_SEEN_AT.range(snapshot, range, limit).await?;
    for (key, _) in oldest.into_iter().filter(|(_, row)| row.0 < before) {
        TO_DEVICE_SEEN.delete(batch, &key.2);
        TO_DEVICE_SEEN_AT.delete(batch, &key);
    }
    Ok(())
}
