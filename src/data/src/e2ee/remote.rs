//! What is known of the device lists of other servers' users. Their keys stand in the same tables as those of local
//! users.

use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{
    CROSS_SIGNING_KEYS, DEVICE_KEYS, REMOTE_DEVICE_LISTS, REMOTE_LISTS_SINCE, SIGNATURES,
};

/// A device list of a user of another server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteListRow {
    /// The `stream_id` up to which it is known.
    pub stream: u64,
    /// Whether it is known to be so: otherwise it is to be fetched before it is used.
    pub fresh: bool,
    /// The public names of the devices, by device id.
    pub names: Vec<(String, String)>,
}
rows!(RemoteListRow = 1, ListSinceRow = 1);

/// The position of the store when a list was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSinceRow(pub u64);

/// What is known of a user's list.
pub async fn list(snapshot: &dyn Snapshot, user: &str) -> Result<Option<RemoteListRow>> {
    REMOTE_DEVICE_LISTS.get(snapshot, &user.to_owned()).await
}

/// Writes what is known of a user's list. Fails the batch unless it stands as it was loaded.
pub fn list_put(
    batch: &mut Batch,
    user: &str,
    before: Option<&RemoteListRow>,
    row: &RemoteListRow,
) {
    let key = user.to_owned();
    REMOTE_DEVICE_LISTS.expect(batch, &key, before);
    REMOTE_DEVICE_LISTS.put(batch, &key, row);
}

/// The position of the store when a user's list was asked for, the last time that it was: nothing before was missed.
pub async fn known_since(snapshot: &dyn Snapshot, user: &str) -> Result<Position> {
    let row = REMOTE_LISTS_SINCE.get(snapshot, &user.to_owned()).await?;
    Ok(row.map_or(Position::ZERO, |row| Position(row.0)))
}

/// Writes up to where a user's list is known: the position of the store when it was asked for.
pub fn known_since_put(batch: &mut Batch, user: &str, since: Position) {
    REMOTE_LISTS_SINCE.put(batch, &user.to_owned(), &ListSinceRow(since.0));
}

/// Removes a user's keys, to be written anew, with the signatures that are her own.
pub fn keys_clear(batch: &mut Batch, user: &str) {
    let user = user.to_owned();
    DEVICE_KEYS.delete_range(batch, DEVICE_KEYS.prefix(&user));
    CROSS_SIGNING_KEYS.delete_range(batch, CROSS_SIGNING_KEYS.prefix(&user));
    SIGNATURES.delete_range(batch, SIGNATURES.prefix(&(user.clone(), user.clone())));
}
