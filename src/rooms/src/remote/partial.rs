//! Rooms that were joined with a part of their state: they can be used at once, while the rest is fetched. What was
//! written meanwhile gets the whole state below it when that is here.

use std::collections::HashMap;
use std::time::Duration;

use hearth_data::append::EventRow;
use hearth_data::members::THIS_COMMIT;
use hearth_data::partial::{self, PartialRow};
use hearth_data::tables::TIMELINE;
use hearth_data::{Place, RoomNo, StateId, timeline};
use ruma::{OwnedServerName, ServerName};

use super::import::Step;
use super::intake::Site;
use crate::stage::Stage;
use crate::stage::admit::{Intake, Taken};
use crate::{Error, Result, Rooms};

/// How long a room waits before the rest of its state is asked for again; doubles up to an hour.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// Most servers that are asked in one go.
const SERVERS_MAX: usize = 8;
/// Events that one commit puts on the whole state.
const EVENTS_PER_COMMIT: usize = 50;
/// How many rooms are looked up at once.
const PAGE: usize = 100;

/// A step of putting events on the whole state.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// The state before our join, whole.
    pub(crate) state: StateId,
    /// The first event that is not done.
    pub(crate) from: Place,
}

impl Rooms {
    /// Goes on with rooms whose state an earlier run did not complete. Called once at the start.
    pub async fn resume_partial_rooms(&self) -> Result<()> {
        let mut after = RoomNo(0);
        loop {
            let snapshot = self.snapshot().await?;
            let page = partial::after(&*snapshot, after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            for (room, _) in page {
                self.complete_later(room);
            }
        }
    }

    /// Whether only a part of a room's state is here.
    pub async fn is_partial(&self, room: RoomNo) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        Ok(partial::partial(&*snapshot, room).await?.is_some())
    }

    pub(crate) fn complete_later(&self, room: RoomNo) {
        let rooms = self.clone();
        self.0.tasks.spawn(async move {
            let shutdown = rooms.0.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = rooms.complete_room(room) => {}
            }
        });
    }

    async fn complete_room(&self, room: RoomNo) {
        let mut wait = RETRY;
        loop {
            match self.try_complete(room).await {
                Ok(()) | Err(Error::Stopping) => return,
                Err(error) => {
                    tracing::debug!(error = error.chain(), "a room's state is not complete yet");
                }
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn try_complete(&self, room: RoomNo) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let Some(row) = partial::partial(&*snapshot, room).await? else {
            return Ok(());
        };
        let look = self.look(snapshot, room).await?.ok_or(Error::NoSuchRoom)?;
        let site = Site {
            room,
            room_id: look.head.room_id.clone(),
            version: look.version,
        };
        drop(look);
        let mut failure = Error::NoServerInRoom;
        for server in servers(&row, self.server_name()) {
            match self.complete_from(&site, &row, &server).await {
                Err(error @ Error::Remote(_)) => failure = error,
                other => return other,
            }
        }
        Err(failure)
    }

    async fn complete_from(
        &self,
        site: &Site,
        row: &PartialRow,
        server: &ServerName,
    ) -> Result<()> {
        let ids = self.fetch_state_ids(site, server, &row.join).await?;
        let snapshot = self.snapshot().await?;
        let look = self.look(snapshot, site.room).await?;
        let look = look.ok_or(Error::NoSuchRoom)?;
        let (set, unset) = self.difference_to(&look, ids, row.state).await?;
        let place = match timeline::find(&*look.snapshot, &row.join).await? {
            Some(found) => timeline::event(&*look.snapshot, site.room, found.event)
                .await?
                .and_then(|(place, _)| place),
            None => None,
        };
        drop(look);
        let from = place.ok_or(Error::NoSuchEvent)?;
        let whole = self
            .make_state(site, row.state, (set.clone(), unset.clone()))
            .await?;
        self.advance_by((site.room, Some(row.state)), set, unset)
            .await?;
        let mut from = from;
        loop {
            let step = Step::Whole(Box::new(Whole { state: whole, from }));
            let taken = self
                .take_in(site.room, Intake::Import(Box::new(step)))
                .await?;
            match taken {
                Taken::Next(next) => from = next,
                _ => return Ok(()),
            }
        }
    }
}

fn servers(row: &PartialRow, own: &ServerName) -> Vec<OwnedServerName> {
    let mut servers: Vec<OwnedServerName> = Vec::new();
    for server in std::iter::once(&row.resident).chain(&row.servers) {
        if let Ok(server) = ServerName::parse(server.as_str())
            && server != own
            && !servers.contains(&server)
        {
            servers.push(server);
        }
    }
    servers.truncate(SERVERS_MAX);
    servers
}

/// Puts the next events on the whole state; with the last ones the room's state is no longer partial.
pub(super) async fn finish(stage: &mut Stage<'_>, whole: &Whole) -> Result<Taken> {
    let room = stage.room();
    let Some(row) = partial::partial(stage.snapshot, room).await? else {
        return Ok(Taken::Done);
    };
    let events = timeline::forward(
        stage.snapshot,
        room,
        whole.from,
        Place::MAX,
        EVENTS_PER_COMMIT + 1,
    )
    .await?;
    let next = events.get(EVENTS_PER_COMMIT).map(|placed| placed.place);
    let mut states: HashMap<StateId, StateId> = HashMap::from([(row.state, whole.state)]);
    for placed in events.into_iter().take(EVENTS_PER_COMMIT) {
        let before = stage.on_whole((&row, whole), placed.row.state_before, &mut states);
        let before = before.await?;
        let after = stage.on_whole((&row, whole), placed.row.state_after, &mut states);
        let after = after.await?;
        let event = EventRow {
            state_before: before,
            state_after: after,
            ..placed.row
        };
        assert!(event.position != THIS_COMMIT, "a row of the snapshot");
        TIMELINE.put(stage.ops(), &(room, placed.place), &event);
        for extremity in &mut stage.batch.head.extremities {
            if extremity.event == event.event {
                extremity.state_after = after;
            }
        }
    }
    stage.mark_written();
    if let Some(next) = next {
        return Ok(Taken::Next(next));
    }
    let current = stage.state();
    let now = stage.on_whole((&row, whole), current, &mut states).await?;
    stage.batch.head.state = now;
    stage.follow_state(current).await?;
    partial::remove(stage.ops(), room);
    Ok(Taken::Done)
}

impl Stage<'_> {
    /// A state with what is different between it and the partial state put on the whole one.
    async fn on_whole(
        &mut self,
        (row, whole): (&PartialRow, &Whole),
        state: StateId,
        known: &mut HashMap<StateId, StateId>,
    ) -> Result<StateId> {
        if let Some(done) = known.get(&state) {
            return Ok(*done);
        }
        let changes = self.state_changes(row.state, state).await?;
        let changes: Vec<_> = changes
            .iter()
            .map(|((kind, key), event)| (kind.as_str(), key.as_str(), *event))
            .collect();
        let done = self.set_state(whole.state, &changes).await?;
        known.insert(state, done);
        Ok(done)
    }
}
