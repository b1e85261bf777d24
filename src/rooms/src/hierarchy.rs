//! The tree of a space (client-server API, "Spaces"), as far as the rooms are known here.

use std::collections::HashSet;

use hearth_data::{RoomNo, rooms};
use hearth_event::canonical::{Object, Value};
use hearth_event::{Pdu, client};
use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::value::RawValue;

use crate::read::Look;
use crate::{Error, Result, RoomSummary, Rooms};

/// How many rooms a page has when the client does not say.
const PAGE_DEFAULT: usize = 50;
/// How many it has at most.
const PAGE_MAX: usize = 100;
/// How far below the first room the tree is followed at most.
const DEPTH_MAX: u64 = 100;
/// How many rooms of a tree are found at most, over all pages.
const ROOMS_MAX: usize = 2_000;
/// How many children of one room are looked at.
const CHILDREN_MAX: usize = 500;
/// Longest `order` of a child.
const ORDER_BYTES_MAX: usize = 50;

/// Which children of a space are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Children {
    /// All.
    #[default]
    All,
    /// Those that the space suggests.
    Suggested,
}

/// Which part of a tree is asked for.
#[derive(Clone, Debug, Default)]
pub struct HierarchyQuery {
    /// Which children are followed.
    pub children: Children,
    /// How far below the first room.
    pub max_depth: Option<u64>,
    /// How many rooms.
    pub limit: Option<u64>,
    /// The token of a page.
    pub from: Option<String>,
}

/// A room of a tree.
#[derive(Clone, Debug)]
pub struct HierarchyRoom {
    /// What may be known of it.
    pub summary: RoomSummary,
    /// Its children, if it is a space, in their order: stripped state with `origin_server_ts`.
    pub children: Vec<Box<RawValue>>,
}

/// A page of a tree, depth first.
#[derive(Clone, Debug, Default)]
pub struct HierarchyPage {
    /// The rooms.
    pub rooms: Vec<HierarchyRoom>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

/// Where a page begins, and the question to which it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    children: Children,
    max_depth: u64,
    /// How many rooms were shown, and the last of them: the tree may have changed since.
    shown: usize,
    last: RoomNo,
}

impl Rooms {
    /// A page of the tree below a room that the user may know of.
    pub async fn hierarchy(
        &self,
        user: &UserId,
        root: &RoomId,
        query: &HierarchyQuery,
    ) -> Result<HierarchyPage> {
        let limit = match query.limit {
            None => PAGE_DEFAULT,
            Some(0) => return Err(Error::Invalid("`limit` is zero")),
            Some(limit) => usize::try_from(limit).unwrap_or(PAGE_MAX).min(PAGE_MAX),
        };
        let from = query.from.as_deref().map(|from| resumed(from, query));
        let from = from.transpose()?;
        let (children, max_depth) = match &from {
            Some(token) => (token.children, token.max_depth),
            None => (
                query.children,
                query.max_depth.unwrap_or(DEPTH_MAX).min(DEPTH_MAX),
            ),
        };
        let found = self.tree(user, root, (children, max_depth)).await?;
        let start = from.map_or(0, |token| {
            let last = found.iter().position(|node| node.look.room == token.last);
            last.map_or(token.shown, |last| last + 1).min(found.len())
        });
        let end = (start + limit).min(found.len());
        let mut page = HierarchyPage::default();
        for node in &found[start..end] {
            page.rooms.push(HierarchyRoom {
                summary: node.look.summary(Some(user)).await?,
                children: node.children.iter().map(client::stripped_dated).collect(),
            });
        }
        if end < found.len() {
            let token = Token {
                children,
                max_depth,
                shown: end,
                last: found[end - 1].look.room,
            };
            page.next = Some(token.to_string());
        }
        Ok(page)
    }

    /// The rooms of a tree, depth first, each once.
    async fn tree(
        &self,
        user: &UserId,
        root: &RoomId,
        (children, max_depth): (Children, u64),
    ) -> Result<Vec<Node>> {
        let snapshot = self.snapshot().await?;
        let mut found = Vec::new();
        let mut seen = HashSet::from([root.to_owned()]);
        let mut open = vec![(root.to_owned(), 0)];
        while let Some((room_id, depth)) = open.pop() {
            let room = rooms::number(&*snapshot, &room_id).await?;
            let look = match room {
                Some(room) => self.look(snapshot.clone(), room).await?,
                None => None,
            };
            let look = match look {
                Some(look) if look.may_be_known(Some(user)).await? => look,
                _ if found.is_empty() => return Err(Error::NotInRoom),
                _ => continue,
            };
            let node = look.node(children).await?;
            if depth < max_depth {
                let below = node.children.iter().filter_map(child_id);
                let below = below.filter(|child| seen.insert(child.clone()));
                let below: Vec<_> = below.map(|child| (child, depth + 1)).collect();
                // The first child is the next to be looked at.
                open.extend(below.into_iter().rev());
            }
            found.push(node);
            if found.len() >= ROOMS_MAX {
                break;
            }
        }
        Ok(found)
    }
}

/// A room of a tree with the events that name its children.
struct Node {
    look: Look,
    children: Vec<Pdu>,
}

impl Look {
    async fn node(self, children: Children) -> Result<Node> {
        let create = self.current("m.room.create").await?;
        let is_space = create.is_some_and(|create| {
            create.content_object().get("type").and_then(Value::as_str) == Some("m.space")
        });
        if !is_space {
            return Ok(Node {
                look: self,
                children: Vec::new(),
            });
        }
        let events = self.state_events(self.head.state, Some("m.space.child"));
        let events = events.await?.into_iter().map(|(event, _)| event);
        let mut wanted: Vec<Pdu> = events
            .filter(|event| is_child(event) && (children == Children::All || is_suggested(event)))
            .collect();
        wanted.sort_by_cached_key(rank);
        wanted.truncate(CHILDREN_MAX);
        Ok(Node {
            look: self,
            children: wanted,
        })
    }
}

/// A child without a list of servers is none (`m.space.child`).
fn is_child(event: &Pdu) -> bool {
    let content = event.content_object();
    let via = content.get("via").and_then(Value::as_array);
    via.is_some_and(|via| via.iter().all(|server| server.as_str().is_some()))
        && child_id(event).is_some()
}

fn is_suggested(event: &Pdu) -> bool {
    matches!(
        event.content_object().get("suggested"),
        Some(Value::Bool(true))
    )
}

fn child_id(event: &Pdu) -> Option<OwnedRoomId> {
    RoomId::parse(event.state_key()?).ok()
}

/// "Ordering of children within a space": those with an order first, then by time, then by id.
fn rank(event: &Pdu) -> (bool, String, u64, String) {
    let order = order(&event.content_object());
    let key = event.state_key().unwrap_or_default();
    (
        order.is_none(),
        order.unwrap_or_default(),
        event.origin_server_ts().0,
        key.to_owned(),
    )
}

fn order(content: &Object) -> Option<String> {
    let order = content.get("order")?.as_str()?;
    let is_good = (1..=ORDER_BYTES_MAX).contains(&order.len())
        && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    is_good.then(|| order.to_owned())
}

/// The token of a page, if it goes on with the same question.
fn resumed(from: &str, query: &HierarchyQuery) -> Result<Token> {
    let token = Token::parse(from).ok_or(Error::Invalid("`from` is not a token of this server"))?;
    let asked = query.max_depth.map(|depth| depth.min(DEPTH_MAX));
    let same_depth = asked.is_none_or(|depth| depth == token.max_depth);
    let same_children = query.children == Children::All || query.children == token.children;
    match same_depth && same_children {
        true => Ok(token),
        false => Err(Error::Invalid(
            "`suggested_only` and `max_depth` cannot change between pages",
        )),
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let children = match self.children {
            Children::All => 'a',
            Children::Suggested => 's',
        };
        let Self {
            max_depth,
            shown,
            last,
            ..
        } = self;
        write!(f, "h{children}_{max_depth}_{shown}_{}", last.0)
    }
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('h')?.split('_');
        let token = Self {
            children: match parts.next()? {
                "a" => Children::All,
                "s" => Children::Suggested,
                _ => return None,
            },
            max_depth: parts.next()?.parse().ok()?,
            shown: parts.next()?.parse().ok()?,
            last: RoomNo(parts.next()?.parse().ok()?),
        };
        parts.next().is_none().then_some(token)
    }
}
