//! Taking in events of other servers: looked up, decided by `hearth_event::admit`, written like our own.
//!
//! Knows no network: who hands an event in has checked its signatures and fetched what it refers to; what is missing
//! all the same is answered as missing.

use std::collections::HashMap;

use hearth_data::append::{Admitted, Standing, append, append_outlier, promote};
use hearth_data::changes::Change;
use hearth_data::gaps::{self, GapRow};
use hearth_data::inbox::{self, InboxKey};
use hearth_data::timeline::{self, EventRef, Whereabouts};
use hearth_data::{EventNo, Place, StateId};
use hearth_event::{
    AuthError, AuthEvent, Pdu, Verdict, allowed_by_auth_events, auth_keys, create_event_id,
};
use ruma::{EventId, OwnedEventId};

pub(crate) use super::intake::{Found, Intake, Live, NewState, Past, Taken};
use super::{Stage, StagedEvent};
use crate::Result;
use crate::policy::judged;
use crate::relate::Relating;

/// Most refused events that are followed back to the extremities that they stand on.
const REFUSED_WALK_MAX: usize = 200;
/// Most auth events that are kept while one commit is made: a full event each, all the same for most of what it decides.
const READ_MAX: usize = 64;

/// The events that an event names in its auth events, and the create event of version 12.
pub(crate) type AuthEvents = HashMap<OwnedEventId, Found>;

impl Stage<'_> {
    pub(crate) async fn take_in(&mut self, intake: &Intake) -> Result<Taken> {
        match intake {
            Intake::Live(live) => self.take_live(live).await,
            Intake::Ending(live) => self.take_ending(live).await,
            Intake::Outlier(pdu) => self.take_outlier(pdu).await,
            Intake::State(new) => self.make_state(new).await,
            Intake::Past(past) => self.take_past(past).await,
            Intake::Drop(keys) => {
                for key in keys {
                    self.drop_row(*key);
                }
                Ok(Taken::Done)
            }
            Intake::Import(step) => crate::remote::import::step(self, step).await,
        }
    }

    pub(crate) fn drop_row(&mut self, key: InboxKey) {
        let room = self.room();
        inbox::remove(self.batch.ops(), room, key);
        self.is_written = true;
    }

    /// An event of this room by its id, however it stands; also one of this commit.
    pub(crate) async fn found(&self, event_id: &EventId) -> Result<Option<Found>> {
        match self.staged(event_id) {
            Some(found) => Ok(Some(found)),
            None => self.stored(event_id).await,
        }
    }

    /// An event of this commit.
    fn staged(&self, event_id: &EventId) -> Option<Found> {
        if let Some(staged) = self.events.get(event_id) {
            return Some(Found {
                event: staged.row.event,
                place: Some(staged.place),
                standing: staged.row.standing,
                state_after: staged.row.state_after,
                pdu: staged.pdu.clone(),
            });
        }
        let deciding = || {
            let deciding = self.deciding.as_ref();
            deciding.filter(|found| found.pdu.event_id() == event_id)
        };
        self.outliers.get(event_id).or_else(deciding).cloned()
    }

    /// An event of this room as it was before this commit.
    async fn stored(&self, event_id: &EventId) -> Result<Option<Found>> {
        let Some(EventRef { room, event }) = timeline::find(self.snapshot, event_id).await? else {
            return Ok(None);
        };
        if room != self.room() {
            return Ok(None);
        }
        let Some((place, row)) = timeline::event(self.snapshot, room, event).await? else {
            return Ok(None);
        };
        let pdu = timeline::pdu(self.view.version, self.room_id(), &row)?;
        Ok(Some(Found {
            event,
            place,
            standing: row.standing,
            state_after: row.state_after,
            pdu,
        }))
    }

    /// The auth events of an event; those that are missing as the error.
    pub(crate) async fn auth_events_of(
        &mut self,
        pdu: &Pdu,
    ) -> Result<std::result::Result<AuthEvents, Vec<OwnedEventId>>> {
        let rules = &pdu.version().rules().authorization;
        let create = match rules.room_create_event_id_as_room_id && pdu.kind() != "m.room.create" {
            true => create_event_id(pdu),
            false => None,
        };
        let mut events = AuthEvents::new();
        let mut missing = Vec::new();
        for id in pdu.auth_events().iter().chain(&create) {
            match self.auth_event(id).await? {
                Some(found) => {
                    events.insert(id.clone(), found);
                }
                None => missing.push(id.clone()),
            }
        }
        Ok(match missing.is_empty() {
            true => Ok(events),
            false => Err(missing),
        })
    }

    /// An auth event: what is decided together mostly has the same ones, which are read once.
    async fn auth_event(&mut self, event_id: &EventId) -> Result<Option<Found>> {
        if let Some(found) = self.staged(event_id) {
            return Ok(Some(found));
        }
        if let Some(found) = self.read.get(event_id) {
            return Ok(Some(found.clone()));
        }
        let found = self.stored(event_id).await?;
        if let Some(found) = &found {
            if self.read.len() >= READ_MAX {
                self.read.clear();
            }
            self.read.insert(event_id.to_owned(), found.clone());
        }
        Ok(found)
    }

    async fn take_outlier(&mut self, pdu: &Pdu) -> Result<Taken> {
        if let Some(found) = self.found(pdu.event_id()).await? {
            let is_allowed = found.standing != Standing::Rejected && self.relink(&found).await?;
            let verdict = match is_allowed {
                true => Verdict::Accepted,
                false => Verdict::Rejected(AuthError::new("rejected before")),
            };
            return Ok(Taken::Decided {
                verdict,
                event: found.event,
            });
        }
        let auth = match self.auth_events_of(pdu).await? {
            Ok(auth) => auth,
            Err(missing) => return Ok(Taken::Missing(missing)),
        };
        let mut verdict = match allowed_by_auth_events(pdu, &|id| lookup(&auth, id)) {
            Ok(()) => Verdict::Accepted,
            Err(error) => Verdict::Rejected(error),
        };
        let number = self.batch.next_event();
        if verdict == Verdict::Accepted && !self.link(pdu, number, &auth).await? {
            verdict = Verdict::Rejected(AuthError::new("it is among its own auth events"));
        }
        let standing = match verdict {
            Verdict::Accepted => Standing::Outlier,
            _ => Standing::Rejected,
        };
        append_outlier(&mut self.batch, pdu, standing);
        self.is_written = true;
        let found = Found {
            event: number,
            place: None,
            standing,
            state_after: StateId::EMPTY,
            pdu: pdu.clone(),
        };
        let id = pdu.event_id().to_owned();
        self.staged_numbers.insert(number, id.clone());
        self.outliers.insert(id, found);
        Ok(Taken::Decided {
            verdict,
            event: number,
        })
    }

    pub(super) async fn take_live(&mut self, live: &Live) -> Result<Taken> {
        let pdu = &live.pdu;
        let found = self.found(pdu.event_id()).await?;
        if let Some((found, verdict)) = found
            .as_ref()
            .and_then(|found| Some((found, found.settled()?)))
        {
            if let Some(key) = live.inbox {
                self.drop_row(key);
            }
            let event = found.event;
            return Ok(Taken::Decided { verdict, event });
        }
        let is_recommended = self.is_recommended(pdu).await?;
        if !is_recommended && !live.is_judged {
            return Ok(Taken::Unjudged);
        }
        let auth = match self.auth_events_of(pdu).await? {
            Ok(auth) => auth,
            Err(missing) => return Ok(Taken::Missing(missing)),
        };
        let before = match live.after_gap {
            Some(state) => state,
            None => match self.state_before(pdu).await? {
                Ok(state) => state,
                Err(missing) => return Ok(Taken::Missing(missing)),
            },
        };
        let now = match live.after_gap {
            Some(_) => Some(self.resolve(vec![self.state(), before]).await?),
            None => None,
        };
        let verdict = self.decide_live(pdu, &auth, (before, now)).await?;
        let verdict = judged(verdict, is_recommended);
        log_refusal(pdu, &verdict);
        let was = found.map(|found| (found.event, found.whereabouts()));
        if was.is_some() && matches!(verdict, Verdict::Rejected(_)) {
            // It stays what it was, an outlier or rejected: nothing is to be built on it.
            if let Some((event, Whereabouts::Placed(_))) = was {
                if let Some(key) = live.inbox {
                    self.drop_row(key);
                }
                return Ok(Taken::Decided { verdict, event });
            }
        }
        if live.after_gap.is_some() {
            self.open_gap(pdu).await?;
        }
        if verdict == Verdict::Accepted && !self.is_awaited(pdu.event_id()).await? {
            self.stage_jobs_of_received(pdu).await?;
        }
        let (verdict, event) = self
            .write_live(pdu, (verdict, before), (was, &auth))
            .await?;
        if let Some(key) = live.inbox {
            self.drop_row(key);
        }
        self.tell_expelled(pdu).await?;
        if let (Some(from), Verdict::Accepted) = (&live.relay_from, &verdict) {
            let room = self.room();
            self.batch.record(Change::Relay {
                room,
                event,
                from: from.to_string(),
            });
        }
        Ok(Taken::Decided { verdict, event })
    }

    /// What the auth rules of an event look at in a state.
    pub(crate) async fn state_for(
        &self,
        pdu: &Pdu,
        state: StateId,
    ) -> Result<HashMap<(String, String), Pdu>> {
        let keys = keys_of(pdu);
        let wanted: Vec<(&str, &str)> = keys
            .iter()
            .map(|(kind, key)| (kind.as_str(), key.as_str()))
            .collect();
        let numbers = self.writer.view().lookup_many(state, &wanted).await?;
        let present: Vec<EventNo> = numbers.iter().copied().flatten().collect();
        let pdus = self.pdus(&present).await?;
        Ok(keys
            .into_iter()
            .zip(numbers)
            .filter_map(|(key, number)| Some((key, pdus.get(&number?)?.0.clone())))
            .collect())
    }

    /// Events of this room by number, with their standing; also those of this commit. All must be there.
    pub(crate) async fn pdus(
        &self,
        numbers: &[EventNo],
    ) -> Result<HashMap<EventNo, (Pdu, Standing)>> {
        let mut pdus = HashMap::with_capacity(numbers.len());
        let mut unknown = Vec::new();
        for number in numbers {
            match self.staged_number(*number) {
                Some((pdu, standing)) => {
                    pdus.insert(*number, (pdu, standing));
                }
                None => unknown.push(*number),
            }
        }
        unknown.sort_unstable();
        unknown.dedup();
        let rows = timeline::events(self.snapshot, self.room(), &unknown).await?;
        for row in &rows {
            let pdu = timeline::pdu(self.view.version, self.room_id(), row)?;
            pdus.insert(row.event, (pdu, row.standing));
        }
        match unknown.iter().find(|number| !pdus.contains_key(number)) {
            Some(number) => Err(super::missing_event(*number)),
            None => Ok(pdus),
        }
    }

    fn staged_number(&self, number: EventNo) -> Option<(Pdu, Standing)> {
        let deciding = self.deciding.as_ref();
        if let Some(found) = deciding.filter(|found| found.event == number) {
            return Some((found.pdu.clone(), found.standing));
        }
        let id = self.staged_numbers.get(&number)?;
        match (self.events.get(id), self.outliers.get(id)) {
            (Some(staged), _) => Some((staged.pdu.clone(), staged.row.standing)),
            (None, Some(found)) => Some((found.pdu.clone(), found.standing)),
            (None, None) => None,
        }
    }

    /// The state before an event, from the states after its predecessors; those that are missing as the error.
    pub(super) async fn state_before(
        &mut self,
        pdu: &Pdu,
    ) -> Result<std::result::Result<StateId, Vec<OwnedEventId>>> {
        let extremities = &self.batch.head.extremities;
        let is_newest = extremities.len() == pdu.prev_events().len()
            && extremities
                .iter()
                .all(|extremity| pdu.prev_events().contains(&extremity.event_id));
        if is_newest && !extremities.is_empty() {
            return Ok(Ok(self.state()));
        }
        let mut states = Vec::new();
        let mut missing = Vec::new();
        for id in pdu.prev_events() {
            match self.found(id).await?.filter(|found| found.place.is_some()) {
                Some(found) => states.push(found.state_after),
                None => missing.push(id.clone()),
            }
        }
        if !missing.is_empty() {
            return Ok(Err(missing));
        }
        Ok(Ok(self.resolve(states).await?))
    }

    /// Writes an event that was decided upon.
    async fn write_live(
        &mut self,
        pdu: &Pdu,
        (mut verdict, before): (Verdict, StateId),
        (was, auth): (Option<(EventNo, Whereabouts)>, &AuthEvents),
    ) -> Result<(Verdict, EventNo)> {
        let number = was.map_or_else(|| self.batch.next_event(), |(number, _)| number);
        let is_rejected = |verdict: &Verdict| matches!(verdict, Verdict::Rejected(_));
        if !is_rejected(&verdict) && !self.link(pdu, number, auth).await? {
            verdict = Verdict::Rejected(AuthError::new("it is among its own auth events"));
        }
        let after = match is_rejected(&verdict) {
            true => before,
            false => self.state_after(pdu, (before, number)).await?,
        };
        let is_accepted = verdict == Verdict::Accepted;
        let (mut relating, mut redaction) = (None, None);
        if is_accepted {
            relating = self.relating(pdu).await?;
            redaction = crate::relate::redaction(self, pdu).await?;
        }
        let replaces = match is_accepted {
            true => self.superseded(pdu).await?,
            false => Vec::new(),
        };
        let is_history = is_accepted && self.is_history(pdu, &replaces).await?;
        let now = self.state();
        let current = match (is_accepted, is_history) {
            (true, false) => self.current_with(&replaces, (pdu, number, after)).await?,
            (true, true) => self.current_without(&replaces).await?,
            (false, _) => now,
        };
        let admitted = Admitted {
            pdu,
            standing: standing(&verdict),
            state_before: before,
            state_after: after,
            current_state: current,
            replaces: &replaces,
            txn: None,
            member: None,
            relates_to: relating.as_ref().map(Relating::row),
        };
        let row = super::staged_row(number, &admitted);
        let place = match was {
            Some(was) => promote(&mut self.batch, admitted, was),
            None => append(&mut self.batch, admitted).1,
        };
        if is_history {
            let extremities = &mut self.batch.head.extremities;
            extremities.retain(|extremity| extremity.event != number);
        }
        self.note_related(pdu, (place, row), relating);
        self.stage_leaves_again(now).await?;
        self.follow_state(now).await?;
        if let Some(redaction) = redaction {
            self.redact(redaction, number);
        }
        if is_accepted {
            self.redact_late(pdu).await?;
        }
        Ok((verdict, number))
    }

    /// The state after an event, from that before it.
    pub(crate) async fn state_after(
        &mut self,
        pdu: &Pdu,
        (before, number): (StateId, EventNo),
    ) -> Result<StateId> {
        match pdu.state_key_pair() {
            Some((kind, key)) => {
                let change = (kind, key, Some(number));
                Ok(self.writer.set(before, &[change]).await?)
            }
            None => Ok(before),
        }
    }

    pub(crate) fn note(&mut self, staged: StagedEvent) {
        self.is_written = true;
        let id = staged.pdu.event_id().to_owned();
        self.outliers.remove(&id);
        self.staged_numbers.insert(staged.row.event, id.clone());
        self.events.insert(id, staged);
    }

    /// The extremities that an event replaces: its predecessors, and where these are refused, theirs.
    async fn superseded(&self, pdu: &Pdu) -> Result<Vec<EventNo>> {
        let mut superseded = Vec::new();
        let mut open: Vec<OwnedEventId> = pdu.prev_events().to_vec();
        let mut walked = 0;
        while let Some(id) = open.pop() {
            let Some(found) = self.found(&id).await? else {
                continue;
            };
            superseded.push(found.event);
            if matches!(found.standing, Standing::SoftFailed | Standing::Rejected)
                && walked < REFUSED_WALK_MAX
            {
                walked += 1;
                open.extend(found.pdu.prev_events().iter().cloned());
            }
        }
        Ok(superseded)
    }

    /// The current state with one more extremity: an event, with the state after it.
    async fn current_with(
        &mut self,
        replaces: &[EventNo],
        (pdu, event, after): (&Pdu, EventNo, StateId),
    ) -> Result<StateId> {
        let mut states = self.states_without(replaces);
        states.push(after);
        self.deciding = Some(Found {
            event,
            place: None,
            standing: Standing::Accepted,
            state_after: after,
            pdu: pdu.clone(),
        });
        let resolved = self.resolve(states).await;
        self.deciding = None;
        resolved
    }

    /// The current state with some extremities fewer.
    async fn current_without(&mut self, replaces: &[EventNo]) -> Result<StateId> {
        let states = self.states_without(replaces);
        match states.len() == self.batch.head.extremities.len() {
            true => Ok(self.state()),
            false => self.resolve(states).await,
        }
    }

    /// The states after the extremities that are not replaced.
    fn states_without(&self, replaces: &[EventNo]) -> Vec<StateId> {
        let ends = self.batch.head.extremities.iter();
        ends.filter(|end| !replaces.contains(&end.event))
            .map(|end| end.state_after)
            .collect()
    }

    /// Whether later events than an accepted one are here already, so that it is no end of the room's graph.
    async fn is_history(&mut self, pdu: &Pdu, replaces: &[EventNo]) -> Result<bool> {
        let others_remain = !self.states_without(replaces).is_empty();
        Ok(others_remain && self.is_awaited(pdu.event_id()).await?)
    }

    /// Whether an event is one of those missing below a gap: then later events are here already.
    pub(crate) async fn is_awaited(&mut self, event_id: &EventId) -> Result<bool> {
        let gaps = gaps::all(self.snapshot, self.room()).await?;
        Ok(gaps
            .iter()
            .any(|(_, gap)| gap.awaited.iter().any(|id| id == event_id)))
    }

    /// Leaves places free for what is missing before an event.
    async fn open_gap(&mut self, pdu: &Pdu) -> Result<()> {
        let mut awaited = Vec::new();
        for id in pdu.prev_events() {
            let is_here = self
                .found(id)
                .await?
                .is_some_and(|found| found.place.is_some());
            if !is_here {
                awaited.push(id.clone());
            }
        }
        if awaited.is_empty() {
            return Ok(());
        }
        let newest = Place(self.batch.head.next_place);
        let above = newest.beyond_gap();
        self.batch.head.next_place = above.0;
        let row = GapRow {
            next: Place(above.0 - 1),
            floor: newest,
            awaited,
        };
        let room = self.room();
        gaps::put(self.batch.ops(), room, above, &row);
        Ok(())
    }
}

pub(crate) fn numbers_of(pdu: &Pdu, auth: &AuthEvents) -> Vec<EventNo> {
    let found = pdu.auth_events().iter().filter_map(|id| auth.get(id));
    found.map(|found| found.event).collect()
}

pub(crate) fn lookup(auth: &AuthEvents, id: &EventId) -> Option<AuthEvent> {
    auth.get(id).map(|found| AuthEvent {
        pdu: found.pdu.clone(),
        rejected: found.rejected(),
    })
}

/// The state that the auth rules of an event may ask for.
pub(crate) fn keys_of(pdu: &Pdu) -> Vec<(String, String)> {
    let mut keys = auth_keys(pdu.version(), pdu.into());
    let create = ("m.room.create".to_owned(), String::new());
    if !keys.contains(&create) {
        keys.push(create);
    }
    keys
}

fn log_refusal(pdu: &Pdu, verdict: &Verdict) {
    if let Verdict::Rejected(why) | Verdict::SoftFailed(why) = verdict {
        let (event, room, standing) = (pdu.event_id(), pdu.room_id(), standing(verdict));
        tracing::debug!(event.id = %event, %room, ?standing, %why, "refused an event");
    }
}

pub(crate) fn standing(verdict: &Verdict) -> Standing {
    match verdict {
        Verdict::Accepted => Standing::Accepted,
        Verdict::SoftFailed(_) => Standing::SoftFailed,
        Verdict::Rejected(_) => Standing::Rejected,
    }
}
