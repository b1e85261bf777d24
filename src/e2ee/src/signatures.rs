//! `/keys/signatures/upload`: a user vouches for her devices (self-signing key), her devices for her master key, and
//! she for others (user-signing key). Every signature is checked before it is kept.

use std::collections::BTreeMap;

use hearth_data::changes::{Change, record};
use hearth_data::e2ee::device_lists::{self, Changed};
use hearth_data::e2ee::keys;
use hearth_data::row::Json;
use hearth_data::tables as t;
use hearth_event::canonical::{self, Object as Parsed, Value, quote};
use hearth_event::verify_json;
use hearth_store::{Batch, Snapshot};
use hearth_types::Caller;
use ruma::UserId;

use crate::json::{Object, object};
use crate::schema::{self, SigningKey};
use crate::{E2ee, Error, Result};

/// How many keys one request signs.
const SIGNED_MAX: usize = 400;
/// How many of a user's own keys are signed in one commit.
const OWN_SIGNED_MAX: usize = 100;

/// Why a signature was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    Unknown,
    Signature,
    NoSigner,
    Malformed,
}

impl Refused {
    fn to_json(self) -> String {
        let (errcode, error) = match self {
            Self::Unknown => ("M_NOT_FOUND", "no such key, or another one"),
            Self::Signature => ("M_INVALID_SIGNATURE", "the signature does not fit"),
            Self::NoSigner => ("M_INVALID_SIGNATURE", "it is not signed by a key that may"),
            Self::Malformed => ("M_INVALID_PARAM", "not a user or not an object"),
        };
        format!(r#"{{"errcode":"{errcode}","error":{}}}"#, quote(error))
    }
}

/// A signature that fits: whose key, which, signed by which, how.
type Fitting = (String, String, String, String);

impl E2ee {
    /// Keeps signatures. Answers, as JSON, which ones were refused.
    pub async fn signatures_upload(&self, caller: &Caller, body: &[u8]) -> Result<String> {
        let signed = &schema::object(body)?;
        let objects = signed.values().filter_map(Value::as_object);
        let count: usize = objects.map(BTreeMap::len).sum();
        let own = signed.get(caller.user.as_str()).and_then(Value::as_object);
        if count > SIGNED_MAX || own.is_some_and(|own| own.len() > OWN_SIGNED_MAX) {
            return Err(Error::TooLarge {
                what: "signed keys",
                max: OWN_SIGNED_MAX,
            });
        }
        let user = caller.user.as_str();
        let _turn = self.turn([user].into_iter()).await;
        self.decide(|snapshot| async move {
            let mut signing = Signing::load(&*snapshot, user).await?;
            for (target, objects) in signed {
                signing.add(target, objects).await?;
            }
            signing.finish().await
        })
        .await
    }
}

/// Signatures of a user as they are checked.
struct Signing<'a> {
    snapshot: &'a dyn Snapshot,
    user: &'a str,
    own: BTreeMap<String, SigningKey>,
    fitting: Vec<Fitting>,
    failures: BTreeMap<String, BTreeMap<String, Refused>>,
    /// Rows on which what was decided rests.
    expected: Vec<((String, String), Json)>,
}

impl<'a> Signing<'a> {
    async fn load(snapshot: &'a dyn Snapshot, user: &'a str) -> Result<Self> {
        let stored = keys::cross_signing_keys(snapshot, user).await?;
        let own = stored
            .iter()
            .filter_map(|(usage, key)| Some((usage.clone(), SigningKey::stored(key.text())?)));
        let own = own.collect();
        let expected = stored
            .into_iter()
            .map(|(usage, key)| ((user.to_owned(), usage), key));
        Ok(Self {
            snapshot,
            user,
            own,
            fitting: Vec::new(),
            failures: BTreeMap::new(),
            expected: expected.collect(),
        })
    }

    async fn add(&mut self, target: &str, objects: &Value) -> Result<()> {
        let Some(objects) = objects
            .as_object()
            .filter(|_| UserId::parse(target).is_ok())
        else {
            self.refuse(target, "", Refused::Malformed);
            return Ok(());
        };
        for (key, signed) in objects {
            let checked = match signed.as_object() {
                None => Err(Refused::Malformed),
                Some(signed) if target == self.user => self.own_key(key, signed).await?,
                Some(signed) => self.others_key(target, key, signed).await?,
            };
            match checked {
                Ok(fitting) => {
                    let fits = fitting
                        .into_iter()
                        .map(|(by, signature)| (target.to_owned(), key.clone(), by, signature));
                    self.fitting.extend(fits);
                }
                Err(why) => self.refuse(target, key, why),
            }
        }
        Ok(())
    }

    fn refuse(&mut self, target: &str, key: &str, why: Refused) {
        let failures = self.failures.entry(target.to_owned()).or_default();
        failures.insert(key.to_owned(), why);
    }

    /// A device, signed by the self-signing key, or the master key, signed by devices.
    async fn own_key(&self, key: &str, signed: &Parsed) -> Result<Checked> {
        if let Some(master) = self.own.get("master").filter(|master| master.public == key) {
            return self.own_master(master, signed).await;
        }
        let place = (self.user.to_owned(), key.to_owned());
        let stored = keys::device_keys(self.snapshot, &place).await?;
        if stored.is_none_or(|stored| stored.text() != without_signatures(signed)) {
            return Ok(Err(Refused::Unknown));
        }
        Ok(match self.own.get("self_signing") {
            Some(signer) => signed_by(signed, self.user, signer),
            None => Err(Refused::NoSigner),
        })
    }

    async fn own_master(&self, master: &SigningKey, signed: &Parsed) -> Result<Checked> {
        if without_signatures(signed) != master.body {
            return Ok(Err(Refused::Unknown));
        }
        let signatures = signed.get("signatures").and_then(Value::as_object);
        let by_own = signatures.and_then(|signatures| signatures.get(self.user)?.as_object());
        let mut fitting = Vec::new();
        for (key_id, signature) in by_own.into_iter().flatten() {
            let Some(device) = key_id.strip_prefix("ed25519:") else {
                continue;
            };
            let place = (self.user.to_owned(), device.to_owned());
            let stored = keys::device_keys(self.snapshot, &place).await?;
            let ed25519 = stored.and_then(|stored| schema::stored_ed25519(stored.text(), device));
            let Some(ed25519) = ed25519 else { continue };
            let fits = verify_json(signed, self.user, key_id, &ed25519).is_ok();
            let Some(signature) = signature.as_str().filter(|_| fits) else {
                return Ok(Err(Refused::Signature));
            };
            fitting.push((key_id.clone(), signature.to_owned()));
        }
        Ok(match fitting.is_empty() {
            true => Err(Refused::NoSigner),
            false => Ok(fitting),
        })
    }

    /// Another user's master key, signed by the user-signing key.
    async fn others_key(&mut self, target: &str, key: &str, signed: &Parsed) -> Result<Checked> {
        let mut stored = keys::cross_signing_keys(self.snapshot, target).await?;
        let master = stored.remove("master");
        let Some(row) = master.filter(|row| {
            let known = SigningKey::stored(row.text());
            known.is_some_and(|known| known.public == key)
                && row.text() == without_signatures(signed)
        }) else {
            return Ok(Err(Refused::Unknown));
        };
        self.expected
            .push(((target.to_owned(), "master".to_owned()), row));
        Ok(match self.own.get("user_signing") {
            Some(signer) => signed_by(signed, self.user, signer),
            None => Err(Refused::NoSigner),
        })
    }

    async fn finish(self) -> Result<(Batch, String)> {
        let mut batch = Batch::new();
        let mut own: Vec<&str> = Vec::new();
        let mut are_others_signed = false;
        for (target, key, by, signature) in &self.fitting {
            let place = (
                target.clone(),
                self.user.to_owned(),
                (key.clone(), by.clone()),
            );
            let stored = t::SIGNATURES.get(self.snapshot, &place).await?;
            if stored.is_some_and(|stored| stored.signature == *signature) {
                continue;
            }
            if target == self.user {
                own.push(key);
                keys::signature_put(&mut batch, &place, signature);
            } else {
                keys::signature_put_on_other(self.snapshot, &mut batch, &place, signature).await?;
                are_others_signed = true;
            }
        }
        if !batch.is_empty() {
            for (key, row) in &self.expected {
                t::CROSS_SIGNING_KEYS.expect(&mut batch, key, Some(row));
            }
            for key in &own {
                self.expect_device(&mut batch, key).await?;
            }
            let mut changes = Vec::new();
            if !own.is_empty() {
                let entries = self.changed(&own);
                let change =
                    device_lists::changed(self.snapshot, &mut batch, self.user, &entries).await?;
                changes.push(change);
            }
            if are_others_signed {
                let user = self.user.to_owned();
                changes.push(Change::Keys { user });
            }
            record(&mut batch, changes);
        }
        Ok((batch, self.answer()))
    }

    /// Signatures on a device that is being removed would be nobody's.
    async fn expect_device(&self, batch: &mut Batch, key: &str) -> Result<()> {
        let place = (self.user.to_owned(), key.to_owned());
        if let Some(row) = keys::device_keys(self.snapshot, &place).await? {
            t::DEVICE_KEYS.expect(batch, &place, Some(&row));
        }
        Ok(())
    }

    /// What changed of the signer's own list.
    fn changed<'b>(&self, own: &[&'b str]) -> Vec<Changed<'b>> {
        let master = self.own.get("master").map(|master| master.public.as_str());
        let mut entries: Vec<Changed<'b>> = own
            .iter()
            .map(|key| match Some(*key) == master {
                true => Changed::CrossSigning,
                false => Changed::Device(key),
            })
            .collect();
        entries.dedup();
        entries
    }

    fn answer(&self) -> String {
        let users: Vec<(&str, String)> = self
            .failures
            .iter()
            .map(|(user, keys)| {
                let keys: Vec<(&str, String)> = keys
                    .iter()
                    .map(|(key, why)| (key.as_str(), why.to_json()))
                    .collect();
                let keys = keys.iter().map(|(key, why)| (*key, why.as_str()));
                (user.as_str(), object(keys))
            })
            .collect();
        let mut answer = Object::new();
        let users = users.iter().map(|(user, keys)| (*user, keys.as_str()));
        answer.raw("failures", &object(users));
        answer.finish()
    }
}

/// Signing keys with their signatures, or why there is none.
type Checked = Result<Vec<(String, String)>, Refused>;

fn without_signatures(signed: &Parsed) -> String {
    canonical::to_string_without(signed, &["signatures", "unsigned"])
}

fn signed_by(signed: &Parsed, user: &str, signer: &SigningKey) -> Checked {
    let key_id = signer.key_id();
    let Some(signature) = schema::signature(signed, user, &key_id) else {
        return Err(Refused::NoSigner);
    };
    match verify_json(signed, user, &key_id, &signer.bytes) {
        Ok(()) => Ok(vec![(key_id, signature.to_owned())]),
        Err(_) => Err(Refused::Signature),
    }
}
