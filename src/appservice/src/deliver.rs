//! Sends a service what is in its queue (application service API, "Pushing events").

use std::time::Duration;

use bytes::Bytes;
use hearth_data::appservices::{self as data, ServiceRow};
use hearth_data::timeline::{self, EventRef};
use hearth_event::client::{self, Unsigned};
use hearth_store::{Batch, Position, Snapshot};
use http::Method;
use serde_json::value::RawValue;

use crate::call::Call;
use crate::follower::version;
use crate::{AppServices, Error, Result};

/// How many events a transaction has at most.
const EVENTS_MAX: usize = 100;
/// The pause after the first failure; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);

impl AppServices {
    /// Sends until the server stops.
    pub(crate) async fn deliver(&self, id: &str) {
        let (shutdown, Some(news)) = (&self.0.parts.shutdown, self.0.news.get(id)) else {
            return;
        };
        let mut pause = PAUSE_MIN;
        while !shutdown.is_cancelled() {
            let sent = tokio::select! {
                () = shutdown.cancelled() => return,
                sent = self.send_next(id) => sent,
            };
            match sent {
                Ok(true) => pause = PAUSE_MIN,
                Ok(false) => tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = news.notified() => {}
                },
                Err(error) => {
                    tracing::info!(service = id, %error, ?pause, "an application service is not told yet");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Sends one transaction; answers whether there was one.
    async fn send_next(&self, id: &str) -> Result<bool> {
        let Some((row, upto)) = self.sending(id).await? else {
            return Ok(false);
        };
        let snapshot = self.0.parts.store.snapshot().await?;
        let queued = data::queue(&*snapshot, id, EVENTS_MAX).await?;
        let mut events = Vec::with_capacity(queued.len());
        for ((_, position, index), event) in queued {
            if (position, index) <= upto {
                events.extend(self.shown(&*snapshot, event).await?);
            }
        }
        drop(snapshot);
        self.call(
            id,
            Call {
                method: Method::PUT,
                path: format!("transactions/{}", row.txn),
                is_versioned_only: false,
                body: Some(transaction(&events)?),
            },
        )
        .await?;
        // Lost with the power, it is sent again under the same number.
        let mut batch = Batch::buffered();
        data::dequeue(&mut batch, id, upto);
        let done = ServiceRow {
            sending: None,
            ..row
        };
        data::put_service(&mut batch, id, &done);
        self.0.parts.store.commit(batch).await?;
        Ok(true)
    }

    /// The transaction that is to be acknowledged next, and its last event: the one before, or a new one. What it
    /// consists of is on the disk before it is sent.
    async fn sending(&self, id: &str) -> Result<Option<(ServiceRow, (Position, u32))>> {
        let snapshot = self.0.parts.store.snapshot().await?;
        let row = data::service(&*snapshot, id).await?;
        if let Some(upto) = row.sending {
            return Ok(Some((row, (Position(upto.0), upto.1))));
        }
        let queued = data::queue(&*snapshot, id, EVENTS_MAX).await?;
        let Some(((_, position, index), _)) = queued.last() else {
            return Ok(None);
        };
        let upto = (*position, *index);
        let row = ServiceRow {
            txn: row.txn + 1,
            sending: Some((position.0, *index)),
        };
        let mut batch = Batch::new();
        data::put_service(&mut batch, id, &row);
        self.0.parts.store.commit(batch).await?;
        Ok(Some((row, upto)))
    }

    /// An event in the client format; `None` if it is not there any more.
    async fn shown(
        &self,
        snapshot: &dyn Snapshot,
        EventRef { room, event }: EventRef,
    ) -> Result<Option<Box<RawValue>>> {
        let Some((version, room_id)) = version(snapshot, room).await? else {
            return Ok(None);
        };
        let Some((_, row)) = timeline::event(snapshot, room, event).await? else {
            return Ok(None);
        };
        let pdu = timeline::pdu(version, &room_id, &row)?;
        let age = self.0.parts.clock.now().since(pdu.origin_server_ts());
        let mut unsigned = Unsigned {
            age: i64::try_from(age.as_millis()).ok(),
            ..Unsigned::default()
        };
        if let Some((kind, key)) = pdu.state_key_pair() {
            let view = self.0.parts.states.view(room, snapshot);
            let before = view.lookup(row.state_before, kind, key).await?;
            if let Some(before) = before
                && let Some((_, before)) = timeline::event(snapshot, room, before).await?
            {
                let before = timeline::pdu(version, &room_id, &before)?;
                unsigned.prev_content = Some(before.content().to_owned());
                unsigned.replaces_state = Some(before.event_id().to_owned());
            }
        }
        Ok(Some(client::event(&pdu, &unsigned)))
    }
}

fn transaction(events: &[Box<RawValue>]) -> Result<Bytes> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        events: &'a [Box<RawValue>],
    }
    let body = serde_json::to_vec(&Body { events });
    let body = body.map_err(|error| Error::Refused(error.to_string()))?;
    Ok(body.into())
}
