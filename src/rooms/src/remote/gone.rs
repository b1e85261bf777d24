//! Users of this server who left a room or were put out, and whom a server that has not heard of it takes for joined: when
//! the room is entered over that server, its state says so.
//!
//! The state before our join is what that server said, or each of us would have another one, and resolve it otherwise. What
//! is not right in it is said anew, on top of the join.

use hearth_data::append::Standing;
use hearth_data::{EventNo, RoomNo, members, timeline};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, UserId};

use super::fetch::Difference;
use super::lift::MEMBER;
use crate::content;
use crate::jobs::settle;
use crate::membership::{Action, MemberAsk};
use crate::read::Look;
use crate::{Error, Result, Rooms};

impl Rooms {
    /// Users of this server who have left or were put out, of those whom a difference sets to a membership from before.
    ///
    /// Also who was put out: to others, who know of it, this server may not be in the room any more. Nobody would tell it.
    pub(super) async fn gone(
        &self,
        look: &Look,
        difference: &Difference,
    ) -> Result<Vec<OwnedUserId>> {
        let mut gone = Vec::new();
        for ((_, user), told) in difference
            .keys
            .iter()
            .filter(|((kind, _), _)| kind == MEMBER)
        {
            let Ok(user) = UserId::parse(user.as_str()) else {
                continue;
            };
            if self.0.is_local(&user) && has_gone(look, &user, *told).await? {
                gone.push(user);
            }
        }
        Ok(gone)
    }

    /// Has users of this server stay as they are known here where a difference takes them out of the state because members
    /// were left out: a state of a branch on which one has not left yet would have nothing against it.
    pub(super) async fn keep_ours(&self, look: &Look, difference: &mut Difference) -> Result<()> {
        let mut unset = Vec::new();
        for (kind, key) in std::mem::take(&mut difference.unset) {
            if kind != MEMBER || !self.is_as_told(look, &key).await? {
                unset.push((kind, key));
            }
        }
        difference.unset = unset;
        Ok(())
    }

    /// Whether a user of this server is in the state by what her clients were told, not by what came before it.
    async fn is_as_told(&self, look: &Look, user: &str) -> Result<bool> {
        if !UserId::parse(user).is_ok_and(|user| self.0.is_local(&user)) {
            return Ok(false);
        }
        let row = members::user_room(&*look.snapshot, user, look.room).await?;
        let known = look.states().lookup(look.head.state, MEMBER, user).await?;
        Ok(known.is_some() && row.map(|row| row.event) == known)
    }

    /// Has a user leave once more, if she is still in a room by the join that she left after.
    pub(crate) async fn leave_once_more(
        &self,
        room: RoomNo,
        user: &str,
        join: EventNo,
    ) -> Result<()> {
        let Ok(user) = UserId::parse(user) else {
            return Ok(());
        };
        let snapshot = self.snapshot().await?;
        let row = members::user_room(&*snapshot, user.as_str(), room).await?;
        let is_in = |row: &members::UserRoomRow| {
            row.membership == MembershipState::Join && row.event == join
        };
        if !row.as_ref().is_some_and(is_in) {
            return Ok(());
        }
        let ask = MemberAsk::of_self(Action::Leave, &user, None);
        settle(self.change_here(room, ask).await)
    }

    /// Has users leave once more.
    pub(super) async fn leave_again(&self, room: RoomNo, gone: Vec<OwnedUserId>) {
        for user in gone {
            let ask = MemberAsk::of_self(Action::Leave, &user, None);
            match self.change_here(room, ask).await {
                Ok(()) | Err(Error::Stopping) => {}
                Err(error) => {
                    tracing::warn!(%user, error = error.chain(), "could not say that a user has left");
                }
            }
        }
    }
}

/// Whether a user is out of the room by an event after the one that is `told` of her membership, which says otherwise.
async fn has_gone(look: &Look, user: &UserId, told: EventNo) -> Result<bool> {
    let row = members::user_room(&*look.snapshot, user.as_str(), look.room).await?;
    let is_out = |is: &MembershipState| matches!(is, MembershipState::Leave | MembershipState::Ban);
    let Some(row) = row.filter(|row| is_out(&row.membership) && row.event > told) else {
        return Ok(false);
    };
    let end = timeline::event(&*look.snapshot, look.room, row.event).await?;
    if !matches!(end, Some((Some(_), end)) if end.standing == Standing::Accepted) {
        return Ok(false);
    }
    let Some((_, told)) = timeline::event(&*look.snapshot, look.room, told).await? else {
        return Ok(false);
    };
    let told = content::membership(&look.pdu(&told)?);
    Ok(told.is_some_and(|told| !is_out(&told)))
}
