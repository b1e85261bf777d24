//! What a user may see of a room (client-server API, "Room History Visibility").

use std::collections::HashSet;

use hearth_data::{EventNo, Place, StateId, members, rooms, timeline};
use hearth_event::visibility::{Membership, Viewpoint, Visibility, is_visible};
use hearth_store::Position;
use ruma::events::room::member::MembershipState;

use crate::room::{Event, RoomReader};
use crate::{Error, Result};

/// How many of a user's membership events are looked at to find when she was last joined.
const MEMBERSHIPS_WALKED_MAX: usize = 100;

/// A user who looks into a room.
#[derive(Clone, Debug)]
pub(crate) struct Viewer {
    pub(crate) user: String,
    /// Events from here on are not shown: the gap after her leave.
    pub(crate) until: Place,
    /// She was joined at some time after all events before this gap.
    pub(crate) joined_until: Place,
    /// The room's state when she ceased to be joined, if she did.
    pub(crate) last_state: Option<StateId>,
    /// When that was.
    pub(crate) ceased_at: Position,
}

impl Viewer {
    /// A user who is joined.
    pub(crate) fn joined(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            until: Place::MAX,
            joined_until: Place::MAX,
            last_state: None,
            ceased_at: Position::ZERO,
        }
    }

    /// A user who asks about a room by its id: joined, once joined, or anybody if the room is open to the world.
    pub(crate) async fn of(reader: &RoomReader<'_>, user: &str) -> Result<Self> {
        let row = members::user_room(reader.snapshot, user, reader.no).await?;
        let row = row.filter(|row| !row.forgotten);
        match row {
            Some(row) if row.membership == MembershipState::Join => return Ok(Self::joined(user)),
            Some(row)
                if matches!(
                    row.membership,
                    MembershipState::Leave | MembershipState::Ban
                ) =>
            {
                if let Some(viewer) = Self::left(reader, user, row.event).await?
                    && viewer.joined_until > Place::MIN
                {
                    return Ok(viewer);
                }
            }
            _ => {}
        }
        Self::passer_by(reader, user).await
    }

    async fn passer_by(reader: &RoomReader<'_>, user: &str) -> Result<Self> {
        let head = rooms::head(reader.snapshot, reader.no).await?;
        let head = head.ok_or(Error::NotInRoom)?;
        let facts = reader.facts(head.state).await?;
        if facts.visibility != Visibility::WorldReadable {
            return Err(Error::NotInRoom);
        }
        Ok(Self {
            user: user.to_owned(),
            until: Place::MAX,
            joined_until: Place::MIN,
            last_state: None,
            ceased_at: Position::ZERO,
        })
    }

    /// A user who left with this event; `None` if the event has no place in the room's history.
    pub(crate) async fn left(
        reader: &RoomReader<'_>,
        user: &str,
        leave: hearth_data::EventNo,
    ) -> Result<Option<Self>> {
        let Some((Some(place), row)) = timeline::event(reader.snapshot, reader.no, leave).await?
        else {
            return Ok(None);
        };
        let mut viewer = Self {
            user: user.to_owned(),
            until: place.next(),
            joined_until: Place::MIN,
            last_state: None,
            ceased_at: Position::ZERO,
        };
        let (mut end, mut leave) = (place, row);
        for _ in 0..MEMBERSHIPS_WALKED_MAX {
            let member = reader.member(leave.state_before, user).await?;
            if member.membership == Membership::Join {
                viewer.joined_until = end;
                viewer.last_state = Some(leave.state_after);
                viewer.ceased_at = leave.position;
                break;
            }
            let Some(number) = member.event else { break };
            match timeline::event(reader.snapshot, reader.no, number).await? {
                Some((Some(place), row)) => (end, leave) = (place, row),
                _ => break,
            }
        }
        Ok(Some(viewer))
    }

    /// The state after an event as far as she may know it: of what changed after she ceased to be joined she learns
    /// nothing, though she sees, say, that she was banned later.
    pub(crate) fn state_after(&self, event: &Event) -> StateId {
        match self.last_state {
            Some(last) if event.place.is_none_or(|place| place >= self.joined_until) => last,
            _ => event.row.state_after,
        }
    }

    /// The events of a past state that she may know. If she was in the room then, or anybody might look into it, these are
    /// all. Otherwise what had been replaced when she came was never told to her, unless she sees the event itself.
    pub(crate) async fn known_of(
        &self,
        reader: &RoomReader<'_>,
        state: StateId,
        events: impl IntoIterator<Item = EventNo>,
    ) -> Result<HashSet<EventNo>> {
        let mut known: HashSet<EventNo> = events.into_iter().collect();
        if known.is_empty() {
            return Ok(known);
        }
        let facts = reader.facts(state).await?;
        let member = reader.member(state, &self.user).await?;
        if member.membership == Membership::Join || facts.visibility == Visibility::WorldReadable {
            return Ok(known);
        }
        let last = match self.last_state {
            Some(last) => last,
            None => {
                let head = rooms::head(reader.snapshot, reader.no).await?;
                head.map_or(StateId::EMPTY, |head| head.state)
            }
        };
        for change in reader.view().diff(last, state).await? {
            let Some(replaced) = change.after.filter(|event| known.contains(event)) else {
                continue;
            };
            let is_seen = match reader.event(replaced).await? {
                Some(event) => self.sees(reader, &event).await?,
                None => false,
            };
            if !is_seen {
                known.remove(&replaced);
            }
        }
        Ok(known)
    }

    /// Whether it is known at a glance that she sees all that came after a place: she has been in the room since, or who
    /// may see what has not changed since and newcomers see it all.
    pub(crate) async fn sees_all_after(
        &self,
        reader: &RoomReader<'_>,
        place: Place,
    ) -> Result<bool> {
        if self.joined_until != Place::MAX || reader.may_end() {
            return Ok(false);
        }
        let Some(head) = rooms::head(reader.snapshot, reader.no).await? else {
            return Ok(false);
        };
        let (member, visibility) = ("m.room.member", "m.room.history_visibility");
        if Self::is_older(reader, (head.state, member, &self.user), place).await? {
            return Ok(true);
        }
        Ok(
            reader.facts(head.state).await?.visibility >= Visibility::Shared
                && Self::is_older(reader, (head.state, visibility, ""), place).await?,
        )
    }

    /// Whether what a state has under a key was there at a place of the history.
    async fn is_older(
        reader: &RoomReader<'_>,
        (state, kind, key): (StateId, &str, &str),
        place: Place,
    ) -> Result<bool> {
        let Some(number) = reader.view().lookup(state, kind, key).await? else {
            return Ok(false);
        };
        let event = timeline::event(reader.snapshot, reader.no, number).await?;
        Ok(event.is_some_and(|(at, _)| at.is_some_and(|at| at <= place)))
    }

    /// Whether she may see an event.
    pub(crate) async fn sees(&self, reader: &RoomReader<'_>, event: &Event) -> Result<bool> {
        if !event.is_shown() {
            return Ok(false);
        }
        let Some(place) = event.place else {
            return Ok(false);
        };
        if place >= self.until || reader.has_ended(&event.pdu).await? {
            return Ok(false);
        }
        let facts = reader.facts(event.row.state_before).await?;
        let joined_later = place < self.joined_until;
        // All that could still be found out would only make it more visible.
        if joined_later && facts.visibility >= Visibility::Shared {
            return Ok(true);
        }
        let is_own = event.pdu.is("m.room.member", &self.user);
        let membership_set = if is_own {
            Membership::of(&event.pdu)
        } else {
            None
        };
        // Else a client would not see the room go when she rejects an invite.
        if matches!(membership_set, Some(Membership::Leave | Membership::Ban)) {
            return Ok(true);
        }
        let is_visibility = event.pdu.is("m.room.history_visibility", "");
        Ok(is_visible(Viewpoint {
            visibility: facts.visibility,
            visibility_set: is_visibility.then(|| Visibility::of(&event.pdu)),
            membership: reader
                .member(event.row.state_before, &self.user)
                .await?
                .membership,
            membership_set,
            joined_later,
        }))
    }
}
