//! Aliases: names that lead to rooms.

use hearth_data::RoomNo;
use hearth_data::rooms::{self, AliasRow};
use hearth_event::canonical::{Object, Value};
use hearth_store::Batch;
use ruma::events::room::member::MembershipState;
use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName, UserId,
};

use crate::{Error, NewState, Result, Rooms, Sender, content};

/// Most aliases of a room that are listed.
const ALIASES_MAX: usize = 1_000;
/// Most servers that are named with an alias.
const SERVERS_MAX: usize = 100;
/// Longest alias, in bytes.
const ALIAS_BYTES_MAX: usize = 255;

/// Where an alias leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AliasTarget {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that are in it.
    pub servers: Vec<OwnedServerName>,
}

/// An alias of this server.
pub(crate) fn local_alias(localpart: &str, server_name: &ServerName) -> Result<OwnedRoomAliasId> {
    let alias = format!("#{localpart}:{server_name}");
    let is_bad =
        |character: char| character == ':' || character.is_whitespace() || character.is_control();
    if localpart.is_empty() || localpart.contains(is_bad) || alias.len() > ALIAS_BYTES_MAX {
        return Err(Error::Invalid("the alias is not well-formed"));
    }
    RoomAliasId::parse(alias).map_err(|_| Error::Invalid("the alias is not well-formed"))
}

impl Rooms {
    /// Where an alias leads.
    pub async fn resolve_alias(&self, alias: &RoomAliasId) -> Result<AliasTarget> {
        if alias.server_name() != self.server_name() {
            return Err(Error::NoSuchAlias);
        }
        let snapshot = self.snapshot().await?;
        let row = rooms::alias(&*snapshot, alias.as_str()).await?;
        let room_id = row.ok_or(Error::NoSuchAlias)?.room_id;
        let mut servers = vec![self.server_name().to_owned()];
        if let Some(room) = rooms::number(&*snapshot, &room_id).await? {
            servers.extend(self.servers_of(room, SERVERS_MAX).await?);
        }
        Ok(AliasTarget { room_id, servers })
    }

    /// Where an alias of any server leads, asked of its server.
    pub async fn find_alias(&self, alias: &RoomAliasId) -> Result<AliasTarget> {
        if alias.server_name() == self.server_name() {
            return self.resolve_alias(alias).await;
        }
        let (room_id, servers) = self.resolve_anywhere(alias).await?;
        Ok(AliasTarget { room_id, servers })
    }

    /// Makes an alias lead to a room in which its maker is.
    pub async fn put_alias(
        &self,
        user: &UserId,
        alias: &RoomAliasId,
        room_id: &RoomId,
    ) -> Result<()> {
        if alias.server_name() != self.server_name() {
            return Err(Error::Invalid("the alias belongs to another server"));
        }
        let alias = local_alias(alias.alias(), self.server_name())?;
        let reader = self.reader(user, room_id).await?;
        if !reader.is_joined() {
            return Err(Error::NotInRoom);
        }
        if rooms::alias(&*reader.snapshot, alias.as_str())
            .await?
            .is_some()
        {
            return Err(Error::AliasTaken);
        }
        let row = AliasRow {
            room_id: room_id.to_owned(),
            creator: user.to_string(),
        };
        let mut batch = Batch::new();
        rooms::put_alias(&mut batch, reader.room, alias.as_str(), None, &row);
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(hearth_store::Error::Conflict) => Err(Error::AliasTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an alias, also from the room's canonical alias. For its maker and those who may set that event.
    pub async fn remove_alias(&self, user: &UserId, alias: &RoomAliasId) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let row = rooms::alias(&*snapshot, alias.as_str())
            .await?
            .ok_or(Error::NoSuchAlias)?;
        let reader = self.reader(user, &row.room_id).await?;
        let may_set = match reader.membership.as_ref().map(|row| &row.membership) {
            Some(MembershipState::Join) => {
                let power = reader.power().await?;
                power.is_some_and(|power| power.can_send_state(user, "m.room.canonical_alias"))
            }
            _ => false,
        };
        if row.creator != user.as_str() && !may_set {
            return Err(Error::Refused("the alias is not yours"));
        }
        self.drop_alias(reader.room, alias, &row).await?;
        if may_set {
            self.drop_from_canonical(user, &row.room_id, alias).await?;
        }
        Ok(())
    }

    async fn drop_alias(&self, room: RoomNo, alias: &RoomAliasId, row: &AliasRow) -> Result<()> {
        let mut batch = Batch::new();
        rooms::remove_alias(&mut batch, room, alias.as_str(), row);
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(()),
            Err(hearth_store::Error::Conflict) => Err(Error::NoSuchAlias),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes an alias out of `m.room.canonical_alias`.
    async fn drop_from_canonical(
        &self,
        user: &UserId,
        room_id: &RoomId,
        alias: &RoomAliasId,
    ) -> Result<()> {
        let reader = self.reader(user, room_id).await?;
        let kind = "m.room.canonical_alias";
        let Some((event, _)) = reader.state_event(reader.head.state, kind, "").await? else {
            return Ok(());
        };
        let before = event.content_object();
        let after = without_alias(before.clone(), alias.as_str());
        if after == before {
            return Ok(());
        }
        let sender = Sender {
            user: user.to_owned(),
            device: None,
            at: None,
        };
        let state = NewState {
            kind: kind.to_owned(),
            state_key: String::new(),
            content: content::raw(&after)?,
        };
        self.put_state(&sender, room_id, state).await?;
        Ok(())
    }

    /// The aliases of a room on this server, for members and, in rooms that all may read, for all.
    pub async fn aliases(&self, user: &UserId, room_id: &RoomId) -> Result<Vec<OwnedRoomAliasId>> {
        let reader = self.reader(user, room_id).await?;
        if !reader.is_joined() && !reader.is_world_readable().await? {
            return Err(Error::NotInRoom);
        }
        let aliases = rooms::aliases(&*reader.snapshot, reader.room, ALIASES_MAX).await?;
        let parsed = aliases.into_iter().map(RoomAliasId::parse);
        // They were checked when they were made.
        Ok(parsed.filter_map(Result::ok).collect())
    }
}

fn without_alias(mut content: Object, alias: &str) -> Object {
    if content.get("alias").and_then(Value::as_str) == Some(alias) {
        content.remove("alias");
    }
    if let Some(Value::Array(aliases)) = content.get_mut("alt_aliases") {
        aliases.retain(|other| other.as_str() != Some(alias));
    }
    content
}
