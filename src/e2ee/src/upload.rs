//! `/keys/upload`: identity keys, one-time keys and fallback keys of the caller's device.

use std::collections::BTreeMap;

use hearth_data::accounts::devices::DeviceRow;
use hearth_data::changes::{Change, record};
use hearth_data::e2ee::device_lists::{self, Changed};
use hearth_data::e2ee::keys::{
    self, DeviceId, FallbackKeyRow, KeyHeadRow, OneTimeKeyIdRow, OneTimeKeyRow,
};
use hearth_data::row::Json;
use hearth_data::tables as t;
use hearth_event::canonical::Object;
use hearth_store::{Batch, Snapshot};
use hearth_types::Caller;
use sha2::{Digest, Sha256};

use crate::schema::{self, DeviceKeys, OneTimeKey};
use crate::{E2ee, Error, Result, device_of};

/// How many one-time keys wait at most for a device.
const ONE_TIME_KEYS_MAX: u32 = 1_000;
/// How many one-time keys one upload holds.
const UPLOAD_KEYS_MAX: usize = 200;
/// How many fallback keys one upload holds.
const UPLOAD_FALLBACK_MAX: usize = 16;
/// How many ids of keys that were given out are remembered at least. They are needed only until the client has its
/// answer to the upload of these keys.
const GIVEN_KEPT_MAX: u32 = 500;
/// How many of them are forgotten at once.
const GIVEN_FORGOTTEN_AT_ONCE: usize = 300;
/// The algorithm that every client counts on hearing of.
pub(crate) const SIGNED_CURVE25519: &str = "signed_curve25519";

/// How many one-time keys a device has, by algorithm.
pub type KeyCounts = BTreeMap<String, u32>;

/// An upload, checked as far as it can be without the store.
struct Upload {
    device_keys: Option<DeviceKeys>,
    one_time: Vec<OneTimeKey>,
    fallback: Vec<OneTimeKey>,
}

impl Upload {
    fn parse(body: &[u8], (user, device): &DeviceId) -> Result<Self> {
        let body = schema::object(body)?;
        let device_keys = schema::field(&body, "device_keys")?;
        let device_keys = device_keys
            .map(|object| DeviceKeys::new(object, user, device))
            .transpose()?;
        let one_time = one_time_keys(&body, "one_time_keys", user, UPLOAD_KEYS_MAX)?;
        let stable = one_time_keys(&body, "fallback_keys", user, UPLOAD_FALLBACK_MAX)?;
        let unstable = "org.matrix.msc2732.fallback_keys";
        let fallback = match stable.is_empty() {
            true => one_time_keys(&body, unstable, user, UPLOAD_FALLBACK_MAX)?,
            false => stable,
        };
        let mut algorithms: Vec<&str> = fallback.iter().map(|key| key.algorithm.as_str()).collect();
        algorithms.dedup();
        if algorithms.len() != fallback.len() {
            return Err(Error::Param("there is one fallback key per algorithm"));
        }
        Ok(Self {
            device_keys,
            one_time,
            fallback,
        })
    }

    fn verify(&self, (user, device): &DeviceId, ed25519: &[u8; 32]) -> Result<()> {
        for key in self.one_time.iter().chain(&self.fallback) {
            key.verify(user, device, ed25519)?;
        }
        Ok(())
    }
}

fn one_time_keys(body: &Object, name: &str, user: &str, max: usize) -> Result<Vec<OneTimeKey>> {
    let Some(keys) = schema::field(body, name)? else {
        return Ok(Vec::new());
    };
    if keys.len() > max {
        return Err(Error::TooLarge {
            what: "keys of an upload",
            max,
        });
    }
    let keys = keys
        .iter()
        .map(|(name, key)| OneTimeKey::new(name, key, user));
    Ok(keys.collect::<Result<_, _>>()?)
}

/// What an upload changes, as far as it is known.
pub(crate) struct Writing<'a> {
    device: &'a DeviceId,
    /// What is to be written.
    pub(crate) batch: Batch,
    /// Whether the identity keys or their signature changed.
    pub(crate) is_list_changed: bool,
    are_keys_changed: bool,
    head: KeyHeadRow,
}

impl E2ee {
    /// Takes the keys of an upload in. Answers how many one-time keys wait.
    pub async fn keys_upload(&self, caller: &Caller, body: &[u8]) -> Result<KeyCounts> {
        let device = &device_of(caller)?;
        let upload = &Upload::parse(body, device)?;
        let _turn = self.turn([device.0.as_str()].into_iter()).await;
        self.decide(|snapshot| async move {
            let row = t::DEVICES.get(&*snapshot, device).await?;
            let row = row.ok_or(Error::NoDevice)?;
            write(&*snapshot, device, upload, &row).await
        })
        .await
    }
}

async fn write(
    snapshot: &dyn Snapshot,
    device: &DeviceId,
    upload: &Upload,
    row: &DeviceRow,
) -> Result<(Batch, KeyCounts)> {
    let mut writing = stage(snapshot, device, upload).await?;
    let mut changes = writing.changes();
    if writing.is_list_changed {
        let changed = [Changed::Device(&device.1)];
        let batch = &mut writing.batch;
        changes.push(device_lists::changed(snapshot, batch, &device.0, &changed).await?);
    }
    let mut batch = writing.batch;
    if !batch.is_empty() {
        // Keys of a device that is being removed would be nobody's.
        t::DEVICES.expect(&mut batch, device, Some(row));
        record(&mut batch, changes);
    }
    let mut counts = writing.head.counts;
    counts.entry(SIGNED_CURVE25519.to_owned()).or_default();
    Ok((batch, counts))
}

/// What an upload of a device that is written in the same batch changes. The change of the list is the caller's.
pub(crate) async fn stage_upload<'a>(
    snapshot: &dyn Snapshot,
    device: &'a DeviceId,
    body: &[u8],
) -> Result<Writing<'a>> {
    let upload = Upload::parse(body, device)?;
    if upload.device_keys.is_none() {
        return Err(Error::Missing("device_keys are missing"));
    }
    stage(snapshot, device, &upload).await
}

async fn stage<'a>(
    snapshot: &dyn Snapshot,
    device: &'a DeviceId,
    upload: &Upload,
) -> Result<Writing<'a>> {
    let before = keys::head(snapshot, device).await?;
    let mut writing = Writing {
        device,
        batch: Batch::new(),
        is_list_changed: false,
        are_keys_changed: false,
        head: before.clone().unwrap_or_default(),
    };
    let stored = keys::device_keys(snapshot, device).await?;
    let stored = stored.as_ref().map(Json::text);
    let mut identity = Identity::Same;
    if let Some(uploaded) = &upload.device_keys {
        if stored
            .is_some_and(|stored| schema::stored_identity(stored, &device.1) != uploaded.identity)
        {
            identity = Identity::Other;
        }
        writing.identity(snapshot, uploaded, stored).await?;
    }
    let ed25519 = match (&upload.device_keys, stored) {
        (Some(uploaded), _) => Some(uploaded.ed25519),
        (None, Some(stored)) => schema::stored_ed25519(stored, &device.1),
        (None, None) => None,
    };
    if let Some(ed25519) = ed25519 {
        upload.verify(device, &ed25519)?;
    }
    if identity == Identity::Other {
        writing.clear();
    }
    writing.one_time_keys(snapshot, upload, identity).await?;
    writing.fallback_keys(snapshot, upload, identity).await?;
    if writing.are_keys_changed {
        let Writing { batch, head, .. } = &mut writing;
        keys::head_put(batch, device, before.as_ref(), head);
    }
    Ok(writing)
}

/// Whether a device has the identity that it had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Identity {
    Same,
    Other,
}

impl Writing<'_> {
    /// What the log of changes says besides the device list.
    pub(crate) fn changes(&self) -> Vec<Change> {
        match self.are_keys_changed {
            true => vec![Change::Keys {
                user: self.device.0.clone(),
            }],
            false => Vec::new(),
        }
    }

    async fn identity(
        &mut self,
        snapshot: &dyn Snapshot,
        uploaded: &DeviceKeys,
        stored: Option<&str>,
    ) -> Result<()> {
        let (user, device) = self.device;
        let key_id = format!("ed25519:{device}");
        let signature_key = (user.clone(), user.clone(), (device.clone(), key_id));
        let signature = t::SIGNATURES.get(snapshot, &signature_key).await?;
        let is_same = stored == Some(uploaded.body.as_str());
        let is_signed_anew = uploaded
            .signature
            .as_ref()
            .is_some_and(|new| signature.is_none_or(|old| old.signature != *new));
        if is_same && !is_signed_anew {
            return Ok(());
        }
        if !is_same {
            let row = Json::from_text(uploaded.body.clone());
            t::DEVICE_KEYS.put(&mut self.batch, self.device, &row);
            keys::signatures_clear(&mut self.batch, user, device);
        }
        if let Some(signature) = &uploaded.signature {
            keys::signature_put(&mut self.batch, &signature_key, signature);
        }
        self.is_list_changed = true;
        Ok(())
    }

    /// With another identity, what was signed by the one before is worthless.
    fn clear(&mut self) {
        let batch = &mut self.batch;
        t::ONE_TIME_KEYS.delete_range(batch, t::ONE_TIME_KEYS.prefix(self.device));
        t::ONE_TIME_KEY_IDS.delete_range(batch, t::ONE_TIME_KEY_IDS.prefix(self.device));
        t::FALLBACK_KEYS.delete_range(batch, t::FALLBACK_KEYS.prefix(self.device));
        self.head.counts.values_mut().for_each(|count| *count = 0);
        self.head.unused_fallback.clear();
        self.head.given = 0;
        self.are_keys_changed = true;
    }

    async fn one_time_keys(
        &mut self,
        snapshot: &dyn Snapshot,
        upload: &Upload,
        identity: Identity,
    ) -> Result<()> {
        let (user, device) = self.device;
        let id = |key: &OneTimeKey| (user.clone(), device.clone(), key.name());
        let ids: Vec<_> = upload.one_time.iter().map(id).collect();
        let known = match identity {
            Identity::Other => vec![None; ids.len()],
            Identity::Same => t::ONE_TIME_KEY_IDS.get_many(snapshot, &ids).await?,
        };
        let mut index = 0;
        for ((key, id), known) in upload.one_time.iter().zip(&ids).zip(known) {
            let digest: [u8; 32] = Sha256::digest(key.key.as_bytes()).into();
            match known {
                Some(known) if known.digest == digest => continue,
                Some(OneTimeKeyIdRow { given: false, .. }) => {
                    return Err(Error::Param("another one-time key has this id"));
                }
                // The client counts from the start again.
                Some(_) => self.head.given = self.head.given.saturating_sub(1),
                None => {}
            }
            let prefix = (user.clone(), device.clone(), key.algorithm.clone());
            let row = OneTimeKeyRow {
                key_id: key.key_id.clone(),
                key: key.key.clone(),
            };
            t::ONE_TIME_KEYS.put_at_position(&mut self.batch, &prefix, &index, &row);
            let known = OneTimeKeyIdRow {
                digest,
                given: false,
            };
            t::ONE_TIME_KEY_IDS.put(&mut self.batch, id, &known);
            *self.head.counts.entry(key.algorithm.clone()).or_default() += 1;
            index += 1;
            self.are_keys_changed = true;
        }
        if self
            .head
            .counts
            .values()
            .any(|count| *count > ONE_TIME_KEYS_MAX)
            && index > 0
        {
            return Err(Error::TooLarge {
                what: "one-time keys of a device",
                max: ONE_TIME_KEYS_MAX as usize,
            });
        }
        if index > 0 && self.head.given > GIVEN_KEPT_MAX {
            self.forget_given(snapshot, upload).await?;
        }
        Ok(())
    }

    /// Forgets ids of keys that were given out and that the client no longer speaks of.
    async fn forget_given(&mut self, snapshot: &dyn Snapshot, upload: &Upload) -> Result<()> {
        let limit = (ONE_TIME_KEYS_MAX + 2 * GIVEN_KEPT_MAX) as usize;
        let ids = keys::one_time_key_ids(snapshot, self.device, limit).await?;
        let named: Vec<String> = upload.one_time.iter().map(OneTimeKey::name).collect();
        let old = ids
            .into_iter()
            .filter(|(id, row)| row.given && !named.contains(id));
        for (id, _) in old.take(GIVEN_FORGOTTEN_AT_ONCE) {
            let key = (self.device.0.clone(), self.device.1.clone(), id);
            t::ONE_TIME_KEY_IDS.delete(&mut self.batch, &key);
            self.head.given = self.head.given.saturating_sub(1);
        }
        Ok(())
    }

    async fn fallback_keys(
        &mut self,
        snapshot: &dyn Snapshot,
        upload: &Upload,
        identity: Identity,
    ) -> Result<()> {
        for key in &upload.fallback {
            let (user, device) = self.device;
            let place = (user.clone(), device.clone(), key.algorithm.clone());
            let stored = match identity {
                Identity::Other => None,
                Identity::Same => t::FALLBACK_KEYS.get(snapshot, &place).await?,
            };
            // Sent again, it stays used if it was used.
            if stored.is_some_and(|row| row.key_id == key.key_id && row.key == key.key) {
                continue;
            }
            let row = FallbackKeyRow {
                key_id: key.key_id.clone(),
                key: key.key.clone(),
                used: false,
            };
            t::FALLBACK_KEYS.put(&mut self.batch, &place, &row);
            let unused = &mut self.head.unused_fallback;
            if let Err(at) = unused.binary_search(&key.algorithm) {
                unused.insert(at, key.algorithm.clone());
            }
            self.are_keys_changed = true;
        }
        Ok(())
    }
}
