//! `/keys/query`: identity keys and cross-signing keys with the signatures that the asker may see.
//!
//! Of signatures she sees those that the owner of the keys made, and her own. Nobody but their owner sees a
//! user-signing key.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_data::accounts::devices::DeviceRow;
use hearth_data::e2ee::{device_lists, keys, remote};
use hearth_data::tables as t;
use hearth_event::canonical::quote;
use hearth_store::Snapshot;
use ruma::{OwnedDeviceId, OwnedUserId, UserId};

use crate::json::{Object, array, object};
use crate::remote::Failures;
use crate::{E2ee, Error, Result};

/// How many users one query asks for.
const USERS_MAX: usize = 20_000;
/// How many devices of a user are shown.
const DEVICES_MAX: usize = 10_000;
/// How many signatures of one signer on keys of one user are shown.
const SIGNATURES_MAX: usize = 20_000;

/// What is asked: users with the devices wanted; none stands for all.
pub type KeyQuery = BTreeMap<OwnedUserId, Vec<OwnedDeviceId>>;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Viewer<'a> {
    /// A local user.
    User(&'a str),
    /// Another server.
    Server,
}

/// What is shown of one user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UserKeys {
    /// Device → identity keys, signatures and name.
    pub(crate) devices: BTreeMap<String, String>,
    /// Usage → key.
    pub(crate) cross_signing: BTreeMap<String, String>,
}

/// Key → signer → key of the signer → signature.
type Signatures = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

/// The answer to a query, as it grows.
#[derive(Debug, Default)]
pub(crate) struct QueryAnswer {
    pub(crate) users: BTreeMap<String, UserKeys>,
    pub(crate) failures: Failures,
}

impl QueryAnswer {
    /// The answer for clients; other servers get the same without `failures`.
    fn to_json(&self, viewer: Viewer<'_>) -> String {
        let mut answer = Object::new();
        let mut devices = Object::new();
        for (user, keys) in &self.users {
            let shown = keys.devices.iter();
            devices.raw(
                user,
                &object(shown.map(|(id, json)| (id.as_str(), json.as_str()))),
            );
        }
        answer.raw("device_keys", &devices.finish());
        let usages: &[&str] = match viewer {
            Viewer::User(_) => &["master", "self_signing", "user_signing"],
            Viewer::Server => &["master", "self_signing"],
        };
        for usage in usages {
            let keys = self.users.iter().filter_map(|(user, keys)| {
                Some((user.as_str(), keys.cross_signing.get(*usage)?.as_str()))
            });
            answer.raw(&format!("{usage}_keys"), &object(keys));
        }
        if let Viewer::User(_) = viewer {
            let failures = self.failures.iter();
            let failures = failures.map(|(server, why)| (server.as_str(), why.as_str()));
            answer.raw("failures", &object(failures));
        }
        answer.finish()
    }
}

impl E2ee {
    /// The answer of `/keys/query`.
    pub async fn keys_query(
        &self,
        asker: &UserId,
        query: KeyQuery,
        timeout: Duration,
    ) -> Result<String> {
        check_size(&query)?;
        let viewer = Viewer::User(asker.as_str());
        let (local, remote): (KeyQuery, KeyQuery) =
            query.into_iter().partition(|(user, _)| self.is_local(user));
        let mut answer = QueryAnswer::default();
        let snapshot = self.snapshot().await?;
        for (user, devices) in &local {
            let keys = user_keys(&*snapshot, user.as_str(), devices, viewer).await?;
            answer.users.insert(user.to_string(), keys);
        }
        drop(snapshot);
        if !remote.is_empty() {
            self.query_remote(asker, remote, timeout, &mut answer)
                .await?;
        }
        Ok(answer.to_json(viewer))
    }

    /// The devices of a user as they are kept here, also of another server's user, as a JSON object.
    pub async fn known_keys_of(&self, user: &UserId) -> Result<String> {
        let snapshot = self.snapshot().await?;
        let keys = user_keys(&*snapshot, user.as_str(), &[], Viewer::Server).await?;
        let devices = keys.devices.iter();
        Ok(object(
            devices.map(|(id, json)| (id.as_str(), json.as_str())),
        ))
    }

    /// The answer to another server's `/user/keys/query`. Of users that are not local nothing is said.
    pub async fn query_for_server(&self, query: KeyQuery) -> Result<String> {
        check_size(&query)?;
        let snapshot = self.snapshot().await?;
        let mut answer = QueryAnswer::default();
        for (user, devices) in query.iter().filter(|(user, _)| self.is_local(user)) {
            let keys = user_keys(&*snapshot, user.as_str(), devices, Viewer::Server).await?;
            answer.users.insert(user.to_string(), keys);
        }
        Ok(answer.to_json(Viewer::Server))
    }

    /// The answer to another server's `/user/devices/{userId}`; `None` if the user is not local.
    pub async fn devices_for_server(&self, user: &UserId) -> Result<Option<String>> {
        if !self.is_local(user) {
            return Ok(None);
        }
        let snapshot = self.snapshot().await?;
        if t::USERS.get(&*snapshot, &user.to_string()).await?.is_none() {
            return Ok(None);
        }
        let newest = device_lists::newest(&*snapshot, user.as_str()).await?;
        let shown = user_keys(&*snapshot, user.as_str(), &[], Viewer::Server).await?;
        let names = names(&*snapshot, user.as_str(), shown.devices.keys()).await?;
        let devices: Vec<String> = shown
            .devices
            .iter()
            .map(|(device, json)| {
                let mut object = Object::new();
                object.text("device_id", device);
                object.raw("keys", json);
                if let Some(name) = names.get(device) {
                    object.text("device_display_name", name);
                }
                object.finish()
            })
            .collect();
        let mut answer = Object::new();
        answer.text("user_id", user.as_str());
        let stream = newest.map_or(0, |newest| newest.stream_id());
        answer.raw("stream_id", &stream.to_string());
        answer.raw("devices", &array(devices.iter().map(String::as_str)));
        for usage in ["master", "self_signing"] {
            if let Some(key) = shown.cross_signing.get(usage) {
                answer.raw(&format!("{usage}_key"), key);
            }
        }
        Ok(Some(answer.finish()))
    }
}

fn check_size(query: &KeyQuery) -> Result<()> {
    match query.len() <= USERS_MAX {
        true => Ok(()),
        false => Err(Error::TooLarge {
            what: "users of a query",
            max: USERS_MAX,
        }),
    }
}

/// What is shown of a user whose keys are stored; of some devices, if any are named.
pub(crate) async fn user_keys(
    snapshot: &dyn Snapshot,
    user: &str,
    devices: &[OwnedDeviceId],
    viewer: Viewer<'_>,
) -> Result<UserKeys> {
    let bodies: Vec<(String, String)> = if devices.is_empty() {
        let stored = keys::device_keys_of(snapshot, user, DEVICES_MAX).await?;
        let texts = stored.into_iter();
        texts
            .map(|(device, json)| (device, json.text().to_owned()))
            .collect()
    } else {
        let named = devices.iter().take(DEVICES_MAX);
        let ids: Vec<_> = named
            .map(|device| (user.to_owned(), device.to_string()))
            .collect();
        let stored = t::DEVICE_KEYS.get_many(snapshot, &ids).await?;
        let found = ids.into_iter().zip(stored);
        found
            .filter_map(|((_, device), json)| Some((device, json?.text().to_owned())))
            .collect()
    };
    let cross_signing = keys::cross_signing_keys(snapshot, user).await?;
    if bodies.is_empty() && cross_signing.is_empty() {
        return Ok(UserKeys::default());
    }
    let mut signatures = signatures(snapshot, user, viewer).await?;
    let names = names(snapshot, user, bodies.iter().map(|(device, _)| device)).await?;
    let mut shown = UserKeys::default();
    for (device, body) in bodies {
        let signed = signatures.remove(&device).unwrap_or_default();
        let mut unsigned = Object::new();
        if let Some(name) = names.get(&device) {
            unsigned.text("device_display_name", name);
        }
        let mut json = signed_object(&body, &signed);
        json.raw("unsigned", &unsigned.finish());
        shown.devices.insert(device, json.finish());
    }
    let sees_all = matches!(viewer, Viewer::User(asker) if asker == user);
    for (usage, key) in cross_signing {
        if usage == "user_signing" && !sees_all {
            continue;
        }
        let public = crate::schema::SigningKey::stored(key.text()).map(|key| key.public);
        let signed = public.and_then(|public| signatures.remove(&public));
        let json = signed_object(key.text(), &signed.unwrap_or_default()).finish();
        shown.cross_signing.insert(usage, json);
    }
    Ok(shown)
}

fn signed_object(body: &str, signatures: &BTreeMap<String, BTreeMap<String, String>>) -> Object {
    let mut signers = Object::new();
    for (signer, keys) in signatures {
        let mut signed = Object::new();
        for (key_id, signature) in keys {
            signed.text(key_id, signature);
        }
        signers.raw(signer, &signed.finish());
    }
    let mut json = Object::of(body);
    json.raw("signatures", &signers.finish());
    json
}

async fn signatures(snapshot: &dyn Snapshot, user: &str, viewer: Viewer<'_>) -> Result<Signatures> {
    let mut signers = vec![user];
    if let Viewer::User(asker) = viewer
        && asker != user
    {
        signers.push(asker);
    }
    let mut signatures = Signatures::new();
    for signer in signers {
        let made = keys::signatures_by(snapshot, user, signer, SIGNATURES_MAX).await?;
        for (key, by, signature) in made {
            let signers = signatures.entry(key).or_default();
            let keys = signers.entry(signer.to_owned()).or_default();
            keys.insert(by, signature);
        }
    }
    Ok(signatures)
}

/// The public names of a user's devices.
async fn names(
    snapshot: &dyn Snapshot,
    user: &str,
    devices: impl Iterator<Item = &String>,
) -> Result<BTreeMap<String, String>> {
    if let Some(list) = remote::list(snapshot, user).await? {
        return Ok(list.names.into_iter().collect());
    }
    let ids: Vec<_> = devices
        .map(|device| (user.to_owned(), device.clone()))
        .collect();
    let rows: Vec<Option<DeviceRow>> = t::DEVICES.get_many(snapshot, &ids).await?;
    let named = ids.into_iter().zip(rows);
    Ok(named
        .filter_map(|((_, device), row)| Some((device, row?.display_name?)))
        .collect())
}

/// Why a server did not answer, as clients are told.
pub(crate) fn failure(why: &hearth_ports::RemoteKeysError) -> String {
    let (status, errcode) = match why {
        hearth_ports::RemoteKeysError::Unreachable => (503, "M_UNREACHABLE"),
        hearth_ports::RemoteKeysError::Refused(_) => (502, "M_UNKNOWN"),
    };
    format!(
        r#"{{"status":{status},"errcode":"{errcode}","message":{}}}"#,
        quote(&why.to_string())
    )
}
