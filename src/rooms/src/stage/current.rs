//! What is derived from the current state, and states put together of known events.

use hearth_data::append::{LocalMember, MemberChange, remove_member, write_member};
use hearth_data::jobs::JobRow;
use hearth_data::{EventNo, Place, StateId, relations, timeline};
use hearth_event::Pdu;
use ruma::UserId;
use ruma::events::room::member::MembershipState;

use super::Stage;
use super::admit::{NewState, Taken};
use crate::view::Known;
use crate::{Result, content};

/// How many events after a leave are looked through for a join.
const LOOKED_THROUGH_MAX: usize = 1_000;

impl Stage<'_> {
    /// Brings all that is derived from the current state up to date after it changed from `before`.
    pub(crate) async fn follow_state(&mut self, before: StateId) -> Result<()> {
        let now = self.state();
        if before == now {
            return Ok(());
        }
        let changes = self.writer.view().diff(before, now).await?;
        let numbers: Vec<EventNo> = changes
            .iter()
            .flat_map(|change| [change.before, change.after])
            .flatten()
            .collect();
        let pdus = self.pdus(&numbers).await?;
        for change in &changes {
            let of = |number: Option<EventNo>| Some(pdus.get(&number?)?.0.clone());
            let (old, new) = (of(change.before), of(change.after));
            let Some((kind, key)) = new.as_ref().or(old.as_ref()).and_then(Pdu::state_key_pair)
            else {
                continue;
            };
            let known = change.after.zip(new.clone());
            let known = known.map(|(event, pdu)| Known { event, pdu });
            self.view.learn(kind, key, known);
        }
        for change in &changes {
            let of = |number: Option<EventNo>| {
                let number = number?;
                Some((number, pdus.get(&number)?.0.clone()))
            };
            self.follow_member(of(change.before), of(change.after))
                .await?;
        }
        Ok(())
    }

    /// Local users who left by themselves, and whom the current state has as joined again by an older join: the jobs that
    /// have them leave once more. Before what is derived from the state follows it.
    pub(crate) async fn stage_leaves_again(&mut self, before: StateId) -> Result<()> {
        if before == self.state() {
            return Ok(());
        }
        let changes = self.writer.view().diff(before, self.state()).await?;
        let numbers: Vec<EventNo> = changes.iter().filter_map(|change| change.after).collect();
        let pdus = self.pdus(&numbers).await?;
        for (join, (pdu, _)) in &pdus {
            let user = pdu.sender();
            let is_join = self.inner.is_local(user)
                && pdu.is("m.room.member", user.as_str())
                && content::membership(pdu) == Some(MembershipState::Join);
            if is_join && self.has_left_since(user, *join).await? {
                let job = JobRow::LeaveAgain {
                    room: self.room(),
                    user: user.to_string(),
                    join: *join,
                };
                self.stage_job(&job);
            }
        }
        Ok(())
    }

    /// Whether a local user is out of the room because she left it after a join, and has not come back since: a join that
    /// resolution took away again says what she wants.
    async fn has_left_since(&mut self, user: &UserId, join: EventNo) -> Result<bool> {
        let row = self.user_room(user.as_str()).await?;
        let Some(row) = row.filter(|row| row.event > join) else {
            return Ok(false);
        };
        let left = self.pdus(&[row.event]).await?;
        let is_own = left.get(&row.event).is_some_and(|(leave, _)| {
            leave.sender() == user && content::membership(leave) == Some(MembershipState::Leave)
        });
        Ok(is_own && !self.has_come_after(user, row.event).await?)
    }

    /// Whether a user joined after an event, as far as the room's history is looked through; where it is longer, she is
    /// taken to have.
    async fn has_come_after(&self, user: &UserId, event: EventNo) -> Result<bool> {
        let found = timeline::event(self.snapshot, self.room(), event).await?;
        let Some((Some(place), _)) = found else {
            return Ok(true);
        };
        let (from, to) = (place.next(), Place::MAX);
        let after =
            timeline::forward(self.snapshot, self.room(), from, to, LOOKED_THROUGH_MAX).await?;
        if after.len() == LOOKED_THROUGH_MAX {
            return Ok(true);
        }
        for placed in after {
            let pdu = timeline::pdu(self.view.version, &self.batch.head.room_id, &placed.row)?;
            let is_own = pdu.sender() == user && pdu.is("m.room.member", user.as_str());
            if is_own && content::membership(&pdu) == Some(MembershipState::Join) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What a state has otherwise than another, by key.
    pub(crate) async fn state_changes(
        &self,
        from: StateId,
        to: StateId,
    ) -> Result<Vec<((String, String), Option<EventNo>)>> {
        let changes = self.writer.view().diff(from, to).await?;
        let numbers: Vec<EventNo> = changes
            .iter()
            .filter_map(|change| change.after.or(change.before))
            .collect();
        let pdus = self.pdus(&numbers).await?;
        Ok(changes
            .iter()
            .filter_map(|change| {
                let (pdu, _) = pdus.get(&change.after.or(change.before)?)?;
                let (kind, key) = pdu.state_key_pair()?;
                Some(((kind.to_owned(), key.to_owned()), change.after))
            })
            .collect())
    }

    /// A state made from another.
    pub(crate) async fn set_state(
        &mut self,
        base: StateId,
        changes: &[(&str, &str, Option<EventNo>)],
    ) -> Result<StateId> {
        Ok(self.writer.set(base, changes).await?)
    }

    pub(crate) fn mark_written(&mut self) {
        self.is_written = true;
    }

    /// Applies a redaction that came before its target, or keeps one for later.
    pub(crate) async fn redact_late(&mut self, pdu: &Pdu) -> Result<()> {
        let room = self.room();
        if let Some(target) = pdu.redacts()
            && self
                .found(target)
                .await?
                .is_none_or(|found| found.place.is_none())
            && let Some(found) = self.found(pdu.event_id()).await?
        {
            relations::put_early_redaction(self.ops(), room, target, found.event);
            self.early_redactions.insert(target.to_owned(), found.event);
            return Ok(());
        }
        let id = pdu.event_id();
        let staged = self.early_redactions.remove(id);
        let kept = relations::early_redaction(self.snapshot, room, id).await?;
        let Some(number) = staged.or(kept) else {
            return Ok(());
        };
        relations::remove_early_redaction(self.ops(), room, id);
        let found = self.pdus(&[number]).await?;
        let Some((redaction, _)) = found.get(&number) else {
            return Ok(());
        };
        if let Some(applies) = crate::relate::redaction(self, redaction).await? {
            self.redact(applies, number);
        }
        Ok(())
    }

    async fn follow_member(
        &mut self,
        old: Option<(EventNo, Pdu)>,
        new: Option<(EventNo, Pdu)>,
    ) -> Result<()> {
        let pair = new.as_ref().or(old.as_ref());
        let Some(("m.room.member", user)) = pair.and_then(|(_, pdu)| pdu.state_key_pair()) else {
            return Ok(());
        };
        let user = user.to_owned();
        let before = old.as_ref().and_then(|(_, pdu)| content::membership(pdu));
        let after = match &new {
            // Without a membership nobody is a member; the auth rules let no such event pass.
            Some((_, pdu)) => content::membership(pdu).unwrap_or(MembershipState::Leave),
            None => MembershipState::Leave,
        };
        let is_local = ruma::UserId::parse(user.as_str()).is_ok_and(|id| self.inner.is_local(&id));
        let local = match (is_local, &new) {
            (false, _) => None,
            (true, pdu) => {
                let is_pending = matches!(after, MembershipState::Invite | MembershipState::Knock);
                let stripped_state = match pdu.as_ref().filter(|_| is_pending) {
                    Some((_, pdu)) => Some(crate::membership::stripped_state(self, pdu).await?),
                    None => None,
                };
                Some(LocalMember {
                    before: self.user_room(&user).await?,
                    stripped_state,
                })
            }
        };
        let is_own = new
            .as_ref()
            .is_none_or(|(_, pdu)| pdu.sender().as_str() == user);
        let change = MemberChange {
            user,
            before,
            after,
            is_own,
            local,
        };
        match (new, old) {
            (Some((event, _)), _) => {
                write_member(&mut self.batch, &change, event);
                self.stage_member(&Some(change), event);
            }
            (None, Some((event, _))) => {
                remove_member(&mut self.batch, &change, event);
                self.stage_member(&Some(change), event);
            }
            (None, None) => {}
        }
        Ok(())
    }

    pub(crate) async fn make_state(&mut self, new: &NewState) -> Result<Taken> {
        let mut keyed: Vec<((String, String), Option<EventNo>)> = Vec::new();
        let mut missing = Vec::new();
        for id in &new.set {
            let Some(found) = self.found(id).await? else {
                missing.push(id.clone());
                continue;
            };
            if found.rejected() || !self.relink(&found).await? {
                continue;
            }
            if let Some((kind, key)) = found.pdu.state_key_pair() {
                let key = (kind.to_owned(), key.to_owned());
                keyed.push((key, Some(found.event)));
            }
        }
        if !missing.is_empty() {
            return Ok(Taken::Missing(missing));
        }
        keyed.extend(new.unset.iter().map(|key| (key.clone(), None)));
        let changes: Vec<_> = keyed
            .iter()
            .map(|((kind, key), event)| (kind.as_str(), key.as_str(), *event))
            .collect();
        let state = self.writer.set(new.base, &changes).await?;
        self.is_written = true;
        Ok(Taken::State(state))
    }
}
