//! Rooms in which users of this server are invited or knock, and nobody of them is in: of all events only that reaches
//! them by which an invite is taken back or a knock refused.

use std::collections::HashMap;

use hearth_data::{EventNo, members, timeline};
use hearth_event::Pdu;
use hearth_store::Snapshot;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, UserId};

use super::import::{Ended, Step};
use super::intake::{Row, Site};
use crate::stage::admit::Intake;
use crate::{Result, Rooms, content};

impl Rooms {
    /// Takes events of a room in which nobody of this server is.
    pub(super) async fn take_from_outside(&self, site: &Site, rows: Vec<Row>) -> Result<()> {
        let mut dropped = HashMap::new();
        for row in rows {
            let snapshot = self.snapshot().await?;
            let ended = self.ended_by(&*snapshot, site, &row.pdu).await?;
            drop(snapshot);
            let Some((user, membership, event)) = ended else {
                dropped.insert(row.key, row.origin.to_string());
                continue;
            };
            let step = Step::Outside {
                user,
                membership,
                event: Some(row.pdu),
                stripped_state: None,
                ended: Some(Ended {
                    event,
                    row: row.key,
                }),
            };
            self.take_in(site.room, Intake::Import(Box::new(step)))
                .await?;
            let intakes = &self.0.intakes;
            intakes.remove(site.room, row.key, row.origin.as_str());
        }
        self.drop_rows(site.room, dropped).await
    }

    /// Whose invite or knock an event ends, how, and the event of that. The room's state is not known here: so an invite is
    /// taken back only by whoever sent it, and a knock refused only by who names it in the auth events, which takes having
    /// seen it. What an invite names there itself is from before it, and only late.
    pub(super) async fn ended_by(
        &self,
        snapshot: &dyn Snapshot,
        site: &Site,
        pdu: &Pdu,
    ) -> Result<Option<(OwnedUserId, MembershipState, EventNo)>> {
        let Some(("m.room.member", user)) = pdu.state_key_pair() else {
            return Ok(None);
        };
        let Some(membership @ (MembershipState::Leave | MembershipState::Ban)) =
            content::membership(pdu)
        else {
            return Ok(None);
        };
        let Some(user) = UserId::parse(user).ok().filter(|id| self.0.is_local(id)) else {
            return Ok(None);
        };
        let Some(row) = members::user_room(snapshot, user.as_str(), site.room).await? else {
            return Ok(None);
        };
        let Some((_, pending)) = timeline::event(snapshot, site.room, row.event).await? else {
            return Ok(None);
        };
        let is_ended = match row.membership {
            MembershipState::Invite => {
                let invite = timeline::pdu(site.version, &site.room_id, &pending)?;
                let is_late = invite.auth_events().iter().any(|id| id == pdu.event_id());
                invite.sender() == pdu.sender() && !is_late
            }
            MembershipState::Knock => pdu.auth_events().contains(&pending.event_id),
            _ => false,
        };
        Ok(is_ended.then_some((user, membership, row.event)))
    }
}
