//! What somebody may know of a room before entering it (client-server API, "Room Previews").

use hearth_data::{members, rooms};
use hearth_event::Pdu;
use hearth_event::canonical::Value;
use hearth_event::visibility::Visibility;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, RoomOrAliasId, UserId};

use crate::read::Look;
use crate::restricted::fulfils_condition;
use crate::{Error, Result, RoomListing, Rooms, content};

/// Most rooms that a summary names as letting their members in.
pub(crate) const ALLOWED_MAX: usize = 100;

/// A room as it is told to somebody who thinks about entering it.
#[derive(Clone, Debug)]
pub struct RoomSummary {
    /// What the directory would say of it.
    pub listing: RoomListing,
    /// Its version; unknown of a room of which another server tells without saying.
    pub version: Option<String>,
    /// The algorithm with which its messages are encrypted.
    pub encryption: Option<String>,
    /// The rooms whose members may join, if its join rule is a restricted one.
    pub allowed: Vec<OwnedRoomId>,
    /// What the one who asks is in it; `None` if nobody is known to ask.
    pub membership: Option<MembershipState>,
}

impl Rooms {
    /// The summary of a room, for those who may know of it. Everything else looks as if there were no such room. Of a room
    /// that nobody here follows one of the servers `via` may tell, if a user asks.
    pub async fn summary(
        &self,
        user: Option<&UserId>,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
    ) -> Result<RoomSummary> {
        let mut via = via.to_vec();
        let room_id = match (<&RoomAliasId>::try_from(room), user) {
            (Ok(alias), Some(_)) => {
                let (room_id, servers) = self.resolve_anywhere(alias).await?;
                via.extend(servers);
                room_id
            }
            (Ok(alias), None) => self.resolve_alias(alias).await?.room_id,
            (Err(_), _) => RoomId::parse(room.as_str()).map_err(|_| Error::NoSuchAlias)?,
        };
        let snapshot = self.snapshot().await?;
        let look = match rooms::number(&*snapshot, &room_id).await? {
            Some(room) => self.look(snapshot, room).await?,
            None => None,
        };
        let is_followed = look.as_ref().is_some_and(|look| look.head.joined_local > 0);
        if let Some(user) = user.filter(|_| !is_followed) {
            let servers = self.candidates(&room_id, user, &via).await?.all();
            if let Some(mut summary) = self.far_summary(user, &room_id, &servers).await? {
                let membership = match &look {
                    Some(look) => look.membership_of(user).await?,
                    None => None,
                };
                summary.membership = Some(membership.unwrap_or(MembershipState::Leave));
                return Ok(summary);
            }
        }
        match look {
            Some(look) if look.may_be_known(user).await? => look.summary(user).await,
            _ => Err(Error::NoServerInRoom),
        }
    }
}

impl Look {
    /// Whether somebody, or anybody, may know of the room: who is in it or invited, who could join or knock, and all
    /// if it is open to the world.
    pub(crate) async fn may_be_known(&self, user: Option<&UserId>) -> Result<bool> {
        use MembershipState::{Ban, Invite, Join};
        let membership = match user {
            Some(user) => self.membership_of(user).await?,
            None => None,
        };
        if matches!(membership, Some(Join | Invite)) {
            return Ok(true);
        }
        // Nobody here follows the room any more: what is known of it is old.
        if self.head.joined_local == 0 {
            return Ok(false);
        }
        if self.is_world_readable().await? {
            return Ok(true);
        }
        if membership == Some(Ban) {
            return Ok(false);
        }
        let Some(rule) = self.current("m.room.join_rules").await? else {
            return Ok(false);
        };
        match content::text(&rule, "join_rule").as_deref() {
            Some("public" | "knock" | "knock_restricted") => Ok(true),
            Some("restricted") => match user {
                Some(user) => fulfils_condition(&*self.snapshot, user, &rule).await,
                None => Ok(false),
            },
            _ => Ok(false),
        }
    }

    async fn membership_of(&self, user: &UserId) -> Result<Option<MembershipState>> {
        let row = members::member(&*self.snapshot, self.room, user.as_str()).await?;
        Ok(row.map(|row| row.membership))
    }

    /// The room's summary; whether it may be told is the caller's question.
    pub(crate) async fn summary(&self, user: Option<&UserId>) -> Result<RoomSummary> {
        let encryption = self.current("m.room.encryption").await?;
        let rule = self.current("m.room.join_rules").await?;
        let membership = match user {
            Some(user) => {
                let membership = self.membership_of(user).await?;
                Some(membership.unwrap_or(MembershipState::Leave))
            }
            None => None,
        };
        Ok(RoomSummary {
            listing: self.listing().await?,
            version: Some(self.version.as_str().to_owned()),
            encryption: encryption.and_then(|event| content::text(&event, "algorithm")),
            allowed: rule.as_ref().map(allowed_rooms).unwrap_or_default(),
            membership,
        })
    }

    /// Whether everybody may read the room.
    pub(crate) async fn is_world_readable(&self) -> Result<bool> {
        let visibility = self.current("m.room.history_visibility").await?;
        Ok(visibility.is_some_and(|event| Visibility::of(&event) == Visibility::WorldReadable))
    }
}

/// The rooms that a restricted join rule names.
pub(crate) fn allowed_rooms(rule: &Pdu) -> Vec<OwnedRoomId> {
    let content = rule.content_object();
    let text = |value: &Value, field: &str| {
        let object = value.as_object()?;
        object.get(field)?.as_str().map(ToOwned::to_owned)
    };
    let kind = content.get("join_rule").and_then(Value::as_str);
    if !matches!(kind, Some("restricted" | "knock_restricted")) {
        return Vec::new();
    }
    let conditions = content.get("allow").and_then(Value::as_array);
    let conditions = conditions.unwrap_or(&[]).iter().take(ALLOWED_MAX);
    conditions
        .filter(|condition| text(condition, "type").as_deref() == Some("m.room_membership"))
        .filter_map(|condition| RoomId::parse(text(condition, "room_id")?).ok())
        .collect()
}
