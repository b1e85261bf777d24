//! What other servers say of their users in passing: who is typing, what was read.

use std::time::Duration;

use hearth_data::changes::{self, Change};
use hearth_data::receipts::{self, ReceiptKey, ReceiptRow};
use hearth_data::{Place, timeline};
use hearth_store::{Batch, Position};
use hearth_types::UnixMs;
use ruma::{OwnedEventId, RoomId, ServerName, UserId};

use crate::{Error, Result, Rooms};

/// How long a user of another server is taken to be typing if nothing more is heard.
const TYPING_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a receipt is written anew because another was first.
const CONFLICTS_MAX: usize = 16;
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

    /// A server says what its user has read. What it may not say, and what would go backwards, is passed over. The event
    /// need not be here: it may be on its way, or in history that nobody asked for.
    pub async fn receive_receipt(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user: &UserId,
        receipt: &RemoteReceipt,
    ) -> Result<()> {
        let thread = receipt.thread.clone().unwrap_or_default();
        if thread.len() > THREAD_BYTES_MAX {
            return Ok(());
        }
        let key = ReceiptKey {
            user: user.to_string(),
            kind: "m.read".to_owned(),
            thread,
        };
        for _ in 0..CONFLICTS_MAX {
            let Some(peer) = self.peer_with(server, room_id, user).await? else {
                return Ok(());
            };
            let found = timeline::find(&*peer.snapshot, &receipt.event_id).await?;
            let found = found.filter(|found| found.room == peer.room);
            let place = match found {
                Some(found) => timeline::event(&*peer.snapshot, peer.room, found.event)
                    .await?
                    .and_then(|(place, _)| place),
                None => None,
            };
            let before = receipts::receipt(&*peer.snapshot, peer.room, &key).await?;
            if before
                .as_ref()
                .is_some_and(|before| !is_newer((place, receipt.ts), before))
            {
                return Ok(());
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
                Ok(_) => return Ok(()),
                Err(hearth_store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }
}

/// Whether a receipt is for a later event than another one; where the event of one is not here, whether it was given
/// later.
fn is_newer((place, ts): (Option<Place>, UnixMs), before: &ReceiptRow) -> bool {
    match (place, before.place) {
        (Some(place), Some(before)) => place > before,
        _ => ts > before.ts,
    }
}
