//! Single events and stretches of history for other servers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use hearth_data::append::{EventRow, Standing};
use hearth_data::{EventNo, timeline};
use hearth_event::{Pdu, redact};
use ruma::{EventId, OwnedEventId, RoomId, ServerName};

use super::Peer;
use super::state::{separate, text};
use super::visible::Eyes;
use crate::{Error, Result, Rooms};

/// Most events of one answer.
const EVENTS_MAX: usize = 100;
/// Most events by which a question may begin.
const STARTS_MAX: usize = 100;
/// How many events are looked at for one by its time.
const SEARCH_MAX: usize = 2_000;
const SEARCH_PAGE: usize = 100;

/// What a server lacks.
#[derive(Clone, Debug, Default)]
pub struct Missing {
    /// What it has.
    pub earliest: Vec<OwnedEventId>,
    /// What it has and whose predecessors it lacks.
    pub latest: Vec<OwnedEventId>,
    /// How many it wants.
    pub limit: usize,
    /// None of a smaller depth.
    pub min_depth: u64,
}

/// Where to look from a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// At or after it.
    Forward,
    /// At or before it.
    Backward,
}

impl Rooms {
    /// GET /_matrix/federation/v1/event: one event in federation format, from whichever room of the server's.
    pub async fn event_for(&self, server: &ServerName, event_id: &EventId) -> Result<String> {
        let snapshot = self.snapshot().await?;
        let found = timeline::find(&*snapshot, event_id).await?;
        let found = found.ok_or(Error::NoSuchEvent)?;
        let head = hearth_data::rooms::head(&*snapshot, found.room).await?;
        let room_id = head.ok_or(Error::NoSuchEvent)?.room_id;
        let hidden = |error| match error {
            Error::Denied => Error::NoSuchEvent,
            error => error,
        };
        let peer = self.peer(server, &room_id).await.map_err(hidden)?;
        let row = timeline::event(&*peer.snapshot, peer.room, found.event).await?;
        let (place, row) = row.ok_or(Error::NoSuchEvent)?;
        let pdu = peer.pdu(&row)?;
        // An outlier is here because it is part of a state or an auth chain, which any server in the room may have.
        if place.is_some() && !peer.sees(&mut Eyes::default(), &row, &pdu).await? {
            return Err(Error::NoSuchEvent);
        }
        if row.standing == Standing::Rejected {
            return Err(Error::NoSuchEvent);
        }
        Ok(text(&row).to_owned())
    }

    /// GET /_matrix/federation/v1/backfill: events before and with `from`, newest first, as a JSON array.
    pub async fn backfill_for(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        from: &[OwnedEventId],
        limit: usize,
    ) -> Result<String> {
        let peer = self.peer(server, room_id).await?;
        let mut walk = Walk::new(&peer, limit);
        for event_id in from.iter().take(STARTS_MAX) {
            walk.reach(event_id).await?;
        }
        // By depth, so that the answer is a stretch of history and not one branch of it.
        let mut found = Vec::new();
        while found.len() < walk.limit
            && let Some((row, pdu)) = walk.deepest()
        {
            for before in pdu.prev_events() {
                walk.reach(before).await?;
            }
            found.push((row, pdu));
        }
        peer.shown(found).await
    }

    /// POST /_matrix/federation/v1/get_missing_events: what lies between, oldest first, as a JSON array.
    pub async fn missing_events_for(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        missing: &Missing,
    ) -> Result<String> {
        let peer = self.peer(server, room_id).await?;
        let mut walk = Walk::new(&peer, missing.limit);
        for event_id in missing.earliest.iter().take(STARTS_MAX) {
            walk.exclude(event_id).await?;
        }
        let mut open = VecDeque::new();
        for event_id in missing.latest.iter().take(STARTS_MAX) {
            if let Some((row, pdu)) = walk.find(event_id).await? {
                walk.seen.insert(row.event);
                open.extend(pdu.prev_events().to_vec());
            }
        }
        let mut found = Vec::new();
        while found.len() < walk.limit
            && let Some(event_id) = open.pop_front()
        {
            let Some((row, pdu)) = walk.find(&event_id).await? else {
                continue;
            };
            if pdu.depth() < missing.min_depth || !walk.seen.insert(row.event) {
                continue;
            }
            open.extend(pdu.prev_events().to_vec());
            found.push((row, pdu));
        }
        found.sort_by_key(|(row, pdu)| (pdu.depth(), row.event));
        peer.shown(found).await
    }

    /// GET /_matrix/federation/v1/timestamp_to_event: the visible event nearest to a moment, and its time.
    pub async fn event_at_for(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        (ts, direction): (u64, Direction),
    ) -> Result<(OwnedEventId, u64)> {
        let peer = self.peer(server, room_id).await?;
        let mut eyes = Eyes::default();
        let mut before = hearth_data::Place::MAX;
        let mut nearest: Option<Pdu> = None;
        for _ in 0..SEARCH_MAX / SEARCH_PAGE {
            let page = timeline::backward(
                &*peer.snapshot,
                peer.room,
                hearth_data::Place::MIN,
                before,
                SEARCH_PAGE,
            )
            .await?;
            let Some(last) = page.last() else { break };
            before = last.place;
            for placed in &page {
                let pdu = peer.pdu(&placed.row)?;
                let at = pdu.origin_server_ts().0;
                let fits = match direction {
                    Direction::Forward => at >= ts,
                    Direction::Backward => at <= ts,
                };
                let best = nearest
                    .as_ref()
                    .map(|best| best.origin_server_ts().0.abs_diff(ts));
                // Of several at one moment the one nearest in the order of events, which is walked from its end.
                let is_nearer = best.is_none_or(|best| match direction {
                    Direction::Forward => at.abs_diff(ts) <= best,
                    Direction::Backward => at.abs_diff(ts) < best,
                });
                let is_shown = placed.row.standing == Standing::Accepted;
                if fits && is_nearer && is_shown && peer.sees(&mut eyes, &placed.row, &pdu).await? {
                    nearest = Some(pdu);
                }
            }
            // Times follow the order of events but for clocks that differ a little.
            let passed = peer.pdu(&last.row)?.origin_server_ts().0 < ts;
            if passed && nearest.is_some() {
                break;
            }
        }
        let nearest = nearest.ok_or(Error::NoSuchEvent)?;
        Ok((nearest.event_id().to_owned(), nearest.origin_server_ts().0))
    }
}

/// A walk back through a room's graph.
struct Walk<'a> {
    peer: &'a Peer,
    limit: usize,
    seen: BTreeSet<EventNo>,
    /// Reached, and not yet taken: by depth, then number.
    open: BTreeMap<(u64, EventNo), (EventRow, Pdu)>,
}

impl<'a> Walk<'a> {
    fn new(peer: &'a Peer, limit: usize) -> Self {
        Self {
            peer,
            limit: limit.min(EVENTS_MAX),
            seen: BTreeSet::new(),
            open: BTreeMap::new(),
        }
    }

    /// An event of the room's history.
    async fn find(&self, event_id: &EventId) -> Result<Option<(EventRow, Pdu)>> {
        let snapshot = &*self.peer.snapshot;
        let found = timeline::find(snapshot, event_id).await?;
        let Some(found) = found.filter(|found| found.room == self.peer.room) else {
            return Ok(None);
        };
        match timeline::event(snapshot, found.room, found.event).await? {
            Some((Some(_), row)) if row.standing != Standing::Rejected => {
                let pdu = self.peer.pdu(&row)?;
                Ok(Some((row, pdu)))
            }
            _ => Ok(None),
        }
    }

    async fn exclude(&mut self, event_id: &EventId) -> Result<()> {
        if let Some((row, _)) = self.find(event_id).await? {
            self.seen.insert(row.event);
        }
        Ok(())
    }

    async fn reach(&mut self, event_id: &EventId) -> Result<()> {
        if let Some((row, pdu)) = self.find(event_id).await?
            && self.seen.insert(row.event)
        {
            self.open.insert((pdu.depth(), row.event), (row, pdu));
        }
        Ok(())
    }

    fn deepest(&mut self) -> Option<(EventRow, Pdu)> {
        self.open.pop_last().map(|(_, event)| event)
    }
}

impl Peer {
    /// A JSON array of events: those that the server may not see redacted, as it needs them for the graph.
    async fn shown(&self, events: Vec<(EventRow, Pdu)>) -> Result<String> {
        let mut eyes = Eyes::default();
        let mut answer = String::from("[");
        for (row, pdu) in events {
            separate(&mut answer);
            if self.sees(&mut eyes, &row, &pdu).await? {
                answer.push_str(text(&row));
            } else {
                let hidden = redact(&pdu);
                answer.push_str(std::str::from_utf8(hidden.json()).unwrap_or("{}"));
            }
        }
        answer.push(']');
        Ok(answer)
    }
}
