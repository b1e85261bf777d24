//! Changes of device lists: each user once, at the position of her newest change, so that a `since` of any age is
//! answered; and, for local users, a log of which device changed, for the servers that share a room with them.

use std::collections::BTreeSet;

use bytes::Bytes;
use hearth_store::{Batch, Position, Snapshot, Value, ValueError};
use serde::{Deserialize, Serialize};

use crate::changes::Change;
use crate::row::{decode_row, encode_row, positioned_rows, rows};
use crate::tables::{DEVICE_KEYS, DEVICE_LIST_LOG, DEVICE_LISTS, DEVICE_LISTS_AT, NEWCOMERS};
use crate::{Result, RoomNo};

/// How many devices of a user can change in one commit: the step between the stream ids of two commits.
pub const ENTRIES_MAX: usize = 128;

/// The newest change of a user's device list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceListRow {
    /// The index of its last entry in the log.
    pub last: u32,
    /// The commit that wrote it.
    #[serde(skip)]
    pub position: Position,
}
positioned_rows!(DeviceListRow = 1);

impl DeviceListRow {
    /// The `stream_id` by which other servers know this state of the list.
    pub fn stream_id(&self) -> u64 {
        stream_id(self.position, self.last)
    }
}

/// A change of a local user's device or, without one, of her cross-signing keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceListLogRow {
    /// The user.
    pub user: String,
    /// The device.
    pub device: Option<String>,
    /// The `stream_id` of the change before; for later entries of a commit it is the entry before.
    pub previous: Option<u64>,
}
rows!(DeviceListLogRow = 1);

/// A local user who came into a room with members of other servers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewcomerRow {
    /// The user.
    pub user: String,
    /// The room.
    pub room: RoomNo,
    /// The servers to be told; if none is named, all in the room to which the user is new.
    pub servers: BTreeSet<String>,
}

impl Value for NewcomerRow {
    fn encode(&self) -> Vec<u8> {
        encode_row(2, self)
    }

    /// A row of version 1 names no servers.
    fn decode(bytes: &Bytes) -> std::result::Result<Self, ValueError> {
        if bytes.first() != Some(&1) {
            return decode_row(2, bytes);
        }
        let (user, room) = decode_row(1, bytes)?;
        let servers = BTreeSet::new();
        Ok(Self {
            user,
            room,
            servers,
        })
    }
}

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    /// A device of this id: new or other keys, another name, or gone.
    Device(&'a str),
    /// The master, self-signing or user-signing key.
    CrossSigning,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceListEntry {
    /// Where it stands.
    pub at: (Position, u32),
    /// The user.
    pub user: String,
    /// The device; `None` for her cross-signing keys.
    pub device: Option<String>,
    /// Its `stream_id`.
    pub stream_id: u64,
    /// The `prev_id`, if there was a change before.
    pub previous: Option<u64>,
}

/// The `stream_id` of an entry. Positions stay below 2^46, so that this is an integer of canonical JSON.
fn stream_id(position: Position, index: u32) -> u64 {
    position.0 * ENTRIES_MAX as u64 + u64::from(index)
}

/// The newest change of a user's list.
pub async fn newest(snapshot: &dyn Snapshot, user: &str) -> Result<Option<DeviceListRow>> {
    DEVICE_LISTS.get(snapshot, &user.to_owned()).await
}

/// Writes changes of one local user's list, at most [`ENTRIES_MAX`], once in a batch. Fails the batch if the list
/// changed since. Answers what belongs into the batch's row of the log of changes.
pub async fn changed(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    user: &str,
    entries: &[Changed<'_>],
) -> Result<Change> {
    let before = newest(snapshot, user).await?;
    let last = entries.len().saturating_sub(1).min(ENTRIES_MAX - 1);
    moved(
        batch,
        user,
        before.as_ref(),
        u32::try_from(last).unwrap_or(0),
    );
    for (index, entry) in (0..).zip(entries) {
        let row = DeviceListLogRow {
            user: user.to_owned(),
            device: match entry {
                Changed::Device(device) => Some((*device).to_owned()),
                Changed::CrossSigning => None,
            },
            previous: before.as_ref().map(DeviceListRow::stream_id),
        };
        DEVICE_LIST_LOG.put_at_position(batch, &(), &index, &row);
    }
    Ok(Change::DeviceList {
        user: user.to_owned(),
    })
}

/// The same for a user of another server, whose list no log tells of.
pub async fn changed_remotely(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    user: &str,
) -> Result<Change> {
    let before = newest(snapshot, user).await?;
    moved(batch, user, before.as_ref(), 0);
    Ok(Change::DeviceList {
        user: user.to_owned(),
    })
}

fn moved(batch: &mut Batch, user: &str, before: Option<&DeviceListRow>, last: u32) {
    let key = user.to_owned();
    DEVICE_LISTS.expect(batch, &key, before);
    if let Some(before) = before {
        DEVICE_LISTS_AT.delete(batch, &((), before.position, key.clone()));
    }
    let row = DeviceListRow {
        last,
        position: Position::ZERO,
    };
    DEVICE_LISTS.put_position(batch, &key, &row);
    DEVICE_LISTS_AT.put_at_position(batch, &(), &key, &());
}

/// Notes that devices of a local user are removed in this batch. Of those that have no keys nobody ever knew: `None`
/// if that goes for all.
pub async fn devices_gone(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    user: &str,
    devices: &[&str],
) -> Result<Option<Change>> {
    let keys: Vec<(String, String)> = devices
        .iter()
        .map(|device| (user.to_owned(), (*device).to_owned()))
        .collect();
    let known = DEVICE_KEYS.get_many(snapshot, &keys).await?;
    let gone: Vec<Changed<'_>> = devices
        .iter()
        .zip(known)
        .filter(|(_, known)| known.is_some())
        .map(|(device, _)| Changed::Device(device))
        .collect();
    if gone.is_empty() {
        return Ok(None);
    }
    changed(snapshot, batch, user, &gone).await.map(Some)
}

/// The users whose lists changed after `from` up to `to`, oldest change first, at most `limit`. One whose list changed
/// again after `to` is left to the next question.
pub async fn changed_since(
    snapshot: &dyn Snapshot,
    from: Position,
    to: Position,
    limit: usize,
) -> Result<Vec<(Position, String)>> {
    let range = DEVICE_LISTS_AT.between(&((), from.next()), &((), to.next()));
    let rows = DEVICE_LISTS_AT.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(((), position, user), ())| (position, user))
        .collect())
}

/// The log of local users' changes after an entry (start with `(Position::ZERO, 0)`), at most `limit`.
pub async fn log_after(
    snapshot: &dyn Snapshot,
    after: (Position, u32),
    limit: usize,
) -> Result<Vec<DeviceListEntry>> {
    let mut range = DEVICE_LIST_LOG.prefix(&());
    range.from = DEVICE_LIST_LOG.raw_key(&((), after.0, after.1.saturating_add(1)));
    let rows = DEVICE_LIST_LOG.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(((), position, index), row)| DeviceListEntry {
            at: (position, index),
            user: row.user,
            device: row.device,
            stream_id: stream_id(position, index),
            previous: match index {
                0 => row.previous,
                _ => Some(stream_id(position, index - 1)),
            },
        })
        .collect())
}

/// Notes local users who came into a room in this commit, once in a batch.
pub(crate) fn newcomers_put(batch: &mut Batch, rows: Vec<NewcomerRow>) {
    for (index, row) in (0..).zip(rows) {
        NEWCOMERS.put_at_position(batch, &(), &index, &row);
    }
}

/// The oldest newcomers that other servers were not told of, each with its place, at most `limit`.
pub async fn newcomers(
    snapshot: &dyn Snapshot,
    limit: usize,
) -> Result<Vec<((Position, u32), NewcomerRow)>> {
    let rows = NEWCOMERS
        .range(snapshot, NEWCOMERS.prefix(&()), limit)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(((), position, index), row)| ((position, index), row))
        .collect())
}

/// Removes a newcomer of whom all were told.
pub fn newcomer_done(batch: &mut Batch, (position, index): (Position, u32)) {
    NEWCOMERS.delete(batch, &((), position, index));
}
