//! History that we lack, fetched when somebody reads there.

use std::collections::HashSet;
use std::time::Duration;

use hearth_data::gaps::{self, GapRow};
use hearth_data::{Place, rooms, timeline};
use hearth_event::Pdu;
use hearth_ports::remote::{At, Direction, FoundAt};
use hearth_ports::{BoxFuture, Filled, History, PageBack};
use ruma::{EventId, OwnedEventId, OwnedServerName, RoomId, ServerName};

use super::check::{Along, in_order};
use super::intake::Site;
use crate::stage::admit::{Intake, Past};
use crate::{Error, Result, Rooms};

/// Most events that are fetched and written at once.
const EVENTS_MAX: usize = 40;
/// Their bytes in one commit.
const BYTES_MAX: usize = 2 << 20;
/// Most servers that are asked for one page.
const SERVERS_MAX: usize = 4;
/// How often is backfilled to reach an event that was found by its time.
const JUMPS_MAX: usize = 25;
/// How long a client waits for an event that is found by its time; what was fetched by then stays.
const FIND_TIME_MAX: Duration = Duration::from_secs(20);
/// Largest page that is looked through for a gap.
const PAGE_MAX: usize = 1_000;

impl History for Rooms {
    fn fill<'a>(&'a self, room_id: &'a RoomId, page: PageBack) -> BoxFuture<'a, Filled> {
        Box::pin(async move {
            match self.fill_page(room_id, page).await {
                Ok(filled) => filled,
                Err(error) => {
                    tracing::debug!(room.id = %room_id, error = error.chain(), "no history fetched");
                    Filled::Unreachable
                }
            }
        })
    }

    fn find<'a>(&'a self, room_id: &'a RoomId, at: At) -> BoxFuture<'a, Option<OwnedEventId>> {
        Box::pin(async move {
            match tokio::time::timeout(FIND_TIME_MAX, self.find_at(room_id, at)).await {
                Ok(Ok(found)) => found,
                Ok(Err(error)) => {
                    tracing::debug!(room.id = %room_id, error = error.chain(), "no event found");
                    None
                }
                Err(_) => None,
            }
        })
    }
}

impl Rooms {
    async fn fill_page(&self, room_id: &RoomId, page: PageBack) -> Result<Filled> {
        let Some((site, above, gap)) = self.gap_in(room_id, page).await? else {
            return Ok(Filled::NoGap);
        };
        let mut is_done = false;
        for server in self.servers_of(site.room, SERVERS_MAX).await? {
            match self.fill_from(&site, &server, (above, &gap)).await {
                Ok(filled) => {
                    is_done = filled;
                    if filled {
                        break;
                    }
                }
                Err(Error::Remote(error)) => {
                    tracing::debug!(%server, error = %error, "no history from this server");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(match is_done {
            true => Filled::More,
            false => Filled::Unreachable,
        })
    }

    /// The newest gap that a page would come upon.
    async fn gap_in(
        &self,
        room_id: &RoomId,
        page: PageBack,
    ) -> Result<Option<(Site, Place, GapRow)>> {
        let room = self.number(room_id).await?;
        let snapshot = self.snapshot().await?;
        let all = gaps::all(&*snapshot, room).await?;
        if all.is_empty() {
            return Ok(None);
        }
        let Some(head) = rooms::head(&*snapshot, room).await? else {
            return Ok(None);
        };
        let before = Place(page.before);
        let limit = page.limit.clamp(1, PAGE_MAX);
        let events = timeline::backward(&*snapshot, room, Place::MIN, before, limit).await?;
        let lowest = match events.last() {
            Some(last) if events.len() >= limit => last.place,
            _ => Place::MIN,
        };
        let found = all
            .into_iter()
            .rev()
            .find(|(_, gap)| gap.next < before && gap.next >= lowest);
        let Some((above, gap)) = found else {
            return Ok(None);
        };
        let version = hearth_event::RoomVersion::new(&head.version)
            .ok_or_else(|| Error::UnsupportedVersion(head.version.to_string()))?;
        let site = Site {
            room,
            room_id: room_id.to_owned(),
            version,
        };
        Ok(Some((site, above, gap)))
    }

    /// Fills the next part of a gap from a server. Whether anything came of it.
    async fn fill_from(
        &self,
        site: &Site,
        server: &ServerName,
        (above, gap): (Place, &GapRow),
    ) -> Result<bool> {
        let answer = self
            .remote()
            .backfill(server, &site.room_id, &gap.awaited, EVENTS_MAX)
            .await?;
        let checked = self.verified((site.version, &site.room_id), &answer).await;
        let events = self.next_of_gap(site, gap, checked).await?;
        let Some(oldest) = events.first() else {
            return Ok(false);
        };
        let state = match oldest.prev_events().is_empty() {
            true => hearth_data::StateId::EMPTY,
            false => self.fetch_state(site, server, oldest.event_id()).await?,
        };
        for event in &events {
            self.fetch_auth(site, server, event).await?;
        }
        let ids: HashSet<&EventId> = events.iter().map(Pdu::event_id).collect();
        let mut open: Vec<OwnedEventId> = gap
            .awaited
            .iter()
            .chain(events.iter().flat_map(|event| event.prev_events()))
            .filter(|id| !ids.contains(&***id))
            .cloned()
            .collect();
        open.sort_unstable();
        open.dedup();
        let awaited = self.unplaced(site, &open).await?;
        let past = Past {
            above,
            events,
            state,
            awaited,
        };
        self.take_in(site.room, Intake::Past(past)).await?;
        Ok(true)
    }

    /// Of the events that came, those that hang together with the gap's upper end, oldest first.
    async fn next_of_gap(&self, site: &Site, gap: &GapRow, checked: Vec<Pdu>) -> Result<Vec<Pdu>> {
        let mut order = in_order(checked, Along::Prev);
        let mut wanted: HashSet<OwnedEventId> = gap.awaited.iter().cloned().collect();
        let mut events = Vec::new();
        let mut bytes = 0;
        while let Some(event) = order.pop() {
            let id = event.event_id().to_owned();
            if !wanted.contains(&id) || self.unplaced(site, &[id]).await?.is_empty() {
                continue;
            }
            bytes += event.json().len();
            if events.len() >= EVENTS_MAX || bytes > BYTES_MAX {
                break;
            }
            wanted.extend(event.prev_events().iter().cloned());
            events.push(event);
        }
        events.reverse();
        Ok(events)
    }

    async fn find_at(&self, room_id: &RoomId, at: At) -> Result<Option<OwnedEventId>> {
        let room = self.number(room_id).await?;
        let Some((site, _)) = self.site(room).await? else {
            return Ok(None);
        };
        for server in self.servers_of(room, SERVERS_MAX).await? {
            let reached = match self.ask_time(&site, &server, at).await? {
                Some(found) => self.reach(&site, &server, &found).await,
                None => continue,
            };
            match reached {
                Ok(None) => {}
                Err(Error::Remote(error)) => {
                    tracing::debug!(%server, %error, "no history from this server");
                }
                found => return found,
            }
        }
        Ok(None)
    }

    /// Backfills until an event is here that a server has found by its time.
    async fn reach(
        &self,
        site: &Site,
        server: &ServerName,
        found: &FoundAt,
    ) -> Result<Option<OwnedEventId>> {
        for _ in 0..JUMPS_MAX {
            let wanted = std::slice::from_ref(&found.event_id);
            if self.unplaced(site, wanted).await?.is_empty() {
                return Ok(Some(found.event_id.clone()));
            }
            let Some((above, gap)) = self.gap_at(site, found.ts).await? else {
                break;
            };
            if !self.fill_from(site, server, (above, &gap)).await? {
                break;
            }
        }
        Ok(None)
    }

    /// The gap in which an event of a time would be: the oldest below an event that is not older.
    async fn gap_at(&self, site: &Site, ts: u64) -> Result<Option<(Place, GapRow)>> {
        let snapshot = self.snapshot().await?;
        for (above, gap) in gaps::all(&*snapshot, site.room).await? {
            let next = timeline::forward(&*snapshot, site.room, gap.next.next(), Place::MAX, 1);
            let Some(next) = next.await?.into_iter().next() else {
                continue;
            };
            let next = timeline::pdu(site.version, &site.room_id, &next.row)?;
            if next.origin_server_ts().0 >= ts {
                return Ok(Some((above, gap)));
            }
        }
        Ok(None)
    }

    async fn ask_time(
        &self,
        site: &Site,
        server: &OwnedServerName,
        at: At,
    ) -> Result<Option<FoundAt>> {
        let answer = self.remote().timestamp_to_event(server, &site.room_id, at);
        let found = match answer.await {
            Ok(found) => found,
            Err(error) => {
                tracing::debug!(%server, %error, "no event of that time from this server");
                return Ok(None);
            }
        };
        let fits = match at.direction {
            Direction::Forward => found.ts >= at.ts,
            Direction::Backward => found.ts <= at.ts,
        };
        Ok(fits.then_some(found))
    }
}
