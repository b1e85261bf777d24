//! Read receipts: one row per (room, user, type, thread), and an index in which it moves to its newest position.

use hearth_store::{Batch, Position, Snapshot};
use hearth_types::UnixMs;
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::row::positioned_rows;
use crate::tables::{RECEIPTS, RECEIPTS_AT};
use crate::{Place, Result, RoomNo};

/// Which receipt: a user has one per type and thread in a room.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReceiptKey {
    /// The user.
    pub user: String,
    /// `m.read` or `m.read.private`.
    pub kind: String,
    /// `""` for unthreaded, `main`, or the thread root's event id.
    pub thread: String,
}

/// A receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptRow {
    /// The event that was read.
    pub event_id: OwnedEventId,
    /// Its place, if it has one here.
    pub place: Option<Place>,
    /// When it was read.
    pub ts: UnixMs,
    /// The commit that wrote this row.
    #[serde(skip)]
    pub position: Position,
}

positioned_rows!(ReceiptRow = 1);

/// The room, the position, and (user, type, thread).
pub type ReceiptAtKey = (RoomNo, Position, (String, String, String));

fn row_key(room: RoomNo, key: &ReceiptKey) -> (RoomNo, String, String, String) {
    (room, key.user.clone(), key.kind.clone(), key.thread.clone())
}

/// One receipt.
pub async fn receipt(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    key: &ReceiptKey,
) -> Result<Option<ReceiptRow>> {
    RECEIPTS.get(snapshot, &row_key(room, key)).await
}

/// All receipts of a user in a room, at most `limit`.
pub async fn of_user(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    user: &str,
    limit: usize,
) -> Result<Vec<(ReceiptKey, ReceiptRow)>> {
    let rows = RECEIPTS
        .range(snapshot, RECEIPTS.prefix(&(room, user.to_owned())), limit)
        .await?;
    Ok(rows
        .into_iter()
        .map(|((_, user, kind, thread), row)| (ReceiptKey { user, kind, thread }, row))
        .collect())
}

/// The receipts of a room that changed after `from` up to `to`, oldest first, at most `limit`.
pub async fn changed(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    from: Position,
    to: Position,
    limit: usize,
) -> Result<Vec<(ReceiptKey, ReceiptRow)>> {
    let range = RECEIPTS_AT.between(&(room, from.next()), &(room, to.next()));
    let index = RECEIPTS_AT.range(snapshot, range, limit).await?;
    let keys: Vec<_> = index
        .into_iter()
        .map(|((_, _, (user, kind, thread)), ())| (room, user, kind, thread))
        .collect();
    let rows = RECEIPTS.get_many(snapshot, &keys).await?;
    let found = keys
        .into_iter()
        .zip(rows)
        .filter_map(|((_, user, kind, thread), row)| {
            Some((ReceiptKey { user, kind, thread }, row?))
        });
    Ok(found.collect())
}

/// Writes a receipt and moves its index row; fails with `Conflict` if `before` no longer stands.
pub fn put(
    batch: &mut Batch,
    room: RoomNo,
    key: &ReceiptKey,
    before: Option<&ReceiptRow>,
    row: &ReceiptRow,
) {
    let whole = row_key(room, key);
    RECEIPTS.expect(batch, &whole, before);
    let suffix = (key.user.clone(), key.kind.clone(), key.thread.clone());
    if let Some(before) = before {
        RECEIPTS_AT.delete(batch, &(room, before.position, suffix.clone()));
    }
    RECEIPTS.put_position(batch, &whole, row);
    RECEIPTS_AT.put_at_position(batch, &room, &suffix, &());
}
