//! Key backups: versions and, in each, keys by room and session.

use hearth_store::{Batch, Snapshot};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{BACKUP_KEYS, BACKUP_VERSIONS};

/// A version of a user's backup: the token that every write of its keys expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRow {
    /// The algorithm; fixed.
    pub algorithm: String,
    /// What clients need for it, a JSON object.
    pub auth_data: String,
    /// Grows with every change of keys.
    pub etag: u64,
    /// How many keys there are.
    pub count: u64,
    /// It was deleted: the number is not used again.
    pub deleted: bool,
}

/// A session's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupKeyRow {
    /// The first message that it decrypts.
    pub first_message_index: u64,
    /// How often it was forwarded.
    pub forwarded_count: u64,
    /// Whether its origin was verified.
    pub is_verified: bool,
    /// The encrypted key, a JSON object.
    pub session_data: String,
}
rows!(BackupRow = 1, BackupKeyRow = 1);

/// (user, version, (room, session)).
pub type BackupKey = (String, u64, (String, String));

/// A version of a user's backup, also a deleted one.
pub async fn version(
    snapshot: &dyn Snapshot,
    user: &str,
    version: u64,
) -> Result<Option<BackupRow>> {
    BACKUP_VERSIONS
        .get(snapshot, &(user.to_owned(), version))
        .await
}

/// The newest versions of a user's backups, at most `limit`, newest first, deleted ones too.
pub async fn versions(
    snapshot: &dyn Snapshot,
    user: &str,
    limit: usize,
) -> Result<Vec<(u64, BackupRow)>> {
    let range = BACKUP_VERSIONS.prefix(&user.to_owned());
    let rows = BACKUP_VERSIONS
        .range_reverse(snapshot, range, limit)
        .await?;
    Ok(rows
        .into_iter()
        .map(|((_, version), row)| (version, row))
        .collect())
}

/// Writes a version. Fails the batch unless it stands as it was loaded.
pub fn version_put(
    batch: &mut Batch,
    key: &(String, u64),
    before: Option<&BackupRow>,
    row: &BackupRow,
) {
    BACKUP_VERSIONS.expect(batch, key, before);
    BACKUP_VERSIONS.put(batch, key, row);
}

/// Keys of a version after one (`None`: from the first), at most `limit`; of one room only, if it is named.
pub async fn keys_after(
    snapshot: &dyn Snapshot,
    (user, version): &(String, u64),
    room: Option<&str>,
    after: Option<&(String, String)>,
    limit: usize,
) -> Result<Vec<((String, String), BackupKeyRow)>> {
    let whole = (user.clone(), *version);
    let mut range = match room {
        Some(room) => BACKUP_KEYS.prefix(&(user.clone(), *version, room.to_owned())),
        None => BACKUP_KEYS.prefix(&whole),
    };
    if let Some(after) = after {
        range.from = BACKUP_KEYS
            .prefix(&(user.clone(), *version, after.clone()))
            .to;
    }
    let rows = BACKUP_KEYS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, key), row)| (key, row))
        .collect())
}

/// Removes all keys of a version.
pub fn keys_clear(batch: &mut Batch, version: &(String, u64)) {
    BACKUP_KEYS.delete_range(batch, BACKUP_KEYS.prefix(version));
}
