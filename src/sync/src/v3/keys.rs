//! The sections of encryption: `to_device`, `device_lists`, and what the device has of one-time and fallback keys.

use std::sync::Arc;

use hearth_data::e2ee::keys::KeyHeadRow;
use hearth_store::Position;

use super::Round;
use crate::encryption::{
    DeviceLists, ListsAsk, ToDevice, device_lists, to_device, write_counts, write_to_device,
    write_unused,
};
use crate::json::JsonWriter;
use crate::notifier::Glance;
use crate::{Result, SyncToken};

/// The sections, ready to be written.
pub(super) struct Keys {
    pub(super) to_device: ToDevice,
    lists: DeviceLists,
    head: Arc<KeyHeadRow>,
}

impl Keys {
    /// Whether a client that waits is to be answered.
    pub(super) fn has_news(&self, since: Option<SyncToken>) -> bool {
        !self.to_device.messages.is_empty()
            || !self.lists.is_empty()
            || since.is_some_and(|since| self.head.position > since.position)
    }

    pub(super) fn write(&self, json: &mut JsonWriter) {
        if !self.to_device.messages.is_empty() {
            json.key("to_device");
            write_to_device(json, &self.to_device);
        }
        if !self.lists.is_empty() {
            json.key("device_lists");
            self.lists.write(json);
        }
        // Always there: clients take their absence for a server that does not know of them, and 0 for none.
        json.key("device_one_time_keys_count");
        write_counts(json, &self.head);
        json.key("device_unused_fallback_key_types");
        write_unused(json, &self.head);
    }
}

pub(super) async fn sections(round: &Round<'_>, glance: &Glance) -> Result<Keys> {
    let to = round.to.position;
    let from = round
        .since
        .map_or(Position::ZERO, |since| since.to_device());
    let to_device = match glance.has_to_device {
        true => to_device(round.snapshot, round.reader, (from, to)).await?,
        false => ToDevice {
            messages: Vec::new(),
            upto: to,
        },
    };
    let lists = match round.since {
        Some(since) => {
            let ask = ListsAsk {
                inner: round.inner,
                snapshot: round.snapshot,
                user: round.user(),
                from: since.position,
                to,
                news: &glance.news,
            };
            device_lists(&ask).await?
        }
        None => DeviceLists::default(),
    };
    Ok(Keys {
        to_device,
        lists,
        head: round.inner.key_head(round.snapshot, round.reader).await?,
    })
}
