//! The room's part in what comes over other servers: each step is one commit that leaves a valid store, and only the
//! last one lets our user in. What was begun and not finished is taken up by the next try.

use hearth_data::append::{Admitted, Standing, append, append_outlier, promote};
use hearth_data::changes::Change;
use hearth_data::gaps::{self, GapRow};
use hearth_data::inbox::InboxKey;
use hearth_data::members::{self, THIS_COMMIT, UserRoomRow};
use hearth_data::partial::{self, PartialRow};
use hearth_data::row::Json;
use hearth_data::tables::STRIPPED_STATE;
use hearth_data::timeline::Whereabouts;
use hearth_data::{EventNo, Place, StateId};
use hearth_event::{Grounds, Pdu, Verdict, admit};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedUserId};

use crate::stage::admit::{Taken, lookup};
use crate::stage::{Stage, StagedEvent};
use crate::{Error, Result};

/// One commit of an import.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Part of the new current state: known events that shall be in it, and keys that shall not.
    Advance {
        set: Vec<OwnedEventId>,
        unset: Vec<(String, String)>,
        /// Only where the current state still is as this one: other changes came later and stay.
        unless_changed_from: Option<StateId>,
    },
    /// Our user's join, on the state as it is now.
    Enter {
        join: Pdu,
        /// If members were left out of the state.
        partial: Option<Box<PartialRow>>,
    },
    /// A membership in a room in which nobody of this server is: an invite, a knock, or their end.
    Outside {
        user: OwnedUserId,
        membership: MembershipState,
        /// The member event; without one the last one stays.
        event: Option<Pdu>,
        stripped_state: Option<String>,
        /// What the event ends, if it came by way of the inbox.
        ended: Option<Ended>,
    },
    /// The state is whole.
    Whole(Box<super::lift::Whole>),
}

/// An invite or a knock that ends, if it has not made room for a later one meanwhile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// The event of the invite or knock.
    pub(crate) event: EventNo,
    /// The row in the inbox of the event that ends it.
    pub(crate) row: InboxKey,
}

pub(crate) async fn step(stage: &mut Stage<'_>, step: &Step) -> Result<Taken> {
    match step {
        Step::Advance {
            set,
            unset,
            unless_changed_from,
        } => stage.advance((set, unset), *unless_changed_from).await,
        Step::Enter { join, partial } => stage.enter(join, partial.as_deref()).await,
        Step::Outside {
            user,
            membership,
            event,
            stripped_state,
            ended,
        } => {
            if let Some(ended) = ended {
                stage.drop_row(ended.row);
                let now = stage.user_room(user.as_str()).await?;
                if now.is_none_or(|now| now.event != ended.event) {
                    return Ok(Taken::Done);
                }
            }
            let what = (membership, event.as_ref(), stripped_state.as_deref());
            stage.outside(user, what).await
        }
        Step::Whole(whole) => super::lift::finish(stage, whole).await,
    }
}

impl Stage<'_> {
    async fn advance(
        &mut self,
        (set, unset): (&[OwnedEventId], &[(String, String)]),
        unless_changed_from: Option<StateId>,
    ) -> Result<Taken> {
        let before = self.state();
        let mut keyed: Vec<(String, String, Option<EventNo>)> = Vec::with_capacity(set.len());
        for id in set {
            let found = self.found(id).await?;
            let Some(found) = found.filter(|found| found.standing != Standing::Rejected) else {
                continue;
            };
            // One that came as an invite, before its auth events, may not be in the auth graph yet.
            if !self.relink(&found).await? {
                continue;
            }
            if let Some((kind, key)) = found.pdu.state_key_pair() {
                keyed.push((kind.to_owned(), key.to_owned(), Some(found.event)));
            }
        }
        keyed.extend(
            unset
                .iter()
                .map(|(kind, key)| (kind.clone(), key.clone(), None)),
        );
        if let Some(old) = unless_changed_from {
            let keys: Vec<(&str, &str)> = keyed
                .iter()
                .map(|(kind, key, _)| (kind.as_str(), key.as_str()))
                .collect();
            let view = self.writer.view();
            let then = view.lookup_many(old, &keys).await?;
            let now = view.lookup_many(before, &keys).await?;
            let mut same = then.into_iter().zip(now).map(|(then, now)| then == now);
            keyed.retain(|_| same.next().unwrap_or(false));
        }
        let changes: Vec<_> = keyed
            .iter()
            .map(|(kind, key, event)| (kind.as_str(), key.as_str(), *event))
            .collect();
        let state = self.writer.set(before, &changes).await?;
        self.batch.head.state = state;
        self.is_written = true;
        self.follow_state(before).await?;
        Ok(Taken::State(state))
    }

    async fn enter(&mut self, join: &Pdu, partial: Option<&PartialRow>) -> Result<Taken> {
        let before = self.state();
        let auth = match self.auth_events_of(join).await? {
            Ok(auth) => auth,
            Err(missing) => return Ok(Taken::Missing(missing)),
        };
        let state = self.state_for(join, before).await?;
        let at = |kind: &str, key: &str| {
            let key = (kind.to_owned(), key.to_owned());
            // Where members were left out, those in the auth events stand for them.
            state.get(&key).cloned().or_else(|| {
                let mut events = auth.values().map(|found| &found.pdu);
                events
                    .find(|pdu| partial.is_some() && pdu.is(&key.0, &key.1))
                    .cloned()
            })
        };
        let verdict = admit(
            join,
            &Grounds {
                auth_events: &|id| lookup(&auth, id),
                before: &at,
                current: None,
            },
        );
        let found = self.found(join.event_id()).await?;
        let was = found.map(|found| (found.event, found.whereabouts()));
        let number = was.map_or_else(|| self.batch.next_event(), |(number, _)| number);
        if verdict != Verdict::Accepted {
            return Ok(Taken::Decided {
                verdict,
                event: number,
            });
        }
        if !self.link(join, number, &auth).await? {
            return Ok(Taken::Missing(join.auth_events().to_vec()));
        }
        self.write_entry(join, number, was).await?;
        // A room that replaced another takes the settings of who enters along.
        self.load(&[("m.room.create", "")]).await?;
        self.stage_jobs(join, join.state_key());
        if let Some(row) = partial {
            let row = PartialRow {
                event: number,
                state: before,
                ..row.clone()
            };
            self.begin_partial(&row).await?;
        }
        Ok(Taken::Decided {
            verdict,
            event: number,
        })
    }

    /// The room's state is partial from now on. An earlier stay whose state was never whole is kept: its events may be built
    /// upon.
    async fn begin_partial(&mut self, row: &PartialRow) -> Result<()> {
        let room = self.room();
        if let Some(earlier) = partial::partial(self.snapshot, room).await? {
            let kept = partial::stays(self.snapshot, room).await?;
            if kept.len() < partial::STAYS_MAX {
                partial::put_stay(self.batch.ops(), room, &earlier);
            }
        }
        partial::put(self.batch.ops(), room, row);
        Ok(())
    }

    /// The join is the one end of the room's graph; before it lies a gap.
    async fn write_entry(
        &mut self,
        join: &Pdu,
        number: EventNo,
        was: Option<(EventNo, Whereabouts)>,
    ) -> Result<()> {
        let room = self.room();
        let before = self.state();
        let (kind, key) = join
            .state_key_pair()
            .ok_or_else(|| Error::BadEvent("the join is no state event".to_owned()))?;
        let change = (kind, key, Some(number));
        let after = self.writer.set(before, &[change]).await?;
        let replaces: Vec<EventNo> = self
            .batch
            .head
            .extremities
            .iter()
            .map(|extremity| extremity.event)
            .collect();
        let row = self.entry_gap(join).await?;
        let admitted = Admitted {
            pdu: join,
            standing: Standing::Accepted,
            state_before: before,
            state_after: after,
            current_state: after,
            replaces: &replaces,
            txn: None,
            member: None,
            relates_to: None,
        };
        let staged = crate::stage::staged_row(number, &admitted);
        let place = match was {
            Some(was) => promote(&mut self.batch, admitted, was),
            None => append(&mut self.batch, admitted).1,
        };
        if let Some(row) = row {
            gaps::put(self.batch.ops(), room, place, &row);
        }
        // The server that let us in tells the others.
        self.batch.record(Change::Handed {
            room,
            event: number,
        });
        self.is_written = true;
        self.note(StagedEvent {
            place,
            row: staged,
            pdu: join.clone(),
        });
        self.follow_state(before).await
    }

    /// The gap below a join, if history before it is missing.
    async fn entry_gap(&mut self, join: &Pdu) -> Result<Option<GapRow>> {
        let mut awaited = Vec::new();
        for id in join.prev_events() {
            let found = self.found(id).await?;
            if found.is_none_or(|found| found.place.is_none()) {
                awaited.push(id.clone());
            }
        }
        if awaited.is_empty() {
            return Ok(None);
        }
        let newest = Place(self.batch.head.next_place);
        let (above, floor) = match newest.0 {
            // All places below the first are free.
            1 => (newest, Place::MIN),
            _ => (newest.beyond_gap(), newest),
        };
        self.batch.head.next_place = above.0;
        Ok(Some(GapRow {
            next: Place(above.0 - 1),
            floor,
            awaited,
        }))
    }

    /// Whether the current state says anything of a user's membership.
    async fn mentions(&self, user: &OwnedUserId) -> Result<bool> {
        let view = self.writer.view();
        let found = view.lookup(self.state(), "m.room.member", user.as_str());
        Ok(found.await?.is_some())
    }

    async fn outside(
        &mut self,
        user: &OwnedUserId,
        (membership, event, stripped_state): (&MembershipState, Option<&Pdu>, Option<&str>),
    ) -> Result<Taken> {
        let room = self.room();
        let before = self.user_room(user.as_str()).await?;
        let is_leave = *membership == MembershipState::Leave;
        if self.batch.head.joined_local > 0 && (!is_leave || self.mentions(user).await?) {
            // Somebody's join was first: the room itself says now who is in it. If it says nothing of an invite, that can
            // still be declined.
            return Ok(Taken::Done);
        }
        let number = match event {
            Some(pdu) => match self.found(pdu.event_id()).await? {
                Some(found) => found.event,
                None => append_outlier(&mut self.batch, pdu, Standing::Outlier),
            },
            None => match &before {
                Some(row) => row.event,
                None => return Ok(Taken::Done),
            },
        };
        let row = UserRoomRow {
            membership: membership.clone(),
            event: number,
            forgotten: false,
            position: THIS_COMMIT,
        };
        members::put_user_room(self.batch.ops(), user.as_str(), room, before.as_ref(), &row);
        let key = (user.to_string(), room);
        match stripped_state {
            Some(state) => {
                STRIPPED_STATE.put(self.batch.ops(), &key, &Json::from_text(state.to_owned()));
            }
            None => STRIPPED_STATE.delete(self.batch.ops(), &key),
        }
        self.batch.record(Change::Member {
            room,
            user: user.to_string(),
            joined: false,
        });
        self.user_rooms.insert(user.to_string(), row);
        self.is_written = true;
        Ok(Taken::Done)
    }
}
