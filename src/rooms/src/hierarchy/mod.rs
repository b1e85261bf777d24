//! The tree of a space (client-server API, "Spaces"): of rooms that are followed here from what is known of them, of
//! others by what servers in them tell (`far.rs`).

mod child;
mod far;
mod walk;

use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::value::RawValue;

use crate::{Error, Result, RoomSummary, Rooms};

pub(crate) use child::Child;
pub(crate) use far::Spaces;
pub use hearth_ports::remote::Children;
use walk::Walk;

/// How many rooms a page has when the client does not say.
const PAGE_DEFAULT: usize = 50;
/// How many it has at most.
const PAGE_MAX: usize = 100;
/// How far below the first room the tree is followed at most.
const DEPTH_MAX: u64 = 100;
/// How many rooms of a tree are found at most, over all pages.
const ROOMS_MAX: usize = 2_000;

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
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    children: Children,
    max_depth: u64,
    /// How many rooms were shown, and the last of them: the tree may have changed since.
    shown: usize,
    last: OwnedRoomId,
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
        let via = self.candidates(root, user, &[]).await?.all();
        let mut walk = Walk::new(self, user, (children, max_depth)).await?;
        walk.begin(root, via);
        let mut found = Vec::new();
        let mut start = from.is_none().then_some(0);
        // One room more than the page has tells whether there is another page.
        while found.len() < ROOMS_MAX && start.is_none_or(|start| found.len() <= start + limit) {
            let Some(node) = walk.next().await? else {
                break;
            };
            if from
                .as_ref()
                .is_some_and(|token| token.last == *node.room_id())
            {
                start = Some(found.len() + 1);
            }
            found.push(node);
        }
        let shown = from.as_ref().map_or(0, |token| token.shown);
        let start = start.unwrap_or(shown).min(found.len());
        let end = (start + limit).min(found.len());
        let next = (end < found.len()).then(|| Token {
            children,
            max_depth,
            shown: end,
            last: found[end - 1].room_id().to_owned(),
        });
        let mut page = HierarchyPage {
            next: next.map(|token| token.to_string()),
            ..HierarchyPage::default()
        };
        for node in found.drain(start..end) {
            page.rooms.push(node.shown(user).await?);
        }
        Ok(page)
    }
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
        write!(f, "h{children}_{max_depth}_{shown}_{last}")
    }
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('h')?.splitn(4, '_');
        Some(Self {
            children: match parts.next()? {
                "a" => Children::All,
                "s" => Children::Suggested,
                _ => return None,
            },
            max_depth: parts.next()?.parse().ok()?,
            shown: parts.next()?.parse().ok()?,
            last: RoomId::parse(parts.next()?).ok()?,
        })
    }
}
