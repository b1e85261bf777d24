//! Transactions of other servers: what can be refused at once is, the rest is durable before the answer.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use hearth_data::inbox::{self, OriginTxn};
use hearth_data::{RoomNo, rooms};
use hearth_event::{Pdu, RoomVersion, ServerAcl, VerifyError};
use hearth_store::{Batch, Snapshot};
use ruma::{OwnedEventId, OwnedRoomId, RoomId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::check::{KeySource, Refused};
use super::intake::Site;
use crate::{Error, Result, Rider, Rooms};

/// Most events of a transaction (server-server API, "Transactions").
const PDUS_MAX: usize = 50;
/// How often a transaction is tried while others of the same server come in.
const CONFLICTS_MAX: usize = 16;
/// How long a transaction waits for space in the inboxes. Servers wait a minute and longer for the answer.
const SPACE_WAIT_MAX: Duration = Duration::from_secs(20);

/// Why a room's events are not taken.
const NOBODY: &str = "nobody of this server is in the room";

/// What another server sends.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Its id for this transaction.
    pub txn_id: String,
    /// Events as received.
    pub pdus: Vec<Box<RawValue>>,
    /// What is to be written with them: EDUs that must not be lost.
    pub rider: Rider,
}

/// Each event that could be read, and why it was refused if it was at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnAnswer(pub Vec<(OwnedEventId, Option<String>)>);

/// A room as far as its inbox is concerned.
struct Door {
    site: Site,
    refusal: Option<&'static str>,
}

/// An event that may stay.
struct Incoming {
    room: RoomNo,
    json: Bytes,
}

impl Rooms {
    /// Takes a transaction of another server in. When this returns, nothing of it can be lost. A transaction that was
    /// answered before gets the same answer, and nothing is written.
    pub async fn receive(&self, origin: &ServerName, txn: Transaction) -> Result<TxnAnswer> {
        let (rooms, origin) = (self.clone(), origin.to_owned());
        // Goes on when the connection breaks off: what is committed has to be looked at.
        let taken = async move { rooms.take_transaction(&origin, txn).await };
        let taken = self.0.tasks.spawn(taken).await;
        taken.unwrap_or(Err(Error::Stopping))
    }

    async fn take_transaction(&self, origin: &ServerName, txn: Transaction) -> Result<TxnAnswer> {
        if txn.pdus.len() > PDUS_MAX {
            return Err(Error::TooLarge);
        }
        self.space(origin, &txn.pdus).await?;
        for _ in 0..CONFLICTS_MAX {
            let snapshot = self.snapshot().await?;
            let before = inbox::origin_txns(&*snapshot, origin.as_str()).await?;
            let seen = before.iter().flat_map(|row| &row.0);
            if let Some(seen) = seen.rev().find(|seen| seen.txn_id == txn.txn_id) {
                return Ok(answer_again(seen));
            }
            let (answer, incoming) = self.judge(&snapshot, origin, &txn.pdus).await?;
            let mut batch = Batch::new();
            for (index, event) in (0..).zip(&incoming) {
                inbox::put(&mut batch, event.room, index, origin.as_str(), &event.json);
            }
            batch.append(txn.rider.clone());
            let row = OriginTxn {
                txn_id: txn.txn_id.clone(),
                answer: answer
                    .0
                    .iter()
                    .map(|(id, error)| (id.to_string(), error.clone()))
                    .collect(),
            };
            inbox::put_origin_txn(&mut batch, origin.as_str(), before.as_ref(), row);
            // Before the commit: a room's task that is at work may settle an event before this one goes on.
            for event in &incoming {
                self.0.intakes.add(event.room, origin.as_str());
            }
            let Err(error) = self.0.store.commit(batch).await else {
                for event in &incoming {
                    self.wake_intake(event.room);
                }
                return Ok(answer);
            };
            for event in &incoming {
                self.0.intakes.withdraw(event.room, origin.as_str());
            }
            if !matches!(error, hearth_store::Error::Conflict) {
                return Err(error.into());
            }
        }
        Err(Error::Contended)
    }

    /// Waits, but not for ever, until there is space for events: a server that sends faster than they are taken in shall
    /// send more slowly. Were they refused, the last ones would be missing until somebody writes after them.
    async fn space(&self, origin: &ServerName, pdus: &[Box<RawValue>]) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let mut counts: HashMap<OwnedRoomId, usize> = HashMap::new();
        for room_id in pdus.iter().filter_map(|json| room_of(json)) {
            *counts.entry(room_id).or_default() += 1;
        }
        let mut rooms_filled = Vec::with_capacity(counts.len());
        for (room_id, count) in counts {
            let room = rooms::number(&*snapshot, &room_id).await?;
            rooms_filled.extend(room.map(|room| (room, count)));
        }
        drop(snapshot);
        let intakes = &self.0.intakes;
        // `more` is what is there before the last of them.
        let is_full = |(room, count): &(RoomNo, usize)| intakes.is_full(*room, origin, count - 1);
        if !rooms_filled.iter().any(is_full) {
            return Ok(());
        }
        let Some(_held_up) = intakes.held_up(origin) else {
            return Ok(());
        };
        let waiting = async {
            loop {
                let mut freed = pin!(intakes.freed());
                // Before looking, so that what goes after the look is not missed.
                freed.as_mut().enable();
                if !rooms_filled.iter().any(is_full) {
                    return;
                }
                freed.await;
            }
        };
        if tokio::time::timeout(SPACE_WAIT_MAX, waiting).await.is_err() {
            tracing::debug!(%origin, "no space for a transaction");
        }
        Ok(())
    }

    /// Which events may stay, by what can be told without the network.
    async fn judge(
        &self,
        snapshot: &std::sync::Arc<dyn Snapshot>,
        origin: &ServerName,
        pdus: &[Box<RawValue>],
    ) -> Result<(TxnAnswer, Vec<Incoming>)> {
        let mut doors: HashMap<OwnedRoomId, Option<Door>> = HashMap::new();
        let mut answer = TxnAnswer::default();
        let mut incoming = Vec::new();
        for json in pdus {
            let Some(room_id) = room_of(json) else {
                tracing::debug!(%origin, "an event without a room");
                continue;
            };
            if !doors.contains_key(&room_id) {
                let door = self.door(snapshot, &room_id, origin).await?;
                doors.insert(room_id.clone(), door);
            }
            let Some(Some(door)) = doors.get(&room_id) else {
                continue;
            };
            let Ok(pdu) = Pdu::parse(door.site.version, json.get().as_bytes()) else {
                tracing::debug!(%origin, room.id = %room_id, "an event that cannot be read");
                continue;
            };
            let waiting = incoming
                .iter()
                .filter(|event: &&Incoming| event.room == door.site.room)
                .count();
            let is_pending = door.refusal == Some(NOBODY)
                && self
                    .ended_by(&**snapshot, &door.site, &pdu)
                    .await?
                    .is_some();
            let refusal = match door.refusal {
                Some(refusal) if !is_pending => Some(refusal.to_owned()),
                _ if self.0.intakes.is_full(door.site.room, origin, waiting) => {
                    Some("too many events are waiting".to_owned())
                }
                _ => self.refusal((door.site.version, &room_id), json).await,
            };
            if refusal.is_none() {
                incoming.push(Incoming {
                    room: door.site.room,
                    json: Bytes::copy_from_slice(json.get().as_bytes()),
                });
            }
            answer.0.push((pdu.event_id().to_owned(), refusal));
        }
        Ok((answer, incoming))
    }

    /// A room that is known here; `None` if it is not.
    async fn door(
        &self,
        snapshot: &std::sync::Arc<dyn Snapshot>,
        room_id: &RoomId,
        origin: &ServerName,
    ) -> Result<Option<Door>> {
        let Some(room) = rooms::number(&**snapshot, room_id).await? else {
            return Ok(None);
        };
        let Some(look) = self.look(snapshot.clone(), room).await? else {
            return Ok(None);
        };
        let acl = look
            .state_event(look.head.state, "m.room.server_acl", "")
            .await?
            .map(|(event, _)| ServerAcl::of(&event));
        let refusal = if look.head.joined_local == 0 {
            Some(NOBODY)
        } else if acl.is_some_and(|acl| !acl.permits(origin)) {
            Some("the room's ACL denies the server")
        } else {
            None
        };
        let site = Site {
            room,
            room_id: room_id.to_owned(),
            version: look.version,
        };
        Ok(Some(Door { site, refusal }))
    }

    /// Why an event is refused at once. One whose key is not at hand is not: it waits unchecked.
    async fn refusal(
        &self,
        (version, room_id): (RoomVersion, &RoomId),
        json: &RawValue,
    ) -> Option<String> {
        let texts = [json.get().as_bytes()];
        let checked = self.check((version, room_id), &texts, KeySource::AtHand);
        match checked.await.pop()? {
            Ok(_) | Err(Refused::Bad(VerifyError::NoKey(_))) => None,
            Err(Refused::OtherRoom) => Some("the event is of another room".to_owned()),
            Err(Refused::Bad(error)) => Some(error.to_string()),
        }
    }
}

fn room_of(json: &RawValue) -> Option<OwnedRoomId> {
    #[derive(Deserialize)]
    struct Fields {
        room_id: OwnedRoomId,
    }
    let fields: Fields = serde_json::from_str(json.get()).ok()?;
    Some(fields.room_id)
}

fn answer_again(seen: &OriginTxn) -> TxnAnswer {
    let events = seen.answer.iter().filter_map(|(id, error)| {
        let id = ruma::EventId::parse(id.as_str()).ok()?;
        Some((id, error.clone()))
    });
    TxnAnswer(events.collect())
}
