//! Direct chats: an invite that says so, and a leave that holds only as long as something else does.

use hearth_event::canonical::Object;
use ruma::{OwnedUserId, RoomId, UserId};

use crate::membership::{Action, MemberAsk};
use crate::{Result, Rider, Rooms};

/// An invite to a direct chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectInvite {
    /// Whom.
    pub target: OwnedUserId,
    /// What is said with it.
    pub reason: Option<String>,
}

impl Rooms {
    /// [`Rooms::leave`] with rows of the caller's own in the same commit.
    pub async fn leave_with(
        &self,
        user: &UserId,
        room_id: &RoomId,
        reason: Option<String>,
        rider: Rider,
    ) -> Result<()> {
        let room = self.number(room_id).await?;
        let ask = MemberAsk::of_self(Action::Leave, user, reason);
        self.change_member(room, ask, rider).await
    }

    /// Invites somebody to a direct chat.
    pub async fn invite_directly(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        invite: DirectInvite,
    ) -> Result<()> {
        let room = self.number(room_id).await?;
        let ask = MemberAsk {
            action: Action::Invite { is_direct: true },
            sender: sender.to_owned(),
            target: invite.target,
            reason: invite.reason,
            further: Object::new(),
            third_party: None,
        };
        self.change_member(room, ask, Rider::new()).await
    }
}
