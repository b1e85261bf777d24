//! Putting what was written in a partial room on the whole state, when that is here: a step of the room's own task.

use std::collections::{BTreeSet, HashMap};

use hearth_data::append::{EventRow, Standing, promote};
use hearth_data::members::{self, THIS_COMMIT};
use hearth_data::partial::{self, PartialRow};
use hearth_data::rooms::Extremity;
use hearth_data::tables::TIMELINE;
use hearth_data::timeline::{Placed, Whereabouts};
use hearth_data::{EventNo, Place, StateId, timeline};
use hearth_event::Pdu;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, ServerName, UserId};

use crate::Result;
use crate::stage::Stage;
use crate::stage::admit::{Taken, standing};

/// Events that one commit puts on the whole state.
const EVENTS_PER_COMMIT: usize = 50;
/// How many servers that were not said to be in a room are noted with each of our users in it.
const UNSAID_MAX: usize = 500;
/// How many members are read at once.
const PAGE: usize = 100;
pub(super) const MEMBER: &str = "m.room.member";

/// A step of putting events on the whole state.
#[derive(Clone, Debug)]
pub(crate) struct Whole {
    /// The join by which the state was partial.
    pub(crate) join: EventNo,
    /// The state before our join, whole.
    pub(crate) state: StateId,
    /// The first event that is not done.
    pub(crate) from: Place,
    /// Servers that had members in the room, be it for a while, without being said to be in it: they may have missed
    /// what others were told.
    pub(crate) unsaid: BTreeSet<String>,
    /// Events that were refused and are accepted: they have gone to the end of the room's history.
    pub(crate) moved: BTreeSet<OwnedEventId>,
}

impl Whole {
    /// Somebody's membership is another than it was held to be.
    pub(super) fn note_member(&mut self, row: &PartialRow, own: &ServerName, user: &str) {
        let Ok(user) = UserId::parse(user) else {
            return;
        };
        let server = user.server_name();
        let is_said = row.servers.iter().any(|said| said == server.as_str());
        if !is_said && server != own {
            self.unsaid.insert(server.to_string());
        }
    }
}

/// Puts the next events on the whole state, and decides them anew by it: of some less was known than it takes. With the
/// last ones the room's state is no longer partial.
pub(super) async fn finish(stage: &mut Stage<'_>, whole: &Whole) -> Result<Taken> {
    let room = stage.room();
    let mut stays = partial::stays(stage.snapshot, room).await?;
    stays.extend(partial::partial(stage.snapshot, room).await?);
    let mut stays = stays.into_iter();
    let Some(row) = stays.find(|stay| stay.event == whole.join) else {
        return Ok(Taken::Done);
    };
    let (until, is_newest) = match stays.next() {
        None => (Place::MAX, true),
        Some(next) => (place_of(stage, next.event).await?, false),
    };
    let (from, limit) = (whole.from, EVENTS_PER_COMMIT + 1);
    let events = timeline::forward(stage.snapshot, room, from, until, limit).await?;
    let next = events.get(EVENTS_PER_COMMIT).map(|placed| placed.place);
    let mut lift = Lift {
        row,
        is_newest,
        whole: whole.clone(),
        states: HashMap::new(),
        after: HashMap::new(),
    };
    for placed in events.into_iter().take(EVENTS_PER_COMMIT) {
        lift.event(stage, placed).await?;
    }
    stage.mark_written();
    if let Some(from) = next {
        return Ok(Taken::Next(Box::new(Whole { from, ..lift.whole })));
    }
    match is_newest {
        true => lift.end(stage).await?,
        false => partial::end_stay(stage.ops(), room, whole.join),
    }
    Ok(Taken::Done)
}

async fn place_of(stage: &Stage<'_>, event: EventNo) -> Result<Place> {
    let found = timeline::event(stage.snapshot, stage.room(), event).await?;
    let place = found.and_then(|(place, _)| place);
    place.ok_or_else(|| crate::stage::missing_event(event))
}

async fn local_members(stage: &Stage<'_>) -> Result<Vec<String>> {
    let mut users = Vec::new();
    let mut after = String::new();
    loop {
        let page = members::members_after(stage.snapshot, stage.room(), &after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(users);
        };
        after.clone_from(last);
        for (user, row) in page {
            let is_local =
                UserId::parse(user.as_str()).is_ok_and(|user| stage.inner.is_local(&user));
            if is_local && row.membership == MembershipState::Join {
                users.push(user);
            }
        }
    }
}

/// Puts events on the whole state.
struct Lift {
    row: PartialRow,
    /// Whether it is the stay that goes on: the current state follows, and what is news is told.
    is_newest: bool,
    whole: Whole,
    /// States with what is different between them and the partial one put on the whole one.
    states: HashMap<StateId, StateId>,
    /// The states after the events of this commit.
    after: HashMap<OwnedEventId, StateId>,
}

impl Lift {
    /// All events are on the whole state: so is the room.
    async fn end(&mut self, stage: &mut Stage<'_>) -> Result<()> {
        let room = stage.room();
        let current = stage.state();
        let ends = &stage.batch.head.extremities;
        let ends: Vec<StateId> = ends.iter().map(|end| end.state_after).collect();
        let now = match ends.is_empty() {
            true => self.state(stage, current).await?,
            false => stage.resolve(ends).await?,
        };
        stage.batch.head.state = now;
        stage.follow_state(current).await?;
        if !self.whole.unsaid.is_empty() {
            let users = local_members(stage).await?;
            // Of more it is not written which: those that are new to a user are told.
            let mut servers = std::mem::take(&mut self.whole.unsaid);
            if servers.len() > UNSAID_MAX {
                servers.clear();
            }
            stage.batch.introduce(users, &servers);
        }
        partial::end(stage.ops(), room, &self.row);
        for stay in partial::stays(stage.snapshot, room).await? {
            // Nobody tells what it lacks.
            partial::end_stay(stage.ops(), room, stay.event);
        }
        Ok(())
    }

    async fn event(&mut self, stage: &mut Stage<'_>, placed: Placed) -> Result<()> {
        let was = placed.row;
        let (room, version) = (stage.room(), stage.view.version);
        let pdu = timeline::pdu(version, &stage.batch.head.room_id, &was)?;
        if let Some((MEMBER, user)) = pdu.state_key_pair() {
            let own = &stage.inner.settings.server_name;
            self.whole.note_member(&self.row, own, user);
        }
        let before = self.before(stage, &pdu, (placed.place, &was)).await?;
        let standing = match was.standing {
            Standing::Accepted | Standing::Rejected if was.event != self.row.event => stage
                .standing_on(&pdu, before)
                .await?
                .unwrap_or(was.standing),
            standing => standing,
        };
        let standing = match (was.standing, standing) {
            (Standing::Rejected, Standing::Accepted) => {
                let late = stage.admitted_late(&pdu, was.event).await?;
                match late == Standing::Accepted && !self.is_newest {
                    // It is news no longer.
                    true => Standing::SoftFailed,
                    false => late,
                }
            }
            _ => standing,
        };
        let after = match standing {
            Standing::Rejected => before,
            _ => stage.state_after(&pdu, (before, was.event)).await?,
        };
        self.after.insert(was.event_id.clone(), after);
        if (was.standing, standing) == (Standing::Rejected, Standing::Accepted) {
            self.whole.moved.insert(was.event_id.clone());
            return stage
                .show_late(&pdu, (placed.place, &was), (before, after))
                .await;
        }
        assert!(was.position != THIS_COMMIT, "a row of the snapshot");
        let is_other = standing != was.standing;
        let now = EventRow {
            state_before: before,
            state_after: after,
            standing,
            ..was
        };
        TIMELINE.put(stage.ops(), &(room, placed.place), &now);
        let mut ends = std::mem::take(&mut stage.batch.head.extremities);
        for end in ends.iter_mut().filter(|end| end.event == now.event) {
            end.state_after = after;
        }
        if is_other && standing == Standing::Rejected {
            let shown_at = now.position;
            timeline::hide(
                stage.snapshot,
                stage.batch.ops(),
                (room, placed.place),
                shown_at,
            )
            .await?;
            self.step_back(stage, &mut ends, &pdu).await?;
        }
        stage.batch.head.extremities = ends;
        Ok(())
    }

    /// The state before an event: that after its predecessors, or what was told of it where one of them came after it and
    /// is not lifted yet.
    async fn before(
        &mut self,
        stage: &mut Stage<'_>,
        pdu: &Pdu,
        (place, row): (Place, &EventRow),
    ) -> Result<StateId> {
        let mut states = Vec::new();
        for id in pdu.prev_events() {
            let known = self.after.get(id).copied();
            states.extend(match known {
                Some(state) => Some(state),
                None => {
                    let found = stage.found(id).await?;
                    let is_moved = self.whole.moved.contains(id);
                    let is_done = |at| at < place || is_moved;
                    let found = found.filter(|found| found.place.is_some_and(is_done));
                    found.map(|found| found.state_after)
                }
            });
        }
        if row.event == self.row.event || states.len() < pdu.prev_events().len() {
            return self.state(stage, row.state_before).await;
        }
        stage.resolve(states).await
    }

    /// An event is refused after all: if it is an end of the room's graph, its predecessors are in its place.
    async fn step_back(
        &self,
        stage: &Stage<'_>,
        ends: &mut Vec<Extremity>,
        pdu: &Pdu,
    ) -> Result<()> {
        let before = ends.len();
        ends.retain(|end| end.event_id != pdu.event_id());
        if ends.len() == before {
            return Ok(());
        }
        for id in pdu.prev_events() {
            let found = stage.found(id).await?;
            let found = found.filter(|found| found.standing == Standing::Accepted);
            let is_end = ends.iter().any(|end| end.event_id == *id);
            if let Some(found) = found.filter(|found| found.place.is_some() && !is_end) {
                let known = self.after.get(id).copied();
                ends.push(Extremity {
                    event: found.event,
                    event_id: id.clone(),
                    state_after: known.unwrap_or(found.state_after),
                });
            }
        }
        Ok(())
    }

    /// A state with what is different between it and the partial state put on the whole one.
    async fn state(&mut self, stage: &mut Stage<'_>, state: StateId) -> Result<StateId> {
        if let Some(done) = self.states.get(&state) {
            return Ok(*done);
        }
        let changes = stage.state_changes(self.row.state, state).await?;
        let changes: Vec<_> = changes
            .iter()
            .map(|((kind, key), event)| (kind.as_str(), key.as_str(), *event))
            .collect();
        let done = stage.set_state(self.whole.state, &changes).await?;
        self.states.insert(state, done);
        Ok(done)
    }
}

impl Stage<'_> {
    /// How an event stands that was refused and is not any more: others may rest upon it from now on.
    async fn admitted_late(&mut self, pdu: &Pdu, number: EventNo) -> Result<Standing> {
        let is_linked = match self.auth_events_of(pdu).await? {
            Ok(auth) => self.link(pdu, number, &auth).await?,
            Err(_) => false,
        };
        Ok(match is_linked {
            true => Standing::Accepted,
            false => Standing::Rejected,
        })
    }

    /// An event that was refused, and is not any more, is news: it goes to the end of the history.
    async fn show_late(
        &mut self,
        pdu: &Pdu,
        (place, was): (Place, &EventRow),
        (before, after): (StateId, StateId),
    ) -> Result<()> {
        let relating = self.relating(pdu).await?;
        let redaction = crate::relate::redaction(self, pdu).await?;
        let admitted = self.admitted(pdu, (before, after), relating.as_ref());
        let row = crate::stage::staged_row(was.event, &admitted);
        let number = was.event;
        let place = promote(
            &mut self.batch,
            admitted,
            (number, Whereabouts::Placed(place)),
        );
        self.note_related(pdu, (place, row), relating);
        if let Some(redaction) = redaction {
            self.redact(redaction, number);
        }
        self.redact_late(pdu).await
    }

    /// How an event stands by the state before it; nothing if its auth events are not all here.
    async fn standing_on(&mut self, pdu: &Pdu, before: StateId) -> Result<Option<Standing>> {
        let Ok(auth) = self.auth_events_of(pdu).await? else {
            return Ok(None);
        };
        let verdict = self.decide_before(pdu, &auth, before).await?;
        Ok(Some(standing(&verdict)))
    }
}
