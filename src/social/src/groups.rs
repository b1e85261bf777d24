//! Groups: those that a user made, those she is in, those she is invited to, and those that are open to her.

use hearth_data::RoomNo;
use hearth_data::members::{self, UserRoomRow};
use hearth_data::rooms;
use hearth_rooms::{NewRoom, Preset, Publish, RoomKind, RoomListing, RoomQuery};
use hearth_store::Snapshot;
use hearth_types::Caller;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};

use crate::facts::{self, Stripped};
use crate::{Error, Result, Social};

/// Most entries on a page.
const PAGE_MAX: usize = 200;
/// Entries on a page by default.
const PAGE: usize = 50;
/// How many rows are taken from the store at once.
const FETCH: usize = 200;
/// How many rooms are looked at for one page.
const SCAN_MAX: usize = 2_000;
/// Longest name of a group, in characters.
const NAME_CHARS_MAX: usize = 255;
/// Longest topic of a group, in characters.
const TOPIC_CHARS_MAX: usize = 1_000;
/// Most users with whom a group can begin.
const INVITES_MAX: usize = 200;

/// A list of groups. No group is in two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupList {
    /// Made by the user, who is in it.
    Created,
    /// Made by others, the user is in it.
    Joined,
    /// The user is invited.
    Invited,
    /// Published here, everybody may join, and the user is not in it.
    Open,
}

/// Which groups are asked for.
#[derive(Clone, Debug)]
pub struct GroupQuery {
    /// The list.
    pub list: GroupList,
    /// Text that name, topic or alias must hold, in any case.
    pub search: Option<String>,
    /// The token of the page.
    pub from: Option<String>,
    /// Most groups to answer.
    pub limit: Option<usize>,
}

/// A group, as a user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The room.
    pub room: OwnedRoomId,
    /// `Group` or `PrivateGroup`.
    pub kind: RoomKind,
    /// What the user is in it.
    pub membership: Option<MembershipState>,
    /// Who made it.
    pub creator: Option<OwnedUserId>,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its picture.
    pub avatar_url: Option<String>,
    /// Its canonical alias.
    pub canonical_alias: Option<String>,
    /// Its join rule.
    pub join_rule: Option<String>,
    /// How many are in it.
    pub joined: u64,
    /// Who invites the user.
    pub invited_by: Option<OwnedUserId>,
}

/// A page of a list.
#[derive(Clone, Debug, Default)]
pub struct GroupPage {
    /// The groups.
    pub groups: Vec<Group>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

/// A group to be made.
#[derive(Clone, Debug, Default)]
pub struct NewGroup {
    /// Its name.
    pub name: String,
    /// Its topic.
    pub topic: Option<String>,
    /// Whether everybody may join, and it is in the directory.
    pub publish: Publish,
    /// Friends to invite.
    pub invite: Vec<OwnedUserId>,
}

impl Social {
    /// A page of a list.
    pub async fn groups(&self, user: &UserId, query: &GroupQuery) -> Result<GroupPage> {
        match query.list {
            GroupList::Open => self.open_groups(user, query).await,
            _ => self.own_groups(user, query).await,
        }
    }

    /// Makes a group. Its maker is a member from the start.
    pub async fn create_group(&self, caller: &Caller, group: NewGroup) -> Result<Group> {
        may_make(caller)?;
        check_name(&group.name)?;
        let topic = group.topic.filter(|topic| !topic.is_empty());
        if topic
            .as_ref()
            .is_some_and(|topic| topic.chars().count() > TOPIC_CHARS_MAX)
        {
            return Err(Error::Invalid("`topic` has at most 1,000 characters"));
        }
        if group.invite.len() > INVITES_MAX {
            return Err(Error::Invalid("`invite` has at most 200 users"));
        }
        let mut invite = group.invite;
        invite.retain(|user| *user != caller.user);
        invite.sort();
        invite.dedup();
        self.check_circle(&caller.user, &invite).await?;
        let room = NewRoom {
            kind: Some(RoomKind::Group),
            preset: Some(match group.publish {
                Publish::Public => Preset::PublicChat,
                Publish::Private => Preset::PrivateChat,
            }),
            publish: group.publish,
            name: Some(group.name),
            topic,
            invite,
            ..NewRoom::default()
        };
        let room_id = self.0.rooms.create(&caller.user, room).await?;
        self.group(&caller.user, &room_id).await
    }

    /// Whether all of them are friends of a user.
    pub(crate) async fn check_circle(&self, user: &UserId, others: &[OwnedUserId]) -> Result<()> {
        self.reach_now().await?;
        for other in others {
            if !self.is_in_circle(user, other).await? {
                return Err(Error::NotInCircle(other.to_string()));
            }
        }
        Ok(())
    }

    /// One group, as it is now.
    pub(crate) async fn group(&self, user: &UserId, room_id: &RoomId) -> Result<Group> {
        let listing = self.0.rooms.listing(room_id).await?;
        let snapshot = self.snapshot().await?;
        let gone = || Error::Rooms(hearth_rooms::Error::NoSuchRoom);
        let room = rooms::number(&*snapshot, room_id).await?.ok_or_else(gone)?;
        let made = self.made(&*snapshot, room, None).await?;
        let row = members::user_room(&*snapshot, user.as_str(), room).await?;
        Ok(shown(listing, made.as_ref(), row.map(|row| row.membership)))
    }

    /// Lists of rooms with which the user has to do.
    async fn own_groups(&self, user: &UserId, query: &GroupQuery) -> Result<GroupPage> {
        let snapshot = self.snapshot().await?;
        let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let mut after = match &query.from {
            Some(from) => RoomNo(
                from.parse()
                    .map_err(|_| Error::Invalid("`from` is not a token of this list"))?,
            ),
            None => RoomNo(0),
        };
        let term = query.search.as_ref().map(|text| text.to_lowercase());
        let wanted = match query.list {
            GroupList::Invited => MembershipState::Invite,
            _ => MembershipState::Join,
        };
        let mut page = GroupPage::default();
        for _ in 0..SCAN_MAX / FETCH {
            let rows = members::rooms_of(&*snapshot, user.as_str(), after, FETCH).await?;
            let is_last = rows.len() < FETCH;
            for (room, row) in rows {
                if page.groups.len() == limit {
                    page.next = Some(after.0.to_string());
                    return Ok(page);
                }
                after = room;
                if row.membership != wanted {
                    continue;
                }
                let found = self
                    .own_group(&*snapshot, (user, query.list), room, &row)
                    .await?;
                page.groups
                    .extend(found.filter(|group| matches(group, term.as_deref())));
            }
            if is_last {
                return Ok(page);
            }
        }
        page.next = Some(after.0.to_string());
        Ok(page)
    }

    /// A room of the user, if it is a group of the list.
    async fn own_group(
        &self,
        snapshot: &dyn Snapshot,
        (user, list): (&UserId, GroupList),
        room: RoomNo,
        row: &UserRoomRow,
    ) -> Result<Option<Group>> {
        let made = self.made(snapshot, room, Some(user.as_str())).await?;
        if made
            .as_ref()
            .is_some_and(|made| made.has_type || made.kind == Some(RoomKind::Direct))
            || hearth_data::social::direct_room(snapshot, room)
                .await?
                .is_some()
        {
            return Ok(None);
        }
        let is_own = made.as_ref().is_some_and(|made| made.creator == user);
        match list {
            GroupList::Created if !is_own => return Ok(None),
            GroupList::Joined if is_own => return Ok(None),
            _ => {}
        }
        let Some(head) = rooms::head(snapshot, room).await? else {
            return Ok(None);
        };
        if list == GroupList::Invited {
            let stripped = facts::stripped(snapshot, user.as_str(), room).await?;
            let member = self.own_member(snapshot, room, user.as_str()).await?;
            let mut group = shown_stripped(head.room_id, &stripped, made.as_ref());
            group.joined = head.joined;
            group.invited_by = member.map(|member| member.sender().to_owned());
            return Ok(Some(group));
        }
        let listing = self.0.rooms.listing(&head.room_id).await?;
        let membership = Some(row.membership.clone());
        Ok(Some(shown(listing, made.as_ref(), membership)))
    }

    /// Published groups that the user can join.
    async fn open_groups(&self, user: &UserId, query: &GroupQuery) -> Result<GroupPage> {
        let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let published = RoomQuery {
            since: query.from.clone(),
            limit: Some(limit),
            term: query.search.clone(),
            room_types: Some(vec![None]),
        };
        let found = self.0.rooms.published(&published).await?;
        let snapshot = self.snapshot().await?;
        let mut page = GroupPage {
            groups: Vec::new(),
            next: found.next,
        };
        for listing in found.rooms {
            if listing.join_rule.as_deref() != Some("public") {
                continue;
            }
            let Some(room) = rooms::number(&*snapshot, &listing.room_id).await? else {
                continue;
            };
            let made = self.made(&*snapshot, room, None).await?;
            let kind = made.as_ref().and_then(|made| made.kind);
            if !matches!(kind, None | Some(RoomKind::Group)) {
                continue;
            }
            let row = members::user_room(&*snapshot, user.as_str(), room).await?;
            let membership = row.map(|row| row.membership);
            let is_open = matches!(
                membership,
                None | Some(MembershipState::Leave | MembershipState::Knock)
            );
            if is_open {
                page.groups.push(shown(listing, made.as_ref(), membership));
            }
        }
        Ok(page)
    }
}

/// Guests and suspended users make no groups.
pub(crate) fn may_make(caller: &Caller) -> Result<()> {
    if caller.is_guest {
        return Err(Error::Guest);
    }
    match caller.is_suspended {
        true => Err(hearth_rooms::Error::Suspended.into()),
        false => Ok(()),
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    match name.chars().count() {
        1..=NAME_CHARS_MAX => Ok(()),
        _ => Err(Error::Invalid("`name` has 1 to 255 characters")),
    }
}

fn matches(group: &Group, term: Option<&str>) -> bool {
    let Some(term) = term else {
        return true;
    };
    [&group.name, &group.topic, &group.canonical_alias]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(term))
}

fn shown(
    listing: RoomListing,
    made: Option<&facts::Made>,
    membership: Option<MembershipState>,
) -> Group {
    Group {
        room: listing.room_id,
        kind: made.and_then(|made| made.kind).unwrap_or(RoomKind::Group),
        membership,
        creator: made.map(|made| made.creator.clone()),
        name: listing.name,
        topic: listing.topic,
        avatar_url: listing.avatar_url,
        canonical_alias: listing.canonical_alias.map(|alias| alias.to_string()),
        join_rule: listing.join_rule,
        joined: listing.joined,
        invited_by: None,
    }
}

/// A group as its invite shows it: this server need not be in it.
fn shown_stripped(room: OwnedRoomId, state: &[Stripped], made: Option<&facts::Made>) -> Group {
    let text = |kind: &str, field: &str| {
        let event = state
            .iter()
            .find(|event| event.kind == kind && event.state_key.is_empty())?;
        event.content[field].as_str().map(ToOwned::to_owned)
    };
    Group {
        room,
        kind: made.and_then(|made| made.kind).unwrap_or(RoomKind::Group),
        membership: Some(MembershipState::Invite),
        creator: made.map(|made| made.creator.clone()),
        name: text("m.room.name", "name"),
        topic: text("m.room.topic", "topic"),
        avatar_url: text("m.room.avatar", "url"),
        canonical_alias: text("m.room.canonical_alias", "alias"),
        join_rule: text("m.room.join_rules", "join_rule"),
        joined: 0,
        invited_by: None,
    }
}
