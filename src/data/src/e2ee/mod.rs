//! What encrypted chats need of a server: keys of devices, cross-signing, changes of device lists, messages to devices,
//! key backups.
//!
//! Rows and queries only; what may become of them is decided in the crate `e2ee`. All that belongs to a device goes
//! with it: [`device_clear`] is part of every batch that removes one.

pub mod backup;
pub mod device_lists;
pub mod keys;
pub mod remote;
pub mod to_device;

use hearth_store::Batch;

use crate::tables as t;

/// Removes everything that belongs to a device: its keys, the signatures on them, the messages that wait for it.
/// Part of [`crate::accounts::devices::device_delete`]. The change of the device list is the caller's
/// ([`device_lists::devices_gone`]).
pub fn device_clear(batch: &mut Batch, user: &str, device: &str) {
    let key = (user.to_owned(), device.to_owned());
    t::DEVICE_KEYS.delete(batch, &key);
    t::KEY_HEADS.delete(batch, &key);
    t::ONE_TIME_KEYS.delete_range(batch, t::ONE_TIME_KEYS.prefix(&key));
    t::ONE_TIME_KEY_IDS.delete_range(batch, t::ONE_TIME_KEY_IDS.prefix(&key));
    t::FALLBACK_KEYS.delete_range(batch, t::FALLBACK_KEYS.prefix(&key));
    keys::signatures_clear(batch, user, device);
    t::TO_DEVICE.delete_range(batch, t::TO_DEVICE.prefix(&key));
    t::TO_DEVICE_TXNS.delete_range(batch, t::TO_DEVICE_TXNS.prefix(&key));
    t::DEHYDRATED_DEVICES.delete(batch, &key);
}

/// How many operations [`device_clear`] adds to a batch.
pub const DEVICE_CLEAR_OPS: usize = 9;

/// Removes what a user has besides her devices: cross-signing keys, the signatures on them, key backups.
pub fn user_clear(batch: &mut Batch, user: &str) {
    let user = user.to_owned();
    t::CROSS_SIGNING_KEYS.delete_range(batch, t::CROSS_SIGNING_KEYS.prefix(&user));
    t::SIGNATURES.delete_range(batch, t::SIGNATURES.prefix(&user));
    t::SIGNED_AT.delete_range(batch, t::SIGNED_AT.prefix(&user));
    t::BACKUP_VERSIONS.delete_range(batch, t::BACKUP_VERSIONS.prefix(&user));
    t::BACKUP_KEYS.delete_range(batch, t::BACKUP_KEYS.prefix(&user));
}
