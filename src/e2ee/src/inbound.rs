//! What other servers tell: messages to devices, changed devices, changed cross-signing keys.

use std::time::Duration;

use hearth_data::changes::{Change, record};
use hearth_data::e2ee::remote::{self, RemoteListRow};
use hearth_data::e2ee::{device_lists, keys, to_device};
use hearth_data::row::Json;
use hearth_data::tables as t;
use hearth_event::canonical::{self, Object as Parsed, Value, quote};
use hearth_store::{Batch, Snapshot};
use ruma::{ServerName, UserId};

use crate::remote::{put_cross_signing, put_device};
use crate::schema::{self, DeviceKeys, SigningKey};
use crate::to_device::CONTENT_BYTES_MAX;
use crate::{E2ee, Error, Result};

/// How long a message id of another server is remembered: longer than it repeats a transaction.
const SEEN_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How many old ones are forgotten with each new one.
const FORGOTTEN_AT_ONCE: usize = 4;
/// Longest message id, type and device id, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// How many local devices one EDU reaches.
const RECIPIENTS_MAX: usize = 300;
/// How many names of devices are kept of a user.
const NAMES_MAX: usize = 500;

/// A message of another server, checked.
struct Inbound<'a> {
    id: (String, String),
    sender: &'a str,
    kind: &'a str,
    messages: &'a Parsed,
}

impl<'a> Inbound<'a> {
    fn new(origin: &ServerName, content: &'a Parsed) -> Result<Self> {
        let sender = schema::text(content, "sender")?;
        must_be_of(origin, sender)?;
        let kind = schema::text(content, "type")?;
        let id = schema::text(content, "message_id")?;
        if kind.len() > NAME_BYTES_MAX || id.is_empty() || id.len() > NAME_BYTES_MAX {
            return Err(Error::Param("a name is empty or too long"));
        }
        let messages = schema::field(content, "messages")?;
        let messages = messages.ok_or_else(|| Error::Schema("messages are missing".to_owned()))?;
        Ok(Self {
            id: (origin.to_string(), id.to_owned()),
            sender,
            kind,
            messages,
        })
    }
}

fn must_be_of(origin: &ServerName, user: &str) -> Result<()> {
    match UserId::parse(user) {
        Ok(user) if user.server_name() == origin => Ok(()),
        _ => Err(Error::Foreign),
    }
}

impl E2ee {
    /// Takes the content of an `m.direct_to_device` in, once per origin and message id. What names unknown users or
    /// devices is passed over.
    pub async fn receive_to_device(&self, origin: &ServerName, content: &[u8]) -> Result<()> {
        let content = schema::object(content)?;
        let inbound = &Inbound::new(origin, &content)?;
        let now = self.inner.parts.clock.now();
        let forgotten = hearth_types::UnixMs(
            now.0
                .saturating_sub(u64::try_from(SEEN_FOR.as_millis()).unwrap_or(u64::MAX)),
        );
        self.decide(|snapshot| async move {
            let snapshot = &*snapshot;
            let mut batch = Batch::new();
            if to_device::is_seen(snapshot, &inbound.id).await? {
                return Ok((batch, ()));
            }
            to_device::seen_put(&mut batch, &inbound.id, now);
            let limit = FORGOTTEN_AT_ONCE;
            to_device::seen_forget(snapshot, &mut batch, forgotten, limit).await?;
            let users = self.deliver(snapshot, &mut batch, inbound).await?;
            let changes = users.into_iter().map(|user| Change::ToDevice { user });
            record(&mut batch, changes.collect());
            Ok((batch, ()))
        })
        .await
    }

    async fn deliver(
        &self,
        snapshot: &dyn Snapshot,
        batch: &mut Batch,
        inbound: &Inbound<'_>,
    ) -> Result<Vec<String>> {
        let mut users = Vec::new();
        let mut left = RECIPIENTS_MAX;
        for (user, devices) in inbound.messages {
            let is_local = UserId::parse(user.as_str()).is_ok_and(|user| self.is_local(&user));
            let (true, Some(devices)) = (is_local, devices.as_object()) else {
                continue;
            };
            let range = t::DEVICES.prefix(user);
            let known = t::DEVICES.range(snapshot, range, RECIPIENTS_MAX).await?;
            for (place, row) in known {
                let content = devices.get(&place.1).or_else(|| devices.get("*"));
                let Some(content) = content.and_then(Value::as_object) else {
                    continue;
                };
                let content = canonical::to_string(content);
                if content.len() > CONTENT_BYTES_MAX || left == 0 {
                    continue;
                }
                left -= 1;
                t::DEVICES.expect(batch, &place, Some(&row));
                let message = format!(
                    r#"{{"sender":{},"type":{},"content":{content}}}"#,
                    quote(inbound.sender),
                    quote(inbound.kind)
                );
                to_device::put(batch, &place, &Json::from_text(message));
                users.push(user.clone());
            }
        }
        users.dedup();
        Ok(users)
    }

    /// Takes the content of an `m.device_list_update` in. Answers whether the user's list has to be fetched
    /// ([`E2ee::resync`]) because something before it is missing. Of users whose list nobody asked for nothing is kept.
    pub async fn receive_device_list_update(
        &self,
        origin: &ServerName,
        content: &[u8],
    ) -> Result<Resync> {
        let content = &schema::object(content)?;
        let user = schema::text(content, "user_id")?;
        must_be_of(origin, user)?;
        let update = &Update::new(content, user)?;
        let _turn = self.turn([user].into_iter()).await;
        self.decide(|snapshot| async move {
            let snapshot = &*snapshot;
            let mut batch = Batch::new();
            let Some(before) = remote::list(snapshot, user).await? else {
                if matches!(update.keys, Keys::None) {
                    return Ok((batch, Resync::NotNeeded));
                }
                // Clients hear of it and ask; then the list is fetched.
                let change = device_lists::changed_remotely(snapshot, &mut batch, user).await?;
                record(&mut batch, vec![change]);
                return Ok((batch, Resync::NotNeeded));
            };
            if before.fresh && update.stream <= before.stream {
                return Ok((batch, Resync::NotNeeded));
            }
            let mut after = before.clone();
            let follows = before.fresh && update.previous.contains(&before.stream);
            let resync = match (&update.keys, follows) {
                (Keys::Malformed, _) | (_, false) => {
                    after.fresh = false;
                    Resync::Needed
                }
                (Keys::Gone | Keys::None, true) => {
                    hearth_data::e2ee::device_clear(&mut batch, user, update.device);
                    after.names.retain(|(device, _)| device != update.device);
                    after.stream = update.stream;
                    Resync::NotNeeded
                }
                (Keys::Are(keys, object), true) => {
                    put_device(&mut batch, user, update.device, (keys, object));
                    rename(&mut after, update.device, update.name);
                    after.stream = update.stream;
                    Resync::NotNeeded
                }
            };
            remote::list_put(&mut batch, user, Some(&before), &after);
            let change = device_lists::changed_remotely(snapshot, &mut batch, user).await?;
            record(&mut batch, vec![change]);
            Ok((batch, resync))
        })
        .await
    }

    /// Takes the content of an `m.signing_key_update` in.
    pub async fn receive_signing_key_update(
        &self,
        origin: &ServerName,
        content: &[u8],
    ) -> Result<()> {
        let content = &schema::object(content)?;
        let user = schema::text(content, "user_id")?;
        must_be_of(origin, user)?;
        let mut uploaded = Vec::new();
        for usage in ["master", "self_signing"] {
            if let Some(key) = schema::field(content, &format!("{usage}_key"))? {
                uploaded.push((usage, SigningKey::new(key, user, usage)?));
            }
        }
        let uploaded = &uploaded;
        let _turn = self.turn([user].into_iter()).await;
        self.decide(|snapshot| async move {
            let snapshot = &*snapshot;
            let mut batch = Batch::new();
            if remote::list(snapshot, user).await?.is_some() {
                let stored = keys::cross_signing_keys(snapshot, user).await?;
                for (usage, key) in uploaded {
                    let old = stored.get(*usage);
                    let old = old.and_then(|old| SigningKey::stored(old.text()));
                    if let Some(old) = old {
                        keys::signatures_clear(&mut batch, user, &old.public);
                    }
                    put_cross_signing(&mut batch, user, usage, key);
                }
            }
            let change = device_lists::changed_remotely(snapshot, &mut batch, user).await?;
            record(&mut batch, vec![change]);
            Ok((batch, ()))
        })
        .await
    }
}

/// Whether a user's device list has to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resync {
    /// Something is missing: fetch it soon.
    Needed,
    /// All is known.
    NotNeeded,
}

/// A change of one device.
struct Update<'a> {
    device: &'a str,
    stream: u64,
    previous: Vec<u64>,
    name: Option<&'a str>,
    keys: Keys,
}

enum Keys {
    Gone,
    /// The device has none, so that nobody can write to it.
    None,
    Are(Box<DeviceKeys>, Parsed),
    Malformed,
}

impl<'a> Update<'a> {
    fn new(content: &'a Parsed, user: &str) -> Result<Self> {
        let device = schema::text(content, "device_id")?;
        if device.is_empty() || device.len() > NAME_BYTES_MAX {
            return Err(Error::Param("a device id is empty or too long"));
        }
        let number = |value: &Value| u64::try_from(value.as_integer()?).ok();
        let stream = content.get("stream_id").and_then(number);
        let previous = content.get("prev_id").and_then(Value::as_array);
        let previous = previous.unwrap_or_default().iter().filter_map(number);
        let is_gone = content.get("deleted") == Some(&Value::Bool(true));
        let keys = match schema::field(content, "keys")? {
            _ if is_gone => Keys::Gone,
            Some(keys) => match DeviceKeys::new(keys, user, device) {
                Ok(checked) => Keys::Are(Box::new(checked), keys.clone()),
                Err(_) => Keys::Malformed,
            },
            None => Keys::None,
        };
        Ok(Self {
            device,
            stream: stream.ok_or_else(|| Error::Schema("stream_id is missing".to_owned()))?,
            previous: previous.collect(),
            name: content.get("device_display_name").and_then(Value::as_str),
            keys,
        })
    }
}

fn rename(list: &mut RemoteListRow, device: &str, name: Option<&str>) {
    list.names.retain(|(known, _)| known != device);
    if let Some(name) = name.filter(|name| name.len() <= NAME_BYTES_MAX)
        && list.names.len() < NAMES_MAX
    {
        list.names.push((device.to_owned(), name.to_owned()));
    }
}
