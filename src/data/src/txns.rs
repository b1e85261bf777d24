//! What a client's transaction id led to, so that a repeated request gets the first answer.

use hearth_store::{Batch, Snapshot};
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::TXNS;

/// A transaction: scope is device and path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TxnKey {
    /// The user.
    pub user: String,
    /// The device.
    pub device: String,
    /// Endpoint, room, event type and transaction id, for example `send/!r:x/m.room.message/17`.
    pub path: String,
}

/// What it led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TxnRow {
    /// The event, for the endpoints that answer one.
    pub event_id: Option<OwnedEventId>,
}

rows!(TxnRow = 1);

fn row_key(key: &TxnKey) -> (String, String, String) {
    (key.user.clone(), key.device.clone(), key.path.clone())
}

/// What a transaction led to, if it was seen before.
pub async fn load(snapshot: &dyn Snapshot, key: &TxnKey) -> Result<Option<TxnRow>> {
    TXNS.get(snapshot, &row_key(key)).await
}

/// Writes a transaction; the batch fails with `Conflict` if another request with it was first.
pub fn put(batch: &mut Batch, key: &TxnKey, row: &TxnRow) {
    let whole = row_key(key);
    TXNS.expect(batch, &whole, None);
    TXNS.put(batch, &whole, row);
}
