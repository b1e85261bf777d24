//! Spaces and their children for other servers (server-server API, "Spaces").

use hearth_data::{federation, members, rooms};
use hearth_event::Pdu;
use hearth_ports::remote::Children;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, RoomId, ServerName};

use crate::hierarchy::Child;
use crate::read::{Look, followed};
use crate::summary::allowed_rooms;
use crate::{Error, HierarchyRoom, Result, RoomSummary, Rooms, content};

/// Most children of which an answer tells.
const CHILDREN_MAX: usize = 100;
/// How many members are looked at for somebody of a server who is invited.
const MEMBERS_MAX: usize = 1_000;

/// A room and its children, as another server may know of them.
#[derive(Clone, Debug)]
pub struct ServedSpace {
    /// The room.
    pub room: HierarchyRoom,
    /// Children, without theirs.
    pub children: Vec<RoomSummary>,
    /// Children that none of the server's users could enter.
    pub inaccessible: Vec<OwnedRoomId>,
}

impl Rooms {
    /// GET /_matrix/federation/v1/hierarchy: a room that the server's users could enter or read, and those of its children.
    /// Everything else looks as if there were no such room.
    pub async fn hierarchy_for(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        which: Children,
    ) -> Result<ServedSpace> {
        let look = self.followed(room_id).await?.ok_or(Error::NoServerInRoom)?;
        if !look.may_be_known_to(server).await? {
            return Err(Error::NoServerInRoom);
        }
        let children: Vec<Child> = look.children(which).await?;
        let mut served = ServedSpace {
            room: HierarchyRoom {
                summary: look.summary(None).await?,
                children: children.iter().map(|child| child.event.clone()).collect(),
            },
            children: Vec::new(),
            inaccessible: Vec::new(),
        };
        for child in children.iter().take(CHILDREN_MAX) {
            let Some(look) = self.followed(&child.room_id).await? else {
                continue;
            };
            match look.may_be_known_to(server).await? {
                true => served.children.push(look.summary(None).await?),
                false => served.inaccessible.push(child.room_id.clone()),
            }
        }
        Ok(served)
    }

    /// A room in which somebody of this server is.
    async fn followed(&self, room_id: &RoomId) -> Result<Option<Look>> {
        let snapshot = self.snapshot().await?;
        match followed(&*snapshot, room_id).await? {
            Some(room) => self.look(snapshot, room).await,
            None => Ok(None),
        }
    }
}

impl Look {
    /// Whether a server may know of the room: if one of its users is in it or invited, could join or knock, and every
    /// server that is not shut out if it is open to the world.
    async fn may_be_known_to(&self, server: &ServerName) -> Result<bool> {
        if !self.permits(server).await? {
            return Ok(false);
        }
        if self.is_world_readable().await? || self.has_server(server).await? {
            return Ok(true);
        }
        let rule = self.current("m.room.join_rules").await?;
        let kind = rule
            .as_ref()
            .and_then(|rule| content::text(rule, "join_rule"));
        let is_let_in = match (kind.as_deref(), &rule) {
            (Some("public" | "knock" | "knock_restricted"), _) => true,
            (Some("restricted"), Some(rule)) => self.lets_in_server(server, rule).await?,
            _ => false,
        };
        Ok(is_let_in || self.invites_server(server).await?)
    }

    /// Whether the server is in one of the rooms that a restricted rule names.
    async fn lets_in_server(&self, server: &ServerName, rule: &Pdu) -> Result<bool> {
        for room_id in allowed_rooms(rule) {
            if let Some(room) = rooms::number(&*self.snapshot, &room_id).await?
                && federation::is_server_in(&*self.snapshot, room, server.as_str()).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn has_server(&self, server: &ServerName) -> Result<bool> {
        Ok(federation::is_server_in(&*self.snapshot, self.room, server.as_str()).await?)
    }

    async fn invites_server(&self, server: &ServerName) -> Result<bool> {
        if self.head.invited == 0 {
            return Ok(false);
        }
        let some = members::members_after(&*self.snapshot, self.room, "", MEMBERS_MAX).await?;
        Ok(some.iter().any(|(user, row)| {
            let of_server = user.split_once(':').map(|(_, name)| name) == Some(server.as_str());
            of_server && row.membership == MembershipState::Invite
        }))
    }
}
