//! The walk through the tree of a space, depth first, each room once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hearth_data::rooms;
use hearth_event::canonical::Value;
use hearth_store::Snapshot;
use hearth_types::UnixMs;
use ruma::{OwnedRoomId, OwnedServerName, RoomId, UserId};

use super::child::{Child, wanted};
use super::far::{self, FarSpace};
use super::{Children, HierarchyRoom};
use crate::read::{Look, followed};
use crate::{Error, Result, RoomSummary, Rooms};

/// About how many rooms other servers are asked for one page.
const ASKS_MAX: usize = 100;
/// About how many of them at once.
const AT_ONCE: usize = 8;
/// How many rooms that come next are looked at for that.
const AHEAD_MAX: usize = 32;
/// For how long others are asked for one page; what has been begun is waited for.
const TIME_MAX: Duration = Duration::from_secs(15);

/// A room that is to be looked at.
struct Open {
    room_id: OwnedRoomId,
    depth: u64,
    /// Servers that may tell of it.
    via: Vec<OwnedServerName>,
    /// The answer that named it, which may tell of it, too.
    named_by: Option<Arc<FarSpace>>,
}

impl Open {
    fn told(&self) -> Option<&RoomSummary> {
        self.named_by.as_ref()?.children.get(&self.room_id)
    }

    /// Whether another server has to be asked if nobody here follows the room. That of a room that is no space, its
    /// parent has told all.
    fn needs_asking(&self) -> bool {
        !self.via.is_empty() && self.told().is_none_or(far::is_space)
    }
}

/// A room of a tree with its children.
pub(super) struct Node {
    source: Source,
    children: Vec<Child>,
}

enum Source {
    Here(Box<Look>),
    Far(Box<RoomSummary>),
}

/// A room with the answer of another server that told of it.
type Found = (Node, Option<Arc<FarSpace>>);

pub(super) struct Walk<'a> {
    rooms: &'a Rooms,
    user: &'a UserId,
    children: Children,
    max_depth: u64,
    snapshot: Arc<dyn Snapshot>,
    open: Vec<Open>,
    seen: HashSet<OwnedRoomId>,
    /// What other servers told in this walk; nothing where they had nothing to tell.
    told: HashMap<OwnedRoomId, Option<Arc<FarSpace>>>,
    asks_left: usize,
    ask_until: UnixMs,
}

impl<'a> Walk<'a> {
    pub(super) async fn new(
        rooms: &'a Rooms,
        user: &'a UserId,
        (children, max_depth): (Children, u64),
    ) -> Result<Self> {
        Ok(Self {
            rooms,
            user,
            children,
            max_depth,
            snapshot: rooms.snapshot().await?,
            open: Vec::new(),
            seen: HashSet::new(),
            told: HashMap::new(),
            asks_left: ASKS_MAX,
            ask_until: rooms.0.clock.now().after(TIME_MAX),
        })
    }

    /// Begins with a room that one of these servers may tell of.
    pub(super) fn begin(&mut self, root: &RoomId, via: Vec<OwnedServerName>) {
        self.seen.insert(root.to_owned());
        self.open.push(Open {
            room_id: root.to_owned(),
            depth: 0,
            via,
            named_by: None,
        });
    }

    /// The next room that the user may know of.
    pub(super) async fn next(&mut self) -> Result<Option<Node>> {
        while let Some(open) = self.open.pop() {
            match self.node(&open).await? {
                Some((node, answer)) => {
                    self.open_children(&open, &node, answer.as_ref());
                    return Ok(Some(node));
                }
                None if open.depth == 0 => return Err(Error::NotInRoom),
                None => {}
            }
        }
        Ok(None)
    }

    async fn node(&mut self, open: &Open) -> Result<Option<Found>> {
        let here = self.here(&open.room_id).await?;
        if let Some(look) = here.filter(|look| look.head.joined_local > 0) {
            return self.known_here(look).await;
        }
        if open.needs_asking() {
            self.ask(open).await?;
        }
        let answer = self.told.get(&open.room_id).cloned().flatten();
        let (summary, children) = match &answer {
            Some(space) => (&space.room.summary, space.room.children.clone()),
            None => match open.told() {
                Some(summary) => (summary, Vec::new()),
                None => return self.invited(&open.room_id).await,
            },
        };
        if !far::may_be_known(&*self.snapshot, self.user, summary).await? {
            return Ok(None);
        }
        let source = Source::Far(Box::new(summary.clone()));
        Ok(Some((Node { source, children }, answer)))
    }

    /// A room of which no more is known than that the user is invited there.
    async fn invited(&self, room_id: &RoomId) -> Result<Option<Found>> {
        match self.here(room_id).await? {
            Some(look) => self.known_here(look).await,
            None => Ok(None),
        }
    }

    /// A room as it is known here, if the user may know of it.
    async fn known_here(&self, look: Look) -> Result<Option<Found>> {
        Ok(match look.may_be_known(Some(self.user)).await? {
            true => Some((look.node(self.children).await?, None)),
            false => None,
        })
    }

    async fn here(&self, room_id: &RoomId) -> Result<Option<Look>> {
        match rooms::number(&*self.snapshot, room_id).await? {
            Some(room) => self.rooms.look(self.snapshot.clone(), room).await,
            None => Ok(None),
        }
    }

    /// Asks other servers about a room, and about some that come after it.
    async fn ask(&mut self, first: &Open) -> Result<()> {
        if self.told.contains_key(&first.room_id)
            || self.asks_left == 0
            || self.rooms.0.clock.now() >= self.ask_until
        {
            return Ok(());
        }
        let mut asked = vec![first];
        for open in self.open.iter().rev().take(AHEAD_MAX) {
            if asked.len() == AT_ONCE.min(self.asks_left) {
                break;
            }
            let is_new = open.needs_asking() && !self.told.contains_key(&open.room_id);
            if is_new && followed(&*self.snapshot, &open.room_id).await?.is_none() {
                asked.push(open);
            }
        }
        let answers = asked.iter().map(|open| {
            self.rooms
                .far_space(&open.via, &open.room_id, self.children)
        });
        let answers = join_all(answers).await;
        self.asks_left -= answers.len();
        let ids: Vec<OwnedRoomId> = asked.iter().map(|open| open.room_id.clone()).collect();
        self.told.extend(ids.into_iter().zip(answers));
        self.snapshot = self.rooms.snapshot().await?;
        Ok(())
    }

    fn open_children(&mut self, of: &Open, node: &Node, answer: Option<&Arc<FarSpace>>) {
        if of.depth >= self.max_depth {
            return;
        }
        let mut below = Vec::new();
        for child in &node.children {
            if !self.seen.insert(child.room_id.clone()) {
                continue;
            }
            // "They should not be re-requested." What is known here still counts.
            let is_closed = answer.is_some_and(|space| space.inaccessible.contains(&child.room_id));
            below.push(Open {
                room_id: child.room_id.clone(),
                depth: of.depth + 1,
                via: match is_closed {
                    true => Vec::new(),
                    false => child.via.clone(),
                },
                named_by: answer.cloned(),
            });
        }
        // The first child is the next to be looked at.
        self.open.extend(below.into_iter().rev());
    }
}

impl Node {
    pub(super) fn room_id(&self) -> &RoomId {
        match &self.source {
            Source::Here(look) => &look.head.room_id,
            Source::Far(summary) => &summary.listing.room_id,
        }
    }

    /// The room as a user is shown it.
    pub(super) async fn shown(self, user: &UserId) -> Result<HierarchyRoom> {
        let summary = match self.source {
            Source::Here(look) => look.summary(Some(user)).await?,
            Source::Far(summary) => *summary,
        };
        let children = self.children.into_iter().map(|child| child.event);
        Ok(HierarchyRoom {
            summary,
            children: children.collect(),
        })
    }
}

impl Look {
    async fn node(self, which: Children) -> Result<Node> {
        let children = self.children(which).await?;
        Ok(Node {
            source: Source::Here(Box::new(self)),
            children,
        })
    }

    /// The room's children, if it is a space.
    pub(crate) async fn children(&self, which: Children) -> Result<Vec<Child>> {
        let create = self.current("m.room.create").await?;
        let is_space = create.is_some_and(|create| {
            create.content_object().get("type").and_then(Value::as_str) == Some("m.space")
        });
        if !is_space {
            return Ok(Vec::new());
        }
        let events = self.state_events(self.head.state, Some("m.space.child"));
        let events = events.await?.into_iter();
        Ok(wanted(
            events.filter_map(|(event, _)| Child::of(&event)),
            which,
        ))
    }
}
