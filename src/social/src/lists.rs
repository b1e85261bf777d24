//! The list of all with whom a user has or had to do.

use std::collections::BTreeSet;

use hearth_data::social::{self, FriendRow, FriendState};
use hearth_store::Snapshot;
use ruma::{OwnedRoomId, UserId};

use crate::friends::Friend;
use crate::settle::CHATS_MAX;
use crate::{Result, Social, facts};

/// Most entries on a page.
const PAGE_MAX: usize = 200;
/// Entries on a page by default.
const PAGE: usize = 50;
/// How many rows are taken from the store at once.
const FETCH: usize = 200;

/// How two stand, as the list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There never was anything.
    None,
    /// The other one is blocked, whatever else there is.
    Blocked,
    /// As derived from their direct chats.
    Is(FriendState),
}

/// Which entries are asked for.
#[derive(Clone, Debug, Default)]
pub struct FriendQuery {
    /// Only those who stand so.
    pub standing: Option<Standing>,
    /// The token of the page.
    pub from: Option<String>,
    /// Most entries to answer.
    pub limit: Option<usize>,
}

/// A page of the list.
#[derive(Clone, Debug, Default)]
pub struct FriendPage {
    /// The entries, by user id.
    pub friends: Vec<Friend>,
    /// The token of the next page, if there is one.
    pub next: Option<String>,
}

impl Social {
    /// A page of the list.
    pub async fn friends(&self, user: &UserId, query: &FriendQuery) -> Result<FriendPage> {
        self.reach_now().await?;
        let snapshot = self.snapshot().await?;
        let limit = query.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
        let mut after = query.from.clone().unwrap_or_default();
        let ignored = facts::ignored(&*snapshot, user.as_str()).await?;
        let mut page = FriendPage::default();
        loop {
            let some = entries_after(&*snapshot, user, &after, &ignored).await?;
            let is_last = some.len() < FETCH;
            for (peer, row) in some {
                if page.friends.len() == limit {
                    page.next = Some(after);
                    return Ok(page);
                }
                let standing = standing(row.as_ref(), ignored.contains(&peer));
                after.clone_from(&peer);
                let is_wanted = query.standing.is_none_or(|wanted| wanted == standing);
                let Some(peer) = UserId::parse(peer).ok().filter(|_| is_wanted) else {
                    continue;
                };
                let friend = self.entry(&*snapshot, (user, &peer), row, standing).await?;
                page.friends.push(friend);
            }
            if is_last {
                return Ok(page);
            }
        }
    }

    /// One entry, as it is now.
    pub(crate) async fn shown(&self, user: &UserId, peer: &UserId) -> Result<Friend> {
        let snapshot = self.snapshot().await?;
        let row = social::friend(&*snapshot, user.as_str(), peer.as_str()).await?;
        let ignored = facts::ignored(&*snapshot, user.as_str()).await?;
        let standing = standing(row.as_ref(), ignored.contains(peer.as_str()));
        self.entry(&*snapshot, (user, peer), row, standing).await
    }

    async fn entry(
        &self,
        snapshot: &dyn Snapshot,
        (user, peer): (&UserId, &UserId),
        row: Option<FriendRow>,
        standing: Standing,
    ) -> Result<Friend> {
        let chats = social::chats(snapshot, user.as_str(), peer.as_str(), CHATS_MAX).await?;
        let room = row.as_ref().and_then(|row| row.chat.clone());
        // What another server's user is called is only known from rooms; the newest one will do.
        let known_from = room
            .as_ref()
            .map(|(room, _)| *room)
            .or(chats.first().map(|(room, _)| *room));
        let named = self.named(snapshot, peer.as_str(), known_from).await?;
        let past: Vec<OwnedRoomId> = chats
            .into_iter()
            .filter(|(_, chat)| chat.ended.is_some())
            .map(|(_, chat)| chat.room_id)
            .collect();
        let row = row.filter(|_| standing != Standing::Blocked);
        let room = room.filter(|_| standing != Standing::Blocked);
        Ok(Friend {
            user: peer.to_owned(),
            standing,
            room: room.map(|(_, room_id)| room_id),
            displayname: named.displayname,
            avatar_url: named.avatar_url,
            message: row.as_ref().and_then(|row| row.message.clone()),
            since: row.as_ref().map(|row| row.since),
            ending: row.and_then(|row| row.ending),
            past,
        })
    }
}

fn standing(row: Option<&FriendRow>, is_blocked: bool) -> Standing {
    match row {
        _ if is_blocked => Standing::Blocked,
        Some(row) => Standing::Is(row.state),
        None => Standing::None,
    }
}

/// Rows and blocked users after a user id, in order.
async fn entries_after(
    snapshot: &dyn Snapshot,
    user: &UserId,
    after: &str,
    ignored: &BTreeSet<String>,
) -> Result<Vec<(String, Option<FriendRow>)>> {
    let rows = social::friends_after(snapshot, user.as_str(), after, FETCH).await?;
    // Beyond the last row of a full page there may be others that come first.
    let upto = match rows.last() {
        Some((last, _)) if rows.len() == FETCH => Some(last.clone()),
        _ => None,
    };
    let known: BTreeSet<String> = rows.iter().map(|(peer, _)| peer.clone()).collect();
    let mut entries: Vec<(String, Option<FriendRow>)> = rows
        .into_iter()
        .map(|(peer, row)| (peer, Some(row)))
        .collect();
    let blocked = ignored
        .iter()
        .filter(|peer| peer.as_str() > after && !known.contains(*peer))
        .filter(|peer| upto.as_ref().is_none_or(|upto| *peer <= upto));
    entries.extend(blocked.map(|peer| (peer.clone(), None)));
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(entries)
}
