//! The server's directory of published rooms.

use hearth_data::{RoomNo, rooms};
use hearth_event::visibility::Visibility;
use hearth_store::Batch;
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId, UserId};

use crate::read::Look;
use crate::{Error, Publish, Result, Rooms, content};

/// Most rooms on a page.
const PAGE_MAX: usize = 500;
/// Most rooms that are looked at for one page of a search.
const SCAN_MAX: usize = 5_000;
/// How many rooms are taken from the store at once.
const FETCH: usize = 100;

/// Which published rooms are asked for.
#[derive(Clone, Debug, Default)]
pub struct RoomQuery {
    /// A page's token.
    pub since: Option<String>,
    /// Most rooms to answer.
    pub limit: Option<usize>,
    /// Text that the name, topic or alias must hold, in any case.
    pub term: Option<String>,
    /// Types that the rooms may have, `None` for rooms without one; any if absent.
    pub room_types: Option<Vec<Option<String>>>,
}

/// A published room.
#[derive(Clone, Debug)]
pub struct RoomListing {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Its canonical alias.
    pub canonical_alias: Option<OwnedRoomAliasId>,
    /// Its name.
    pub name: Option<String>,
    /// Its topic.
    pub topic: Option<String>,
    /// Its avatar.
    pub avatar_url: Option<String>,
    /// Its join rule.
    pub join_rule: Option<String>,
    /// Its type.
    pub room_type: Option<String>,
    /// How many are joined.
    pub joined: u64,
    /// Whether everybody may read it.
    pub is_world_readable: bool,
    /// Whether guests may join.
    pub guests_can_join: bool,
}

/// A page of the directory.
#[derive(Clone, Debug, Default)]
pub struct RoomPage {
    /// The rooms.
    pub rooms: Vec<RoomListing>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
    /// How many rooms are published in all; an estimate.
    pub total: usize,
}

impl Rooms {
    /// Whether a room is published.
    pub async fn publication(&self, room_id: &RoomId) -> Result<Publish> {
        let room = self.number(room_id).await?;
        let snapshot = self.snapshot().await?;
        Ok(match rooms::is_published(&*snapshot, room).await? {
            true => Publish::Public,
            false => Publish::Private,
        })
    }

    /// Publishes a room or takes it out of the directory: for members who may set its canonical alias, or who are admins
    /// of the server.
    pub async fn publish(
        &self,
        (user, is_admin): (&UserId, bool),
        room_id: &RoomId,
        publish: Publish,
    ) -> Result<()> {
        let reader = self
            .reader(user, room_id)
            .await
            .map_err(|error| match error {
                Error::NotInRoom => Error::NoSuchRoom,
                error => error,
            })?;
        if !reader.is_joined() {
            return Err(Error::NotInRoom);
        }
        let power = reader.power().await?;
        let may = power.is_some_and(|power| power.can_send_state(user, "m.room.canonical_alias"));
        if !may && !is_admin {
            return Err(Error::Refused(
                "you may not change the directory entry of this room",
            ));
        }
        let mut batch = Batch::new();
        match publish {
            Publish::Public => rooms::publish(&mut batch, reader.room),
            Publish::Private => rooms::unpublish(&mut batch, reader.room),
        }
        self.0.store.commit(batch).await?;
        Ok(())
    }

    /// What the directory would tell of a room, published or not.
    pub async fn listing(&self, room_id: &RoomId) -> Result<RoomListing> {
        let room = self.number(room_id).await?;
        let snapshot = self.snapshot().await?;
        let look = self.look(snapshot, room).await?;
        look.ok_or(Error::NoSuchRoom)?.listing().await
    }

    /// A page of the directory, oldest rooms first.
    pub async fn published(&self, query: &RoomQuery) -> Result<RoomPage> {
        let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
        let mut after = match &query.since {
            Some(since) => RoomNo(
                since
                    .parse()
                    .map_err(|_| Error::Invalid("`since` is not a token of this server"))?,
            ),
            None => RoomNo(0),
        };
        let term = query.term.as_ref().map(|term| term.to_lowercase());
        let mut page = RoomPage::default();
        let snapshot = self.snapshot().await?;
        page.total = rooms::published_after(&*snapshot, RoomNo(0), SCAN_MAX)
            .await?
            .len();
        for _ in 0..SCAN_MAX / FETCH {
            let published = rooms::published_after(&*snapshot, after, FETCH).await?;
            let is_last = published.len() < FETCH;
            for room in published {
                if page.rooms.len() == limit {
                    page.next = Some(after.0.to_string());
                    return Ok(page);
                }
                after = room;
                let Some(look) = self.look(snapshot.clone(), room).await? else {
                    continue;
                };
                let listing = look.listing().await?;
                if is_wanted(&listing, term.as_deref(), query) {
                    page.rooms.push(listing);
                }
            }
            if is_last {
                return Ok(page);
            }
        }
        page.next = Some(after.0.to_string());
        Ok(page)
    }
}

fn is_wanted(listing: &RoomListing, term: Option<&str>, query: &RoomQuery) -> bool {
    let types = query.room_types.as_ref();
    if types.is_some_and(|types| !types.contains(&listing.room_type)) {
        return false;
    }
    let Some(term) = term else {
        return true;
    };
    let alias = listing.canonical_alias.as_ref().map(ToString::to_string);
    [&listing.name, &listing.topic, &alias]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(term))
}

impl Look {
    /// What the directory tells of the room.
    pub(crate) async fn listing(&self) -> Result<RoomListing> {
        let visibility = self.current("m.room.history_visibility").await?;
        let text = async |kind: &str, field: &str| -> Result<Option<String>> {
            let event = self.current(kind).await?;
            Ok(event.and_then(|event| content::text(&event, field)))
        };
        let alias = text("m.room.canonical_alias", "alias").await?;
        let guests = text("m.room.guest_access", "guest_access").await?;
        Ok(RoomListing {
            room_id: self.head.room_id.clone(),
            canonical_alias: alias.and_then(|alias| RoomAliasId::parse(alias).ok()),
            name: text("m.room.name", "name").await?,
            topic: text("m.room.topic", "topic").await?,
            avatar_url: text("m.room.avatar", "url").await?,
            join_rule: text("m.room.join_rules", "join_rule").await?,
            room_type: text("m.room.create", "type").await?,
            joined: self.head.joined,
            is_world_readable: visibility
                .is_some_and(|event| Visibility::of(&event) == Visibility::WorldReadable),
            guests_can_join: guests.as_deref() == Some("can_join"),
        })
    }

    /// The current state event of a type with an empty key.
    pub(crate) async fn current(&self, kind: &str) -> Result<Option<hearth_event::Pdu>> {
        let found = self.state_event(self.head.state, kind, "").await?;
        Ok(found.map(|(pdu, _)| pdu))
    }
}
