//! The task of one destination: one transaction after the other, until there is nothing left or it fails.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use hearth_data::federation;
use hearth_data::row::Json;
use hearth_data::timeline;
use hearth_store::{Batch, Position};
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::queue::{Queue, Queued, Taken, Todo, Unanswered};
use super::transaction::{EDUS_MAX, Transaction};
use super::{Sender, backoff, catch_up};
use crate::{Ask, Error, Result};

/// How long a server may take to answer a transaction.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// Largest answer to a transaction, in bytes.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Most EDUs that are kept for a server that does not take them; of more the oldest are let go.
const OUTBOX_MAX: usize = 20_000;
/// Length of transaction ids.
const TXN_ID_LENGTH: usize = 18;

/// What became of a transaction.
enum Outcome {
    Acknowledged,
    /// Not as such: it is too large, or something in it is wrong.
    Refused,
    Failed,
}

impl Sender {
    /// Runs until there is nothing to send, or sending has failed.
    pub(super) async fn deliver(&self, server: OwnedServerName) {
        while !self.0.parts.shutdown.is_cancelled() {
            let todo = {
                let now = self.0.parts.clock.now();
                let mut board = self.board();
                let Some(queue) = board.queues.get_mut(&server) else {
                    return;
                };
                let todo = queue.todo(now);
                if matches!(todo, Todo::Rest | Todo::Wait(_)) {
                    queue.is_running = false;
                    self.schedule(&mut board, &server);
                    return;
                }
                todo
            };
            let done = match todo {
                Todo::CatchUp(cursor) => self.catch_up(&server, cursor).await,
                _ => self.send_next(&server).await,
            };
            if let Err(error) = done {
                tracing::warn!(%error, "could not send to `{server}`; trying again later");
                self.note_failure(&server).await;
            }
        }
    }

    async fn catch_up(&self, server: &ServerName, cursor: Position) -> Result<()> {
        self.with(server, Queue::begin_catch_up);
        let snapshot = self.0.parts.store.snapshot().await?;
        let newest = catch_up::newest(&*snapshot, server, self.server_name(), cursor).await?;
        let upto = snapshot.position();
        tracing::debug!(rooms = newest.len(), "`{server}` is behind");
        self.with(server, |queue| queue.caught_up(newest, upto));
        self.store_row(server).await
    }

    async fn send_next(&self, server: &ServerName) -> Result<()> {
        let unanswered = self
            .with(server, |queue| queue.unanswered.clone())
            .flatten();
        let unanswered = match unanswered {
            Some(unanswered) => unanswered,
            None => match self.prepare(server).await? {
                Some(prepared) => prepared,
                None => return Ok(()),
            },
        };
        let now = self.0.parts.clock.now();
        self.with(server, |queue| queue.tried_at = now);
        let taken = unanswered.taken.clone();
        match self.transmit(server, &unanswered).await {
            Outcome::Acknowledged => {
                self.acknowledged(server, &taken).await?;
            }
            Outcome::Refused => {
                let is_dropped = self
                    .with(server, |queue| {
                        queue.unanswered = None;
                        queue.refused(&taken)
                    })
                    .unwrap_or_default();
                if is_dropped {
                    tracing::warn!("`{server}` takes everything but one item, which is let go");
                    self.acknowledged(server, &Taken { events: 0, ..taken })
                        .await?;
                }
            }
            Outcome::Failed => {
                self.with(server, |queue| queue.unanswered = Some(unanswered));
                self.note_failure(server).await;
            }
        }
        Ok(())
    }

    /// Puts the next transaction together; nothing if there is nothing to send.
    async fn prepare(&self, server: &ServerName) -> Result<Option<Unanswered>> {
        let Some((events, passing, has_outbox, items_max)) = self.with(server, |queue| {
            let events: Vec<Queued> = queue.events().copied().take(queue.items_max).collect();
            let passing = queue.take_passing();
            // Set again by whoever puts something there.
            let has_outbox = std::mem::take(&mut queue.has_outbox);
            (events, passing, has_outbox, queue.items_max)
        }) else {
            return Ok(None);
        };
        let snapshot = self.0.parts.store.snapshot().await?;
        let mut transaction = Transaction::default();
        let mut taken = Taken::default();
        for queued in events {
            let found = timeline::event(&*snapshot, queued.room, queued.event).await?;
            // An event that is gone (purged) needs not be sent.
            if let Some((_, row)) = found
                && !transaction.add_pdu(row.json)
            {
                break;
            }
            taken.events += 1;
        }
        if has_outbox {
            let limit = (EDUS_MAX + 1).min(items_max.saturating_sub(taken.events));
            let rows = federation::outbox(&*snapshot, server.as_str(), limit).await?;
            let mut is_all = rows.len() < limit;
            for (at, Json(edu)) in rows {
                if !transaction.add_edu(edu) {
                    is_all = false;
                    break;
                }
                taken.outbox = Some(at);
            }
            if !is_all {
                self.with(server, |queue| queue.has_outbox = true);
            }
        }
        for edu in passing {
            transaction.add_edu(edu);
        }
        if transaction.is_empty() {
            self.with(server, |queue| queue.succeeded(&taken));
            self.store_row(server).await?;
            return Ok(None);
        }
        taken.items = transaction.len();
        let body = transaction.body(self.server_name(), self.0.parts.clock.now());
        Ok(Some(Unanswered {
            txn_id: self.0.parts.ids.token(TXN_ID_LENGTH),
            body,
            taken,
        }))
    }

    async fn transmit(&self, server: &ServerName, transaction: &Unanswered) -> Outcome {
        // The semaphore is never closed.
        let _permit = self.0.transactions.acquire().await;
        let uri = format!("/_matrix/federation/v1/send/{}", transaction.txn_id);
        let ask = Ask {
            time_max: ANSWER_TIME_MAX,
            bytes_max: ANSWER_BYTES_MAX,
            ..Ask::put(uri, transaction.body.clone())
        };
        let answered = tokio::select! {
            answered = self.0.parts.client.ask(server, ask) => answered,
            () = self.0.parts.shutdown.cancelled() => return Outcome::Failed,
        };
        match answered {
            Ok(answer) => {
                log_refused(server, &answer.body);
                Outcome::Acknowledged
            }
            Err(Error::Refused {
                status: 400 | 413,
                errcode,
                message,
                ..
            }) if !errcode.is_empty() => {
                let items = transaction.taken.items;
                tracing::debug!(items, errcode, message, "`{server}` refused a transaction");
                Outcome::Refused
            }
            Err(error) => {
                tracing::debug!(%error, "could not send to `{server}`");
                Outcome::Failed
            }
        }
    }

    async fn acknowledged(&self, server: &ServerName, taken: &Taken) -> Result<()> {
        if let Some(at) = taken.outbox {
            let mut batch = Batch::new();
            federation::outbox_done(&mut batch, server.as_str(), at);
            self.0.parts.store.commit(batch).await?;
        }
        self.with(server, |queue| {
            queue.unanswered = None;
            queue.succeeded(taken);
        });
        self.store_row(server).await
    }

    async fn note_failure(&self, server: &ServerName) {
        let now = self.0.parts.clock.now();
        let random = u32::from_be_bytes(self.0.parts.ids.bytes());
        let seen = self.board().seen;
        self.with(server, |queue| {
            let retry_at = backoff::retry_at(now, queue.failures.saturating_add(1), random);
            queue.failed(seen, retry_at);
            queue.has_outbox = true;
        });
        let stored = self.store_row(server).await;
        let pruned = self.prune_outbox(server).await;
        if let Err(error) = stored.and(pruned) {
            tracing::warn!(%error, "could not note that `{server}` is out of reach");
        }
    }

    /// Writes how far a destination is behind, or removes what was written.
    async fn store_row(&self, server: &ServerName) -> Result<()> {
        let Some((row, is_stored)) = self.with(server, |queue| (queue.row(), queue.is_stored))
        else {
            return Ok(());
        };
        if row.is_none() && !is_stored {
            return Ok(());
        }
        let mut batch = Batch::buffered();
        federation::put_destination(&mut batch, server.as_str(), row.as_ref());
        self.0.parts.store.commit(batch).await?;
        self.with(server, |queue| queue.is_stored = row.is_some());
        Ok(())
    }

    async fn prune_outbox(&self, server: &ServerName) -> Result<()> {
        let snapshot = self.0.parts.store.snapshot().await?;
        let limit = OUTBOX_MAX + EDUS_MAX;
        let rows = federation::outbox(&*snapshot, server.as_str(), limit).await?;
        let Some(excess) = rows
            .len()
            .checked_sub(OUTBOX_MAX)
            .filter(|excess| *excess > 0)
        else {
            return Ok(());
        };
        tracing::warn!(
            excess,
            "too much is kept for `{server}`; the oldest is let go"
        );
        let mut batch = Batch::new();
        federation::outbox_done(&mut batch, server.as_str(), rows[excess - 1].0);
        self.0.parts.store.commit(batch).await?;
        Ok(())
    }

    /// Does something with a destination's queue, if it has one.
    fn with<T>(&self, server: &ServerName, act: impl FnOnce(&mut Queue) -> T) -> Option<T> {
        self.board().queues.get_mut(server).map(act)
    }
}

/// Notes what the server says of single events: for whoever looks for the reason why something is missing there.
fn log_refused(server: &ServerName, answer: &Bytes) {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow, default)]
        pdus: HashMap<String, &'a RawValue>,
    }
    let Ok(answer) = serde_json::from_slice::<Answer<'_>>(answer) else {
        return;
    };
    for (event_id, said) in answer.pdus {
        if said.get().contains("\"error\"") {
            let said: String = said.get().chars().take(200).collect();
            tracing::debug!(event_id, said, "`{server}` did not take an event");
        }
    }
}
