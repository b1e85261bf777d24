//! `/keys/claim`: each one-time key is given out once, in the order of upload; then the fallback key.

use std::collections::BTreeMap;
use std::time::Duration;

use hearth_data::changes::{Change, record};
use hearth_data::e2ee::keys::{self, DeviceAlgorithm, DeviceId, KeyHeadRow, OneTimeKeyIdRow};
use hearth_data::tables as t;
use hearth_store::{Batch, Position, Snapshot};
use ruma::{OwnedDeviceId, OwnedUserId, UserId};
use sha2::{Digest, Sha256};

use crate::json::{Object, object};
use crate::remote::Failures;
use crate::{E2ee, Error, Result};

/// How many keys one claim asks for.
const CLAIMS_MAX: usize = 20_000;
/// How many operations the claim of one key adds to a batch.
const OPS_PER_CLAIM: usize = 5;
/// How many keys are claimed in one commit.
const CLAIMS_PER_COMMIT_MAX: usize = 1_000;

/// What is claimed: a key of an algorithm of each device.
pub type Claims = BTreeMap<OwnedUserId, BTreeMap<OwnedDeviceId, String>>;

/// Keys by user, by device, as JSON objects; and the servers that did not answer.
#[derive(Clone, Debug, Default)]
pub struct KeyAnswer {
    /// User → device → `{"algorithm:id": key}`.
    pub keys: BTreeMap<String, BTreeMap<String, String>>,
    /// Server → why it did not answer, a JSON object.
    pub failures: BTreeMap<String, String>,
}

impl KeyAnswer {
    /// The keys as JSON.
    pub fn keys_json(&self) -> String {
        let mut users = Object::new();
        for (user, devices) in &self.keys {
            let devices = devices.iter();
            users.raw(
                user,
                &object(devices.map(|(device, key)| (device.as_str(), key.as_str()))),
            );
        }
        users.finish()
    }

    /// The answer of `/keys/claim`.
    pub fn to_json(&self) -> String {
        let failures = self.failures.iter();
        let mut answer = Object::new();
        answer.raw("one_time_keys", &self.keys_json());
        answer.raw(
            "failures",
            &object(failures.map(|(server, why)| (server.as_str(), why.as_str()))),
        );
        answer.finish()
    }
}

/// A key to be taken.
type Wanted = (DeviceId, String);

/// What one commit gave out.
type Given = Vec<(DeviceId, String)>;

impl E2ee {
    /// Claims keys, also of other servers' users.
    pub async fn keys_claim(&self, claims: Claims, timeout: Duration) -> Result<KeyAnswer> {
        if claims.values().map(BTreeMap::len).sum::<usize>() > CLAIMS_MAX {
            return Err(Error::TooLarge {
                what: "keys of a claim",
                max: CLAIMS_MAX,
            });
        }
        let (local, remote): (Claims, Claims) = claims
            .into_iter()
            .partition(|(user, _)| self.is_local(user));
        let mut answer = KeyAnswer {
            keys: self.claim_local(local).await?,
            failures: Failures::new(),
        };
        self.claim_remote(remote, timeout, &mut answer).await;
        Ok(answer)
    }

    /// The answer to another server's `/user/keys/claim`.
    pub async fn claim_for_server(&self, claims: Claims) -> Result<String> {
        let (local, _): (Claims, Claims) = claims
            .into_iter()
            .partition(|(user, _)| self.is_local(user));
        let keys = self.claim_local(local).await?;
        let answer = KeyAnswer {
            keys,
            failures: Failures::new(),
        };
        let mut json = Object::new();
        json.raw("one_time_keys", &answer.keys_json());
        Ok(json.finish())
    }

    async fn claim_local(
        &self,
        claims: Claims,
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>> {
        let wanted: Vec<Wanted> = claims
            .into_iter()
            .flat_map(|(user, devices)| {
                let user = user.to_string();
                devices
                    .into_iter()
                    .map(move |(device, algorithm)| ((user.clone(), device.to_string()), algorithm))
            })
            .collect();
        let limits = self.inner.parts.store.limits();
        let at_once = (limits.batch_ops_max / OPS_PER_CLAIM)
            .saturating_sub(1)
            .clamp(1, CLAIMS_PER_COMMIT_MAX);
        let mut keys: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for wanted in wanted.chunks(at_once) {
            let users = wanted.iter().map(|((user, _), _)| user.as_str());
            let _turn = self.turn(users).await;
            let given = self
                .decide(|snapshot| async move { take(&*snapshot, wanted).await })
                .await?;
            for ((user, device), key) in given {
                keys.entry(user).or_default().insert(device, key);
            }
        }
        Ok(keys)
    }
}

async fn take(snapshot: &dyn Snapshot, wanted: &[Wanted]) -> Result<(Batch, Given)> {
    let devices: Vec<DeviceId> = wanted.iter().map(|(device, _)| device.clone()).collect();
    let heads = t::KEY_HEADS.get_many(snapshot, &devices).await?;
    let mut batch = Batch::new();
    let mut given = Given::new();
    let mut users = Vec::new();
    for ((device, algorithm), head) in wanted.iter().zip(heads) {
        let Some(head) = head else { continue };
        let place = (device.0.clone(), device.1.clone(), algorithm.clone());
        let has_key = head.counts.get(algorithm).is_some_and(|count| *count > 0);
        let key = match has_key {
            true => take_one(snapshot, &mut batch, &place, &head).await?,
            false => None,
        };
        let key = match key {
            Some(key) => Some(key),
            None => take_fallback(snapshot, &mut batch, &place, &head).await?,
        };
        if let Some((name, key)) = key {
            let mut object = Object::new();
            object.raw(&name, &key);
            given.push((device.clone(), object.finish()));
            users.push(device.0.clone());
        }
    }
    if !batch.is_empty() {
        users.dedup();
        let changes = users.into_iter().map(|user| Change::Keys { user });
        record(&mut batch, changes.collect());
    }
    Ok((batch, given))
}

type NamedKey = (String, String);

async fn take_one(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    place: &DeviceAlgorithm,
    head: &KeyHeadRow,
) -> Result<Option<NamedKey>> {
    let Some(((position, index), row)) = keys::one_time_key_next(snapshot, place).await? else {
        return Ok(None);
    };
    let (user, device, algorithm) = place;
    let name = format!("{algorithm}:{}", row.key_id);
    t::ONE_TIME_KEYS.delete(batch, &(place.clone(), position, index));
    let id = (user.clone(), device.clone(), name.clone());
    let known = OneTimeKeyIdRow {
        digest: Sha256::digest(row.key.as_bytes()).into(),
        given: true,
    };
    t::ONE_TIME_KEY_IDS.put(batch, &id, &known);
    let mut after = head.clone();
    after.given = after.given.saturating_add(1);
    if let Some(count) = after.counts.get_mut(algorithm) {
        *count = count.saturating_sub(1);
    }
    put_head(batch, place, head, after);
    Ok(Some((name, row.key)))
}

async fn take_fallback(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    place: &DeviceAlgorithm,
    head: &KeyHeadRow,
) -> Result<Option<NamedKey>> {
    let Some(mut row) = t::FALLBACK_KEYS.get(snapshot, place).await? else {
        return Ok(None);
    };
    let key = (format!("{}:{}", place.2, row.key_id), row.key.clone());
    if !row.used {
        row.used = true;
        t::FALLBACK_KEYS.put(batch, place, &row);
        let mut after = head.clone();
        after.unused_fallback.retain(|unused| *unused != place.2);
        put_head(batch, place, head, after);
    }
    Ok(Some(key))
}

fn put_head(batch: &mut Batch, place: &DeviceAlgorithm, before: &KeyHeadRow, after: KeyHeadRow) {
    let device = (place.0.clone(), place.1.clone());
    let after = KeyHeadRow {
        position: Position::ZERO,
        ..after
    };
    keys::head_put(batch, &device, Some(before), &after);
}

/// Claims by the server that they are to be asked of.
pub(crate) fn by_server(claims: Claims) -> BTreeMap<ruma::OwnedServerName, Claims> {
    let mut servers: BTreeMap<ruma::OwnedServerName, Claims> = BTreeMap::new();
    for (user, devices) in claims {
        let server = UserId::server_name(&user).to_owned();
        servers.entry(server).or_default().insert(user, devices);
    }
    servers
}
