//! Devices and the tokens by which they are recognised. Tokens are kept as SHA-256 only.

use hearth_store::{Batch, Key, KeyError, Snapshot};
use hearth_types::UnixMs;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{ACCESS_TOKENS, DEVICES, DEVICES_SEEN, REFRESH_TOKENS};

/// SHA-256 of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenHash(pub [u8; 32]);

impl Key for TokenHash {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        <[u8; 32]>::decode(bytes).map(Self)
    }
}

/// The tokens that are given out together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenPair {
    /// The access token.
    pub access: TokenHash,
    /// The refresh token, for clients that asked for one.
    pub refresh: Option<TokenHash>,
}

/// A device: one session of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRow {
    /// Its public name.
    pub display_name: Option<String>,
    /// When it first logged in.
    pub created: UnixMs,
    /// The tokens in use. `None`: logged out softly; the device's keys are kept.
    pub current: Option<TokenPair>,
    /// The tokens of the last refresh, as long as none of them has been used; then they become `current`.
    pub next: Option<TokenPair>,
}
rows!(DeviceRow = 1);

/// Whose an access token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessTokenRow {
    /// The user.
    pub user: String,
    /// The device.
    pub device: String,
    /// From when on it has to be refreshed.
    pub expires_at: Option<UnixMs>,
    /// Comes from a refresh and has not been used: its first use revokes the tokens before it.
    pub fresh: bool,
}
rows!(AccessTokenRow = 1);

/// Whose a refresh token is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshTokenRow {
    /// The user.
    pub user: String,
    /// The device.
    pub device: String,
}
rows!(RefreshTokenRow = 1);

/// When a device was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenRow(pub UnixMs);
rows!(SeenRow = 1);

/// A device with what is kept apart from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub device_id: String,
    /// Its row.
    pub row: DeviceRow,
    /// When it was last seen, to the minute; may be lost in a crash.
    pub last_seen: Option<UnixMs>,
}

/// The owner of an access token.
pub async fn access_token(
    snapshot: &dyn Snapshot,
    token: TokenHash,
) -> Result<Option<AccessTokenRow>> {
    ACCESS_TOKENS.get(snapshot, &token).await
}

/// The owner of a refresh token.
pub async fn refresh_token(
    snapshot: &dyn Snapshot,
    token: TokenHash,
) -> Result<Option<RefreshTokenRow>> {
    REFRESH_TOKENS.get(snapshot, &token).await
}

/// A device's row.
pub async fn device_row(
    snapshot: &dyn Snapshot,
    user: &str,
    device: &str,
) -> Result<Option<DeviceRow>> {
    let key = (user.to_owned(), device.to_owned());
    DEVICES.get(snapshot, &key).await
}

/// A device.
pub async fn device(snapshot: &dyn Snapshot, user: &str, device: &str) -> Result<Option<Device>> {
    let Some(row) = device_row(snapshot, user, device).await? else {
        return Ok(None);
    };
    let key = (user.to_owned(), device.to_owned());
    let seen = DEVICES_SEEN.get(snapshot, &key).await?;
    Ok(Some(Device {
        device_id: key.1,
        row,
        last_seen: seen.map(|seen| seen.0),
    }))
}

/// A user's devices in the order of their ids, at most `limit`.
pub async fn device_list(snapshot: &dyn Snapshot, user: &str, limit: usize) -> Result<Vec<Device>> {
    let range = DEVICES.prefix(&user.to_owned());
    let rows = DEVICES.range(snapshot, range, limit).await?;
    let keys: Vec<(String, String)> = rows.iter().map(|(key, _)| key.clone()).collect();
    let seen = DEVICES_SEEN.get_many(snapshot, &keys).await?;
    Ok(rows
        .into_iter()
        .zip(seen)
        .map(|(((_, device_id), row), seen)| Device {
            device_id,
            row,
            last_seen: seen.map(|seen| seen.0),
        })
        .collect())
}

/// Removes the rows of a pair of tokens: from the commit on they are unknown.
pub fn tokens_delete(batch: &mut Batch, pair: &TokenPair) {
    ACCESS_TOKENS.delete(batch, &pair.access);
    if let Some(refresh) = &pair.refresh {
        REFRESH_TOKENS.delete(batch, refresh);
    }
}

/// Removes a device as it was loaded, with its tokens and all that belongs to it. Fails the batch if it has changed
/// since. That its keys are gone is told with [`crate::e2ee::device_lists::devices_gone`].
pub fn device_delete(batch: &mut Batch, user: &str, device: &str, row: &DeviceRow) {
    let key = (user.to_owned(), device.to_owned());
    DEVICES.expect(batch, &key, Some(row));
    DEVICES.delete(batch, &key);
    DEVICES_SEEN.delete(batch, &key);
    crate::e2ee::device_clear(batch, user, device);
    for pair in row.current.iter().chain(&row.next) {
        tokens_delete(batch, pair);
    }
}
