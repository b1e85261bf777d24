//! The devices of a user as she sees them.

use hearth_data::accounts::devices::{self as data, device_row};
use hearth_data::changes::record;
use hearth_data::e2ee::device_lists::{self, Changed};
use hearth_data::tables::DEVICES;
use hearth_store::Batch;
use hearth_types::UnixMs;
use ruma::{DeviceId, OwnedDeviceId, UserId};

use crate::sessions::DEVICE_BYTES_MAX;
use crate::{Accounts, Error, Result};

/// How many devices are shown at most.
const DEVICES_SHOWN_MAX: usize = 10_000;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub device_id: OwnedDeviceId,
    /// Its public name.
    pub display_name: Option<String>,
    /// When it was last seen, to the minute.
    pub last_seen: Option<UnixMs>,
}

impl From<data::Device> for Device {
    fn from(device: data::Device) -> Self {
        Self {
            device_id: device.device_id.into(),
            display_name: device.row.display_name,
            last_seen: device.last_seen,
        }
    }
}

impl Accounts {
    /// A user's devices.
    pub async fn device_list(&self, user: &UserId) -> Result<Vec<Device>> {
        let snapshot = self.snapshot().await?;
        let devices = data::device_list(&*snapshot, user.as_str(), DEVICES_SHOWN_MAX).await?;
        Ok(devices.into_iter().map(Device::from).collect())
    }

    /// One device of a user.
    pub async fn device(&self, user: &UserId, device: &DeviceId) -> Result<Option<Device>> {
        let snapshot = self.snapshot().await?;
        let device = data::device(&*snapshot, user.as_str(), device.as_str()).await?;
        Ok(device.map(Device::from))
    }

    /// Gives a device another name.
    pub async fn device_rename(&self, user: &UserId, device: &DeviceId, name: &str) -> Result<()> {
        if name.len() > DEVICE_BYTES_MAX {
            return Err(Error::InvalidDevice {
                max: DEVICE_BYTES_MAX,
            });
        }
        self.decide(|snapshot| async move {
            let found = device_row(&*snapshot, user.as_str(), device.as_str()).await?;
            let before = found.ok_or(Error::NoSuchDevice)?;
            let mut after = before.clone();
            after.display_name = Some(name.to_owned());
            let mut batch = Batch::new();
            let key = (user.to_string(), device.to_string());
            DEVICES.expect(&mut batch, &key, Some(&before));
            DEVICES.put(&mut batch, &key, &after);
            // Others see the name, also of a device without keys.
            let changed = [Changed::Device(&key.1)];
            let change = device_lists::changed(&*snapshot, &mut batch, &key.0, &changed).await?;
            record(&mut batch, vec![change]);
            Ok((batch, ()))
        })
        .await
    }
}
