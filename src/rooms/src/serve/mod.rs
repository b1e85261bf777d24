//! What other servers may read of rooms: states, events, history, templates of member events.
//!
//! A server reads a room only while one of its users is joined there and the room's access list does not shut it out.
//! If not, and if there is no such room, the answer is the same. Of events it sees what one of its users may see; an
//! event that it may not see looks as one that does not exist, or, where the graph needs it, is shown redacted.
//!
//! One thing it may still read when it is in the room no more: what the event that made its user leave rests upon.
//! Without that it could not tell whether the user has left, and would keep her in the room for ever.

mod ephemeral;
mod events;
mod joined;
mod space;
mod state;
mod template;
mod visible;

#[cfg(test)]
mod tests;

use std::ops::Deref;

use hearth_data::append::Standing;
use hearth_data::{federation, members, partial, rooms, timeline};
use hearth_event::ServerAcl;
use hearth_event::visibility::Membership;
use ruma::events::room::member::MembershipState;
use ruma::{EventId, OwnedServerName, RoomId, ServerName, UserId};

pub use ephemeral::RemoteReceipt;
pub use events::{Direction, Missing};
pub use space::ServedSpace;
pub use template::Template;

use crate::read::Look;
use crate::{Error, Result, Rooms};

/// How many users of a server are looked at for what it may see.
const USERS_MAX: usize = 1_000;
const PAGE: usize = 1_000;

/// A server that reads a room, at one moment.
pub(crate) struct Peer {
    look: Look,
    server: OwnedServerName,
}

impl Deref for Peer {
    type Target = Look;

    fn deref(&self) -> &Look {
        &self.look
    }
}

impl Rooms {
    /// Whether a room's access list lets a server take part. Of a room that is not known here: yes.
    pub async fn acl_permits(&self, room_id: &RoomId, server: &ServerName) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let Some(room) = rooms::number(&*snapshot, room_id).await? else {
            return Ok(true);
        };
        match self.look(snapshot, room).await? {
            Some(look) => look.permits(server).await,
            None => Ok(true),
        }
    }

    /// A room as it is now, seen by a server that has a user in it.
    pub(crate) async fn peer(&self, server: &ServerName, room_id: &RoomId) -> Result<Peer> {
        let look = self.look_for_server(room_id).await?;
        let is_in = federation::is_server_in(&*look.snapshot, look.room, server.as_str()).await?;
        if !is_in || !look.permits(server).await? {
            return Err(Error::Denied);
        }
        Ok(Peer {
            look,
            server: server.to_owned(),
        })
    }

    /// A room as it is now. One that is not here is as one that a server may not read.
    async fn look_for_server(&self, room_id: &RoomId) -> Result<Look> {
        let snapshot = self.snapshot().await?;
        let room = rooms::number(&*snapshot, room_id).await?;
        let room = room.ok_or(Error::Denied)?;
        self.look(snapshot, room).await?.ok_or(Error::Denied)
    }

    /// What [`Rooms::peer`] answers, or a room of a server whose last user this event made leave.
    pub(crate) async fn peer_at(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
    ) -> Result<Peer> {
        match self.peer(server, room_id).await {
            Err(Error::Denied) => {}
            answer => return answer,
        }
        let look = self.look_for_server(room_id).await?;
        match look.ended_stay(server, event_id).await? && look.permits(server).await? {
            true => Ok(Peer {
                look,
                server: server.to_owned(),
            }),
            false => Err(Error::Denied),
        }
    }

    /// A room in which a user of a server is joined; `None` if it is no user of that server, not joined there, or the
    /// server is shut out. Where most members are not known yet, whoever is not known to be out counts as joined if the
    /// server is said to be in the room.
    pub(crate) async fn peer_with(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        user: &UserId,
    ) -> Result<Option<Peer>> {
        if user.server_name() != server {
            return Ok(None);
        }
        let (peer, is_known) = match self.peer(server, room_id).await {
            Ok(peer) => (peer, true),
            Err(Error::Denied) => match self.probable_peer(server, room_id).await? {
                Some(peer) => (peer, false),
                None => return Ok(None),
            },
            Err(error) => return Err(error),
        };
        let row = members::member(&*peer.snapshot, peer.room, user.as_str()).await?;
        let is_joined = match row {
            Some(row) => row.membership == MembershipState::Join,
            None => {
                !is_known
                    || partial::partial(&*peer.snapshot, peer.room)
                        .await?
                        .is_some()
            }
        };
        Ok(is_joined.then_some(peer))
    }

    /// A room most of whose members are not known yet, seen by a server that was said to be in it.
    async fn probable_peer(&self, server: &ServerName, room_id: &RoomId) -> Result<Option<Peer>> {
        let snapshot = self.snapshot().await?;
        let Some(room) = rooms::number(&*snapshot, room_id).await? else {
            return Ok(None);
        };
        let row = partial::partial(&*snapshot, room).await?;
        let is_said =
            row.is_some_and(|row| row.servers.iter().any(|known| known == server.as_str()));
        let look = match is_said {
            true => self.look(snapshot, room).await?,
            false => None,
        };
        let Some(look) = look else { return Ok(None) };
        let server = server.to_owned();
        Ok(look
            .permits(&server)
            .await?
            .then_some(Peer { look, server }))
    }
}

impl Look {
    /// Whether the room's access list lets a server take part.
    pub(crate) async fn permits(&self, server: &ServerName) -> Result<bool> {
        let list = self.current("m.room.server_acl").await?;
        Ok(list.is_none_or(|list| ServerAcl::of(&list).permits(server)))
    }

    /// Whether an event made a user of a server leave who was joined before it.
    async fn ended_stay(&self, server: &ServerName, event_id: &EventId) -> Result<bool> {
        let found = timeline::find(&*self.snapshot, event_id).await?;
        let Some(found) = found.filter(|found| found.room == self.room) else {
            return Ok(false);
        };
        let row = timeline::event(&*self.snapshot, self.room, found.event).await?;
        let Some((Some(_), row)) = row.filter(|(_, row)| row.standing == Standing::Accepted) else {
            return Ok(false);
        };
        let pdu = self.pdu(&row)?;
        let Some(("m.room.member", user)) = pdu.state_key_pair() else {
            return Ok(false);
        };
        let is_of_server = <&UserId>::try_from(user).is_ok_and(|user| user.server_name() == server);
        if !is_of_server || Membership::of(&pdu) == Some(Membership::Join) {
            return Ok(false);
        }
        let before = self
            .state_event(row.state_before, "m.room.member", user)
            .await?;
        Ok(before.is_some_and(|(event, _)| Membership::of(&event) == Some(Membership::Join)))
    }
}

impl Peer {
    /// Users of the server who are in the room or were: those whose memberships decide what it sees.
    async fn users(&self) -> Result<Vec<String>> {
        let mut users = Vec::new();
        let mut after = String::new();
        loop {
            let page = members::members_after(&*self.snapshot, self.room, &after, PAGE).await?;
            let of_server = page.iter().map(|(user, _)| user).filter(|user| {
                let server = user.split_once(':').map(|(_, server)| server);
                server == Some(self.server.as_str())
            });
            users.extend(of_server.take(USERS_MAX - users.len()).cloned());
            match page.last() {
                Some((last, _)) if page.len() == PAGE && users.len() < USERS_MAX => {
                    after.clone_from(last);
                }
                _ => return Ok(users),
            }
        }
    }
}
