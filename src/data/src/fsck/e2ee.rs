//! Rows of encryption: they belong to devices that are there, and sums and indexes are right.

use std::collections::BTreeMap;

use hearth_store::Position;

use super::{Check, Invariant};
use crate::Result;
use crate::e2ee::keys::{DeviceId, KeyHeadRow};
use crate::tables as t;

const BROKEN: Invariant = Invariant::Encryption;

impl Check<'_> {
    pub(super) async fn e2ee(&mut self) -> Result<()> {
        self.device_keys().await?;
        self.key_heads().await?;
        self.one_time_keys().await?;
        self.device_lists().await?;
        self.signed().await?;
        self.messages().await?;
        self.messages_seen().await?;
        self.dehydrated().await?;
        self.backups().await
    }

    /// Whether a device is there, or a user of another server's whose devices are nobody's here.
    async fn is_somebodys(&mut self, device: &DeviceId) -> Result<bool> {
        if self.row(&t::DEVICES, device).await?.is_some() {
            return Ok(true);
        }
        Ok(self
            .row(&t::REMOTE_DEVICE_LISTS, &device.0)
            .await?
            .is_some())
    }

    async fn device_keys(&mut self) -> Result<()> {
        let mut range = t::DEVICE_KEYS.prefix(&());
        while let Some(rows) = self.page(&t::DEVICE_KEYS, &mut range).await? {
            for (device, keys) in rows {
                let known = self.is_somebodys(&device).await?;
                self.hold(known, BROKEN, || {
                    format!("keys of {}, {}, which is not there", device.0, device.1)
                });
                let is_object = keys.text().starts_with('{');
                self.hold(is_object, BROKEN, || {
                    format!("keys of {}, {} are no object", device.0, device.1)
                });
            }
        }
        Ok(())
    }

    async fn key_heads(&mut self) -> Result<()> {
        let mut range = t::KEY_HEADS.prefix(&());
        while let Some(rows) = self.page(&t::KEY_HEADS, &mut range).await? {
            for (device, head) in rows {
                let known = self.is_somebodys(&device).await?;
                self.hold(known, BROKEN, || {
                    format!(
                        "key counts of {}, {}, which is not there",
                        device.0, device.1
                    )
                });
                self.key_head(&device, &head).await?;
            }
        }
        Ok(())
    }

    async fn key_head(&mut self, device: &DeviceId, head: &KeyHeadRow) -> Result<()> {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        let mut range = t::ONE_TIME_KEYS.prefix(device);
        while let Some(rows) = self.page(&t::ONE_TIME_KEYS, &mut range).await? {
            for (((_, _, algorithm), _, _), _) in rows {
                *counts.entry(algorithm).or_default() += 1;
            }
        }
        let mut said = head.counts.clone();
        said.retain(|_, count| *count > 0);
        self.hold(said == counts, BROKEN, || {
            format!(
                "{}, {} has {counts:?} keys, not {said:?}",
                device.0, device.1
            )
        });
        let mut given = 0;
        let mut range = t::ONE_TIME_KEY_IDS.prefix(device);
        while let Some(rows) = self.page(&t::ONE_TIME_KEY_IDS, &mut range).await? {
            given += rows.iter().filter(|(_, row)| row.given).count() as u64;
        }
        self.hold(given == u64::from(head.given), BROKEN, || {
            format!(
                "{}, {}: {given} keys were given out, not {}",
                device.0, device.1, head.given
            )
        });
        let mut unused = Vec::new();
        let mut range = t::FALLBACK_KEYS.prefix(device);
        while let Some(rows) = self.page(&t::FALLBACK_KEYS, &mut range).await? {
            let rows = rows.into_iter().filter(|(_, row)| !row.used);
            unused.extend(rows.map(|((_, _, algorithm), _)| algorithm));
        }
        self.hold(unused == head.unused_fallback, BROKEN, || {
            format!("{}, {}: other fallback keys are unused", device.0, device.1)
        });
        Ok(())
    }

    async fn one_time_keys(&mut self) -> Result<()> {
        let mut range = t::ONE_TIME_KEYS.prefix(&());
        while let Some(rows) = self.page(&t::ONE_TIME_KEYS, &mut range).await? {
            for (((user, device, algorithm), _, _), row) in rows {
                let at = format!(
                    "one-time key {algorithm}:{} of {user}, {device}",
                    row.key_id
                );
                let id = (
                    user.clone(),
                    device.clone(),
                    format!("{algorithm}:{}", row.key_id),
                );
                let known = self.row(&t::ONE_TIME_KEY_IDS, &id).await?;
                self.hold(known.is_some_and(|known| !known.given), BROKEN, || {
                    format!("{at}: its id is not known, or it was given out")
                });
                let head = self.row(&t::KEY_HEADS, &(user, device)).await?;
                self.hold(head.is_some(), BROKEN, || format!("{at}: not counted"));
            }
        }
        Ok(())
    }

    async fn device_lists(&mut self) -> Result<()> {
        let mut range = t::DEVICE_LISTS.prefix(&());
        while let Some(rows) = self.page(&t::DEVICE_LISTS, &mut range).await? {
            for (user, row) in rows {
                let key = ((), row.position, user);
                let indexed = self.row(&t::DEVICE_LISTS_AT, &key).await?.is_some();
                self.hold(indexed, BROKEN, || {
                    format!("device list of {} is not in the index", key.2)
                });
            }
        }
        let mut range = t::DEVICE_LISTS_AT.prefix(&());
        while let Some(rows) = self.page(&t::DEVICE_LISTS_AT, &mut range).await? {
            for (((), position, user), ()) in rows {
                let row = self.row(&t::DEVICE_LISTS, &user).await?;
                self.hold(
                    row.is_some_and(|row| row.position == position),
                    BROKEN,
                    || format!("device list of {user} did not change at {position}"),
                );
            }
        }
        Ok(())
    }

    async fn signed(&mut self) -> Result<()> {
        let mut range = t::SIGNED_AT.prefix(&());
        while let Some(rows) = self.page(&t::SIGNED_AT, &mut range).await? {
            for ((signer, position, target), ()) in rows {
                let pair = t::SIGNATURES.prefix(&(target.clone(), signer.clone()));
                let made = t::SIGNATURES.range(self.snapshot, pair, 8).await;
                let made = self.read(made, BROKEN)?;
                self.hold(
                    made.iter().any(|(_, row)| row.position == position),
                    BROKEN,
                    || format!("{signer} did not sign a key of {target} at {position}"),
                );
            }
        }
        Ok(())
    }

    async fn messages(&mut self) -> Result<()> {
        let mut range = t::TO_DEVICE.prefix(&());
        // Rows of a device follow each other.
        let mut last: Option<(DeviceId, Position)> = None;
        while let Some(rows) = self.page(&t::TO_DEVICE, &mut range).await? {
            for ((device, position, ()), _) in rows {
                if last.as_ref().is_none_or(|(last, _)| *last != device) {
                    let known = self.row(&t::DEVICES, &device).await?.is_some();
                    self.hold(known, BROKEN, || {
                        format!("messages to {}, {}, which is not there", device.0, device.1)
                    });
                }
                last = Some((device, position));
            }
        }
        Ok(())
    }

    async fn messages_seen(&mut self) -> Result<()> {
        let (mut ids, mut ages) = (0_u64, 0_u64);
        let mut range = t::TO_DEVICE_SEEN.prefix(&());
        while let Some(rows) = self.page(&t::TO_DEVICE_SEEN, &mut range).await? {
            ids += rows.len() as u64;
        }
        let mut range = t::TO_DEVICE_SEEN_AT.prefix(&());
        while let Some(rows) = self.page(&t::TO_DEVICE_SEEN_AT, &mut range).await? {
            for ((_, position, message), _) in rows {
                ages += 1;
                let known = self.row(&t::TO_DEVICE_SEEN, &message).await?.is_some();
                self.hold(known, BROKEN, || {
                    format!(
                        "the message {} of {} came at {position}, but is not known",
                        message.1, message.0
                    )
                });
            }
        }
        self.hold(ids == ages, BROKEN, || {
            format!("{ids} messages of other servers are known, {ages} of some age")
        });
        Ok(())
    }

    async fn dehydrated(&mut self) -> Result<()> {
        let mut range = t::DEHYDRATED_DEVICES.prefix(&());
        while let Some(rows) = self.page(&t::DEHYDRATED_DEVICES, &mut range).await? {
            for (device, _) in rows {
                let known = self.row(&t::DEVICES, &device).await?.is_some();
                self.hold(known, BROKEN, || {
                    format!(
                        "the dehydrated device {} of {} is not there",
                        device.1, device.0
                    )
                });
            }
        }
        Ok(())
    }

    async fn backups(&mut self) -> Result<()> {
        let mut range = t::BACKUP_VERSIONS.prefix(&());
        while let Some(rows) = self.page(&t::BACKUP_VERSIONS, &mut range).await? {
            for (version, row) in rows {
                let mut count = 0;
                let mut keys = t::BACKUP_KEYS.prefix(&version);
                while let Some(rows) = self.page(&t::BACKUP_KEYS, &mut keys).await? {
                    count += rows.len() as u64;
                }
                self.hold(count == row.count, BROKEN, || {
                    let (user, version) = &version;
                    format!(
                        "backup {version} of {user} has {count} keys, not {}",
                        row.count
                    )
                });
            }
        }
        Ok(())
    }
}
