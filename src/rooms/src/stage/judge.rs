//! Deciding upon an event of another server by the states that count: the one before it, and the current one.

use std::collections::HashMap;

use hearth_data::{StateId, partial};
use hearth_event::visibility::Membership;
use hearth_event::{Grounds, Pdu, Verdict, admit};

use super::Stage;
use super::admit::{AuthEvents, keys_of, lookup};
use crate::Result;

/// Whose word counts first for the members that an event needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    State,
    /// What the event itself names.
    Event,
}

impl Stage<'_> {
    /// Decides upon an event by the state before it and the current one; after a gap, what the state before it tells us
    /// anew counts as current.
    pub(super) async fn decide_live(
        &mut self,
        pdu: &Pdu,
        auth: &AuthEvents,
        (before, now): (StateId, Option<StateId>),
    ) -> Result<Verdict> {
        let before = self.state_for(pdu, before).await?;
        let after_gap = match now {
            Some(now) => Some(self.state_for(pdu, now).await?),
            None => None,
        };
        let keys = keys_of(pdu);
        let wanted: Vec<(&str, &str)> = keys
            .iter()
            .map(|(kind, key)| (kind.as_str(), key.as_str()))
            .collect();
        self.load(&wanted).await?;
        let members = self.left_out(&keys, &before, auth).await?;
        let decide = |members: &[Pdu], first: First| {
            let pick = |known: Option<Pdu>, kind: &str, key: &str| {
                let named = members.iter().find(|pdu| pdu.is(kind, key)).cloned();
                match first {
                    First::State => known.or(named),
                    First::Event => named.or(known),
                }
            };
            let at = |kind: &str, key: &str| {
                let known = before.get(&(kind.to_owned(), key.to_owned()));
                pick(known.cloned(), kind, key)
            };
            let now = |kind: &str, key: &str| {
                let known = match &after_gap {
                    Some(now) => now.get(&(kind.to_owned(), key.to_owned())).cloned(),
                    None => self.view.pdu(kind, key).cloned(),
                };
                pick(known, kind, key)
            };
            let grounds = Grounds {
                auth_events: &|id| lookup(auth, id),
                before: &at,
                current: Some(&now),
            };
            admit(pdu, &grounds)
        };
        let verdict = decide(&members, First::State);
        if verdict == Verdict::Accepted || !is_leave_after_kick(pdu, &before) {
            return Ok(verdict);
        }
        match self.is_partial().await? {
            true => Ok(decide(&named(auth), First::Event)),
            false => Ok(verdict),
        }
    }

    /// The members that an event names of a room most of whose members are not known yet: they stand in for what the state
    /// does not say. When it is whole, the event is decided anew.
    async fn left_out(
        &self,
        keys: &[(String, String)],
        before: &HashMap<(String, String), Pdu>,
        auth: &AuthEvents,
    ) -> Result<Vec<Pdu>> {
        let is_member = |key: &&(String, String)| key.0 == "m.room.member";
        let is_known = keys
            .iter()
            .filter(is_member)
            .all(|key| before.contains_key(key));
        match !is_known && self.is_partial().await? {
            true => Ok(named(auth)),
            false => Ok(Vec::new()),
        }
    }

    async fn is_partial(&self) -> Result<bool> {
        let row = partial::partial(self.snapshot, self.room()).await?;
        Ok(row.is_some())
    }
}

/// The members among the auth events.
fn named(auth: &AuthEvents) -> Vec<Pdu> {
    let named = auth.values().filter(|found| !found.rejected());
    let members = named.filter(|found| found.pdu.kind() == "m.room.member");
    members.map(|found| found.pdu.clone()).collect()
}

/// Whether somebody leaves who, for all that is known, had been made to leave. While most of a room's state is missing, the
/// kick may have been believed wrongly; that she is gone is so in either case.
fn is_leave_after_kick(pdu: &Pdu, before: &HashMap<(String, String), Pdu>) -> bool {
    let user = pdu.sender().as_str();
    let key = ("m.room.member".to_owned(), user.to_owned());
    let left = Some(Membership::Leave);
    pdu.state_key_pair() == Some(("m.room.member", user))
        && Membership::of(pdu) == left
        && before.get(&key).and_then(Membership::of) == left
}
