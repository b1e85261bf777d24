//! The auth graph of a room: which events may be added to it, and those that were kept before they could be.

use hearth_data::EventNo;
use hearth_data::append::Standing;
use hearth_data::reach::Indexed;
use hearth_event::{Pdu, allowed_by_auth_events};

use super::Stage;
use super::admit::{AuthEvents, Found, lookup, numbers_of};
use crate::Result;

/// Most events that are added to the auth graph for one.
const LINKED_AT_ONCE_MAX: usize = 64;

impl Stage<'_> {
    /// Adds a state event to the auth graph, and those of its auth events that came as invites and were not. `false` if
    /// its auth events go round in a ring, or one of them is not allowed by its own.
    pub(crate) async fn link(
        &mut self,
        pdu: &Pdu,
        number: EventNo,
        auth: &AuthEvents,
    ) -> Result<bool> {
        if !pdu.is_state() {
            return Ok(true);
        }
        let mut open = vec![(number, numbers_of(pdu, auth))];
        for _ in 0..LINKED_AT_ONCE_MAX {
            let Some((number, numbers)) = open.last() else {
                return Ok(true);
            };
            match self.links.append(*number, numbers).await? {
                Indexed::Done => {
                    open.pop();
                }
                Indexed::AuthMissing(missing) => {
                    if open.iter().any(|(number, _)| *number == missing) {
                        return Ok(false);
                    }
                    match self.linkable(missing).await? {
                        Some(numbers) => open.push((missing, numbers)),
                        None => return Ok(false),
                    }
                }
            }
        }
        Ok(false)
    }

    /// Adds an event that was kept before its auth events were here. `false` if they do not allow it.
    pub(crate) async fn relink(&mut self, found: &Found) -> Result<bool> {
        if !found.pdu.is_state() || self.links.view().links(found.event).await?.is_some() {
            return Ok(true);
        }
        self.is_written = true;
        let auth = match self.linkable(found.event).await? {
            Some(_) => self.auth_events_of(&found.pdu).await?,
            None => return Ok(false),
        };
        match auth {
            Ok(auth) => self.link(&found.pdu, found.event, &auth).await,
            Err(_) => Ok(false),
        }
    }

    /// The auth events of a kept event, if they are here and allow it.
    async fn linkable(&mut self, number: EventNo) -> Result<Option<Vec<EventNo>>> {
        let found = self.pdus(&[number]).await?;
        let Some((pdu, standing)) = found.get(&number) else {
            return Ok(None);
        };
        let Ok(auth) = self.auth_events_of(pdu).await? else {
            return Ok(None);
        };
        let is_allowed = *standing != Standing::Rejected
            && allowed_by_auth_events(pdu, &|id| lookup(&auth, id)).is_ok();
        Ok(is_allowed.then(|| numbers_of(pdu, &auth)))
    }
}
