//! `/keys/device_signing/upload`: the keys by which a user vouches for her devices and for others.

use std::collections::BTreeMap;

use hearth_data::changes::record;
use hearth_data::e2ee::device_lists::{self, Changed};
use hearth_data::e2ee::keys;
use hearth_data::row::Json;
use hearth_data::tables as t;
use hearth_event::canonical::Value;
use hearth_store::{Batch, Snapshot};
use hearth_types::Caller;
use ruma::UserId;

use crate::schema::{self, SigningKey};
use crate::{E2ee, Error, Result};

const MASTER: &str = "master";
const SELF_SIGNING: &str = "self_signing";
const USER_SIGNING: &str = "user_signing";

/// Whether the user has shown who she is, besides her access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authenticated {
    /// No: only what changes nothing, or the first keys, are taken.
    No,
    /// Yes.
    Yes,
}

/// Cross-signing keys of a user, checked as far as it can be without the store.
#[derive(Clone, Debug)]
pub struct SigningKeys {
    by_usage: BTreeMap<&'static str, SigningKey>,
}

impl SigningKeys {
    /// The keys in a body with `master_key`, `self_signing_key` and `user_signing_key`, each optional.
    pub fn parse(body: &[u8], user: &UserId) -> Result<Self> {
        let body = schema::object(body)?;
        let mut by_usage = BTreeMap::new();
        for usage in [MASTER, SELF_SIGNING, USER_SIGNING] {
            if let Some(key) = schema::field(&body, &format!("{usage}_key"))? {
                by_usage.insert(usage, SigningKey::new(key, user.as_str(), usage)?);
            }
        }
        Ok(Self { by_usage })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_usage.is_empty()
    }
}

impl E2ee {
    /// Publishes cross-signing keys. [`Error::NeedsAuthentication`] if they replace others and the user is not
    /// authenticated.
    pub async fn signing_keys_upload(
        &self,
        caller: &Caller,
        uploaded: &SigningKeys,
        authenticated: Authenticated,
    ) -> Result<()> {
        let user = caller.user.as_str();
        let _turn = self.turn([user].into_iter()).await;
        self.decide(|snapshot| async move {
            let stored = keys::cross_signing_keys(&*snapshot, user).await?;
            let is_same = uploaded.by_usage.iter().all(|(usage, key)| {
                let stored = stored.get(*usage);
                stored.is_some_and(|stored| stored.text() == key.body)
            });
            if is_same {
                return Ok((Batch::new(), ()));
            }
            if stored.contains_key(MASTER) && authenticated == Authenticated::No {
                return Err(Error::NeedsAuthentication);
            }
            let batch = replace(&*snapshot, user, uploaded, &stored).await?;
            Ok((batch, ()))
        })
        .await
    }
}

async fn replace(
    snapshot: &dyn Snapshot,
    user: &str,
    uploaded: &SigningKeys,
    stored: &BTreeMap<String, Json>,
) -> Result<Batch> {
    let stored_master = stored
        .get(MASTER)
        .and_then(|key| SigningKey::stored(key.text()));
    let new_master = uploaded.by_usage.get(MASTER);
    let master = new_master.or(stored_master.as_ref());
    let master = master.ok_or(Error::Missing("there is no master key"))?;
    let mut batch = Batch::new();
    for usage in [MASTER, SELF_SIGNING, USER_SIGNING] {
        let place = (user.to_owned(), usage.to_owned());
        t::CROSS_SIGNING_KEYS.expect(&mut batch, &place, stored.get(usage));
    }
    let is_other_master = stored_master
        .as_ref()
        .is_some_and(|stored| stored.public != master.public);
    if is_other_master {
        // The keys that the old master key vouched for go with it.
        for (usage, key) in stored {
            let place = (user.to_owned(), usage.clone());
            t::CROSS_SIGNING_KEYS.delete(&mut batch, &place);
            if let Some(key) = SigningKey::stored(key.text()) {
                keys::signatures_clear(&mut batch, user, &key.public);
            }
        }
    }
    for (usage, key) in &uploaded.by_usage {
        let device = (user.to_owned(), key.public.clone());
        if t::DEVICES.get(snapshot, &device).await?.is_some() {
            return Err(Error::KeyNamedLikeDevice);
        }
        let place = (user.to_owned(), (*usage).to_owned());
        t::CROSS_SIGNING_KEYS.put(&mut batch, &place, &Json::from_text(key.body.clone()));
        keys::signatures_clear(&mut batch, user, &key.public);
        for (key_id, signature) in vouched(snapshot, user, usage, key, master).await? {
            let place = (
                user.to_owned(),
                user.to_owned(),
                (key.public.clone(), key_id),
            );
            keys::signature_put(&mut batch, &place, &signature);
        }
    }
    let entries = [Changed::CrossSigning];
    let change = device_lists::changed(snapshot, &mut batch, user, &entries).await?;
    record(&mut batch, vec![change]);
    Ok(batch)
}

/// The signatures on a key that are good: the master key may be signed by devices, the others must be signed by the
/// master key.
async fn vouched(
    snapshot: &dyn Snapshot,
    user: &str,
    usage: &str,
    key: &SigningKey,
    master: &SigningKey,
) -> Result<Vec<(String, String)>> {
    let mut good = Vec::new();
    if usage != MASTER {
        let signature = key.signed_by(user, &master.key_id(), &master.bytes);
        let signature =
            signature.ok_or(Error::Signature("a key is not signed by the master key"))?;
        good.push((master.key_id(), signature.to_owned()));
        return Ok(good);
    }
    let signatures = key.object.get("signatures").and_then(Value::as_object);
    let own = signatures.and_then(|signatures| signatures.get(user)?.as_object());
    for key_id in own.into_iter().flat_map(|own| own.keys()) {
        let Some(device) = key_id.strip_prefix("ed25519:") else {
            continue;
        };
        if device == master.public {
            let signed = key.signed_by(user, key_id, &master.bytes);
            let signed = signed.ok_or(Error::Signature("the master key's signature is wrong"))?;
            good.push((key_id.clone(), signed.to_owned()));
            continue;
        }
        let place = (user.to_owned(), device.to_owned());
        let Some(keys) = keys::device_keys(snapshot, &place).await? else {
            continue;
        };
        if let Some(ed25519) = schema::stored_ed25519(keys.text(), device) {
            let signed = key.signed_by(user, key_id, &ed25519);
            let signed = signed.ok_or(Error::Signature("a device's signature is wrong"))?;
            good.push((key_id.clone(), signed.to_owned()));
        }
    }
    Ok(good)
}
