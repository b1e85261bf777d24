//! States and auth chains for other servers.

use hearth_data::append::{EventRow, Standing};
use hearth_data::{EventNo, StateId};
use hearth_data::{partial, timeline};
use ruma::{EventId, RoomId, ServerName};

use super::Peer;
use super::visible::Eyes;
use crate::read::Look;
use crate::{Error, Result, Rooms};

/// How many events are read at once.
const FETCH: usize = 500;

impl Rooms {
    /// GET /_matrix/federation/v1/state_ids: the state before an event, and its auth chain, as JSON.
    pub async fn state_ids_for(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<String> {
        let peer = self.peer_at(server, room_id, event_id).await?;
        let row = peer.placed(event_id).await?;
        let (state, chain) = self.state_and_chain(&peer, row.state_before).await?;
        let mut answer = String::from("{\"pdu_ids\":");
        peer.write_ids(&mut answer, &state).await?;
        answer.push_str(",\"auth_chain_ids\":");
        peer.write_ids(&mut answer, &chain).await?;
        answer.push('}');
        Ok(answer)
    }

    /// GET /_matrix/federation/v1/state: the same with the events themselves.
    pub async fn state_for(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<String> {
        let peer = self.peer_at(server, room_id, event_id).await?;
        let row = peer.placed(event_id).await?;
        let (state, chain) = self.state_and_chain(&peer, row.state_before).await?;
        let mut answer = String::from("{\"pdus\":");
        peer.write_events(&mut answer, &state).await?;
        answer.push_str(",\"auth_chain\":");
        peer.write_events(&mut answer, &chain).await?;
        answer.push('}');
        Ok(answer)
    }

    /// GET /_matrix/federation/v1/event_auth: the auth chain of an event, as JSON.
    pub async fn event_auth_for(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<String> {
        let peer = self.peer_at(server, room_id, event_id).await?;
        let row = peer.known(event_id).await?;
        let pdu = peer.pdu(&row)?;
        if row.standing != Standing::Outlier && !peer.sees(&mut Eyes::default(), &row, &pdu).await?
        {
            return Err(Error::NoSuchEvent);
        }
        // Only events that others rest upon are in the graph, so that it is entered by those that this one rests upon.
        let mut direct = Vec::new();
        for event_id in pdu.auth_events() {
            let found = timeline::find(&*peer.snapshot, event_id).await?;
            direct.extend(
                found
                    .filter(|found| found.room == peer.room)
                    .map(|found| found.event),
            );
        }
        let mut chain = self.auth_chain(&peer, &direct, &[]).await?;
        chain.extend(direct);
        chain.sort_unstable();
        chain.dedup();
        let mut answer = String::from("{\"auth_chain\":");
        peer.write_events(&mut answer, &chain).await?;
        answer.push('}');
        Ok(answer)
    }

    async fn state_and_chain(
        &self,
        look: &Look,
        state: StateId,
    ) -> Result<(Vec<EventNo>, Vec<EventNo>)> {
        let state = look.numbers(state).await?;
        let chain = self.auth_chain(look, &state, &[]).await?;
        Ok((state, chain))
    }

    /// The events that events rest upon, those in `without` left out (sorted).
    pub(super) async fn auth_chain(
        &self,
        look: &Look,
        events: &[EventNo],
        without: &[EventNo],
    ) -> Result<Vec<EventNo>> {
        let reach = hearth_data::reach::Reach::new(look.room, &*look.snapshot, &self.0.reach);
        let chain = reach.auth_chain(events).await?;
        Ok(chain
            .into_iter()
            .filter(|event| without.binary_search(event).is_err())
            .collect())
    }
}

impl Peer {
    /// An event of the room by its id, however it stands.
    async fn known(&self, event_id: &EventId) -> Result<EventRow> {
        let found = timeline::find(&*self.snapshot, event_id).await?;
        let found = found.filter(|found| found.room == self.room);
        let found = found.ok_or(Error::NoSuchEvent)?;
        let row = timeline::event(&*self.snapshot, self.room, found.event).await?;
        let (_, row) = row.ok_or(Error::NoSuchEvent)?;
        if row.standing == Standing::Rejected {
            return Err(Error::NoSuchEvent);
        }
        Ok(row)
    }

    /// An event of the room's history that the server may see. [`Error::NotYet`] while the state before it may be a part:
    /// others would take it for the whole.
    pub(super) async fn placed(&self, event_id: &EventId) -> Result<EventRow> {
        let row = self.known(event_id).await?;
        if row.standing == Standing::Outlier {
            return Err(Error::NoSuchEvent);
        }
        if partial::partial(&*self.snapshot, self.room)
            .await?
            .is_some()
        {
            return Err(Error::NotYet);
        }
        let pdu = self.pdu(&row)?;
        match self.sees(&mut Eyes::default(), &row, &pdu).await? {
            true => Ok(row),
            false => Err(Error::NoSuchEvent),
        }
    }
}

impl Look {
    /// The events of a state, sorted by number.
    pub(super) async fn numbers(&self, state: StateId) -> Result<Vec<EventNo>> {
        let entries = self.states().entries(state).await?;
        let mut numbers: Vec<EventNo> = entries.into_iter().map(|entry| entry.event).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Writes a JSON array of event ids.
    async fn write_ids(&self, out: &mut String, events: &[EventNo]) -> Result<()> {
        out.push('[');
        for some in events.chunks(FETCH) {
            for row in timeline::events(&*self.snapshot, self.room, some).await? {
                separate(out);
                // An event id of versions 1 and 2 may hold anything.
                out.push_str(&hearth_event::canonical::quote(row.event_id.as_str()));
            }
        }
        out.push(']');
        Ok(())
    }

    /// Writes a JSON array of events in federation format.
    pub(super) async fn write_events(&self, out: &mut String, events: &[EventNo]) -> Result<()> {
        out.push('[');
        for some in events.chunks(FETCH) {
            for row in timeline::events(&*self.snapshot, self.room, some).await? {
                separate(out);
                out.push_str(text(&row));
            }
        }
        out.push(']');
        Ok(())
    }
}

/// A comma, unless the array has just begun.
pub(super) fn separate(out: &mut String) {
    if !out.ends_with('[') {
        out.push(',');
    }
}

/// An event in federation format. What is stored is JSON text.
pub(super) fn text(row: &EventRow) -> &str {
    std::str::from_utf8(&row.json).unwrap_or("{}")
}
