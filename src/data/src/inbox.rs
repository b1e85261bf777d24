//! Events that other servers have sent and that are not decided upon: kept from before the sender is answered until
//! the room's worker has taken them.

use bytes::Bytes;
use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::{INBOX, ORIGIN_TXNS};
use crate::{Result, RoomNo};

/// An event on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxRow {
    /// The server that sent it.
    pub origin: String,
    /// Its JSON as received.
    pub json: Vec<u8>,
}

/// The last transactions of a server, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginTxns(pub Vec<OriginTxn>);

/// A transaction that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginTxn {
    /// Its id.
    pub txn_id: String,
    /// Each event's id, and why it was refused if it was.
    pub answer: Vec<(String, Option<String>)>,
}

rows!(InboxRow = 1, OriginTxns = 1);

/// A row's key within its room.
pub type InboxKey = (Position, u32);

/// How many transactions of a server are remembered.
const TXNS_MAX: usize = 16;

/// Puts an event into a room's inbox. `index` tells those of one batch apart.
pub fn put(batch: &mut Batch, room: RoomNo, index: u32, origin: &str, json: &Bytes) {
    let row = InboxRow {
        origin: origin.to_owned(),
        json: json.to_vec(),
    };
    INBOX.put_at_position(batch, &room, &index, &row);
}

/// The oldest events of a room's inbox after a key (`None`: from the first on), at most `limit`.
pub async fn after(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    after: Option<InboxKey>,
    limit: usize,
) -> Result<Vec<(InboxKey, InboxRow)>> {
    let (position, index) = after.map_or((Position::ZERO, 0), |(position, index)| {
        (position, index.saturating_add(1))
    });
    let range = INBOX.between(&(room, position, index), &RoomNo(room.0.saturating_add(1)));
    let rows = INBOX.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, position, index), row)| ((position, index), row))
        .collect())
}

/// Some events of a room's inbox by their keys; those that are gone are left out.
pub async fn by_keys(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    keys: &[InboxKey],
) -> Result<Vec<(InboxKey, InboxRow)>> {
    let full: Vec<_> = keys
        .iter()
        .map(|(position, index)| (room, *position, *index))
        .collect();
    let found = INBOX.get_many(snapshot, &full).await?;
    let rows = keys.iter().zip(found);
    Ok(rows.filter_map(|(key, row)| Some((*key, row?))).collect())
}

/// The first room from `from` on with something in its inbox.
pub async fn next_room(snapshot: &dyn Snapshot, from: RoomNo) -> Result<Option<RoomNo>> {
    let range = INBOX.between(&from, &RoomNo(u64::MAX));
    let rows = INBOX.range(snapshot, range, 1).await?;
    Ok(rows.first().map(|((room, _, _), _)| *room))
}

/// Removes an event from a room's inbox.
pub fn remove(batch: &mut Batch, room: RoomNo, (position, index): InboxKey) {
    INBOX.delete(batch, &(room, position, index));
}

/// The last transactions of a server.
pub async fn origin_txns(snapshot: &dyn Snapshot, origin: &str) -> Result<Option<OriginTxns>> {
    ORIGIN_TXNS.get(snapshot, &origin.to_owned()).await
}

/// Adds a transaction to those of a server as loaded; the batch fails with `Conflict` if another was added meanwhile.
pub fn put_origin_txn(
    batch: &mut Batch,
    origin: &str,
    before: Option<&OriginTxns>,
    txn: OriginTxn,
) {
    let key = origin.to_owned();
    let mut row = before.cloned().unwrap_or_default();
    row.0.push(txn);
    if row.0.len() > TXNS_MAX {
        row.0.drain(..row.0.len() - TXNS_MAX);
    }
    ORIGIN_TXNS.expect(batch, &key, before);
    ORIGIN_TXNS.put(batch, &key, &row);
}
