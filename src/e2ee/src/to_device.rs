//! Messages to devices: each recipient gets a message once per transaction, in the order of the commits, and keeps
//! getting it until its next token shows that it has it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use hearth_data::changes::{Change, record};
use hearth_data::e2ee::keys::DeviceId;
use hearth_data::e2ee::to_device::{self, ToDeviceTxn, ToDeviceTxnRow};
use hearth_data::federation::put_edu;
use hearth_data::row::Json;
use hearth_data::tables as t;
use hearth_event::canonical::quote;
use hearth_store::{Batch, Limits, Position, Snapshot};
use hearth_types::Caller;
use ruma::{OwnedUserId, UserId};

use crate::json::Object;
use crate::{E2ee, Error, Result, device_of, schema};

/// Largest content of a message, in bytes: so that it fits into an EDU, and many into an answer of `/sync`.
pub(crate) const CONTENT_BYTES_MAX: usize = 60 << 10;
/// Longest event type and transaction id, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// How many devices one request names.
const RECIPIENTS_MAX: usize = 20_000;
/// How many devices of a user get what is sent to all of them.
const DEVICES_MAX: usize = 10_000;
/// How many operations a recipient adds to a batch at most.
const OPS_PER_RECIPIENT: usize = 3;
/// How full one EDU to another server gets before the next one begins, in bytes.
const EDU_BYTES_FULL: usize = 40 << 10;
/// How many commits one request takes.
const COMMITS_MAX: usize = 10_000;
/// Of how many devices it is remembered up to where their queues are empty.
const ACKNOWLEDGED_MAX: usize = 20_000;
/// How many messages are removed in one commit.
const REMOVED_AT_ONCE: usize = 500;

/// A message that is to be sent.
#[derive(Clone, Debug)]
pub struct ToDevice {
    /// Its type.
    pub event_type: String,
    /// The client's transaction id.
    pub txn_id: String,
    /// User → device or `*` → content, a JSON object.
    pub messages: BTreeMap<OwnedUserId, BTreeMap<String, String>>,
}

/// Up to where the queues of devices are known to be empty, so that reading them does not pass over what was removed.
#[derive(Debug, Default)]
pub(crate) struct Acknowledged(Mutex<HashMap<DeviceId, Position>>);

impl Acknowledged {
    fn get(&self, device: &DeviceId) -> Position {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(device).copied().unwrap_or(Position::ZERO)
    }

    fn put(&self, device: DeviceId, upto: Position) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= ACKNOWLEDGED_MAX {
            known.clear();
        }
        known.insert(device, upto);
    }
}

/// What one commit of a request does.
struct Step {
    batch: Batch,
    users: Vec<String>,
    edus: BTreeMap<String, Edus>,
    edus_bytes: usize,
    upto: Option<(String, String)>,
}

impl Step {
    /// Half of the limits, so that what is still open and the rows at the end fit in any case.
    fn is_full(&self, next_bytes: usize, limits: Limits) -> bool {
        let ops = self.batch.ops().len() + self.edus.len() + self.edus_bytes / EDU_BYTES_FULL;
        let bytes = self.batch.bytes() + self.edus_bytes + next_bytes;
        self.upto.is_some()
            && (ops + OPS_PER_RECIPIENT > limits.batch_ops_max / 2
                || bytes > limits.batch_bytes_max / 2)
    }
}

/// Messages to users of one server, by user and device.
#[derive(Default)]
struct Edus {
    full: Vec<String>,
    open: BTreeMap<String, BTreeMap<String, String>>,
    bytes: usize,
}

impl Edus {
    fn add(&mut self, user: &str, device: &str, content: &str) {
        let bytes = user.len() + device.len() + content.len();
        if self.bytes > 0 && self.bytes + bytes > EDU_BYTES_FULL {
            self.close();
        }
        let devices = self.open.entry(user.to_owned()).or_default();
        devices.insert(device.to_owned(), content.to_owned());
        self.bytes += bytes;
    }

    fn close(&mut self) {
        let mut users = Object::new();
        for (user, devices) in std::mem::take(&mut self.open) {
            let devices = devices.iter();
            let devices = devices.map(|(device, content)| (device.as_str(), content.as_str()));
            users.raw(&user, &crate::json::object(devices));
        }
        self.full.push(users.finish());
        self.bytes = 0;
    }
}

impl E2ee {
    /// Sends a message to devices. A request that is repeated, with the same device and transaction id, sends nothing
    /// again, but finishes what was interrupted.
    pub async fn send_to_device(&self, caller: &Caller, message: ToDevice) -> Result<()> {
        let device = device_of(caller)?;
        let message = &checked(message)?;
        let kind = &message.event_type;
        let path = format!("{}:{kind}/{}", kind.len(), message.txn_id);
        let txn: &ToDeviceTxn = &(device.0, device.1, path);
        for _ in 0..COMMITS_MAX {
            let row = self
                .decide(|snapshot| async move { self.step(&*snapshot, txn, message).await })
                .await?;
            if row == ToDeviceTxnRow::Done {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    async fn step(
        &self,
        snapshot: &dyn Snapshot,
        txn: &ToDeviceTxn,
        message: &ToDevice,
    ) -> Result<(Batch, ToDeviceTxnRow)> {
        let before = to_device::txn(snapshot, txn).await?;
        let cursor = match &before {
            Some(ToDeviceTxnRow::Done) => return Ok((Batch::new(), ToDeviceTxnRow::Done)),
            Some(ToDeviceTxnRow::Upto(user, device)) => Some((user.clone(), device.clone())),
            None => None,
        };
        let sending = (txn.0.clone(), txn.1.clone());
        let row = t::DEVICES.get(snapshot, &sending).await?;
        let row = row.ok_or(Error::NoDevice)?;
        let mut step = Step {
            batch: Batch::new(),
            users: Vec::new(),
            edus: BTreeMap::new(),
            edus_bytes: 0,
            upto: None,
        };
        t::DEVICES.expect(&mut step.batch, &sending, Some(&row));
        let is_all = self
            .fill(snapshot, &mut step, (txn, cursor), message)
            .await?;
        let mut changes = self.put_edus(&mut step, &txn.0, message);
        let after = match step.upto.filter(|_| !is_all) {
            Some((user, device)) => ToDeviceTxnRow::Upto(user, device),
            None => ToDeviceTxnRow::Done,
        };
        to_device::txn_put(&mut step.batch, txn, before.as_ref(), &after);
        step.users.dedup();
        let users = step.users.into_iter();
        changes.extend(users.map(|user| Change::ToDevice { user }));
        record(&mut step.batch, changes);
        Ok((step.batch, after))
    }

    /// Adds recipients after the cursor until the batch is full. Answers whether all are in.
    async fn fill(
        &self,
        snapshot: &dyn Snapshot,
        step: &mut Step,
        (txn, cursor): (&ToDeviceTxn, Option<(String, String)>),
        message: &ToDevice,
    ) -> Result<bool> {
        let limits = self.inner.parts.store.limits();
        let head = format!(
            r#"{{"sender":{},"type":{},"content":"#,
            quote(&txn.0),
            quote(&message.event_type)
        );
        for (user, contents) in &message.messages {
            let user_id = user.as_str();
            if cursor
                .as_ref()
                .is_some_and(|(upto, _)| upto.as_str() > user_id)
            {
                continue;
            }
            let is_local = self.is_local(user);
            let devices = recipients(snapshot, user, contents, is_local).await?;
            for (device, content) in devices {
                let place = (user_id.to_owned(), device);
                if cursor.as_ref().is_some_and(|cursor| *cursor >= place) {
                    continue;
                }
                if step.is_full(content.len(), limits) {
                    return Ok(false);
                }
                if is_local {
                    let row = t::DEVICES.get(snapshot, &place).await?;
                    if let Some(row) = row {
                        // A message to a device that is being removed would be nobody's.
                        t::DEVICES.expect(&mut step.batch, &place, Some(&row));
                        let json = Json::from_text(format!("{head}{content}}}"));
                        to_device::put(&mut step.batch, &place, &json);
                        step.users.push(place.0.clone());
                    }
                } else {
                    let server = user.server_name().to_string();
                    let edus = step.edus.entry(server).or_default();
                    edus.add(&place.0, &place.1, content);
                    step.edus_bytes += content.len();
                }
                step.upto = Some(place);
            }
        }
        Ok(true)
    }

    /// Puts what is for other servers into their outboxes. Contents are limited so that each EDU fits.
    fn put_edus(&self, step: &mut Step, sender: &str, message: &ToDevice) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut index = 0;
        for (server, mut edus) in std::mem::take(&mut step.edus) {
            edus.close();
            let mut change = None;
            for messages in edus.full {
                let mut content = Object::new();
                content.raw("messages", &messages);
                content.text("message_id", &self.inner.parts.ids.token(24));
                content.text("sender", sender);
                content.text("type", &message.event_type);
                let edu = edu_json("m.direct_to_device", &content.finish());
                change = put_edu(&mut step.batch, &server, index, &edu).or(change);
                index += 1;
            }
            changes.extend(change);
        }
        changes
    }

    /// A device shows by its token that it has all messages up to a position: they are removed.
    pub async fn acknowledge(&self, caller: &Caller, upto: Position) -> Result<()> {
        if caller.device.is_none() {
            return Ok(());
        }
        let device = device_of(caller)?;
        loop {
            let from = self.inner.acknowledged.get(&device);
            // The store tells of a commit a moment after it: what is not seen yet is removed with the next acknowledgement.
            let tables = [t::TO_DEVICE.info().id];
            if from >= upto || !self.inner.parts.store.is_written_past(&tables, from) {
                return Ok(());
            }
            let snapshot = self.snapshot().await?;
            // A token from before a restored backup may be ahead of everything.
            let upto = upto.min(snapshot.position());
            let range = (from, upto);
            let had = to_device::waiting(&*snapshot, &device, range, REMOVED_AT_ONCE).await?;
            let positions: Vec<Position> = had.into_iter().map(|(position, _)| position).collect();
            if !positions.is_empty() {
                let mut batch = Batch::buffered();
                to_device::delete(&mut batch, &device, &positions);
                self.inner.parts.store.commit(batch).await?;
            }
            if positions.len() < REMOVED_AT_ONCE {
                self.inner.acknowledged.put(device, upto);
                return Ok(());
            }
        }
    }
}

/// An EDU as it stands in an outbox.
pub(crate) fn edu_json(edu_type: &str, content: &str) -> Json {
    let mut edu = Object::new();
    edu.raw("content", content);
    edu.text("edu_type", edu_type);
    Json::from_text(edu.finish())
}

/// The devices of one user with what each gets, in the order of their ids. Of another server's user `*` stands as it is.
async fn recipients<'a>(
    snapshot: &dyn Snapshot,
    user: &UserId,
    contents: &'a BTreeMap<String, String>,
    is_local: bool,
) -> Result<BTreeMap<String, &'a String>> {
    let mut devices: BTreeMap<String, &String> = BTreeMap::new();
    if let Some(content) = contents.get("*").filter(|_| is_local) {
        let range = t::DEVICES.prefix(&user.to_string());
        let all = t::DEVICES.range(snapshot, range, DEVICES_MAX).await?;
        devices.extend(all.into_iter().map(|((_, device), _)| (device, content)));
    }
    for (device, content) in contents {
        if !is_local || device != "*" {
            devices.insert(device.clone(), content);
        }
    }
    Ok(devices)
}

/// Refuses what could not be delivered, here or by other servers.
fn checked(mut message: ToDevice) -> Result<ToDevice> {
    check_name(&message.event_type)?;
    check_name(&message.txn_id)?;
    if message.messages.values().map(BTreeMap::len).sum::<usize>() > RECIPIENTS_MAX {
        return Err(Error::TooLarge {
            what: "recipients of a message",
            max: RECIPIENTS_MAX,
        });
    }
    for contents in message.messages.values_mut() {
        for (device, content) in contents.iter_mut() {
            if device.is_empty() || device.len() > NAME_BYTES_MAX {
                return Err(Error::Param("a device id is empty or too long"));
            }
            *content = checked_content(content)?;
        }
    }
    Ok(message)
}

/// The content as canonical JSON, which others can sign.
pub(crate) fn checked_content(content: &str) -> Result<String> {
    let object = schema::object(content.as_bytes())?;
    let content = hearth_event::canonical::to_string(&object);
    match content.len() <= CONTENT_BYTES_MAX {
        true => Ok(content),
        false => Err(Error::TooLarge {
            what: "bytes of a message to a device",
            max: CONTENT_BYTES_MAX,
        }),
    }
}

fn check_name(name: &str) -> Result<()> {
    match name.is_empty() || name.len() > NAME_BYTES_MAX {
        true => Err(Error::Param(
            "a type or transaction id is empty or too long",
        )),
        false => Ok(()),
    }
}
