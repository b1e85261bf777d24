//! Writing down how two stand: the row, the chats, `m.direct` and the signal to clients, in one commit.

use std::collections::BTreeSet;

use hearth_data::accounts::account_data;
use hearth_data::changes::{Change, record};
use hearth_data::row::Json;
use hearth_data::social::{self, DirectChatRow, Ending, FriendRow, FriendState};
use hearth_store::{Batch, Snapshot};
use hearth_types::UnixMs;
use ruma::events::room::member::MembershipState;
use serde_json::{Map, Value, json};

use crate::derive::{Act, Blocking, Chat, Derived, derive};
use crate::{Error, Result, Social, facts};

/// How often a decision is made again because others were first.
pub(crate) const TRIES_MAX: usize = 32;
/// How many direct chats of two are looked at, the newest first.
pub(crate) const CHATS_MAX: usize = 100;
/// The type of account data that changes whenever an entry of the list of friends does.
pub(crate) const SIGNAL: &str = "chat.hearth.friends";
/// The type of account data that lists a user's direct chats.
const DIRECT: &str = "m.direct";
/// Largest content of account data that is written, in bytes.
pub(crate) const CONTENT_BYTES_MAX: usize = 512 << 10;

/// How two stand now, and what is to be done.
pub(crate) struct Settled {
    pub(crate) row: Option<FriendRow>,
    pub(crate) acts: Vec<Act>,
}

/// What was loaded of two.
struct Loaded {
    row: Option<FriendRow>,
    chats: Vec<(Chat, DirectChatRow)>,
    blocking: Blocking,
    has_acts: bool,
}

impl Social {
    /// Derives how a local user stands with another and writes what has changed.
    pub(crate) async fn settle(&self, user: &str, peer: &str) -> Result<Settled> {
        for _ in 0..TRIES_MAX {
            let snapshot = self.snapshot().await?;
            let loaded = self.load(&*snapshot, user, peer).await?;
            let chats: Vec<Chat> = loaded.chats.iter().map(|(chat, _)| chat.clone()).collect();
            let derived = derive(loaded.row.as_ref(), &chats, loaded.blocking);
            let row = self
                .new_row(&*snapshot, (user, peer), &loaded, &derived)
                .await?;
            let mut batch = Batch::new();
            self.write(
                &*snapshot,
                &mut batch,
                (user, peer),
                (&loaded, &derived, &row),
            )
            .await?;
            let acts = derived.acts;
            if batch.is_empty() {
                return Ok(Settled { row, acts });
            }
            match self.0.store.commit(batch).await {
                Ok(_) => {
                    if !acts.is_empty() {
                        self.0.acts.notify_one();
                    }
                    return Ok(Settled { row, acts });
                }
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    async fn load(&self, snapshot: &dyn Snapshot, user: &str, peer: &str) -> Result<Loaded> {
        let mut chats = Vec::new();
        for (room, row) in social::chats(snapshot, user, peer, CHATS_MAX).await? {
            let chat = Chat {
                room,
                room_id: row.room_id.clone(),
                mine: self.membership(snapshot, room, user).await?,
                theirs: self.membership(snapshot, room, peer).await?,
            };
            chats.push((chat, row));
        }
        let is_blocked = facts::ignored(snapshot, user).await?.contains(peer);
        Ok(Loaded {
            row: social::friend(snapshot, user, peer).await?,
            chats,
            blocking: if is_blocked {
                Blocking::Yes
            } else {
                Blocking::No
            },
            has_acts: social::has_acts(snapshot, user, peer).await?,
        })
    }

    async fn new_row(
        &self,
        snapshot: &dyn Snapshot,
        (user, peer): (&str, &str),
        loaded: &Loaded,
        derived: &Derived,
    ) -> Result<Option<FriendRow>> {
        let Some(state) = derived.state else {
            return Ok(None);
        };
        let chat = derived.chat.as_ref();
        let chat = chat.map(|chat| (chat.room, chat.room_id.clone()));
        if let Some(row) = &loaded.row
            && (row.state, &row.chat, row.is_crossed) == (state, &chat, derived.is_crossed())
        {
            return Ok(Some(row.clone()));
        }
        let asked = match state {
            FriendState::PendingOut => Some(peer),
            FriendState::PendingIn => Some(user),
            FriendState::Friend | FriendState::Ended => None,
        };
        let message = match (asked, &chat) {
            (Some(asked), Some((room, _))) => {
                let invite = self.member_event(snapshot, *room, asked).await?;
                invite.as_ref().and_then(facts::invite_message)
            }
            _ => None,
        };
        let ending = match state {
            FriendState::Ended => Some(self.ending(snapshot, (user, peer), loaded).await?),
            _ => None,
        };
        Ok(Some(FriendRow {
            state,
            since: self.0.clock.now(),
            chat,
            ending,
            message,
            is_crossed: derived.is_crossed(),
        }))
    }

    /// What ended it, by how they stood before and by who wrote the last word to whoever was asked.
    async fn ending(
        &self,
        snapshot: &dyn Snapshot,
        (user, peer): (&str, &str),
        loaded: &Loaded,
    ) -> Result<Ending> {
        let Some(before) = &loaded.row else {
            return Ok(Ending::Withdrawn);
        };
        let asked = match before.state {
            FriendState::PendingOut => peer,
            FriendState::PendingIn => user,
            FriendState::Friend => return Ok(Ending::Unfriended),
            FriendState::Ended => return Ok(before.ending.unwrap_or(Ending::Withdrawn)),
        };
        let Some((room, _)) = &before.chat else {
            return Ok(Ending::Withdrawn);
        };
        let member = self.member_event(snapshot, *room, asked).await?;
        let said_no = member
            .is_some_and(|member| member.sender() == asked && says_over(member.content().get()));
        Ok(match said_no {
            true => Ending::Declined,
            false => Ending::Withdrawn,
        })
    }

    async fn write(
        &self,
        snapshot: &dyn Snapshot,
        batch: &mut Batch,
        (user, peer): (&str, &str),
        (loaded, derived, row): (&Loaded, &Derived, &Option<FriendRow>),
    ) -> Result<()> {
        let now = self.0.clock.now();
        let mut is_changed = false;
        if let Some(row) = row
            && loaded.row.as_ref() != Some(row)
        {
            social::put_friend(batch, (user, peer), loaded.row.as_ref(), row);
            is_changed = true;
        }
        for (chat, before) in &loaded.chats {
            if let Some(after) = ended(chat, before, now) {
                social::put_chat(batch, (user, peer), chat.room, &after);
                is_changed = true;
            }
        }
        let has_acts = !derived.acts.is_empty();
        if has_acts != loaded.has_acts {
            match has_acts {
                true => social::put_acts(batch, user, peer),
                false => social::remove_acts(batch, user, peer),
            }
            // A row that came with its room has not been signalled: a room's commit writes no account data.
            is_changed |= !has_acts;
        }
        let is_direct_changed = put_direct(snapshot, batch, (user, peer), loaded, row).await?;
        if is_changed {
            self.signal(snapshot, batch, user).await?;
        }
        if is_changed || is_direct_changed {
            let user = user.to_owned();
            record(batch, vec![Change::AccountData { user }]);
        }
        Ok(())
    }

    /// Tells a user's clients that an entry of the list of friends has changed.
    pub(crate) async fn signal(
        &self,
        snapshot: &dyn Snapshot,
        batch: &mut Batch,
        user: &str,
    ) -> Result<()> {
        let (key, row) = facts::global(snapshot, user, SIGNAL).await?;
        let before = row.as_ref().and_then(|row| {
            let content: Value = serde_json::from_str(row.content.text()).ok()?;
            content["version"].as_u64()
        });
        let version = before.unwrap_or(0).saturating_add(1);
        let content = Json::from_text(json!({ "version": version }).to_string());
        account_data::put(batch, &key, row.as_ref(), content);
        Ok(())
    }
}

/// The row of a chat, if what it says has changed.
fn ended(chat: &Chat, before: &DirectChatRow, now: UnixMs) -> Option<DirectChatRow> {
    let is_over = is_over(chat);
    (is_over != before.ended.is_some()).then(|| DirectChatRow {
        room_id: before.room_id.clone(),
        ended: is_over.then_some(now),
    })
}

fn is_over(chat: &Chat) -> bool {
    use MembershipState::{Ban, Leave};
    matches!(chat.mine, Some(Leave | Ban))
}

/// Whether the content of a member event says that it is over.
fn says_over(member: &str) -> bool {
    let content: Value = serde_json::from_str(member).unwrap_or_default();
    matches!(content["membership"].as_str(), Some("leave" | "ban"))
}

/// Keeps `m.direct` in step; tells whether it was changed.
async fn put_direct(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    (user, peer): (&str, &str),
    loaded: &Loaded,
    row: &Option<FriendRow>,
) -> Result<bool> {
    let current = row
        .as_ref()
        .filter(|row| matches!(row.state, FriendState::PendingOut | FriendState::Friend));
    let current = current.and_then(|row| row.chat.as_ref());
    let over: BTreeSet<&str> = loaded
        .chats
        .iter()
        .filter(|(chat, _)| is_over(chat))
        .map(|(chat, _)| chat.room_id.as_str())
        .collect();
    let (key, stored) = facts::global(snapshot, user, DIRECT).await?;
    let before = stored.as_ref().map(|row| &row.content);
    let current = current.map(|(_, room_id)| room_id.as_str());
    let Some(after) = direct_content(before, peer, current, &over) else {
        return Ok(false);
    };
    if after.0.len() > CONTENT_BYTES_MAX {
        tracing::debug!("the list of direct chats is too long to be kept in step");
        return Ok(false);
    }
    account_data::put(batch, &key, stored.as_ref(), after);
    Ok(true)
}

/// `m.direct` with the current chat of a user and without those that are over; `None` if it says so already, or is
/// nothing that can be read.
fn direct_content(
    before: Option<&Json>,
    peer: &str,
    current: Option<&str>,
    over: &BTreeSet<&str>,
) -> Option<Json> {
    let mut content: Map<String, Value> = match before {
        Some(json) => serde_json::from_str(json.text()).ok()?,
        None => Map::new(),
    };
    let listed = match content.get(peer) {
        Some(Value::Array(rooms)) => rooms.clone(),
        _ => Vec::new(),
    };
    let mut rooms: Vec<Value> = listed.clone();
    rooms.retain(|room| room.as_str().is_none_or(|room| !over.contains(room)));
    if let Some(current) = current
        && !rooms.iter().any(|room| room.as_str() == Some(current))
    {
        rooms.insert(0, Value::from(current));
    }
    if rooms == listed {
        return None;
    }
    match rooms.is_empty() {
        true => content.remove(peer),
        false => content.insert(peer.to_owned(), Value::Array(rooms)),
    };
    Some(Json::from_text(Value::Object(content).to_string()))
}

/// Who is in a list of ignored users.
pub(crate) fn ignored_in(content: &Json) -> BTreeSet<String> {
    let content: Value = serde_json::from_str(content.text()).unwrap_or_default();
    let users = content["ignored_users"].as_object();
    users
        .map(|users| users.keys().cloned().collect())
        .unwrap_or_default()
}

/// A list of ignored users with somebody put on it or taken off; `None` if it says so already.
pub(crate) fn ignored_content(
    before: Option<&Json>,
    user: &str,
    blocking: Blocking,
) -> Option<Json> {
    let mut content: Map<String, Value> = before
        .and_then(|json| serde_json::from_str(json.text()).ok())
        .unwrap_or_default();
    let mut users = match content.remove("ignored_users") {
        Some(Value::Object(users)) => users,
        _ => Map::new(),
    };
    let was = users.contains_key(user);
    match blocking {
        Blocking::Yes if !was => users.insert(user.to_owned(), json!({})),
        Blocking::No if was => users.remove(user),
        _ => return None,
    };
    content.insert("ignored_users".to_owned(), Value::Object(users));
    Some(Json::from_text(Value::Object(content).to_string()))
}
