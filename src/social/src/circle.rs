//! The circle: the friends from whom a group is made, with a search for a drop-down.

use hearth_data::social::{self, FriendState};
use ruma::{OwnedRoomId, OwnedUserId, UserId};

use crate::friends::FRIENDS_MAX;
use crate::{Result, Social, facts};

/// Most users to answer.
const ANSWER_MAX: usize = 100;
/// Users to answer by default.
const ANSWER: usize = 20;

/// A friend to pick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircleUser {
    /// Who it is.
    pub user: OwnedUserId,
    /// The direct chat.
    pub room: OwnedRoomId,
    /// What the friend is called.
    pub displayname: Option<String>,
    /// The friend's picture.
    pub avatar_url: Option<String>,
}

/// Friends to pick from.
#[derive(Clone, Debug, Default)]
pub struct Circle {
    /// The best matches.
    pub users: Vec<CircleUser>,
    /// Whether there are more.
    pub is_limited: bool,
}

impl Social {
    /// The friends of a user in whose name or id a text occurs, in any case; those whose name begins with it first.
    pub async fn circle(
        &self,
        user: &UserId,
        search: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Circle> {
        self.reach_now().await?;
        let snapshot = self.snapshot().await?;
        let limit = limit.unwrap_or(ANSWER).clamp(1, ANSWER_MAX);
        let term = search.unwrap_or_default().trim().to_lowercase();
        let ignored = facts::ignored(&*snapshot, user.as_str()).await?;
        let rows = social::friends_after(&*snapshot, user.as_str(), "", FRIENDS_MAX).await?;
        let mut found = Vec::new();
        for (peer, row) in rows {
            let (FriendState::Friend, Some((room, room_id))) = (row.state, row.chat) else {
                continue;
            };
            if ignored.contains(&peer) {
                continue;
            }
            let Ok(peer) = UserId::parse(peer) else {
                continue;
            };
            let named = self.named(&*snapshot, peer.as_str(), Some(room)).await?;
            let Some(order) = rank(&term, &peer, named.displayname.as_deref()) else {
                continue;
            };
            let user = CircleUser {
                user: peer,
                room: room_id,
                displayname: named.displayname,
                avatar_url: named.avatar_url,
            };
            found.push((order, user));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        let is_limited = found.len() > limit;
        found.truncate(limit);
        Ok(Circle {
            users: found.into_iter().map(|(_, user)| user).collect(),
            is_limited,
        })
    }

    /// Whether somebody is a friend of a user who has not blocked her.
    pub(crate) async fn is_in_circle(&self, user: &UserId, peer: &UserId) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let row = social::friend(&*snapshot, user.as_str(), peer.as_str()).await?;
        let is_friend = row.is_some_and(|row| row.state == FriendState::Friend);
        let ignored = facts::ignored(&*snapshot, user.as_str()).await?;
        Ok(is_friend && !ignored.contains(peer.as_str()))
    }
}

/// Where a user stands among the matches of a term; `None` if she is none.
fn rank(term: &str, user: &UserId, displayname: Option<&str>) -> Option<(u8, String, String)> {
    let id = user.as_str().to_lowercase();
    let name = displayname.map_or_else(|| user.localpart().to_lowercase(), str::to_lowercase);
    let begins = |text: &str| text.starts_with(term);
    let order = if begins(&name) {
        0
    } else if begins(user.localpart().to_lowercase().as_str()) || begins(&id) {
        1
    } else if name.split_whitespace().any(begins) {
        2
    } else if name.contains(term) || id.contains(term) {
        3
    } else {
        return None;
    };
    Some((order, name, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row09_names_that_begin_with_the_text_come_first() {
        let user = |id: &str| UserId::parse(id).expect("a user id");
        let order = |term: &str, id: &str, name: Option<&str>| {
            rank(term, &user(id), name).map(|(order, ..)| order)
        };
        assert_eq!(order("", "@bo:house", None), Some(0));
        assert_eq!(order("an", "@x:house", Some("Anna")), Some(0));
        assert_eq!(order("an", "@anna:house", Some("Zoe")), Some(1));
        assert_eq!(order("an", "@x:house", Some("Zoe Anders")), Some(2));
        assert_eq!(order("an", "@x:house", Some("Joan")), Some(3));
        assert_eq!(order("house", "@x:house", Some("Joan")), Some(3));
        assert_eq!(order("q", "@x:house", Some("Joan")), None);
    }
}
