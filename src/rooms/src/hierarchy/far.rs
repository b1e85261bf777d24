//! Rooms of a tree that nobody here follows, as servers in them tell of them.
//!
//! An answer speaks only for the room that was asked for and for the children that it names; it is kept for that server
//! alone. Whether a user may be shown a room is decided here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hearth_data::{members, rooms};
use hearth_event::canonical::{Object, Value};
use hearth_ports::remote::SpaceAnswer;
use hearth_store::Snapshot;
use hearth_types::UnixMs;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use super::Children;
use super::child::{CHILDREN_MAX, Child, object, wanted};
use crate::summary::ALLOWED_MAX;
use crate::{Result, RoomListing, RoomSummary, Rooms};

/// How long an answer is good ("should be cached for a period of time").
const FRESH: Duration = Duration::from_secs(300);
/// How much memory the answers may take, in bytes.
const CACHE_BYTES_MAX: u64 = 8 << 20;
/// How many answers are expected in it.
const CACHE_ITEMS: usize = 1_000;
/// Most servers that are asked about one room.
const SERVERS_MAX: usize = 3;
/// Longest text of a summary, in bytes: no event could hold a longer one.
const TEXT_BYTES_MAX: usize = 65_536;

/// A room of which another server told.
#[derive(Clone, Debug)]
pub(super) struct FarRoom {
    pub(super) summary: RoomSummary,
    pub(super) children: Vec<Child>,
}

/// What a server told of a room and its children.
#[derive(Debug)]
pub(crate) struct FarSpace {
    pub(super) room: FarRoom,
    /// Summaries of children, without their children.
    pub(super) children: HashMap<OwnedRoomId, RoomSummary>,
    /// Children that nobody here can enter.
    pub(super) inaccessible: HashSet<OwnedRoomId>,
    told_at: UnixMs,
    bytes: u64,
}

/// What servers told lately.
pub(crate) struct Spaces(Cache<Question, Arc<FarSpace>, Weight>);

type Question = (OwnedServerName, OwnedRoomId, Children);

#[derive(Clone)]
struct Weight;

impl Weighter<Question, Arc<FarSpace>> for Weight {
    fn weight(&self, _: &Question, space: &Arc<FarSpace>) -> u64 {
        // As values it takes more than as text.
        space.bytes * 2 + 1_024
    }
}

impl Default for Spaces {
    fn default() -> Self {
        Self(Cache::with_weighter(CACHE_ITEMS, CACHE_BYTES_MAX, Weight))
    }
}

impl Rooms {
    /// What the first of some servers that knows a room tells of it.
    pub(super) async fn far_space(
        &self,
        servers: &[OwnedServerName],
        room_id: &RoomId,
        children: Children,
    ) -> Option<Arc<FarSpace>> {
        let mut others: Vec<&OwnedServerName> = servers.iter().collect();
        others.retain(|server| **server != *self.server_name());
        for server in others.into_iter().take(SERVERS_MAX) {
            if let Some(space) = self.far_space_of(server, room_id, children).await {
                return Some(space);
            }
        }
        None
    }

    async fn far_space_of(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        children: Children,
    ) -> Option<Arc<FarSpace>> {
        let question = (server.to_owned(), room_id.to_owned(), children);
        let now = self.0.clock.now();
        if let Some(space) = self.0.spaces.0.get(&question)
            && now.since(space.told_at) < FRESH
        {
            return Some(space);
        }
        // A refusal is not remembered: the user may have entered a room that lets her in a moment ago.
        let answer = match self.remote().hierarchy(server, room_id, children).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::debug!(%server, room.id = %room_id, %error, "nothing told of a room");
                return None;
            }
        };
        let Some(space) = FarSpace::told(&answer, (room_id, children), now) else {
            tracing::debug!(%server, room.id = %room_id, "a malformed answer about a room");
            return None;
        };
        let space = Arc::new(space);
        self.0.spaces.0.insert(question, space.clone());
        Some(space)
    }

    /// A room of which another server tells, for a user who may know of it.
    pub(crate) async fn far_summary(
        &self,
        user: &UserId,
        room_id: &RoomId,
        servers: &[OwnedServerName],
    ) -> Result<Option<RoomSummary>> {
        let Some(space) = self.far_space(servers, room_id, Children::All).await else {
            return Ok(None);
        };
        let snapshot = self.snapshot().await?;
        let summary = &space.room.summary;
        let is_shown = may_be_known(&*snapshot, user, summary).await?;
        Ok(is_shown.then(|| summary.clone()))
    }
}

/// Whether a user may be shown a room of which another server told: it told what its servers' users may know, all of
/// them together.
pub(super) async fn may_be_known(
    snapshot: &dyn Snapshot,
    user: &UserId,
    summary: &RoomSummary,
) -> Result<bool> {
    let listing = &summary.listing;
    // "When not present, the room is assumed to be public."
    let rule = listing.join_rule.as_deref().unwrap_or("public");
    if listing.is_world_readable || matches!(rule, "public" | "knock" | "knock_restricted") {
        return Ok(true);
    }
    if is_in(snapshot, user, &listing.room_id, &[MembershipState::Invite]).await? {
        return Ok(true);
    }
    for room_id in &summary.allowed {
        if rule == "restricted" && is_in(snapshot, user, room_id, &[MembershipState::Join]).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn is_in(
    snapshot: &dyn Snapshot,
    user: &UserId,
    room_id: &RoomId,
    memberships: &[MembershipState],
) -> Result<bool> {
    let Some(room) = rooms::number(snapshot, room_id).await? else {
        return Ok(false);
    };
    let row = members::user_room(snapshot, user.as_str(), room).await?;
    Ok(row.is_some_and(|row| memberships.contains(&row.membership)))
}

impl FarSpace {
    /// An answer, if it is about the room that was asked for.
    fn told(
        answer: &SpaceAnswer,
        (room_id, which): (&RoomId, Children),
        now: UnixMs,
    ) -> Option<Self> {
        let room = object(&answer.room)?;
        let summary = summary(&room)?;
        if summary.listing.room_id != room_id {
            return None;
        }
        let events = room.get("children_state").and_then(Value::as_array);
        let events = events.unwrap_or(&[]).iter().take(2 * CHILDREN_MAX);
        let named = wanted(events.filter_map(Child::told), which);
        let ids: HashSet<&RoomId> = named.iter().map(|child| &*child.room_id).collect();
        let told = answer.children.iter().take(2 * CHILDREN_MAX);
        let told = told.filter_map(|json| summary_of(json));
        let children = told.filter(|child| ids.contains(&*child.listing.room_id));
        let children = children
            .map(|child| (child.listing.room_id.clone(), child))
            .collect();
        let inaccessible = answer.inaccessible.iter();
        let inaccessible = inaccessible.filter(|id| ids.contains(&***id)).cloned();
        let inaccessible = inaccessible.collect();
        let texts = answer.children.iter().chain([&answer.room]);
        let bytes: usize = texts.map(|json| json.get().len()).sum();
        Some(Self {
            children,
            inaccessible,
            room: FarRoom {
                summary,
                children: named,
            },
            told_at: now,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX / 4),
        })
    }
}

fn summary_of(json: &RawValue) -> Option<RoomSummary> {
    summary(&object(json)?)
}

/// A summary as another server gives it: fields that are no good are left out.
fn summary(object: &Object) -> Option<RoomSummary> {
    let text = |field: &str| {
        let text = object.get(field)?.as_str()?;
        (text.len() <= TEXT_BYTES_MAX).then(|| text.to_owned())
    };
    let is_set = |field: &str| matches!(object.get(field), Some(Value::Bool(true)));
    let allowed = object.get("allowed_room_ids").and_then(Value::as_array);
    let allowed = allowed.unwrap_or(&[]).iter().take(ALLOWED_MAX);
    let joined = object.get("num_joined_members")?.as_integer()?;
    let avatar = text("avatar_url").filter(|url| url.starts_with("mxc://"));
    Some(RoomSummary {
        listing: RoomListing {
            room_id: RoomId::parse(text("room_id")?).ok()?,
            canonical_alias: text("canonical_alias").and_then(|id| RoomAliasId::parse(id).ok()),
            name: text("name"),
            topic: text("topic"),
            avatar_url: avatar,
            join_rule: text("join_rule"),
            room_type: text("room_type"),
            joined: u64::try_from(joined).ok()?,
            is_world_readable: is_set("world_readable"),
            guests_can_join: is_set("guest_can_join"),
        },
        version: text("room_version"),
        encryption: text("encryption"),
        allowed: allowed
            .filter_map(|id| RoomId::parse(id.as_str()?).ok())
            .collect(),
        membership: None,
    })
}

pub(super) fn is_space(summary: &RoomSummary) -> bool {
    summary.listing.room_type.as_deref() == Some("m.space")
}
