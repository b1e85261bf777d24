//! Dehydrated devices (MSC3814): a device that gets messages for its user while she has no other one.

use hearth_data::accounts::devices::{DeviceRow, device_delete, device_row};
use hearth_data::changes::{Change, record};
use hearth_data::e2ee::device_lists::{self, Changed};
use hearth_data::e2ee::keys::{self, DehydratedRow, DeviceId};
use hearth_data::e2ee::to_device;
use hearth_data::tables as t;
use hearth_event::canonical;
use hearth_store::{Batch, Position, Snapshot};
use hearth_types::Caller;
use ruma::UserId;

use crate::json::{Object, array};
use crate::upload::stage_upload;
use crate::{E2ee, Error, Result, schema};

/// Longest `device_data`, in bytes.
const DATA_BYTES_MAX: usize = 256 << 10;
/// Longest device id and name, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// How many messages a page holds.
const EVENTS_AT_ONCE: usize = 100;

const NONE: Error = Error::NotFound("there is no dehydrated device");

/// A dehydrated device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dehydrated {
    /// Its id.
    pub device_id: String,
    /// What the client needs to wake it, a JSON object.
    pub data: String,
}

impl Dehydrated {
    /// As clients see it.
    pub fn to_json(&self) -> String {
        let mut json = Object::new();
        json.text("device_id", &self.device_id);
        json.raw("device_data", &self.data);
        json.finish()
    }
}

/// A page of messages to a dehydrated device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DehydratedEvents {
    /// The messages, JSON objects.
    pub events: Vec<String>,
    /// Where the next page begins.
    pub next: Position,
}

impl DehydratedEvents {
    /// As clients see it.
    pub fn to_json(&self) -> String {
        let mut json = Object::new();
        json.raw("events", &array(self.events.iter().map(String::as_str)));
        json.text("next_batch", &self.next.0.to_string());
        json.finish()
    }
}

impl E2ee {
    /// Puts a dehydrated device, with its keys, in place of the one before. Answers its id.
    pub async fn dehydrated_put(&self, caller: &Caller, body: &[u8]) -> Result<String> {
        let parsed = schema::object(body)?;
        let id = schema::text(&parsed, "device_id")?;
        if id.is_empty() || id.len() > NAME_BYTES_MAX {
            return Err(Error::Param("the device id is empty or too long"));
        }
        let data = schema::field(&parsed, "device_data")?;
        let data = data.ok_or_else(|| Error::Schema("device_data is missing".to_owned()))?;
        let data = canonical::to_string(data);
        if data.len() > DATA_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "bytes of device_data",
                max: DATA_BYTES_MAX,
            });
        }
        let name = schema::text(&parsed, "initial_device_display_name").ok();
        let row = &DeviceRow {
            display_name: name
                .filter(|name| name.len() <= NAME_BYTES_MAX)
                .map(str::to_owned),
            created: self.inner.parts.clock.now(),
            current: None,
            next: None,
        };
        let device = &(caller.user.to_string(), id.to_owned());
        let data = &DehydratedRow { data };
        let _turn = self.turn([caller.user.as_str()].into_iter()).await;
        self.decide(|snapshot| async move { put(&*snapshot, device, (row, data), body).await })
            .await?;
        Ok(id.to_owned())
    }

    /// The dehydrated device of a user.
    pub async fn dehydrated(&self, user: &UserId) -> Result<Dehydrated> {
        let snapshot = self.snapshot().await?;
        let (device, row) = stored(&*snapshot, user.as_str()).await?.ok_or(NONE)?;
        Ok(Dehydrated {
            device_id: device.1,
            data: row.data,
        })
    }

    /// Removes the dehydrated device. Answers its id.
    pub async fn dehydrated_delete(&self, caller: &Caller) -> Result<String> {
        let user = caller.user.as_str();
        let _turn = self.turn([user].into_iter()).await;
        self.decide(|snapshot| async move {
            let snapshot = &*snapshot;
            let (device, _) = stored(snapshot, user).await?.ok_or(NONE)?;
            let row = device_row(snapshot, user, &device.1).await?;
            let row = row.ok_or(NONE)?;
            let mut batch = Batch::new();
            device_delete(&mut batch, user, &device.1, &row);
            let gone = [device.1.as_str()];
            let gone = device_lists::devices_gone(snapshot, &mut batch, user, &gone).await?;
            record(&mut batch, gone.into_iter().collect());
            Ok((batch, device.1))
        })
        .await
    }

    /// A page of the messages that wait for the dehydrated device. They stay until it is removed: a client that is
    /// interrupted begins again.
    pub async fn dehydrated_events(
        &self,
        user: &UserId,
        device: &str,
        from: Option<&str>,
    ) -> Result<DehydratedEvents> {
        let from = from
            .filter(|from| !from.is_empty())
            .map_or(Ok(0), str::parse);
        let from = Position(from.map_err(|_| Error::Param("not a token of this server"))?);
        let snapshot = self.snapshot().await?;
        let (kept, _) = stored(&*snapshot, user.as_str()).await?.ok_or(NONE)?;
        if kept.1 != device {
            return Err(Error::NotFound("this is not the dehydrated device"));
        }
        let range = (from, snapshot.position());
        let waiting = to_device::waiting(&*snapshot, &kept, range, EVENTS_AT_ONCE).await?;
        Ok(DehydratedEvents {
            next: waiting.last().map_or(from, |(position, _)| *position),
            events: waiting
                .into_iter()
                .map(|(_, message)| message.text().to_owned())
                .collect(),
        })
    }
}

async fn stored(snapshot: &dyn Snapshot, user: &str) -> Result<Option<(DeviceId, DehydratedRow)>> {
    let range = t::DEHYDRATED_DEVICES.prefix(&user.to_owned());
    let rows = t::DEHYDRATED_DEVICES.range(snapshot, range, 1).await?;
    Ok(rows.into_iter().next())
}

async fn put(
    snapshot: &dyn Snapshot,
    device: &DeviceId,
    (row, data): (&DeviceRow, &DehydratedRow),
    body: &[u8],
) -> Result<(Batch, ())> {
    let (user, id) = device;
    let before = stored(snapshot, user).await?;
    let there = device_row(snapshot, user, id).await?;
    let is_same = before.as_ref().is_some_and(|(before, _)| before == device);
    if there.is_some() && !is_same {
        return Err(Error::Param("there is a device of this id"));
    }
    let mut batch = Batch::new();
    let mut changed = Vec::new();
    let old = before.map(|(before, _)| before.1);
    if let Some(old) = old.as_ref().filter(|_| !is_same) {
        if let Some(row) = device_row(snapshot, user, old).await? {
            device_delete(&mut batch, user, old, &row);
        }
        let place = (user.clone(), old.clone());
        if keys::device_keys(snapshot, &place).await?.is_some() {
            changed.push(Changed::Device(old));
        }
    }
    let writing = stage_upload(snapshot, device, body).await?;
    let mut changes: Vec<Change> = writing.changes();
    if writing.is_list_changed {
        changed.push(Changed::Device(id));
    }
    batch.append(writing.batch);
    t::DEVICES.expect(&mut batch, device, there.as_ref());
    t::DEVICES.put(&mut batch, device, row);
    t::DEHYDRATED_DEVICES.put(&mut batch, device, data);
    if !changed.is_empty() {
        changes.push(device_lists::changed(snapshot, &mut batch, user, &changed).await?);
    }
    record(&mut batch, changes);
    Ok((batch, ()))
}
