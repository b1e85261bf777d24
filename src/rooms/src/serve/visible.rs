//! Which events of a room a server may see: those that one of its users might.

use hearth_data::append::{EventRow, Standing};
use hearth_data::timeline;
use hearth_event::Pdu;
use hearth_event::visibility::{Membership, Viewpoint, Visibility, is_visible};

use super::Peer;
use crate::Result;

/// The eyes of a server: remembers its users, if they are needed.
#[derive(Default)]
pub(super) struct Eyes {
    users: Option<Vec<String>>,
}

impl Peer {
    /// Whether the server may see an event. Rejected ones nobody may; soft-failed ones may be asked for.
    pub(super) async fn sees(&self, eyes: &mut Eyes, row: &EventRow, pdu: &Pdu) -> Result<bool> {
        if row.standing == Standing::Rejected {
            return Ok(false);
        }
        let before = row.state_before;
        let set = self
            .state_event(before, "m.room.history_visibility", "")
            .await?;
        let mut viewpoint = Viewpoint {
            visibility: set
                .map(|(event, _)| Visibility::of(&event))
                .unwrap_or_default(),
            visibility_set: pdu
                .is("m.room.history_visibility", "")
                .then(|| Visibility::of(pdu)),
            // It is in the room now.
            joined_later: true,
            ..Viewpoint::default()
        };
        if is_visible(viewpoint) {
            return Ok(true);
        }
        if eyes.users.is_none() {
            eyes.users = Some(self.users().await?);
        }
        let users = eyes.users.as_deref().unwrap_or_default();
        let own = pdu.state_key().filter(|_| pdu.kind() == "m.room.member");
        if own.is_some_and(|user| users.iter().any(|known| known == user)) {
            // Its own users' memberships concern it, whatever they are.
            return Ok(true);
        }
        let keys: Vec<(&str, &str)> = users
            .iter()
            .map(|user| ("m.room.member", user.as_str()))
            .collect();
        let found = self.states().lookup_many(before, &keys).await?;
        let numbers: Vec<_> = found.into_iter().flatten().collect();
        for row in timeline::events(&*self.snapshot, self.room, &numbers).await? {
            viewpoint.membership = Membership::of(&self.pdu(&row)?).unwrap_or_default();
            if is_visible(viewpoint) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
