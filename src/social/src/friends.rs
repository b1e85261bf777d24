//! Asking somebody to be a friend, answering, ending it, blocking.

use hearth_data::accounts::account_data;
use hearth_data::accounts::users::{self, UserKind};
use hearth_data::changes::{Change, record};
use hearth_data::members;
use hearth_data::social::{
    self, DirectChatRow, Ending, FriendRow, FriendState, friend, friends_after,
};
use hearth_rooms::Error as RoomsError;
use hearth_rooms::{NewRoom, Preset, Rider, RoomKind, TargetChange};
use hearth_store::{Batch, Snapshot};
use hearth_types::{Caller, UnixMs};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomOrAliasId, UserId};

use crate::derive::Blocking;
use crate::error::is_own;
use crate::lists::Standing;
use crate::settle::{TRIES_MAX, ignored_content};
use crate::{Error, Result, Social, facts};

/// Most users with whom one can have to do.
pub(crate) const FRIENDS_MAX: usize = 5_000;
/// Most requests of one user that are not answered.
const PENDING_MAX: usize = 200;
/// Longest message with a request, in characters.
const MESSAGE_CHARS_MAX: usize = 500;

/// What there is between a user and another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Friend {
    /// The other one.
    pub user: OwnedUserId,
    /// How they stand.
    pub standing: Standing,
    /// The direct chat, while it is pending or open.
    pub room: Option<OwnedRoomId>,
    /// What the other one is called.
    pub displayname: Option<String>,
    /// The other one's picture.
    pub avatar_url: Option<String>,
    /// What was said with the request.
    pub message: Option<String>,
    /// Since when it is so.
    pub since: Option<UnixMs>,
    /// What ended it.
    pub ending: Option<Ending>,
    /// Direct chats that are over, newest first.
    pub past: Vec<OwnedRoomId>,
}

impl Social {
    /// What there is between a user and another.
    pub async fn friend(&self, user: &UserId, peer: &UserId) -> Result<Friend> {
        self.reach_now().await?;
        self.shown(user, peer).await
    }

    /// Asks somebody to be a friend; accepts if the other one has asked.
    pub async fn request(
        &self,
        caller: &Caller,
        peer: &UserId,
        message: Option<String>,
    ) -> Result<Friend> {
        let user = &*caller.user;
        self.check(caller, peer)?;
        if message
            .as_ref()
            .is_some_and(|message| message.chars().count() > MESSAGE_CHARS_MAX)
        {
            return Err(Error::Invalid("`message` has at most 500 characters"));
        }
        let message = message.filter(|message| !message.is_empty());
        for _ in 0..TRIES_MAX {
            self.reach_now().await?;
            let snapshot = self.snapshot().await?;
            self.check_welcome(&*snapshot, user, peer).await?;
            drop(snapshot);
            // First the other side: if its request is just on its way, it is here then.
            if self.is_local(peer) {
                self.settle_all(peer.as_str(), user.as_str()).await?;
            }
            let row = self.settle_all(user.as_str(), peer.as_str()).await?;
            match row.as_ref().map(|row| row.state) {
                Some(FriendState::Friend | FriendState::PendingOut) => {
                    return self.shown(user, peer).await;
                }
                Some(FriendState::PendingIn) => return self.accept(caller, peer).await,
                Some(FriendState::Ended) | None => {}
            }
            // From before the claim on: whoever sends the invite has to tell how that went.
            let turn = self.0.turns.take(user.as_str(), peer.as_str()).await;
            match self.claim(user, peer, (row.as_ref(), &message)).await {
                Ok(()) => {}
                Err(Error::Rooms(RoomsError::RiderConflict)) => continue,
                Err(error) => return Err(error),
            }
            self.settle_in_turn(user.as_str(), peer.as_str()).await?;
            drop(turn);
            self.settle_both(user, peer).await?;
            return self.shown(user, peer).await;
        }
        Err(Error::Contended)
    }

    /// Accepts the request of somebody.
    pub async fn accept(&self, caller: &Caller, peer: &UserId) -> Result<Friend> {
        let user = &*caller.user;
        self.check(caller, peer)?;
        self.reach_now().await?;
        for _ in 0..TRIES_MAX {
            let row = self.settle_all(user.as_str(), peer.as_str()).await?;
            let Some((_, room_id)) = pending(row.as_ref(), FriendState::PendingIn) else {
                return match row {
                    Some(row) if row.state == FriendState::Friend => self.shown(user, peer).await,
                    _ => self.wrong_state(user, peer).await,
                };
            };
            let room = <&RoomOrAliasId>::from(&*room_id);
            match self.0.rooms.join(caller, room, None).await {
                Err(error) if is_own(&error) => return Err(error.into()),
                // Withdrawn meanwhile, if how they stand has changed.
                Err(error) => {
                    self.unless_changed((user, peer), row.as_ref(), error)
                        .await?
                }
                Ok(_) => {
                    self.settle_both(user, peer).await?;
                }
            }
        }
        Err(Error::Contended)
    }

    /// Declines the request of somebody.
    pub async fn decline(&self, caller: &Caller, peer: &UserId) -> Result<Friend> {
        self.check_self(caller, peer)?;
        let user = &*caller.user;
        self.reach_now().await?;
        for _ in 0..TRIES_MAX {
            let row = self.settle_all(user.as_str(), peer.as_str()).await?;
            let Some((room, room_id)) = pending(row.as_ref(), FriendState::PendingIn) else {
                return self.wrong_state(user, peer).await;
            };
            let rider = self.while_invited(room, user).await?;
            match self.0.rooms.leave_with(user, &room_id, None, rider).await {
                // Accepted meanwhile by another session, or withdrawn.
                Err(RoomsError::RiderConflict) => {}
                Err(error) if is_own(&error) => return Err(error.into()),
                Err(error) => {
                    self.unless_changed((user, peer), row.as_ref(), error)
                        .await?
                }
                Ok(()) => {
                    self.settle_both(user, peer).await?;
                    return self.shown(user, peer).await;
                }
            }
        }
        Err(Error::Contended)
    }

    /// Takes back a request.
    pub async fn withdraw(&self, caller: &Caller, peer: &UserId) -> Result<Friend> {
        self.check_self(caller, peer)?;
        let user = &*caller.user;
        self.reach_now().await?;
        for _ in 0..TRIES_MAX {
            let row = self.settle_all(user.as_str(), peer.as_str()).await?;
            let Some((room, room_id)) = pending(row.as_ref(), FriendState::PendingOut) else {
                return self.wrong_state(user, peer).await;
            };
            // Only as long as it is an invite: nobody is kicked out of a direct chat.
            let rider = self.while_invited(room, peer).await?;
            if rider.is_empty() {
                continue;
            }
            let change = (TargetChange::Kick, peer, None);
            let kicked = self
                .0
                .rooms
                .change_other_with(user, &room_id, change, rider);
            match kicked.await {
                Err(RoomsError::RiderConflict) => {}
                Err(error) if is_own(&error) => return Err(error.into()),
                Err(error) => {
                    self.unless_changed((user, peer), row.as_ref(), error)
                        .await?
                }
                Ok(()) => {
                    self.0.rooms.leave(user, &room_id, None).await?;
                    self.settle_both(user, peer).await?;
                    return self.shown(user, peer).await;
                }
            }
        }
        Err(Error::Contended)
    }

    /// Ends a friendship.
    pub async fn unfriend(&self, caller: &Caller, peer: &UserId) -> Result<Friend> {
        self.check_self(caller, peer)?;
        let user = &*caller.user;
        self.reach_now().await?;
        let row = self.settle_all(user.as_str(), peer.as_str()).await?;
        let Some((_, room_id)) = pending(row.as_ref(), FriendState::Friend) else {
            return self.wrong_state(user, peer).await;
        };
        self.0.rooms.leave(user, &room_id, None).await?;
        self.settle_both(user, peer).await?;
        self.shown(user, peer).await
    }

    /// Blocks somebody and ends what there is.
    pub async fn block(&self, caller: &Caller, peer: &UserId) -> Result<Friend> {
        self.check_self(caller, peer)?;
        let user = &*caller.user;
        self.set_blocked(user, peer, Blocking::Yes).await?;
        self.reach_now().await?;
        for _ in 0..TRIES_MAX {
            let row = self.settle_all(user.as_str(), peer.as_str()).await?;
            let ended = match row.map(|row| row.state) {
                Some(FriendState::Friend) => self.unfriend(caller, peer).await,
                Some(FriendState::PendingOut) => self.withdraw(caller, peer).await,
                // Settling has declined it.
                Some(FriendState::PendingIn) => continue,
                Some(FriendState::Ended) | None => return self.shown(user, peer).await,
            };
            match ended {
                Ok(_) | Err(Error::WrongState(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Contended)
    }

    /// Lifts a block.
    pub async fn unblock(&self, caller: &Caller, peer: &UserId) -> Result<Friend> {
        self.check_self(caller, peer)?;
        self.set_blocked(&caller.user, peer, Blocking::No).await?;
        self.friend(&caller.user, peer).await
    }

    fn check_self(&self, caller: &Caller, peer: &UserId) -> Result<()> {
        if caller.is_guest {
            return Err(Error::Guest);
        }
        if caller.user == peer {
            return Err(Error::Oneself);
        }
        Ok(())
    }

    fn check(&self, caller: &Caller, peer: &UserId) -> Result<()> {
        self.check_self(caller, peer)?;
        match caller.is_suspended {
            true => Err(RoomsError::Suspended.into()),
            false => Ok(()),
        }
    }

    /// Whether somebody may be asked.
    async fn check_welcome(
        &self,
        snapshot: &dyn Snapshot,
        user: &UserId,
        peer: &UserId,
    ) -> Result<()> {
        if self.is_local(peer) {
            let found = users::user(snapshot, peer.as_str()).await?;
            found
                .filter(|row| !row.deactivated && row.kind == UserKind::User)
                .ok_or(Error::NoSuchUser)?;
        }
        if facts::ignored(snapshot, user.as_str())
            .await?
            .contains(peer.as_str())
        {
            return Err(Error::Blocked);
        }
        let is_refused = self.is_local(peer)
            && facts::ignored(snapshot, peer.as_str())
                .await?
                .contains(user.as_str());
        match is_refused {
            true => Err(Error::Refused),
            false => Ok(()),
        }
    }

    /// Makes the direct chat of a request. One commit, and only while both stand as they were loaded: of two requests
    /// at once, one fails with a conflict.
    async fn claim(
        &self,
        user: &UserId,
        peer: &UserId,
        (row, message): (Option<&FriendRow>, &Option<String>),
    ) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let theirs = match self.is_local(peer) {
            true => friend(&*snapshot, peer.as_str(), user.as_str()).await?,
            false => None,
        };
        if row.is_none() {
            self.check_quota(&*snapshot, user).await?;
        }
        let room = NewRoom {
            kind: Some(RoomKind::Direct),
            preset: Some(Preset::PrivateChat),
            ..NewRoom::default()
        };
        let now = self.0.clock.now();
        let (mine, others) = (
            (user.as_str(), peer.as_str()),
            (peer.as_str(), user.as_str()),
        );
        let is_local = self.is_local(peer);
        let made = self.0.rooms.create_riding(user, room, |number, room_id| {
            let mut rider = Rider::new();
            let after = FriendRow {
                state: FriendState::PendingOut,
                since: now,
                chat: Some((number, room_id.to_owned())),
                ending: None,
                message: message.clone(),
                is_crossed: false,
            };
            social::put_friend(&mut rider, mine, row, &after);
            let chat = DirectChatRow {
                room_id: room_id.to_owned(),
                ended: None,
            };
            social::put_chat(&mut rider, mine, number, &chat);
            social::put_acts(&mut rider, user.as_str(), peer.as_str());
            if is_local {
                social::expect_friend(&mut rider, others, theirs.as_ref());
                social::put_chat(&mut rider, others, number, &chat);
            }
            let pair = facts::pair(user.as_str(), peer.as_str());
            social::put_direct_room(&mut rider, number, &pair);
            rider
        });
        made.await?;
        Ok(())
    }

    async fn check_quota(&self, snapshot: &dyn Snapshot, user: &UserId) -> Result<()> {
        let rows = friends_after(snapshot, user.as_str(), "", FRIENDS_MAX).await?;
        if rows.len() >= FRIENDS_MAX {
            return Err(Error::TooMany {
                what: "friends and past friends",
                max: FRIENDS_MAX,
            });
        }
        let pending = rows
            .iter()
            .filter(|(_, row)| row.state == FriendState::PendingOut);
        match pending.count() < PENDING_MAX {
            true => Ok(()),
            false => Err(Error::TooMany {
                what: "requests that are not answered",
                max: PENDING_MAX,
            }),
        }
    }

    /// Holds only as long as a user's invite to a room stands; empty if this server does not know of one.
    async fn while_invited(&self, room: hearth_data::RoomNo, user: &UserId) -> Result<Rider> {
        let snapshot = self.snapshot().await?;
        let mut rider = Rider::new();
        let row = members::member(&*snapshot, room, user.as_str()).await?;
        if let Some(row) = row.filter(|row| row.membership == MembershipState::Invite) {
            members::expect_member(&mut rider, room, user.as_str(), &row);
        }
        Ok(rider)
    }

    /// A room refused. If how the two stand has changed meanwhile, that is why: decide again.
    async fn unless_changed(
        &self,
        (user, peer): (&UserId, &UserId),
        before: Option<&FriendRow>,
        error: RoomsError,
    ) -> Result<()> {
        let now = self.settle_all(user.as_str(), peer.as_str()).await?;
        match now.as_ref() == before {
            true => Err(error.into()),
            false => Ok(()),
        }
    }

    async fn wrong_state<T>(&self, user: &UserId, peer: &UserId) -> Result<T> {
        let standing = self.shown(user, peer).await?.standing;
        Err(Error::WrongState(standing))
    }

    async fn set_blocked(&self, user: &UserId, peer: &UserId, blocking: Blocking) -> Result<()> {
        for _ in 0..TRIES_MAX {
            let snapshot = self.snapshot().await?;
            let (key, row) = facts::global(&*snapshot, user.as_str(), facts::IGNORED).await?;
            let before = row.as_ref().map(|row| &row.content);
            let Some(content) = ignored_content(before, peer.as_str(), blocking) else {
                return Ok(());
            };
            if content.0.len() > crate::settle::CONTENT_BYTES_MAX {
                return Err(Error::TooMany {
                    what: "blocked users",
                    max: FRIENDS_MAX,
                });
            }
            let mut batch = Batch::new();
            account_data::put(&mut batch, &key, row.as_ref(), content);
            let user = user.to_string();
            record(&mut batch, vec![Change::AccountData { user }]);
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }
}

/// The chat of a row in a state.
fn pending(
    row: Option<&FriendRow>,
    state: FriendState,
) -> Option<(hearth_data::RoomNo, OwnedRoomId)> {
    row.filter(|row| row.state == state)?.chat.clone()
}
