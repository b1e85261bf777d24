//! Keys of other servers' users: asked of their servers, or taken from what those have told.
//!
//! A list is kept, and kept up to date by EDUs, only for users who share a room with somebody here. It is used when it
//! is known to be complete (`fresh`) and the asker shares a room with the user in which somebody here and she have been
//! together ever since: otherwise her server need not have told of a change. Then it is asked.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use hearth_data::changes::record;
use hearth_data::e2ee::remote::{self, RemoteListRow};
use hearth_data::e2ee::{device_lists, keys};
use hearth_data::row::Json;
use hearth_data::{RoomNo, federation, members, tables as t};
use hearth_event::canonical::{self, Object as Parsed, Value, quote};
use hearth_ports::RemoteKeysError;
use hearth_store::{Batch, Position, Snapshot};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedServerName, OwnedUserId, UserId};

use crate::claim::{Claims, KeyAnswer, by_server};
use crate::json::{Object, array, object};
use crate::query::{KeyQuery, QueryAnswer, UserKeys, Viewer, failure, user_keys};
use crate::schema::{self, DeviceKeys, OneTimeKey, SigningKey};
use crate::{E2ee, Result};

/// Server → why it did not answer.
pub(crate) type Failures = BTreeMap<String, String>;

/// How many servers are asked at once for one client.
const SERVERS_AT_ONCE: usize = 16;
/// Longest time that a client waits for other servers.
const TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// How many devices of a user of another server are kept.
const DEVICES_MAX: usize = 500;
/// How many rooms are read at once.
const ROOMS_AT_ONCE: usize = 1_000;
/// In how many rooms a user's membership is looked up at once.
const MEMBERS_AT_ONCE: usize = 64;
/// Longest name of a device that is kept, in bytes.
const NAME_BYTES_MAX: usize = 1_024;

/// What a server said of a user, checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemoteUser {
    stream: u64,
    devices: BTreeMap<String, (DeviceKeys, Parsed)>,
    names: Vec<(String, String)>,
    cross_signing: BTreeMap<String, SigningKey>,
}

impl RemoteUser {
    /// What `/user/devices` says. Devices with malformed keys are left out; the rest is good all the same.
    pub(crate) fn of_devices(body: &[u8], user: &UserId) -> Option<Self> {
        let answer = schema::object(body).ok()?;
        if schema::text(&answer, "user_id").ok()? != user {
            return None;
        }
        let stream = answer.get("stream_id")?.as_integer()?;
        let mut said = Self {
            stream: u64::try_from(stream).ok()?,
            ..Self::default()
        };
        for device in answer.get("devices")?.as_array()?.iter().take(DEVICES_MAX) {
            said.add_device(device, user);
        }
        for usage in ["master", "self_signing"] {
            said.add_cross_signing(answer.get(&format!("{usage}_key")), user, usage);
        }
        Some(said)
    }

    fn add_device(&mut self, device: &Value, user: &UserId) -> Option<()> {
        let device = device.as_object()?;
        let id = schema::text(device, "device_id").ok()?;
        let keys = device.get("keys")?.as_object()?;
        let checked = DeviceKeys::new(keys, user.as_str(), id).ok()?;
        self.devices.insert(id.to_owned(), (checked, keys.clone()));
        let name = device.get("device_display_name").and_then(Value::as_str);
        if let Some(name) = name.filter(|name| name.len() <= NAME_BYTES_MAX) {
            self.names.push((id.to_owned(), name.to_owned()));
        }
        Some(())
    }

    fn add_cross_signing(&mut self, key: Option<&Value>, user: &UserId, usage: &str) -> Option<()> {
        let key = key?.as_object()?;
        let key = SigningKey::new(key, user.as_str(), usage).ok()?;
        self.cross_signing.insert(usage.to_owned(), key);
        Some(())
    }

    /// Writes everything in place of what stood there.
    fn write(&self, batch: &mut Batch, user: &str) {
        remote::keys_clear(batch, user);
        for (device, (keys, object)) in &self.devices {
            put_device(batch, user, device, (keys, object));
        }
        for (usage, key) in &self.cross_signing {
            put_cross_signing(batch, user, usage, key);
        }
    }
}

/// Writes a device's keys with the signatures that its user made.
pub(crate) fn put_device(
    batch: &mut Batch,
    user: &str,
    device: &str,
    (keys, object): (&DeviceKeys, &Parsed),
) {
    let key = (user.to_owned(), device.to_owned());
    t::DEVICE_KEYS.put(batch, &key, &Json::from_text(keys.body.clone()));
    keys::signatures_clear(batch, user, device);
    put_signatures(batch, user, device, object);
}

/// Writes a cross-signing key with the signatures that its user made.
pub(crate) fn put_cross_signing(batch: &mut Batch, user: &str, usage: &str, key: &SigningKey) {
    let place = (user.to_owned(), usage.to_owned());
    t::CROSS_SIGNING_KEYS.put(batch, &place, &Json::from_text(key.body.clone()));
    put_signatures(batch, user, &key.public, &key.object);
}

fn put_signatures(batch: &mut Batch, user: &str, key: &str, object: &Parsed) {
    let own = object
        .get("signatures")
        .and_then(Value::as_object)
        .and_then(|signatures| signatures.get(user)?.as_object());
    for (key_id, signature) in own.into_iter().flatten() {
        if let Some(signature) = signature.as_str() {
            let place = (
                user.to_owned(),
                user.to_owned(),
                (key.to_owned(), key_id.clone()),
            );
            keys::signature_put(batch, &place, signature);
        }
    }
}

impl E2ee {
    pub(crate) async fn query_remote(
        &self,
        asker: &UserId,
        query: KeyQuery,
        timeout: Duration,
        answer: &mut QueryAnswer,
    ) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let viewer = Viewer::User(asker.as_str());
        let rooms = joined_rooms(&*snapshot, asker.as_str()).await?;
        let mut by_server: BTreeMap<OwnedServerName, Vec<Question>> = BTreeMap::new();
        let mut home = HashMap::new();
        for (user, devices) in query {
            let list = remote::list(&*snapshot, user.as_str()).await?;
            let since = match list.is_some_and(|list| list.fresh) {
                true => Some(remote::known_since(&*snapshot, user.as_str()).await?),
                false => None,
            };
            let shared = (rooms.as_slice(), &mut home);
            let sharing = sharing(&*snapshot, shared, user.as_str(), since).await?;
            let is_shared = sharing != Sharing::No;
            if sharing == Sharing::Unbroken {
                let keys = user_keys(&*snapshot, user.as_str(), &devices, viewer).await?;
                answer.users.insert(user.to_string(), keys);
                continue;
            }
            let server = user.server_name().to_owned();
            let question = Question {
                user,
                devices,
                is_shared,
            };
            by_server.entry(server).or_default().push(question);
        }
        drop((snapshot, rooms));
        let timeout = timeout.min(TIMEOUT_MAX);
        let asked = by_server.into_iter().map(|(server, questions)| async move {
            let said = tokio::time::timeout(timeout, self.ask(asker, &server, questions)).await;
            (server, said.unwrap_or(Err(RemoteKeysError::Unreachable)))
        });
        let mut asked = stream::iter(asked).buffer_unordered(SERVERS_AT_ONCE);
        while let Some((server, said)) = asked.next().await {
            match said {
                Ok(users) => answer.users.extend(users),
                Err(why) => drop(answer.failures.insert(server.to_string(), failure(&why))),
            }
        }
        Ok(())
    }

    /// Asks one server for its users: those who share a room with the asker are kept from now on.
    async fn ask(
        &self,
        asker: &UserId,
        server: &OwnedServerName,
        questions: Vec<Question>,
    ) -> Result<BTreeMap<String, UserKeys>, RemoteKeysError> {
        let viewer = Viewer::User(asker.as_str());
        let mut users = BTreeMap::new();
        let mut others = KeyQuery::new();
        for question in questions {
            if !question.is_shared {
                others.insert(question.user, question.devices);
                continue;
            }
            match self.resync(&question.user).await {
                Ok(()) => {}
                Err(RemoteKeysError::Refused(_)) => {
                    others.insert(question.user, question.devices);
                    continue;
                }
                Err(why) => return Err(why),
            }
            let shown = async {
                let snapshot = self.snapshot().await?;
                user_keys(
                    &*snapshot,
                    question.user.as_str(),
                    &question.devices,
                    viewer,
                )
                .await
            };
            let shown = shown.await.map_err(internal)?;
            users.insert(question.user.to_string(), shown);
        }
        if !others.is_empty() {
            let body = query_body(&others);
            let remote = &self.inner.parts.remote;
            let said = remote.query(server, body).await?;
            let said = checked(&said, &others)
                .ok_or_else(|| RemoteKeysError::Refused("malformed answer".to_owned()))?;
            users.extend(said);
        }
        Ok(users)
    }

    /// Fetches the whole list of a user of another server and keeps it. Tells clients only if it differs.
    pub async fn resync(&self, user: &UserId) -> Result<(), RemoteKeysError> {
        let since = self.snapshot().await.map_err(internal)?.position();
        let body = self.inner.parts.remote.devices(user).await?;
        let said = RemoteUser::of_devices(&body, user)
            .ok_or_else(|| RemoteKeysError::Refused("malformed device list".to_owned()))?;
        let said = &said;
        let _turn = self.turn([user.as_str()].into_iter()).await;
        let kept = self.decide(|snapshot| async move {
            let mut batch = Batch::new();
            let before = remote::list(&*snapshot, user.as_str()).await?;
            let known = user_keys(&*snapshot, user.as_str(), &[], Viewer::Server).await?;
            said.write(&mut batch, user.as_str());
            let row = RemoteListRow {
                stream: said.stream,
                fresh: true,
                names: said.names.clone(),
            };
            remote::list_put(&mut batch, user.as_str(), before.as_ref(), &row);
            remote::known_since_put(&mut batch, user.as_str(), since);
            if before.is_some() && !same_keys(&known, said) {
                let changed =
                    device_lists::changed_remotely(&*snapshot, &mut batch, user.as_str()).await?;
                record(&mut batch, vec![changed]);
            }
            Ok((batch, ()))
        });
        kept.await.map_err(internal)
    }

    pub(crate) async fn claim_remote(
        &self,
        claims: Claims,
        timeout: Duration,
        answer: &mut KeyAnswer,
    ) {
        let timeout = timeout.min(TIMEOUT_MAX);
        let asked = by_server(claims)
            .into_iter()
            .map(|(server, claims)| async move {
                let body = claim_body(&claims);
                let said = self.inner.parts.remote.claim(&server, body);
                let said = tokio::time::timeout(timeout, said).await;
                let said = said.unwrap_or(Err(RemoteKeysError::Unreachable));
                let said = said.and_then(|body| {
                    claimed(&body, &claims)
                        .ok_or_else(|| RemoteKeysError::Refused("malformed answer".to_owned()))
                });
                (server, said)
            });
        let mut asked = stream::iter(asked).buffer_unordered(SERVERS_AT_ONCE);
        while let Some((server, said)) = asked.next().await {
            match said {
                Ok(keys) => answer.keys.extend(keys),
                Err(why) => drop(answer.failures.insert(server.to_string(), failure(&why))),
            }
        }
    }
}

/// A user who is asked for.
struct Question {
    user: OwnedUserId,
    devices: Vec<ruma::OwnedDeviceId>,
    is_shared: bool,
}

fn internal(error: crate::Error) -> RemoteKeysError {
    tracing::warn!(%error, "could not keep another server's keys");
    RemoteKeysError::Refused("could not be kept".to_owned())
}

/// Whether the keys known are those said, whatever the signatures.
fn same_keys(known: &UserKeys, said: &RemoteUser) -> bool {
    known.devices.keys().eq(said.devices.keys())
        && known.cross_signing.keys().eq(said.cross_signing.keys())
        && known.devices.iter().all(|(device, json)| {
            let object = schema::object(json.as_bytes()).unwrap_or_default();
            let signed = said.devices.get(device);
            signed.is_some_and(|(_, said)| {
                let without = |object: &Parsed| canonical::to_string_without(object, &["unsigned"]);
                without(&object) == without(said)
            })
        })
        && known.cross_signing.iter().all(|(usage, json)| {
            let object = schema::object(json.as_bytes()).unwrap_or_default();
            let said = said.cross_signing.get(usage);
            said.is_some_and(|said| {
                canonical::to_string(&object) == canonical::to_string(&said.object)
            })
        })
}

/// The rooms that a local user is joined to.
pub(crate) async fn joined_rooms(snapshot: &dyn Snapshot, user: &str) -> Result<Vec<RoomNo>> {
    let mut rooms = Vec::new();
    let mut after = RoomNo(0);
    loop {
        let page = members::rooms_of(snapshot, user, after, ROOMS_AT_ONCE).await?;
        let is_last = page.len() < ROOMS_AT_ONCE;
        after = page.last().map_or(after, |(room, _)| *room);
        let joined = page
            .into_iter()
            .filter(|(_, row)| row.membership == MembershipState::Join);
        rooms.extend(joined.map(|(room, _)| room));
        if is_last {
            return Ok(rooms);
        }
    }
}

/// How a user of another server shares rooms with a local one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    /// Not at all.
    No,
    /// There is one, but perhaps there was none for a while.
    Now,
    /// In one of them somebody here and she have been together since the moment asked for, without a break.
    Unbroken,
}

/// Looks for a user in these rooms of a local one. `home` remembers since when somebody here has been in them. Whose
/// membership changed since, if only her name in the room, is not known to have been there all the time.
async fn sharing(
    snapshot: &dyn Snapshot,
    (rooms, home): (&[RoomNo], &mut HashMap<RoomNo, Position>),
    user: &str,
    since: Option<Position>,
) -> Result<Sharing> {
    let mut found = Sharing::No;
    for rooms in rooms.chunks(MEMBERS_AT_ONCE) {
        let keys: Vec<_> = rooms.iter().map(|room| (*room, user.to_owned())).collect();
        let rows = t::MEMBERS.get_many(snapshot, &keys).await?;
        for (room, row) in rooms.iter().zip(rows) {
            let Some(row) = row.filter(|row| row.membership == MembershipState::Join) else {
                continue;
            };
            found = Sharing::Now;
            let Some(since) = since else {
                return Ok(found);
            };
            let home_since = match home.get(room) {
                Some(known) => *known,
                None => federation::home_since(snapshot, *room).await?,
            };
            home.insert(*room, home_since);
            if row.position <= since && home_since <= since {
                return Ok(Sharing::Unbroken);
            }
        }
    }
    Ok(found)
}

fn query_body(query: &KeyQuery) -> String {
    let mut users = Object::new();
    for (user, devices) in query {
        let devices: Vec<String> = devices
            .iter()
            .map(|device| quote(device.as_str()))
            .collect();
        users.raw(user.as_str(), &array(devices.iter().map(String::as_str)));
    }
    let mut body = Object::new();
    body.raw("device_keys", &users.finish());
    body.finish()
}

fn claim_body(claims: &Claims) -> String {
    let mut users = Object::new();
    for (user, devices) in claims {
        let mut wanted = Object::new();
        for (device, algorithm) in devices {
            wanted.text(device.as_str(), algorithm);
        }
        users.raw(user.as_str(), &wanted.finish());
    }
    let mut body = Object::new();
    body.raw("one_time_keys", &users.finish());
    body.finish()
}

/// The users in another server's answer to a query, of those that were asked for; malformed keys are left out.
fn checked(body: &[u8], query: &KeyQuery) -> Option<BTreeMap<String, UserKeys>> {
    let answer = schema::object(body).ok()?;
    let mut users = BTreeMap::new();
    for user in query.keys() {
        let mut keys = UserKeys::default();
        let devices = answer.get("device_keys")?.as_object()?.get(user.as_str());
        let devices = devices.and_then(Value::as_object).into_iter().flatten();
        for (device, object) in devices.take(DEVICES_MAX) {
            let Some(object) = object.as_object() else {
                continue;
            };
            if DeviceKeys::new(object, user.as_str(), device).is_ok() {
                keys.devices
                    .insert(device.clone(), canonical::to_string(object));
            }
        }
        for usage in ["master", "self_signing"] {
            let found = answer
                .get(&format!("{usage}_keys"))
                .and_then(|keys| keys.as_object()?.get(user.as_str())?.as_object());
            if let Some(key) =
                found.filter(|key| SigningKey::new(key, user.as_str(), usage).is_ok())
            {
                keys.cross_signing
                    .insert(usage.to_owned(), canonical::to_string(key));
            }
        }
        users.insert(user.to_string(), keys);
    }
    Some(users)
}

/// The keys in another server's answer to a claim, of those that were asked for.
fn claimed(body: &[u8], claims: &Claims) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let answer = schema::object(body).ok()?;
    let said = answer.get("one_time_keys")?.as_object()?;
    let mut users = BTreeMap::new();
    for (user, devices) in claims {
        let Some(found) = said.get(user.as_str()).and_then(Value::as_object) else {
            continue;
        };
        let mut keys = BTreeMap::new();
        for device in devices.keys() {
            let Some((name, key)) = found
                .get(device.as_str())
                .and_then(|keys| keys.as_object()?.first_key_value())
            else {
                continue;
            };
            if let Ok(key) = OneTimeKey::new(name, key, user.as_str()) {
                let named = [(name.as_str(), key.key.as_str())];
                keys.insert(device.to_string(), object(named.into_iter()));
            }
        }
        users.insert(user.to_string(), keys);
    }
    Some(users)
}
