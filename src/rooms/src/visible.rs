//! What a user may see of a room's past.

use hearth_data::append::{EventRow, Standing};
use hearth_data::members::UserRoomRow;
use hearth_data::{Place, StateId, timeline};
use hearth_event::Pdu;
use hearth_event::visibility::{Membership, Viewpoint, Visibility, is_visible};
use hearth_store::Position;
use ruma::UserId;
use ruma::events::room::member::MembershipState;

use crate::read::Reader;
use crate::{Error, Result, content};

/// How many changes of a membership are followed back to find when the user was last joined.
const CHANGES_MAX: usize = 32;

/// Until when a user who is not joined any more was.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastJoined {
    /// The place of the event that ended it.
    pub(crate) end: Place,
    /// The state with that event.
    pub(crate) state: StateId,
    /// The commit of that event.
    pub(crate) position: Position,
}

impl Reader {
    /// When the user of a view without membership `join` was joined last, if ever.
    pub(crate) async fn last_joined(
        &self,
        user: &UserId,
        row: &UserRoomRow,
    ) -> Result<Option<LastJoined>> {
        let mut number = row.event;
        for _ in 0..CHANGES_MAX {
            let found = timeline::event(&*self.snapshot, self.room, number).await?;
            let Some((Some(place), event)) = found else {
                return Ok(None);
            };
            let before = self.state_event(event.state_before, "m.room.member", user.as_str());
            let Some((before, before_row)) = before.await? else {
                return Ok(None);
            };
            if content::membership(&before) == Some(MembershipState::Join) {
                return Ok(Some(LastJoined {
                    end: place,
                    state: event.state_after,
                    position: event.position,
                }));
            }
            number = before_row.event;
        }
        Ok(None)
    }

    /// Whether the reader may see an event of the timeline.
    pub(crate) async fn sees(&self, place: Place, row: &EventRow, pdu: &Pdu) -> Result<bool> {
        if row.standing != Standing::Accepted {
            return Ok(false);
        }
        let user = self.user.as_str();
        let keys = [("m.room.history_visibility", ""), ("m.room.member", user)];
        let [visibility, member] = self.two_at(row.state_before, keys).await?;
        let viewpoint = Viewpoint {
            visibility: visibility.as_ref().map(Visibility::of).unwrap_or_default(),
            visibility_set: pdu
                .is("m.room.history_visibility", "")
                .then(|| Visibility::of(pdu)),
            membership: member.as_ref().and_then(Membership::of).unwrap_or_default(),
            membership_set: match pdu.is("m.room.member", user) {
                true => Membership::of(pdu),
                false => None,
            },
            joined_later: self.joined_after(place).await?,
        };
        Ok(is_visible(viewpoint))
    }

    async fn joined_after(&self, place: Place) -> Result<bool> {
        match &self.membership {
            Some(row) if row.membership == MembershipState::Join => Ok(true),
            Some(row) => {
                let last = self.last_joined(&self.user, row).await?;
                Ok(last.is_some_and(|last| place < last.end))
            }
            None => Ok(false),
        }
    }

    async fn two_at(&self, state: StateId, keys: [(&str, &str); 2]) -> Result<[Option<Pdu>; 2]> {
        let [first, second] = keys;
        let first = self.state_event(state, first.0, first.1).await?;
        let second = self.state_event(state, second.0, second.1).await?;
        Ok([first.map(|(pdu, _)| pdu), second.map(|(pdu, _)| pdu)])
    }

    /// The state that the reader may see: of now, of when she left, or, in a room that all may read, of now.
    pub(crate) async fn end_of_view(&self) -> Result<View> {
        let row = match &self.membership {
            Some(row) if row.membership == MembershipState::Join => {
                return Ok(View::Now(self.head.state));
            }
            Some(row) if row.forgotten => None,
            row => row.as_ref(),
        };
        if self.is_world_readable().await? {
            return Ok(View::Now(self.head.state));
        }
        let last = match row {
            Some(row) => self.last_joined(&self.user, row).await?,
            None => None,
        };
        last.map(View::UntilLeft).ok_or(Error::NotInRoom)
    }
}

/// Up to where a room is shown to a reader.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View {
    /// All of it: the current state.
    Now(StateId),
    /// Up to when she left.
    UntilLeft(LastJoined),
}
