//! Reads the change log and puts what concerns a service into its queue.

use std::time::Duration;

use hearth_data::appservices::enqueue;
use hearth_data::changes::{self, Change};
use hearth_data::timeline::{EventRef, Whereabouts};
use hearth_data::{RoomNo, members, meta, rooms, tables, timeline};
use hearth_event::{Pdu, RoomVersion};
use hearth_store::{Batch, Position, Snapshot};

use crate::interest::Interest;
use crate::{AppServices, Result};

/// Up to where the log is in the queues. In `META`.
const POSITION: &str = "appservice_position";
/// How many rows of the log are read at once.
const ROWS_AT_ONCE: usize = 256;
/// How long after a failure the log is read again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl AppServices {
    /// Follows the log and sends what is in the queues until the server stops.
    pub async fn run(&self) {
        if self.0.registrations.is_empty() {
            return;
        }
        for service in self.0.registrations.iter() {
            if service.url.is_some() {
                let (services, id) = (self.clone(), service.id.clone());
                let tasks = &self.0.parts.tasks;
                tasks.spawn(async move { services.deliver(&id).await });
            }
        }
        let shutdown = &self.0.parts.shutdown;
        let mut interest = Interest::default();
        let mut seen = None;
        while !shutdown.is_cancelled() {
            let stepped = tokio::select! {
                () = shutdown.cancelled() => return,
                stepped = self.step(&mut interest, &mut seen) => stepped,
            };
            if let Err(error) = stepped {
                tracing::warn!(%error, "following the log for application services failed; trying again");
                // What it knows of rooms may be of a part that was not written.
                interest = Interest::default();
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                }
            }
        }
    }

    async fn step(&self, interest: &mut Interest, seen: &mut Option<Position>) -> Result<()> {
        let from = match *seen {
            Some(seen) => seen,
            None => self.begin().await?,
        };
        *seen = Some(from);
        let tables = [tables::CHANGES.info().id];
        self.0.parts.store.wait_past_in(&tables, from).await?;
        *seen = Some(self.follow(interest, from).await?);
        Ok(())
    }

    /// Where the last run ended. A server that had no services begins with what happens from now on.
    async fn begin(&self) -> Result<Position> {
        let snapshot = self.0.parts.store.snapshot().await?;
        let stored = meta::load(&*snapshot, POSITION).await?;
        let stored = stored.and_then(|bytes| bytes.try_into().ok());
        let Some(position) = stored.map(|bytes| Position(u64::from_be_bytes(bytes))) else {
            return Ok(snapshot.position());
        };
        let trimmed = changes::trimmed_to(&*snapshot).await?;
        if position < trimmed {
            tracing::warn!(
                "application services were not told of what happened while there were none"
            );
        }
        Ok(position.max(trimmed))
    }

    /// Reads on, and answers up to where.
    async fn follow(&self, interest: &mut Interest, from: Position) -> Result<Position> {
        let snapshot = self.0.parts.store.snapshot().await?;
        let to = snapshot.position();
        let rows = changes::since(&*snapshot, from, to, ROWS_AT_ONCE).await?;
        let upto = match rows.last() {
            Some((position, _)) if rows.len() == ROWS_AT_ONCE => *position,
            _ => to,
        };
        interest.read_log(&self.0.registrations, &rows);
        // Lost with the power, it is read again: a transaction is kept, and all before it, before it is sent.
        let mut batch = Batch::buffered();
        let mut told = Vec::new();
        for (position, changes) in &rows {
            for (index, change) in (0..).zip(changes) {
                let Some(event) = self.event(&*snapshot, change).await? else {
                    continue;
                };
                let Some(pdu) = event_pdu(&*snapshot, event).await? else {
                    continue;
                };
                let asked = (*position, event.room, &pdu);
                let registrations = &self.0.registrations;
                for service in interest.concerned(&*snapshot, registrations, asked).await? {
                    enqueue(
                        &mut batch,
                        &(service.id.to_string(), *position, index),
                        event,
                    );
                    told.push(service.id.clone());
                }
            }
        }
        meta::put(&mut batch, POSITION, upto.0.to_be_bytes().to_vec());
        self.0.parts.store.commit(batch).await?;
        told.sort_unstable();
        told.dedup();
        for service in told {
            self.wake(&service);
        }
        Ok(upto)
    }

    /// The event that a change tells of. What becomes of a user in a room that nobody here is in has no place in its
    /// history: an invite of another server, and its end.
    async fn event(&self, snapshot: &dyn Snapshot, change: &Change) -> Result<Option<EventRef>> {
        match change {
            Change::Event { room, event } => Ok(Some(EventRef {
                room: *room,
                event: *event,
            })),
            Change::Member {
                room,
                user,
                joined: false,
            } if self.0.registrations.is_local(user) => {
                let row = members::user_room(snapshot, user, *room).await?;
                let Some(row) = row else { return Ok(None) };
                let at = timeline::whereabouts(snapshot, *room, row.event).await?;
                Ok((at == Some(Whereabouts::Outlier)).then_some(EventRef {
                    room: *room,
                    event: row.event,
                }))
            }
            _ => Ok(None),
        }
    }
}

/// An event, if it is there and its room's version is supported.
async fn event_pdu(
    snapshot: &dyn Snapshot,
    EventRef { room, event }: EventRef,
) -> Result<Option<Pdu>> {
    let Some((version, room_id)) = version(snapshot, room).await? else {
        return Ok(None);
    };
    let found = timeline::event(snapshot, room, event).await?;
    found
        .map(|(_, row)| timeline::pdu(version, &room_id, &row))
        .transpose()
        .map_err(Into::into)
}

/// A room's version and id.
pub(crate) type Name = (RoomVersion, ruma::OwnedRoomId);

/// What a room's events are read with; `None` if it is not known, or of a version that is not supported.
pub(crate) async fn version(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Option<Name>> {
    let head = rooms::head(snapshot, room).await?;
    Ok(head.and_then(|head| Some((RoomVersion::new(&head.version)?, head.room_id))))
}
