//! Keys of devices and users.
//!
//! What a device has of one-time and fallback keys is summed up in one row, its head, which every write of them expects:
//! a key cannot be given out twice, and a sync reads one row. Bodies of keys are canonical JSON without signatures;
//! signatures have a table of their own, so that those of one person can be read and replaced alone.

use std::collections::BTreeMap;

use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::{Json, positioned_rows, rows};
use crate::tables::{
    CROSS_SIGNING_KEYS, DEVICE_KEYS, KEY_HEADS, ONE_TIME_KEY_IDS, ONE_TIME_KEYS, SIGNATURES,
    SIGNED_AT,
};

/// A device: user and device id.
pub type DeviceId = (String, String);

/// A device and an algorithm.
pub type DeviceAlgorithm = (String, String, String);

/// (target user, signing user, (id of the signed key, id of the signing key)).
pub type SignatureKey = (String, String, (String, String));

/// What a device has of one-time and fallback keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHeadRow {
    /// How many one-time keys wait to be claimed, by algorithm; one that was there once stays, with zero.
    pub counts: BTreeMap<String, u32>,
    /// Algorithms whose fallback key was not given out yet, sorted.
    pub unused_fallback: Vec<String>,
    /// How many ids of keys that were given out are remembered.
    pub given: u32,
    /// The commit that wrote this row.
    #[serde(skip)]
    pub position: Position,
}
positioned_rows!(KeyHeadRow = 1);

/// A one-time key that waits to be claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeKeyRow {
    /// Its id, without the algorithm.
    pub key_id: String,
    /// The key as JSON.
    pub key: String,
}

/// What is remembered of a one-time key by its id, also after it was given out: a client that did not get the answer to
/// its upload sends the key again, and then it must not be given out again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeKeyIdRow {
    /// SHA-256 of the key's JSON.
    pub digest: [u8; 32],
    /// Whether it was given out.
    pub given: bool,
}

/// The key that is given out when no one-time key is left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FallbackKeyRow {
    /// Its id, without the algorithm.
    pub key_id: String,
    /// The key as JSON.
    pub key: String,
    /// Whether it was given out.
    pub used: bool,
}

/// A signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureRow {
    /// In base64.
    pub signature: String,
    /// The commit that wrote it.
    #[serde(skip)]
    pub position: Position,
}
positioned_rows!(SignatureRow = 1);

/// A device that is kept for its user while she is away (MSC3814).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DehydratedRow {
    /// What the client needs to wake it, a JSON object.
    pub data: String,
}

rows!(
    OneTimeKeyRow = 1,
    OneTimeKeyIdRow = 1,
    FallbackKeyRow = 1,
    DehydratedRow = 1,
);

/// What a device has of one-time and fallback keys; `None` before it uploaded any.
pub async fn head(snapshot: &dyn Snapshot, device: &DeviceId) -> Result<Option<KeyHeadRow>> {
    KEY_HEADS.get(snapshot, device).await
}

/// Writes the head. Fails the batch unless it stands as it was loaded.
pub fn head_put(
    batch: &mut Batch,
    device: &DeviceId,
    before: Option<&KeyHeadRow>,
    row: &KeyHeadRow,
) {
    KEY_HEADS.expect(batch, device, before);
    KEY_HEADS.put_position(batch, device, row);
}

/// The identity keys of a device: canonical JSON without signatures.
pub async fn device_keys(snapshot: &dyn Snapshot, device: &DeviceId) -> Result<Option<Json>> {
    DEVICE_KEYS.get(snapshot, device).await
}

/// The devices of a user that have identity keys, at most `limit`.
pub async fn device_keys_of(
    snapshot: &dyn Snapshot,
    user: &str,
    limit: usize,
) -> Result<Vec<(String, Json)>> {
    let range = DEVICE_KEYS.prefix(&user.to_owned());
    let rows = DEVICE_KEYS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, device), row)| (device, row))
        .collect())
}

/// The one-time key that is next to be given out, and its place in the order of upload.
pub async fn one_time_key_next(
    snapshot: &dyn Snapshot,
    device: &DeviceAlgorithm,
) -> Result<Option<((Position, u32), OneTimeKeyRow)>> {
    let range = ONE_TIME_KEYS.prefix(device);
    let rows = ONE_TIME_KEYS.range(snapshot, range, 1).await?;
    Ok(rows
        .into_iter()
        .next()
        .map(|((_, position, index), row)| ((position, index), row)))
}

/// What is remembered of a device's one-time keys by their ids (`algorithm:id`), at most `limit`.
pub async fn one_time_key_ids(
    snapshot: &dyn Snapshot,
    device: &DeviceId,
    limit: usize,
) -> Result<Vec<(String, OneTimeKeyIdRow)>> {
    let range = ONE_TIME_KEY_IDS.prefix(device);
    let rows = ONE_TIME_KEY_IDS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, id), row)| (id, row))
        .collect())
}

/// A user's cross-signing keys by usage: canonical JSON without signatures.
pub async fn cross_signing_keys(
    snapshot: &dyn Snapshot,
    user: &str,
) -> Result<BTreeMap<String, Json>> {
    let range = CROSS_SIGNING_KEYS.prefix(&user.to_owned());
    let rows = CROSS_SIGNING_KEYS.range(snapshot, range, 8).await?;
    Ok(rows
        .into_iter()
        .map(|((_, usage), key)| (usage, key))
        .collect())
}

/// The signatures that one user made on keys of another, or on her own, as (signed key, signing key, signature).
pub async fn signatures_by(
    snapshot: &dyn Snapshot,
    target: &str,
    signer: &str,
    limit: usize,
) -> Result<Vec<(String, String, String)>> {
    let range = SIGNATURES.prefix(&(target.to_owned(), signer.to_owned()));
    let rows = SIGNATURES.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, (key, by)), row)| (key, by, row.signature))
        .collect())
}

/// Removes the signatures that a user made on one of her own keys.
pub fn signatures_clear(batch: &mut Batch, user: &str, key: &str) {
    let prefix = (user.to_owned(), user.to_owned(), key.to_owned());
    SIGNATURES.delete_range(batch, SIGNATURES.prefix(&prefix));
}

/// Writes a signature.
pub fn signature_put(batch: &mut Batch, place: &SignatureKey, signature: &str) {
    let row = SignatureRow {
        signature: signature.to_owned(),
        position: Position::ZERO,
    };
    SIGNATURES.put_position(batch, place, &row);
}

/// Writes a user's signature on another user's key in place of those that she made before on that user's keys, and
/// moves it in the index.
pub async fn signature_put_on_other(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    place: &SignatureKey,
    signature: &str,
) -> Result<()> {
    let (target, signer, _) = place;
    let pair = (target.clone(), signer.clone());
    let before = SIGNATURES
        .range(snapshot, SIGNATURES.prefix(&pair), 8)
        .await?;
    for (key, row) in before {
        SIGNATURES.delete(batch, &key);
        SIGNED_AT.delete(batch, &(signer.clone(), row.position, target.clone()));
    }
    signature_put(batch, place, signature);
    SIGNED_AT.put_at_position(batch, signer, target, &());
    Ok(())
}

/// The users whose keys a user signed after `from` up to `to`, at most `limit`.
pub async fn signed_since(
    snapshot: &dyn Snapshot,
    signer: &str,
    (from, to): (Position, Position),
    limit: usize,
) -> Result<Vec<String>> {
    let signer = signer.to_owned();
    let range = SIGNED_AT.between(&(signer.clone(), from.next()), &(signer, to.next()));
    let rows = SIGNED_AT.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, target), ())| target)
        .collect())
}
