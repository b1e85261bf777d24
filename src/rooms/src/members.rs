//! Who is in a room, and in which rooms one is.

use hearth_data::members::{self, MemberRow};
use hearth_data::{Place, RoomNo, federation, partial, rooms, timeline};
use hearth_event::Pdu;
use hearth_store::Position;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::RawValue;

use crate::read::{Look, Reader, client_event};
use crate::{Error, Result, Rooms, content};

/// How many rows are read at once.
const PAGE: usize = 1_000;
/// Most shared rooms on a page.
const MUTUAL_MAX: usize = 100;

/// A moment of a room: after a commit, or before a place of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// After this commit.
    Position(Position),
    /// Before this place.
    Place(Place),
}

/// Which members are asked for.
#[derive(Clone, Debug, Default)]
pub struct MemberFilter {
    /// Those as they were then; now if absent.
    pub at: Option<At>,
    /// Only these.
    pub membership: Option<MembershipState>,
    /// Not these.
    pub not_membership: Option<MembershipState>,
}

/// A page of the rooms that two users share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MutualRooms {
    /// The rooms of the page.
    pub joined: Vec<OwnedRoomId>,
    /// How many rooms they share in all.
    pub count: usize,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

/// A joined member as `/joined_members` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// The user.
    pub user: OwnedUserId,
    /// The display name in this room.
    pub displayname: Option<String>,
    /// The avatar in this room.
    pub avatar_url: Option<String>,
}

impl Rooms {
    /// The rooms that a user has joined.
    pub async fn joined_rooms(&self, user: &UserId) -> Result<Vec<OwnedRoomId>> {
        let snapshot = self.snapshot().await?;
        let mut joined = Vec::new();
        let mut after = RoomNo(0);
        loop {
            let page = members::rooms_of(&*snapshot, user.as_str(), after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(joined);
            };
            after = *last;
            for (room, row) in &page {
                if row.membership == MembershipState::Join
                    && let Some(head) = rooms::head(&*snapshot, *room).await?
                {
                    joined.push(head.room_id);
                }
            }
        }
    }

    /// The rooms in which a user and another are both joined, oldest first.
    pub async fn mutual_rooms(
        &self,
        user: &UserId,
        other: &UserId,
        from: Option<&str>,
    ) -> Result<MutualRooms> {
        if user == other {
            return Err(Error::Invalid("one shares all rooms with oneself"));
        }
        let from = match from.map(str::parse) {
            None => 0,
            Some(Ok(from)) => from,
            Some(Err(_)) => return Err(Error::Invalid("`from` is not a token of this server")),
        };
        let snapshot = self.snapshot().await?;
        let mut mutual = MutualRooms::default();
        let mut after = RoomNo(0);
        loop {
            let page = members::rooms_of(&*snapshot, user.as_str(), after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(mutual);
            };
            after = *last;
            for (room, row) in &page {
                let is_shared = row.membership == MembershipState::Join
                    && members::member(&*snapshot, *room, other.as_str())
                        .await?
                        .is_some_and(|row| row.membership == MembershipState::Join);
                if !is_shared {
                    continue;
                }
                mutual.count += 1;
                if room.0 < from {
                    continue;
                }
                if mutual.joined.len() == MUTUAL_MAX {
                    mutual.next.get_or_insert_with(|| room.0.to_string());
                } else if let Some(head) = rooms::head(&*snapshot, *room).await? {
                    mutual.joined.push(head.room_id);
                }
            }
        }
    }

    /// The joined members of a room in which the caller is joined. Waits until they are known, if the room was
    /// joined with a part of its state; [`Error::NotYet`] if that takes long.
    pub async fn joined_members(
        &self,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<Vec<JoinedMember>> {
        let reader = self.reader_of_whole(user, room_id).await?;
        if !reader.is_joined() {
            return Err(Error::NotInRoom);
        }
        let mut joined = Vec::new();
        let mut after = String::new();
        loop {
            let page = members::members_after(&*reader.snapshot, reader.room, &after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(joined);
            };
            after.clone_from(last);
            let events = page
                .iter()
                .filter(|(_, row)| row.membership == MembershipState::Join)
                .map(|(_, row)| row.event)
                .collect::<Vec<_>>();
            for row in timeline::events(&*reader.snapshot, reader.room, &events).await? {
                joined.extend(joined_member(&reader.pdu(&row)?));
            }
        }
    }

    /// The member events of a room, in the client format: now, at a position, or up to when the caller left. Waits until
    /// they are known, also for a moment when they were not; [`Error::NotYet`] if that takes long.
    pub async fn members(
        &self,
        user: &UserId,
        room_id: &RoomId,
        filter: MemberFilter,
    ) -> Result<Vec<Box<RawValue>>> {
        let reader = self.reader_of_whole(user, room_id).await?;
        let state = reader
            .state_at(whole_then(&reader, filter.at).await?)
            .await?;
        let events = reader.state_events(state, Some("m.room.member")).await?;
        let is_wanted = |event: &Pdu| {
            let membership = content::membership(event);
            let asked = filter.membership.is_none() || membership == filter.membership;
            asked && (filter.not_membership.is_none() || membership != filter.not_membership)
        };
        let wanted = events.into_iter().filter(|(pdu, _)| is_wanted(pdu));
        Ok(wanted
            .map(|(pdu, _)| client_event(&pdu, self.0.clock.now()))
            .collect())
    }

    async fn reader_of_whole(&self, user: &UserId, room_id: &RoomId) -> Result<Reader> {
        let reader = self.reader(user, room_id).await?;
        if !self.is_partial(reader.room).await? {
            return Ok(reader);
        }
        let room = reader.room;
        // The snapshot is not kept while waiting.
        drop(reader);
        self.whole(room).await?;
        self.reader(user, room_id).await
    }

    /// The membership of a user in a room, if there is one.
    pub async fn membership(
        &self,
        user: &UserId,
        room_id: &RoomId,
    ) -> Result<Option<MembershipState>> {
        let room = self.number(room_id).await?;
        let snapshot = self.snapshot().await?;
        let row: Option<MemberRow> = members::member(&*snapshot, room, user.as_str()).await?;
        Ok(row.map(|row| row.membership))
    }
}

/// The moment itself, or the one by which the members of then became known.
async fn whole_then(look: &Look, at: Option<At>) -> Result<Option<At>> {
    let Some(At::Position(position)) = at else {
        return Ok(at);
    };
    let whole_at = partial::whole_at(&*look.snapshot, look.room).await?;
    let is_of_part = position < whole_at
        && position >= federation::home_since(&*look.snapshot, look.room).await?;
    Ok(Some(At::Position(match is_of_part {
        true => whole_at,
        false => position,
    })))
}

fn joined_member(event: &Pdu) -> Option<JoinedMember> {
    Some(JoinedMember {
        user: UserId::parse(event.state_key()?).ok()?,
        displayname: content::text(event, "displayname"),
        avatar_url: content::text(event, "avatar_url"),
    })
}
