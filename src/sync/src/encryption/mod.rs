//! What a sync says of encryption: messages to the device, key counts, changed device lists.
//!
//! Each section is a function of a snapshot, a reader and a stretch of positions, for every kind of sync.

mod device_lists;

use std::sync::Arc;

use hearth_data::e2ee::keys::{self, KeyHeadRow};
use hearth_data::e2ee::to_device;
use hearth_data::row::Json;
use hearth_store::{Position, Snapshot};

pub(crate) use device_lists::{DeviceLists, ListsAsk, device_lists};

use crate::Result;
use crate::ask::Reader;
use crate::json::JsonWriter;
use crate::service::Inner;

/// How many messages to a device one answer holds.
pub(crate) const TO_DEVICE_MAX: usize = 100;
/// How many bytes of them, unless one alone is larger.
const TO_DEVICE_BYTES_MAX: usize = 1 << 20;
/// The algorithm that is always told of, so that clients see that nothing is left.
const SIGNED_CURVE25519: &str = "signed_curve25519";

/// Messages to the device.
#[derive(Debug, Default)]
pub(crate) struct ToDevice {
    /// JSON objects, oldest first.
    pub(crate) messages: Vec<Json>,
    /// All up to this position were told.
    pub(crate) upto: Position,
}

/// The messages that wait for the reader's device after `from` up to `to`, as many as one answer holds.
pub(crate) async fn to_device(
    snapshot: &dyn Snapshot,
    reader: &Reader,
    (from, to): (Position, Position),
) -> Result<ToDevice> {
    let Some(device) = &reader.device else {
        return Ok(ToDevice {
            messages: Vec::new(),
            upto: to,
        });
    };
    let device = (reader.user.to_string(), device.to_string());
    let waiting = to_device::waiting(snapshot, &device, (from, to), TO_DEVICE_MAX + 1).await?;
    let count = waiting.len();
    let mut told = ToDevice {
        messages: Vec::with_capacity(count.min(TO_DEVICE_MAX)),
        upto: from,
    };
    let mut bytes = 0;
    for (position, message) in waiting.into_iter().take(TO_DEVICE_MAX) {
        bytes += message.0.len();
        if bytes > TO_DEVICE_BYTES_MAX && !told.messages.is_empty() {
            return Ok(told);
        }
        told.messages.push(message);
        told.upto = position;
    }
    if told.messages.len() == count {
        told.upto = to;
    }
    Ok(told)
}

/// Of how many devices it is remembered what they have.
const HEADS_MAX: usize = 20_000;

/// What devices have of one-time and fallback keys, each as of a position; good while the user is not told of news.
pub(crate) struct HeadsCache(quick_cache::sync::Cache<(String, String), Arc<(Position, KeyHead)>>);

type KeyHead = Arc<KeyHeadRow>;

impl HeadsCache {
    pub(crate) fn new() -> Self {
        Self(quick_cache::sync::Cache::new(HEADS_MAX))
    }
}

impl Inner {
    /// What the reader's device has of one-time and fallback keys.
    pub(crate) async fn key_head(
        &self,
        snapshot: &dyn Snapshot,
        reader: &Reader,
    ) -> Result<KeyHead> {
        let Some(device) = &reader.device else {
            return Ok(Arc::default());
        };
        let device = (reader.user.to_string(), device.to_string());
        if let Some(known) = self.heads.0.get(&device)
            && !self.notifier.has_keys_since(&device.0, known.0)
        {
            return Ok(known.1.clone());
        }
        let head = Arc::new(keys::head(snapshot, &device).await?.unwrap_or_default());
        let known = Arc::new((snapshot.position(), head.clone()));
        self.heads.0.insert(device, known);
        Ok(head)
    }
}

/// `{algorithm: count}`
pub(crate) fn write_counts(json: &mut JsonWriter, head: &KeyHeadRow) {
    json.begin_object();
    if !head.counts.contains_key(SIGNED_CURVE25519) {
        json.key(SIGNED_CURVE25519);
        json.number(0);
    }
    for (algorithm, count) in &head.counts {
        json.key(algorithm);
        json.number((*count).into());
    }
    json.end_object();
}

/// The algorithms whose fallback key was not used.
pub(crate) fn write_unused(json: &mut JsonWriter, head: &KeyHeadRow) {
    json.begin_array();
    for algorithm in &head.unused_fallback {
        json.text(algorithm);
    }
    json.end_array();
}

/// The messages, each spliced as it is stored.
pub(crate) fn write_to_device(json: &mut JsonWriter, told: &ToDevice) {
    json.begin_object();
    json.key("events");
    json.begin_array();
    for message in &told.messages {
        json.raw(message.text());
    }
    json.end_array();
    json.end_object();
}
