//! Short-lived secrets: login tokens and OpenID tokens. Their keys begin with the moment of expiry, so that the
//! expired ones are one range, which every new token removes.

use hearth_store::{Batch, Snapshot, Table};
use hearth_types::UnixMs;
use serde::{Deserialize, Serialize};

use super::devices::TokenHash;
use crate::Result;
use crate::row::rows;

/// Whom a short-lived token stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BriefTokenRow {
    /// The user.
    pub user: String,
}
rows!(BriefTokenRow = 1);

/// A table of short-lived tokens: (moment of expiry in milliseconds, hash) → user.
pub type BriefTokens = Table<(u64, TokenHash), BriefTokenRow>;

/// Writes a token and removes those that are past `now`.
pub fn put(
    batch: &mut Batch,
    table: &BriefTokens,
    now: UnixMs,
    key: (UnixMs, TokenHash),
    row: &BriefTokenRow,
) {
    table.delete_range(batch, table.between(&0_u64, &now.0));
    table.put(batch, &(key.0.0, key.1), row);
}

/// A token's row.
pub async fn load(
    snapshot: &dyn Snapshot,
    table: &BriefTokens,
    key: (UnixMs, TokenHash),
) -> Result<Option<BriefTokenRow>> {
    table.get(snapshot, &(key.0.0, key.1)).await
}

/// Uses a token up. Fails the batch if somebody else was first.
pub fn spend(
    batch: &mut Batch,
    table: &BriefTokens,
    key: (UnixMs, TokenHash),
    row: &BriefTokenRow,
) {
    let key = (key.0.0, key.1);
    table.expect(batch, &key, Some(row));
    table.delete(batch, &key);
}
