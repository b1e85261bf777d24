//! Reading rooms: what kind one is, who made it, who is in it, and what somebody is called there.

use hearth_data::accounts::account_data::{self, AccountDataKey};
use hearth_data::accounts::profiles;
use hearth_data::members::{self, MemberRow};
use hearth_data::social::DirectRoomRow;
use hearth_data::{EventNo, RoomNo, rooms, timeline};
use hearth_event::{Pdu, RoomVersion};
use hearth_rooms::{KIND, RoomKind};
use hearth_store::Snapshot;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, UserId};
use serde::Deserialize;
use serde_json::Value;

use crate::{Result, Social};

/// The type of account data that lists who is ignored, and so blocked.
pub(crate) const IGNORED: &str = "m.ignored_user_list";

/// The field of a private group's create event that names the set of users for which it was made.
pub(crate) const SET: &str = "chat.hearth.set";

/// What never changes of a room: who made it, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) creator: OwnedUserId,
    /// `None` for rooms made elsewhere, and for spaces.
    pub(crate) kind: Option<RoomKind>,
    /// Whether it has a type: a space or the like.
    pub(crate) has_type: bool,
    /// For which set of users it was made, if it is a private group.
    pub(crate) set: Option<String>,
}

/// What somebody is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) displayname: Option<String>,
    pub(crate) avatar_url: Option<String>,
}

/// The fields of a member event that matter here.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct MemberContent {
    #[serde(default)]
    pub(crate) is_direct: Value,
    #[serde(default)]
    reason: Value,
    #[serde(default)]
    displayname: Value,
    #[serde(default)]
    avatar_url: Value,
}

impl MemberContent {
    fn of(member: &Pdu) -> Self {
        member.content_as().unwrap_or_default()
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.as_str().map(ToOwned::to_owned)
    }

    fn named(&self) -> Named {
        Named {
            displayname: self.displayname.as_str().map(ToOwned::to_owned),
            avatar_url: self.avatar_url.as_str().map(ToOwned::to_owned),
        }
    }
}

impl Social {
    /// How a room was made, if this server knows its create event: as state, or shown with an invite.
    pub(crate) async fn made(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        invited: Option<&str>,
    ) -> Result<Option<Made>> {
        if let Some(known) = self.0.kinds.get(&room) {
            return Ok(known);
        }
        if let Some(create) = self.current(snapshot, room, ("m.room.create", "")).await? {
            let made = made_by(create.sender(), create.content().get());
            self.0.kinds.insert(room, Some(made.clone()));
            return Ok(Some(made));
        }
        let Some(user) = invited else {
            return Ok(None);
        };
        let stripped = stripped(snapshot, user, room).await?;
        Ok(stripped.iter().find_map(|event| {
            (event.kind == "m.room.create").then(|| {
                let sender = UserId::parse(event.sender.as_str()).ok()?;
                Some(made_by(&sender, &event.content.to_string()))
            })?
        }))
    }

    /// An event of a room's current state.
    pub(crate) async fn current(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        (kind, key): (&str, &str),
    ) -> Result<Option<Pdu>> {
        let Some(head) = rooms::head(snapshot, room).await? else {
            return Ok(None);
        };
        let states = self.0.states.view(room, snapshot);
        match states.lookup(head.state, kind, key).await? {
            Some(event) => event_of(snapshot, room, event).await,
            None => Ok(None),
        }
    }

    /// The member event by which a local user sees a room.
    pub(crate) async fn own_member(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        user: &str,
    ) -> Result<Option<Pdu>> {
        match members::user_room(snapshot, user, room).await? {
            Some(row) => event_of(snapshot, room, row.event).await,
            None => Ok(None),
        }
    }

    /// A user's membership in a room, as far as this server can know.
    pub(crate) async fn membership(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        user: &str,
    ) -> Result<Option<MembershipState>> {
        if self.local(user).is_some()
            && let Some(row) = members::user_room(snapshot, user, room).await?
        {
            return Ok(Some(row.membership));
        }
        let row: Option<MemberRow> = members::member(snapshot, room, user).await?;
        Ok(row.map(|row| row.membership))
    }

    /// The member event of a user in a room, whether she is of this server or not.
    pub(crate) async fn member_event(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        user: &str,
    ) -> Result<Option<Pdu>> {
        if let Some(row) = members::member(snapshot, room, user).await? {
            return event_of(snapshot, room, row.event).await;
        }
        self.own_member(snapshot, room, user).await
    }

    /// What somebody is called: by her profile, or, if she is another server's, in a room.
    pub(crate) async fn named(
        &self,
        snapshot: &dyn Snapshot,
        user: &str,
        room: Option<RoomNo>,
    ) -> Result<Named> {
        if self.local(user).is_some() {
            let profile = profiles::profile(snapshot, user).await?.unwrap_or_default();
            return Ok(Named {
                displayname: profile.displayname().map(ToOwned::to_owned),
                avatar_url: profile.avatar_url().map(ToOwned::to_owned),
            });
        }
        let Some(room) = room else {
            return Ok(Named::default());
        };
        let member = self.member_event(snapshot, room, user).await?;
        Ok(member.map_or_else(Named::default, |member| MemberContent::of(&member).named()))
    }

    /// Whose direct chat a room is, seen from a local user whose membership changed: as noted, or as the room and
    /// its invite say.
    pub(crate) async fn direct_pair(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        user: &str,
    ) -> Result<Option<DirectRoomRow>> {
        if let Some(known) = hearth_data::social::direct_room(snapshot, room).await? {
            return Ok(Some(known));
        }
        match self.made(snapshot, room, Some(user)).await? {
            Some(made) if made.kind == Some(RoomKind::Direct) => {
                self.pair_of_direct(snapshot, room, (&made.creator, user))
                    .await
            }
            Some(made) if made.kind.is_some() || made.has_type => Ok(None),
            _ => self.pair_of_invite(snapshot, room, user).await,
        }
    }

    /// The creator of a direct chat and whoever else is there. Of a room on other servers only the invite is known.
    async fn pair_of_direct(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        (creator, user): (&UserId, &str),
    ) -> Result<Option<DirectRoomRow>> {
        const LOOK_AT: usize = 3;
        let there = members::members_after(snapshot, room, "", LOOK_AT).await?;
        if there.is_empty() {
            let invite = self.own_member(snapshot, room, user).await?;
            let is_theirs = invite.is_some_and(|invite| invite.sender() == creator);
            return Ok(is_theirs.then(|| pair(creator.as_str(), user)));
        }
        let other = there
            .into_iter()
            .map(|(user, _)| user)
            .find(|user| user != creator.as_str());
        Ok(other.map(|other| pair(creator.as_str(), &other)))
    }

    /// The two of an invite that says that it is for a direct chat.
    async fn pair_of_invite(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        user: &str,
    ) -> Result<Option<DirectRoomRow>> {
        let member = self.member_event(snapshot, room, user).await?;
        let Some(member) = member.filter(|member| member.sender() != user) else {
            return Ok(None);
        };
        let is_direct = MemberContent::of(&member).is_direct == Value::Bool(true);
        Ok(is_direct.then(|| pair(member.sender().as_str(), user)))
    }
}

/// What was said with the invite of a user to a room.
pub(crate) fn invite_message(member: &Pdu) -> Option<String> {
    MemberContent::of(member).reason()
}

pub(crate) fn pair(one: &str, other: &str) -> DirectRoomRow {
    DirectRoomRow {
        users: [one.to_owned(), other.to_owned()],
    }
}

fn made_by(sender: &UserId, content: &str) -> Made {
    #[derive(Default, Deserialize)]
    struct Create {
        #[serde(rename = "type", default)]
        room_type: Value,
        #[serde(flatten)]
        further: serde_json::Map<String, Value>,
    }
    let create: Create = serde_json::from_str(content).unwrap_or_default();
    let further = |field: &str| create.further.get(field).and_then(Value::as_str);
    Made {
        creator: sender.to_owned(),
        kind: further(KIND).and_then(RoomKind::parse),
        has_type: create.room_type.is_string(),
        set: further(SET).map(ToOwned::to_owned),
    }
}

/// An event of a room by its number.
pub(crate) async fn event_of(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    event: EventNo,
) -> Result<Option<Pdu>> {
    let Some(head) = rooms::head(snapshot, room).await? else {
        return Ok(None);
    };
    let Some(version) = RoomVersion::new(&head.version) else {
        return Ok(None);
    };
    let Some((_, row)) = timeline::event(snapshot, room, event).await? else {
        return Ok(None);
    };
    Ok(Some(timeline::pdu(version, &head.room_id, &row)?))
}

/// The id of a room.
pub(crate) async fn room_id(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Option<OwnedRoomId>> {
    Ok(rooms::head(snapshot, room).await?.map(|head| head.room_id))
}

/// A state event as it is shown with an invite.
#[derive(Debug, Deserialize)]
pub(crate) struct Stripped {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) sender: String,
    #[serde(default)]
    pub(crate) state_key: String,
    #[serde(default)]
    pub(crate) content: Value,
}

/// What a user is shown of a room that she is invited to.
pub(crate) async fn stripped(
    snapshot: &dyn Snapshot,
    user: &str,
    room: RoomNo,
) -> Result<Vec<Stripped>> {
    let stored = members::stripped_state(snapshot, user, room).await?;
    let text = stored.as_ref().map_or("[]", |json| json.text());
    let events: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
    let events = events.into_iter();
    Ok(events
        .filter_map(|event| serde_json::from_value(event).ok())
        .collect())
}

/// A row of global account data with its key.
pub(crate) async fn global(
    snapshot: &dyn Snapshot,
    user: &str,
    kind: &str,
) -> Result<(AccountDataKey, Option<account_data::AccountDataRow>)> {
    let key = (user.to_owned(), String::new(), kind.to_owned());
    let row = account_data::account_data(snapshot, &key).await?;
    Ok((key, row))
}

/// Whom a user ignores, at most the first so many.
pub(crate) async fn ignored(
    snapshot: &dyn Snapshot,
    user: &str,
) -> Result<std::collections::BTreeSet<String>> {
    let (_, row) = global(snapshot, user, IGNORED).await?;
    Ok(row
        .as_ref()
        .map(|row| crate::settle::ignored_in(&row.content))
        .unwrap_or_default())
}
