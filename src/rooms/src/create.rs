//! Making rooms: all events of a new room in one commit; only the invites follow.

use std::sync::atomic::Ordering;

use hearth_data::RoomNo;
use hearth_data::append::RoomBatch;
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_data::rooms::{self, AliasRow, RoomHead};
use hearth_event::canonical::{Object, Value};
use hearth_event::{Draft, Pdu, RoomVersion};
use hearth_store::{Batch, Durability};
use hearth_types::UnixMs;
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use crate::stage::Stage;
use crate::view::RoomView;
use crate::{Error, KIND, Result, Rider, RoomKind, Rooms, content};

/// Most users that a room can be made with.
const INVITES_MAX: usize = 1_000;
/// Most events that a room can be made with besides those that every room has.
const INITIAL_STATE_MAX: usize = 200;
/// The length of the opaque part of a room id (up to version 11).
const ROOM_ID_LENGTH: usize = 18;

/// A set of default state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// By invite only.
    PrivateChat,
    /// By invite only, and all who are invited at once have the creator's power.
    TrustedPrivateChat,
    /// Everybody may join.
    PublicChat,
}

/// Whether a room is listed in the server's directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publish {
    /// It is listed.
    Public,
    /// It is not.
    #[default]
    Private,
}

/// A state event that a room shall begin with.
#[derive(Clone, Debug)]
pub struct InitialState {
    /// The event type.
    pub kind: String,
    /// The state key.
    pub state_key: String,
    /// The content, a JSON object.
    pub content: Box<RawValue>,
}

/// A room to be made. All fields are as in `POST /createRoom`.
#[derive(Clone, Debug, Default)]
pub struct NewRoom {
    /// The version as written; the server's default if absent.
    pub version: Option<String>,
    /// By default what goes with `publish`.
    pub preset: Option<Preset>,
    /// Whether to list it in the directory.
    pub publish: Publish,
    /// The localpart of an alias to be made.
    pub alias_localpart: Option<String>,
    /// The room's name.
    pub name: Option<String>,
    /// The room's topic.
    pub topic: Option<String>,
    /// Who shall be invited.
    pub invite: Vec<OwnedUserId>,
    /// Whether the invites say that it is a direct chat.
    pub is_direct: bool,
    /// What kind of room it is; by default what goes with `is_direct` and `invite`. None for rooms with a `type`.
    pub kind: Option<RoomKind>,
    /// Further content of the create event, a JSON object.
    pub creation_content: Option<Box<RawValue>>,
    /// Further state; wins over the preset's.
    pub initial_state: Vec<InitialState>,
    /// Keys of the power levels that replace the defaults.
    pub power_levels: Option<Box<RawValue>>,
}

/// A state event on its way: type, state key, content.
pub(crate) type Seed = (String, String, Box<RawValue>);

/// All that the commit of a new room holds.
pub(crate) struct Plan {
    pub(crate) version: RoomVersion,
    pub(crate) creator: OwnedUserId,
    /// The content of the create event.
    pub(crate) create: Object,
    /// The state after the creator's join, in order.
    pub(crate) state: Vec<Seed>,
    pub(crate) alias: Option<OwnedRoomAliasId>,
    pub(crate) publish: Publish,
    pub(crate) invite: Vec<OwnedUserId>,
    pub(crate) is_direct: bool,
}

impl Rooms {
    /// Makes a room. When this returns, those who are invited are.
    pub async fn create(&self, creator: &UserId, room: NewRoom) -> Result<OwnedRoomId> {
        self.create_with(creator, room, Rider::new()).await
    }

    /// [`Rooms::create`] with rows of the caller's own in the same commit.
    pub async fn create_with(
        &self,
        creator: &UserId,
        room: NewRoom,
        rider: Rider,
    ) -> Result<OwnedRoomId> {
        let plan = self.plan(creator, room)?;
        let (_, room_id) = self.make(plan, |batch, _, _| batch.append(rider)).await?;
        Ok(room_id)
    }

    /// [`Rooms::create`] with rows of the caller's own in the same commit that name the new room.
    pub async fn create_riding(
        &self,
        creator: &UserId,
        room: NewRoom,
        rider: impl FnOnce(RoomNo, &RoomId) -> Rider,
    ) -> Result<OwnedRoomId> {
        let plan = self.plan(creator, room)?;
        let made = self.make(plan, |batch, room, room_id| {
            batch.append(rider(room, room_id));
        });
        Ok(made.await?.1)
    }

    fn plan(&self, creator: &UserId, room: NewRoom) -> Result<Plan> {
        let version = match &room.version {
            Some(version) => RoomVersion::parse(version)
                .ok_or_else(|| Error::UnsupportedVersion(version.clone()))?,
            None => self.default_version(),
        };
        if room.invite.len() > INVITES_MAX || room.initial_state.len() > INITIAL_STATE_MAX {
            return Err(Error::TooLarge);
        }
        let alias = room
            .alias_localpart
            .as_deref()
            .map(|localpart| crate::aliases::local_alias(localpart, self.server_name()))
            .transpose()?;
        let preset = room.preset.unwrap_or(match room.publish {
            Publish::Public => Preset::PublicChat,
            Publish::Private => Preset::PrivateChat,
        });
        let create = create_content(creator, version, (&room, preset))?;
        let state = initial_state(creator, version, (&room, preset), alias.as_ref())?;
        Ok(Plan {
            version,
            creator: creator.to_owned(),
            create,
            state,
            alias,
            publish: room.publish,
            invite: room.invite,
            is_direct: room.is_direct,
        })
    }

    /// Makes a room of a plan, with further rows in the same commit, and sends its invites.
    pub(crate) async fn make(
        &self,
        plan: Plan,
        further: impl FnOnce(&mut Batch, RoomNo, &RoomId),
    ) -> Result<(RoomNo, OwnedRoomId)> {
        let snapshot = self.snapshot().await?;
        if let Some(alias) = &plan.alias
            && rooms::alias(&*snapshot, alias.as_str()).await?.is_some()
        {
            return Err(Error::AliasTaken);
        }
        let room = RoomNo(self.0.numbers.next(&*self.0.store).await?);
        // The id of a version 12 room comes from its create event, which replaces this one.
        let token = self.0.ids.token(ROOM_ID_LENGTH);
        let room_id = RoomId::parse(format!("!{token}:{}", self.server_name()))
            .map_err(|_| Error::Invalid("the server name makes no room id"))?;
        let head = RoomHead::new(room_id, version_id(plan.version)?);
        let view = RoomView::new(room, head)?;
        let mut stage = Stage::new_room(&self.0, &*snapshot, view);
        stage.ts_min = self.birth();
        seed(&mut stage, &plan).await?;
        let room_id = stage.room_id().to_owned();
        let has_invites = !plan.invite.is_empty();
        place(stage.ops(), (room, &room_id), &plan);
        further(stage.ops(), room, &room_id);
        let _inviting = has_invites.then(|| self.0.inviting.begin(room));
        let view = match stage.commit(Durability::Synced).await {
            Ok(view) => view,
            Err(hearth_store::Error::Conflict) => return Err(self.conflict(&plan).await?),
            Err(error) => return Err(error.into()),
        };
        let position = view.head.position;
        self.0.views.put(view);
        if has_invites {
            self.invite_all(room, &plan.creator, (&plan.invite, plan.is_direct))
                .await;
            self.job_done((position, 0)).await?;
        }
        Ok((room, room_id))
    }

    /// A moment that no other room has been given: two equal rooms made in one millisecond would have one create event,
    /// and from version 12 on that is one id.
    fn birth(&self) -> UnixMs {
        let now = self.0.clock.now().0;
        let births = &self.0.last_birth;
        let last = births.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| {
            Some(now.max(last.saturating_add(1)))
        });
        UnixMs(now.max(last.unwrap_or(now).saturating_add(1)))
    }

    /// Who was first when the commit of a new room failed: the number and the id are nobody else's.
    async fn conflict(&self, plan: &Plan) -> Result<Error> {
        let snapshot = self.snapshot().await?;
        let Some(alias) = &plan.alias else {
            return Ok(Error::RiderConflict);
        };
        let taken = rooms::alias(&*snapshot, alias.as_str()).await?.is_some();
        Ok(match taken {
            true => Error::AliasTaken,
            false => Error::RiderConflict,
        })
    }
}

fn version_id(version: RoomVersion) -> Result<ruma::RoomVersionId> {
    ruma::RoomVersionId::try_from(version.as_str())
        .map_err(|_| Error::UnsupportedVersion(version.to_string()))
}

/// The rows around a new room: number, alias, directory, job.
fn place(batch: &mut Batch, (room, room_id): (RoomNo, &RoomId), plan: &Plan) {
    rooms::put_number(batch, room_id, room);
    if let Some(alias) = &plan.alias {
        let row = AliasRow {
            room_id: room_id.to_owned(),
            creator: plan.creator.to_string(),
        };
        rooms::put_alias(batch, room, alias.as_str(), None, &row);
    }
    if plan.publish == Publish::Public {
        rooms::publish(batch, room);
    }
    if !plan.invite.is_empty() {
        let job = JobRow::Invites {
            room,
            sender: plan.creator.to_string(),
            users: plan.invite.iter().map(ToString::to_string).collect(),
            is_direct: plan.is_direct,
        };
        jobs::put(batch, Owner::Rooms, 0, &job);
    }
}

/// Writes all events of a new room but the invites.
async fn seed(stage: &mut Stage<'_>, plan: &Plan) -> Result<()> {
    let draft = |kind: &str, key: &str, content: Box<RawValue>| Draft {
        sender: plan.creator.clone(),
        kind: kind.to_owned(),
        state_key: Some(key.to_owned()),
        content,
        redacts: None,
    };
    let create = draft("m.room.create", "", content::raw(&plan.create)?);
    write(stage, &create).await?;
    let join = crate::membership::creator_join(stage, &plan.creator).await?;
    write(stage, &draft("m.room.member", plan.creator.as_str(), join)).await?;
    for (kind, key, content) in &plan.state {
        if kind == "m.room.create" {
            return Err(Error::BadContent("a room has one create event"));
        }
        write(stage, &draft(kind, key, content.clone())).await?;
    }
    Ok(())
}

/// In a room that is not there yet, a forbidden event is a mistake in what was asked for.
async fn write(stage: &mut Stage<'_>, draft: &Draft) -> Result<()> {
    match stage.write(draft, None).await {
        Ok(_) => Ok(()),
        Err(Error::Forbidden(error)) => Err(Error::InvalidRoomState(error)),
        Err(error) => Err(error),
    }
}

fn create_content(
    creator: &UserId,
    version: RoomVersion,
    (room, preset): (&NewRoom, Preset),
) -> Result<Object> {
    let mut content = match &room.creation_content {
        Some(content) => content::object(content)?,
        None => Object::new(),
    };
    content.remove("creator");
    content.remove(KIND);
    if !content.contains_key("type") {
        let kind = room.kind.unwrap_or(default_kind(room));
        content.insert(KIND.to_owned(), kind.as_str().into());
    }
    content.insert("room_version".to_owned(), version.as_str().into());
    if !version.rules().authorization.use_room_create_sender {
        content.insert("creator".to_owned(), creator.as_str().into());
    }
    if version.rules().authorization.additional_room_creators
        && preset == Preset::TrustedPrivateChat
        && !room.invite.is_empty()
    {
        let mut creators = match content.remove("additional_creators") {
            None => Vec::new(),
            Some(Value::Array(creators)) => creators,
            Some(_) => return Err(Error::BadContent("`additional_creators` is not a list")),
        };
        for user in room.invite.iter().filter(|user| *user != creator) {
            let user = Value::from(user.as_str());
            if !creators.contains(&user) {
                creators.push(user);
            }
        }
        content.insert("additional_creators".to_owned(), Value::Array(creators));
    }
    Ok(content)
}

/// A chat of two is one that is said to be direct, with one other.
fn default_kind(room: &NewRoom) -> RoomKind {
    match room.is_direct && room.invite.len() == 1 {
        true => RoomKind::Direct,
        false => RoomKind::Group,
    }
}

/// The state of a new room after the creator's join, in the order that the specification sets.
fn initial_state(
    creator: &UserId,
    version: RoomVersion,
    (room, preset): (&NewRoom, Preset),
    alias: Option<&OwnedRoomAliasId>,
) -> Result<Vec<Seed>> {
    let seed = |kind: &str, field: &str, text: &str| -> Result<Seed> {
        Ok((
            kind.to_owned(),
            String::new(),
            content::raw_text(field, text)?,
        ))
    };
    let levels = power_levels(creator, version, (room, preset))?;
    let mut state = vec![(
        "m.room.power_levels".to_owned(),
        String::new(),
        content::raw(&levels)?,
    )];
    if let Some(alias) = alias {
        state.push(seed("m.room.canonical_alias", "alias", alias.as_str())?);
    }
    let is_public = preset == Preset::PublicChat;
    let join_rule = if is_public { "public" } else { "invite" };
    let mut presets = vec![
        seed("m.room.join_rules", "join_rule", join_rule)?,
        seed("m.room.history_visibility", "history_visibility", "shared")?,
    ];
    if !is_public {
        // Without the event guests are kept out, which is what the public preset asks for.
        presets.push(seed("m.room.guest_access", "guest_access", "can_join")?);
    }
    let is_set = |kind: &str, key: &str| {
        let mut initial = room.initial_state.iter();
        initial.any(|state| state.kind == kind && state.state_key == key)
    };
    state.extend(
        presets
            .into_iter()
            .filter(|(kind, key, _)| !is_set(kind, key)),
    );
    let overridden = |state: &InitialState| {
        state.state_key.is_empty()
            && (state.kind == "m.room.name" && room.name.is_some()
                || state.kind == "m.room.topic" && room.topic.is_some())
    };
    for initial in room.initial_state.iter().filter(|state| !overridden(state)) {
        let InitialState {
            kind,
            state_key,
            content,
        } = initial.clone();
        state.push((kind, state_key, content));
    }
    if let Some(name) = &room.name {
        state.push(seed("m.room.name", "name", name)?);
    }
    if let Some(topic) = &room.topic {
        state.push((
            "m.room.topic".to_owned(),
            String::new(),
            topic_content(topic)?,
        ));
    }
    Ok(state)
}

/// The topic in both of its forms: plain, and as `m.topic`.
fn topic_content(topic: &str) -> Result<Box<RawValue>> {
    let text = Object::from([("body".to_owned(), topic.into())]);
    let block = Object::from([("m.text".to_owned(), Value::Array(vec![Value::Object(text)]))]);
    content::raw(&Object::from([
        ("topic".to_owned(), topic.into()),
        ("m.topic".to_owned(), Value::Object(block)),
    ]))
}

fn power_levels(
    creator: &UserId,
    version: RoomVersion,
    (room, preset): (&NewRoom, Preset),
) -> Result<Object> {
    let level = |(key, level): (&str, i64)| (key.to_owned(), Value::Integer(level));
    let has_creators = version
        .rules()
        .authorization
        .explicitly_privilege_room_creators;
    let mut users = Object::new();
    if !has_creators {
        users.insert(creator.to_string(), Value::Integer(100));
        if preset == Preset::TrustedPrivateChat {
            let invited = room.invite.iter();
            users.extend(invited.map(|user| (user.to_string(), Value::Integer(100))));
        }
    }
    let events: Object = [
        ("m.room.avatar", 50),
        ("m.room.canonical_alias", 50),
        ("m.room.encryption", 100),
        ("m.room.history_visibility", 100),
        ("m.room.name", 50),
        ("m.room.power_levels", 100),
        ("m.room.server_acl", 100),
        ("m.room.tombstone", if has_creators { 150 } else { 100 }),
    ]
    .into_iter()
    .map(level)
    .collect();
    let invite = if preset == Preset::PublicChat { 50 } else { 0 };
    let mut levels: Object = [
        ("ban", 50),
        ("events_default", 0),
        ("invite", invite),
        ("kick", 50),
        ("redact", 50),
        ("state_default", 50),
        ("users_default", 0),
    ]
    .into_iter()
    .map(level)
    .collect();
    levels.insert("events".to_owned(), Value::Object(events));
    levels.insert("users".to_owned(), Value::Object(users));
    if let Some(overrides) = &room.power_levels {
        levels.extend(content::object(overrides)?);
    }
    Ok(levels)
}

/// A create event gives a version 12 room its id.
pub(crate) fn adopt_room_id(batch: &mut RoomBatch, create: &Pdu) {
    if batch.head.extremities.is_empty() {
        batch.head.room_id = create.room_id().to_owned();
    }
}
