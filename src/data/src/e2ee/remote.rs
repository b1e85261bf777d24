//! What is known of the device lists of other servers' users. Their keys stand in the same tables as those of local
//! users.

use hearth_store::{Batch, Snapshot};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{CROSS_SIGNING_KEYS, DEVICE_KEYS, REMOTE_DEVICE_LISTS, SIGNATURES};

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
rows!(RemoteListRow = 1);

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

/// Removes a user's keys, to be written anew, with the signatures that are her own.
pub fn keys_clear(batch: &mut Batch, user: &str) {
    let user = user.to_owned();
    DEVICE_KEYS.delete_range(batch, DEVICE_KEYS.prefix(&user));
    CROSS_SIGNING_KEYS.delete_range(batch, CROSS_SIGNING_KEYS.prefix(&user));
    SIGNATURES.delete_range(batch, SIGNATURES.prefix(&(user.clone(), user.clone())));
}
