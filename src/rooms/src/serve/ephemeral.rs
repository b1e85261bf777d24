//! What other servers say of their users in passing: who is typing, what was read.

use std::time::Duration;

use hearth_data::changes::{self, Change};
use hearth_data::receipts::{self, ReceiptKey, ReceiptRow};
use hearth_data::timeline;
use hearth_store::{Batch, Position};
use hearth_types::UnixMs;
use ruma::{OwnedEventId, RoomId, ServerName, UserId};

use crate::{Error, Result, Rooms};

/// How long a user of another server is taken to be typing if nothing more is heard.
const TYPING_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a receipt is written anew because another was first.
const CONFLICTS_MAX: usize = 16;
/// A receipt may overtake its event, which waits in the inbox: it is kept for so long.
const EARLY_RECEIPT_MAX: Duration = Duration::from_secs(10);
/// So many receipts wait for their events; more are passed over.
pub(crate) const EARLY_RECEIPTS_MAX: usize = 256;
/// Longest name of a thread, in bytes.
const THREAD_BYTES_MAX: usize = 255;

/// A public receipt of another server's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteReceipt {
    /// What was read.
    pub event_id: OwnedEventId,
    /// `main` or a thread's root; unthreaded if absent.
    pub thread: Option<String>,
    /// When, by the other server's clock.
    pub ts: UnixMs,
}

/// How a receipt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arrival {
    /// It was written, or passed over.
    InTime,
    BeforeItsEvent,
}

impl Rooms {
    /// A server says that its user is typing. What it may not say is passed over.
    pub async fn receive_typing(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<()> {
        if let Some(peer) = self.peer_with(server, room_id, user).await? {
            self.typing()
                .start(peer.room, user.to_owned(), TYPING_TIMEOUT);
        }
        Ok(())
    }

    /// A server says that its user is not typing any more.
    pub async fn receive_typing_end(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<()> {
        if let Some(peer) = self.peer_with(server, room_id, user).await? {
            self.typing().stop(peer.room, &user.to_owned());
        }
        Ok(())
    }

    /// A server says what its user has read. What it may not say, and what would go backwards, is passed over; a receipt
    /// that has overtaken its event is kept for a moment.
    pub async fn receive_receipt(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user: &UserId,
        receipt: &RemoteReceipt,
    ) -> Result<()> {
        let before = self.snapshot().await?.position();
        if self.take_receipt(server, room_id, user, receipt).await? == Arrival::BeforeItsEvent {
            self.keep_receipt(before, (server, room_id, user), receipt);
        }
        Ok(())
    }

    /// Looks again after each commit, as long as it may take an event to come through the inbox.
    fn keep_receipt(
        &self,
        mut seen: Position,
        (server, room_id, user): (&ServerName, &RoomId, &UserId),
        receipt: &RemoteReceipt,
    ) {
        let Ok(permit) = self.0.early_receipts.clone().try_acquire_owned() else {
            return;
        };
        let (rooms, receipt) = (self.clone(), receipt.clone());
        let (server, room_id, user) = (server.to_owned(), room_id.to_owned(), user.to_owned());
        let waiting = async move {
            let _permit = permit;
            loop {
                seen = rooms.0.store.wait_past(seen).await?;
                let arrival = rooms.take_receipt(&server, &room_id, &user, &receipt);
                if arrival.await? == Arrival::InTime {
                    return Ok::<_, Error>(());
                }
            }
        };
        let shutdown = self.0.shutdown.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                waited = tokio::time::timeout(EARLY_RECEIPT_MAX, waiting) => {
                    if let Ok(Err(error)) = waited {
                        tracing::warn!(%error, "could not take in a receipt");
                    }
                }
            }
        });
    }

    async fn take_receipt(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user: &UserId,
        receipt: &RemoteReceipt,
    ) -> Result<Arrival> {
        let thread = receipt.thread.clone().unwrap_or_default();
        if thread.len() > THREAD_BYTES_MAX {
            return Ok(Arrival::InTime);
        }
        let key = ReceiptKey {
            user: user.to_string(),
            kind: "m.read".to_owned(),
            thread,
        };
        for _ in 0..CONFLICTS_MAX {
            let Some(peer) = self.peer_with(server, room_id, user).await? else {
                return Ok(Arrival::InTime);
            };
            let found = timeline::find(&*peer.snapshot, &receipt.event_id).await?;
            let found = found.filter(|found| found.room == peer.room);
            let place = match found {
                Some(found) => timeline::event(&*peer.snapshot, peer.room, found.event)
                    .await?
                    .and_then(|(place, _)| place),
                // It may be on its way. Without a place it tells clients nothing.
                None => return Ok(Arrival::BeforeItsEvent),
            };
            let before = receipts::receipt(&*peer.snapshot, peer.room, &key).await?;
            if before.as_ref().is_some_and(|before| before.place >= place) {
                return Ok(Arrival::InTime);
            }
            let row = ReceiptRow {
                event_id: receipt.event_id.clone(),
                place,
                ts: receipt.ts,
                position: Position::ZERO,
            };
            let mut batch = Batch::buffered();
            receipts::put(&mut batch, peer.room, &key, before.as_ref(), &row);
            let change = Change::Receipt {
                room: peer.room,
                private_to: None,
            };
            changes::record(&mut batch, vec![change]);
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(Arrival::InTime),
                Err(hearth_store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }
}
