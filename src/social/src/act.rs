//! Doing what follows: leaving, joining, inviting for this server's own users.

use std::time::Duration;

use futures_util::future::join_all;
use hearth_data::social::{self, FriendRow};
use hearth_rooms::{DirectInvite, Error as RoomsError};
use hearth_types::Caller;
use ruma::{OwnedUserId, RoomOrAliasId, UserId};
use tokio_util::sync::CancellationToken;

use crate::derive::{Act, Chat};
use crate::error::is_own;
use crate::{Error, Result, Social};

/// How often what follows from what was done is looked at; each round leaves fewer chats open.
const ROUNDS_MAX: usize = 6;
/// How many pairs are taken from the store at once, and worked on at the same time.
const AT_ONCE: usize = 16;
/// How often the room that stays of two crossed requests is tried at once, and how long after the first time again;
/// doubles. The server that invites may not have written its invite down yet.
const JOIN_TRIES: u32 = 5;
const JOIN_RETRY: Duration = Duration::from_millis(50);
/// How long what failed waits.
const RETRY: Duration = Duration::from_secs(30);

impl Social {
    /// Settles how a local user stands with another and does what follows for her, if nobody else is at it.
    pub(crate) async fn settle_all(&self, user: &str, peer: &str) -> Result<Option<FriendRow>> {
        let settled = self.settle(user, peer).await?;
        if settled.acts.is_empty() {
            return Ok(settled.row);
        }
        let _turn = self.0.turns.take(user, peer).await;
        self.settle_in_turn(user, peer).await
    }

    /// The same for who has the turn. The invite's error is that of a request that could not be sent: nothing is left of
    /// it then.
    pub(crate) async fn settle_in_turn(&self, user: &str, peer: &str) -> Result<Option<FriendRow>> {
        let mut refused = None;
        let mut before = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let settled = self.settle(user, peer).await?;
            // What a round did not change is left for later.
            if settled.acts == std::mem::replace(&mut before, settled.acts.clone()) {
                let is_join = |act: &Act| matches!(act, Act::Join(_));
                return match refused {
                    Some(error) => Err(error),
                    None if settled.acts.iter().all(is_join) => Ok(settled.row),
                    None => Err(Error::Contended),
                };
            }
            let (Some(user), Ok(peer)) = (self.local(user), UserId::parse(peer)) else {
                return Ok(settled.row);
            };
            let message = settled.row.as_ref().and_then(|row| row.message.clone());
            for act in settled.acts {
                if let Err(error) = self.perform((&user, &peer), act, message.clone()).await {
                    refused = Some(error);
                }
            }
        }
        match refused {
            Some(error) => Err(error),
            None => Err(Error::Contended),
        }
    }

    /// Settles both sides, as far as they are this server's, and answers the first's.
    pub(crate) async fn settle_both(
        &self,
        user: &UserId,
        peer: &UserId,
    ) -> Result<Option<FriendRow>> {
        let row = self.settle_all(user.as_str(), peer.as_str()).await?;
        if !self.is_local(peer) {
            return Ok(row);
        }
        self.settle_all(peer.as_str(), user.as_str()).await?;
        self.settle_all(user.as_str(), peer.as_str()).await
    }

    async fn perform(
        &self,
        (user, peer): (&OwnedUserId, &OwnedUserId),
        act: Act,
        message: Option<String>,
    ) -> Result<()> {
        let rooms = &self.0.rooms;
        match act {
            Act::Leave(chat) => match rooms.leave(user, &chat.room_id, None).await {
                Err(error) if is_own(&error) => Err(error.into()),
                Err(error) => {
                    tracing::debug!(%error, "a direct chat could not be left");
                    Ok(())
                }
                Ok(()) => Ok(()),
            },
            Act::Join(chat) => self.join_crossed(user, &chat).await,
            Act::Invite(chat) => {
                let invite = DirectInvite {
                    target: peer.clone(),
                    reason: message,
                };
                match rooms.invite_directly(user, &chat.room_id, invite).await {
                    Ok(()) | Err(RoomsError::AlreadyJoined) => Ok(()),
                    Err(error) if is_own(&error) => Err(error.into()),
                    Err(error) => {
                        // Nobody else is in that room: without the invite it is nothing.
                        let left = rooms.leave(user, &chat.room_id, None).await;
                        left?;
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// Joins the room that stays of two crossed requests. If that fails it is done later.
    async fn join_crossed(&self, user: &UserId, chat: &Chat) -> Result<()> {
        let room = <&RoomOrAliasId>::from(&*chat.room_id);
        let mut wait = JOIN_RETRY;
        for _ in 0..JOIN_TRIES {
            match self.0.rooms.join(&caller(user), room, None).await {
                Ok(_) => return Ok(()),
                Err(error) if is_own(&error) => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(%error, "a crossed request could not be joined yet");
                }
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Ok(())
    }

    /// Does what earlier commits left to be done, as it comes. Ends with `shutdown`.
    pub async fn run_acts(&self, shutdown: CancellationToken) {
        loop {
            let is_done = match self.do_acts().await {
                Ok(is_done) => is_done,
                Err(error) => {
                    tracing::warn!(%error, "could not read what is to be done in direct chats");
                    false
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.0.acts.notified() => {}
                () = tokio::time::sleep(RETRY), if !is_done => {}
            }
        }
    }

    /// One round. Whether nothing is left.
    async fn do_acts(&self) -> Result<bool> {
        let mut after = None;
        let mut is_done = true;
        loop {
            let snapshot = self.snapshot().await?;
            let page = social::acts_after(&*snapshot, after.as_ref(), AT_ONCE).await?;
            drop(snapshot);
            let Some(last) = page.last() else {
                return Ok(is_done);
            };
            after = Some(last.clone());
            let pairs = page.iter().map(|(user, peer)| self.settle_all(user, peer));
            for settled in join_all(pairs).await {
                match settled {
                    Ok(row) => is_done &= row.is_none_or(|row| !row.is_crossed),
                    Err(error) => {
                        tracing::debug!(%error, "what follows in a direct chat was not done yet");
                        is_done = false;
                    }
                }
            }
        }
    }
}

/// A user for whom the server acts.
fn caller(user: &UserId) -> Caller {
    Caller {
        user: user.to_owned(),
        device: None,
        is_guest: false,
        is_admin: false,
        is_suspended: false,
        service: None,
    }
}
