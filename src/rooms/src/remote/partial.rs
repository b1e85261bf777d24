//! Rooms that were joined with a part of their state: they can be used at once, while the rest is fetched. What was
//! written meanwhile gets the whole state below it when that is here.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use hearth_data::partial::{self, PartialRow};
use hearth_data::{Place, RoomNo, timeline};
use hearth_event::Pdu;
use hearth_ports::remote::RemoteError;
use ruma::{OwnedEventId, OwnedServerName, ServerName};

use super::import::Step;
use super::intake::Site;
use super::lift::{MEMBER, Whole};
use crate::stage::admit::{Intake, Taken};
use crate::{Error, Result, Rooms};

/// How long a room waits before the rest of its state is asked for again; doubles up to an hour.
const RETRY: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// How long a request waits for a room's state.
const WHOLE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Most servers that are asked in one go.
const SERVERS_MAX: usize = 8;
/// How many changes of the current state the last commit of a completion may make.
const CHANGES_AT_ONCE: usize = 300;
/// How many rooms are looked up at once.
const PAGE: usize = 100;

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

    /// Waits until all of a room's state is here, if it is one that was joined with a part: who asks for all members
    /// would take a part for all. [`Error::NotYet`] if it takes long.
    pub(crate) async fn whole(&self, room: RoomNo) -> Result<()> {
        let waiting = async {
            loop {
                let mut became_whole = pin!(self.0.became_whole.notified());
                // Before looking, so that what comes after the look is not missed.
                became_whole.as_mut().enable();
                if !self.is_partial(room).await? {
                    return Ok(());
                }
                became_whole.await;
            }
        };
        let waited = tokio::time::timeout(WHOLE_WAIT_MAX, waiting).await;
        waited.unwrap_or(Err(Error::NotYet))
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
                Ok(()) => {
                    self.0.became_whole.notify_waiters();
                    return;
                }
                Err(Error::Stopping) => return,
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
        let stays = partial::stays(&*look.snapshot, room).await?;
        drop(look);
        let own = self.server_name();
        for stay in stays {
            let asked = servers(&stay, own).into_iter().chain(servers(&row, own));
            match self.complete_stay(&site, &stay, asked).await {
                Err(Error::Remote(_) | Error::NoServerInRoom) => {
                    tracing::debug!(join = %stay.join, "nobody tells the state of an earlier stay");
                }
                other => other?,
            }
        }
        self.complete_stay(&site, &row, servers(&row, own)).await
    }

    /// Completes the states of a stay by what one of some servers tells.
    async fn complete_stay(
        &self,
        site: &Site,
        row: &PartialRow,
        servers: impl IntoIterator<Item = OwnedServerName>,
    ) -> Result<()> {
        let mut failure = Error::NoServerInRoom;
        for server in servers {
            match self.complete_from(site, row, &server).await {
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
        let (from, join) = self.partial_join(site, row).await?;
        let (ids, last) = self.fetch_whole(site, server, &join).await?;
        let snapshot = self.snapshot().await?;
        let look = self.look(snapshot, site.room).await?;
        let look = look.ok_or(Error::NoSuchRoom)?;
        let difference = self
            .difference_to(&look, (ids, last.as_ref()), row.state)
            .await?;
        let gone = self.gone(&look, &difference).await?;
        drop(look);
        let create = ("m.room.create".to_owned(), String::new());
        if difference.unset.contains(&create) {
            let what = "a state without its room's create event";
            return Err(RemoteError::Malformed(what.to_owned()).into());
        }
        let state = self.make_state(site, row.state, &difference).await?;
        let is_current = self.is_partial_since(site.room, row).await?;
        // What fits into one commit comes with the last step, so that clients are told of all at once.
        if is_current && difference.set.len() + difference.unset.len() > CHANGES_AT_ONCE {
            self.advance_by((site.room, Some(row.state)), &difference)
                .await?;
        }
        let mut whole = Box::new(Whole {
            join: row.event,
            state,
            from,
            unsaid: BTreeSet::new(),
            moved: BTreeSet::new(),
        });
        for (_, user) in difference.keys.keys().filter(|(kind, _)| kind == MEMBER) {
            whole.note_member(row, self.server_name(), user);
        }
        loop {
            let step = Step::Whole(whole);
            let taken = self
                .take_in(site.room, Intake::Import(Box::new(step)))
                .await?;
            match taken {
                Taken::Next(next) => whole = next,
                _ => break,
            }
        }
        if is_current {
            self.leave_again(site.room, gone).await;
        }
        Ok(())
    }

    /// Whether a stay goes on: no later one began.
    async fn is_partial_since(&self, room: RoomNo, stay: &PartialRow) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let row = partial::partial(&*snapshot, room).await?;
        Ok(row.is_some_and(|row| row.event == stay.event))
    }

    /// Our join, and where it stands in the room's history.
    async fn partial_join(&self, site: &Site, row: &PartialRow) -> Result<(Place, Pdu)> {
        let snapshot = self.snapshot().await?;
        let found = timeline::find(&*snapshot, &row.join).await?;
        let found = found.ok_or(Error::NoSuchEvent)?;
        let kept = timeline::event(&*snapshot, site.room, found.event).await?;
        let (place, kept) = kept.ok_or(Error::NoSuchEvent)?;
        let join = timeline::pdu(site.version, &site.room_id, &kept)?;
        Ok((place.ok_or(Error::NoSuchEvent)?, join))
    }

    /// Fetches the whole state before our join. Answers the ids of its events, and the event that stands over all of
    /// them, if there is one.
    ///
    /// The one event before the join is asked for: servers of the room that have not heard of the join know it. If it may
    /// not be seen by us, whoever let us in still tells of the join itself.
    async fn fetch_whole(
        &self,
        site: &Site,
        server: &ServerName,
        join: &Pdu,
    ) -> Result<(Vec<OwnedEventId>, Option<Pdu>)> {
        if let [last] = join.prev_events() {
            match self.fetch_state_ids(site, server, last).await {
                Ok(ids) => return self.with_last(site, server, (ids, last)).await,
                Err(Error::Remote(RemoteError::Refused { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        let ids = self.fetch_state_ids(site, server, join.event_id()).await?;
        Ok((ids, None))
    }

    /// A state before an event with the event, if it is one of state.
    async fn with_last(
        &self,
        site: &Site,
        server: &ServerName,
        (mut ids, last): (Vec<OwnedEventId>, &OwnedEventId),
    ) -> Result<(Vec<OwnedEventId>, Option<Pdu>)> {
        if ids.contains(last) {
            return Ok((ids, None));
        }
        let wanted = std::slice::from_ref(last);
        if !self.unknown(site, wanted).await?.is_empty() {
            let fetched = self.fetch_events(site, server, wanted).await?;
            self.keep_outliers(site, fetched).await?;
        }
        let snapshot = self.snapshot().await?;
        let found = timeline::find(&*snapshot, last).await?;
        let kept = match found.filter(|found| found.room == site.room) {
            Some(found) => timeline::event(&*snapshot, site.room, found.event).await?,
            None => None,
        };
        let (_, kept) = kept.ok_or(Error::NoSuchEvent)?;
        let event = timeline::pdu(site.version, &site.room_id, &kept)?;
        if event.state_key().is_none() {
            return Ok((ids, None));
        }
        ids.push(last.clone());
        Ok((ids, Some(event)))
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
