//! Room upgrades: a new room of another version takes the place of an old one.

use hearth_data::RoomNo;
use hearth_data::rooms::{self, AliasRow};
use hearth_event::RoomVersion;
use hearth_event::canonical::{Object, Value};
use hearth_event::power::creators;
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId, UserId};

use crate::create::{Plan, Seed};
use crate::read::Reader;
use crate::{Error, KIND, NewState, Publish, Result, Rooms, Sender, content};

/// Most aliases that move to the new room.
const ALIASES_MAX: usize = 100;
/// State that moves to the new room, besides power levels and the canonical alias.
const MOVED: [&str; 8] = [
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
];

/// An upgrade to be made.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// The version of the new room, as written.
    pub version: String,
    /// Who else shall be a creator of the new room, from version 12 on.
    pub additional_creators: Vec<OwnedUserId>,
}

/// Aliases and the directory entry of the old room.
struct Names {
    aliases: Vec<(OwnedRoomAliasId, AliasRow)>,
    is_published: bool,
}

impl Rooms {
    /// Replaces a room by one of another version.
    pub async fn upgrade(
        &self,
        user: &UserId,
        room_id: &RoomId,
        upgrade: &Upgrade,
    ) -> Result<OwnedRoomId> {
        let version = RoomVersion::parse(&upgrade.version)
            .ok_or_else(|| Error::UnsupportedVersion(upgrade.version.clone()))?;
        let old = self.reader(user, room_id).await?;
        if !old.is_joined() {
            return Err(Error::NotInRoom);
        }
        let power = old.power().await?;
        if !power.is_some_and(|power| power.can_send_state(user, "m.room.tombstone")) {
            return Err(Error::Refused("you may not upgrade this room"));
        }
        let names = old.names().await?;
        let plan = Plan {
            version,
            creator: user.to_owned(),
            create: old
                .successor_create(user, version, &upgrade.additional_creators)
                .await?,
            state: old
                .moved_state(user, version, &upgrade.additional_creators)
                .await?,
            alias: None,
            publish: match names.is_published {
                true => Publish::Public,
                false => Publish::Private,
            },
            invite: Vec::new(),
            is_direct: false,
        };
        let from = old.room;
        let (_, replacement) = self
            .make(plan, |batch, to, new_id| {
                names.move_to(batch, (from, to), new_id)
            })
            .await?;
        let sender = Sender {
            user: user.to_owned(),
            device: None,
            at: None,
        };
        self.close_old(&sender, &old, &replacement).await?;
        Ok(replacement)
    }

    /// Points from the old room to the new one, and keeps people from writing into the old one.
    async fn close_old(&self, sender: &Sender, old: &Reader, new: &RoomId) -> Result<()> {
        let tombstone = Object::from([
            ("body".to_owned(), "This room has been replaced".into()),
            ("replacement_room".to_owned(), new.as_str().into()),
        ]);
        let state = NewState {
            kind: "m.room.tombstone".to_owned(),
            state_key: String::new(),
            content: content::raw(&tombstone)?,
        };
        self.put_state(sender, &old.head.room_id, state).await?;
        let Some(levels) = old.current("m.room.power_levels").await? else {
            return Ok(());
        };
        let state = NewState {
            kind: "m.room.power_levels".to_owned(),
            state_key: String::new(),
            content: content::raw(&restricted(levels.content_object()))?,
        };
        match self.put_state(sender, &old.head.room_id, state).await {
            // The tombstone stands; restricting the old room is a courtesy that may need more power.
            Err(Error::Forbidden(_)) | Ok(_) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Power levels with which ordinary members can neither write nor invite.
fn restricted(mut levels: Object) -> Object {
    let number = |levels: &Object, key: &str| levels.get(key).and_then(Value::as_integer);
    let above_all = number(&levels, "users_default")
        .unwrap_or(0)
        .saturating_add(1)
        .max(50);
    for key in ["events_default", "invite"] {
        let level = number(&levels, key).unwrap_or(0).max(above_all);
        levels.insert(key.to_owned(), Value::Integer(level));
    }
    levels
}

impl Names {
    fn move_to(&self, batch: &mut hearth_store::Batch, (from, to): (RoomNo, RoomNo), new: &RoomId) {
        for (alias, before) in &self.aliases {
            let row = AliasRow {
                room_id: new.to_owned(),
                creator: before.creator.clone(),
            };
            rooms::put_alias(batch, to, alias.as_str(), Some((from, before)), &row);
        }
        if self.is_published {
            rooms::unpublish(batch, from);
        }
    }
}

impl Reader {
    async fn names(&self) -> Result<Names> {
        let mut aliases = Vec::new();
        for alias in rooms::aliases(&*self.snapshot, self.room, ALIASES_MAX).await? {
            let row = rooms::alias(&*self.snapshot, &alias).await?;
            if let (Some(row), Ok(alias)) = (row, RoomAliasId::parse(alias)) {
                aliases.push((alias, row));
            }
        }
        Ok(Names {
            aliases,
            is_published: rooms::is_published(&*self.snapshot, self.room).await?,
        })
    }

    /// The create event's content of the room that follows this one.
    async fn successor_create(
        &self,
        user: &UserId,
        version: RoomVersion,
        additional: &[OwnedUserId],
    ) -> Result<Object> {
        let rules = &version.rules().authorization;
        let old = self.current("m.room.create").await?;
        let mut content = old
            .map(|create| create.content_object())
            .unwrap_or_default();
        content.retain(|key, _| key == "type" || key == "m.federate" || key == KIND);
        content.insert("room_version".to_owned(), version.as_str().into());
        let mut predecessor =
            Object::from([("room_id".to_owned(), self.head.room_id.as_str().into())]);
        // From version 12 on it is the room's id alone that says which room it was.
        if !rules.room_create_event_id_as_room_id
            && let Some(last) = self.head.extremities.first()
        {
            predecessor.insert("event_id".to_owned(), last.event_id.as_str().into());
        }
        content.insert("predecessor".to_owned(), Value::Object(predecessor));
        if !rules.use_room_create_sender {
            content.insert("creator".to_owned(), user.as_str().into());
        }
        if rules.additional_room_creators && !additional.is_empty() {
            let creators = additional.iter().map(|user| user.as_str().into()).collect();
            content.insert("additional_creators".to_owned(), Value::Array(creators));
        }
        Ok(content)
    }

    /// The state that moves: first power levels that let the upgrader set all of it, at the end those that stay.
    async fn moved_state(
        &self,
        user: &UserId,
        version: RoomVersion,
        additional: &[OwnedUserId],
    ) -> Result<Vec<Seed>> {
        let levels = self.moved_levels(user, version, additional).await?;
        let seed = |kind: &str, content: &Object| -> Result<Seed> {
            Ok((kind.to_owned(), String::new(), content::raw(content)?))
        };
        let mut state = Vec::new();
        let mut last = None;
        if let Some(levels) = levels {
            if version
                .rules()
                .authorization
                .explicitly_privilege_room_creators
            {
                state.push(seed("m.room.power_levels", &levels)?);
            } else {
                let raised = raised(&levels, user);
                state.push(seed("m.room.power_levels", &raised)?);
                last = (raised != levels).then_some(levels);
            }
        }
        if let Some(alias) = self.current("m.room.canonical_alias").await? {
            state.push(seed("m.room.canonical_alias", &alias.content_object())?);
        }
        for kind in MOVED {
            if let Some(event) = self.current(kind).await? {
                state.push(seed(kind, &event.content_object())?);
            }
        }
        if let Some(levels) = last {
            state.push(seed("m.room.power_levels", &levels)?);
        }
        Ok(state)
    }

    /// The power levels of the new room. Creators of version 12 have none; in the other direction they get 100.
    async fn moved_levels(
        &self,
        user: &UserId,
        version: RoomVersion,
        additional: &[OwnedUserId],
    ) -> Result<Option<Object>> {
        let Some(event) = self.current("m.room.power_levels").await? else {
            return Ok(None);
        };
        let mut levels = event.content_object();
        let mut users = match levels.remove("users") {
            Some(Value::Object(users)) => users,
            _ => Object::new(),
        };
        if version
            .rules()
            .authorization
            .explicitly_privilege_room_creators
        {
            users.remove(user.as_str());
            for creator in additional {
                users.remove(creator.as_str());
            }
        } else if self
            .version
            .rules()
            .authorization
            .explicitly_privilege_room_creators
        {
            let old = self.current("m.room.create").await?;
            for creator in old.as_ref().map(creators).unwrap_or_default() {
                users.insert(creator.to_string(), Value::Integer(100));
            }
        }
        levels.insert("users".to_owned(), Value::Object(users));
        Ok(Some(levels))
    }
}

/// Levels with which the user may set any state that the levels speak of.
fn raised(levels: &Object, user: &UserId) -> Object {
    let mut raised = levels.clone();
    let events = levels.get("events").and_then(Value::as_object);
    let needed = events
        .into_iter()
        .flat_map(|events| events.values())
        .chain(levels.get("state_default"))
        .filter_map(Value::as_integer)
        .fold(100, i64::max);
    let mut users = match raised.remove("users") {
        Some(Value::Object(users)) => users,
        _ => Object::new(),
    };
    let own = users.get(user.as_str()).and_then(Value::as_integer);
    let own = own.unwrap_or(0).max(needed);
    users.insert(user.to_string(), Value::Integer(own));
    raised.insert("users".to_owned(), Value::Object(users));
    raised
}
