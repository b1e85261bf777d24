//! Events of the past: written into a gap, with the state at each.

use hearth_data::append::{Admitted, EventRow, Standing, append_past};
use hearth_data::gaps::{self, GapRow};
use hearth_data::{Place, StateId};
use hearth_event::{Grounds, Pdu, Verdict, admit};

use super::admit::{AuthEvents, Past, Taken, lookup};
use super::{Stage, StagedEvent};
use crate::Result;
use crate::relate::Relating;

impl Stage<'_> {
    /// Writes a part of a gap. What is refused leaves its place free.
    pub(crate) async fn take_past(&mut self, past: &Past) -> Result<Taken> {
        let room = self.room();
        let Some(gap) = gaps::gap(self.snapshot, room, past.above).await? else {
            return Ok(Taken::Done);
        };
        let count = i64::try_from(past.events.len()).unwrap_or(i64::MAX);
        let lowest = gap.next.0.saturating_sub(count);
        self.is_written = true;
        if lowest < gap.floor.0 {
            gaps::remove(self.batch.ops(), room, past.above);
            return Ok(Taken::Done);
        }
        let mut state = past.state;
        for (place, pdu) in (lowest + 1..).zip(&past.events) {
            state = self.past_event(pdu, Place(place), state).await?;
        }
        match past.awaited.is_empty() {
            true => gaps::remove(self.batch.ops(), room, past.above),
            false => {
                let row = GapRow {
                    next: Place(lowest),
                    floor: gap.floor,
                    awaited: past.awaited.clone(),
                };
                gaps::put(self.batch.ops(), room, past.above, &row);
            }
        }
        Ok(Taken::Done)
    }

    /// Writes one event; answers the state after it.
    async fn past_event(&mut self, pdu: &Pdu, place: Place, before: StateId) -> Result<StateId> {
        let found = self.found(pdu.event_id()).await?;
        if let Some(found) = found.as_ref().filter(|found| found.place.is_some()) {
            return Ok(found.state_after);
        }
        let Ok(auth) = self.auth_events_of(pdu).await? else {
            // What cannot be checked is not shown.
            return Ok(before);
        };
        let verdict = self.decide_before(pdu, &auth, before).await?;
        let known = found.map(|found| (found.event, found.whereabouts()));
        let number = known.map_or_else(|| self.batch.next_event(), |(number, _)| number);
        if verdict != Verdict::Accepted || !self.link(pdu, number, &auth).await? {
            tracing::debug!(event.id = %pdu.event_id(), "not in the room's past: {verdict:?}");
            return Ok(before);
        }
        let after = self.state_after(pdu, (before, number)).await?;
        let relating = self.relating(pdu).await?;
        let admitted = self.admitted(pdu, (before, after), relating.as_ref());
        append_past(&mut self.batch, &admitted, place, known);
        let row = super::staged_row(number, &admitted);
        self.note_related(pdu, (place, row), relating);
        self.redact_late(pdu).await?;
        Ok(after)
    }

    /// An event that is accepted, and of which the current state stays what it is.
    pub(crate) fn admitted<'e>(
        &self,
        pdu: &'e Pdu,
        (before, after): (StateId, StateId),
        relating: Option<&Relating>,
    ) -> Admitted<'e> {
        Admitted {
            pdu,
            standing: Standing::Accepted,
            state_before: before,
            state_after: after,
            current_state: self.state(),
            replaces: &[],
            txn: None,
            member: None,
            relates_to: relating.map(Relating::row),
        }
    }

    /// Notes an event, and what it relates to, for those that come later in the same commit.
    pub(crate) fn note_related(
        &mut self,
        pdu: &Pdu,
        (place, row): (Place, EventRow),
        relating: Option<Relating>,
    ) {
        let number = row.event;
        self.note(StagedEvent {
            place,
            row,
            pdu: pdu.clone(),
        });
        if let Some(relating) = relating {
            self.stage_relating(relating, pdu, number, place);
        }
    }

    /// What is to be said of an event by its auth events and the state before it, whatever the state is now.
    pub(crate) async fn decide_before(
        &self,
        pdu: &Pdu,
        auth: &AuthEvents,
        before: StateId,
    ) -> Result<Verdict> {
        let before = self.state_for(pdu, before).await?;
        Ok(admit(
            pdu,
            &Grounds {
                auth_events: &|id| lookup(auth, id),
                before: &|kind, key| before.get(&(kind.to_owned(), key.to_owned())).cloned(),
                current: None,
            },
        ))
    }
}
