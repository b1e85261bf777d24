//! EDUs that pass: who is typing, what was read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use hearth_data::receipts::{ReceiptKey, ReceiptRow};
use hearth_data::{RoomNo, federation, members, receipts, rooms};
use hearth_store::{Position, Snapshot};
use hearth_types::limits::INTEGER_MAX;
use ruma::events::room::member::MembershipState;
use ruma::presence::PresenceState;
use ruma::{OwnedUserId, ServerName, UserId};
use serde_json::json;

use super::Sender;
use crate::Result;

/// Most receipts of one commit.
const RECEIPTS_MAX: usize = 256;
/// How many users' presence is told of at once.
const PRESENCES_AT_ONCE: usize = 64;
/// Most rooms of a user whose servers are told of her presence.
const PRESENCE_ROOMS_MAX: usize = 1_000;
/// Most rooms in which local users are remembered as typing.
const TYPING_ROOMS_MAX: usize = 10_000;

/// Local users who are typing, as other servers were told.
#[derive(Debug, Default)]
pub(super) struct Typists {
    version: u64,
    rooms: HashMap<u64, BTreeSet<OwnedUserId>>,
}

impl Typists {
    pub(super) fn starting_at(version: u64) -> Self {
        Self {
            version,
            rooms: HashMap::new(),
        }
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// Takes in who is typing in a room now. Answers who began and who stopped.
    fn update(
        &mut self,
        room: u64,
        now: BTreeSet<OwnedUserId>,
    ) -> Vec<(OwnedUserId, serde_json::Value)> {
        let before = self.rooms.remove(&room).unwrap_or_default();
        let began = now
            .difference(&before)
            .map(|user| (user.clone(), true.into()));
        let stopped = before
            .difference(&now)
            .map(|user| (user.clone(), false.into()));
        let changes = began.chain(stopped).collect();
        if !now.is_empty() && self.rooms.len() < TYPING_ROOMS_MAX {
            self.rooms.insert(room, now);
        }
        changes
    }
}

impl Sender {
    /// Tells other servers who began or stopped typing.
    pub(super) async fn spread_typing(&self, typists: &mut Typists) -> Result<()> {
        let typing = &self.0.parts.typing;
        let changed = typing.changed_since(typists.version);
        let Some((_, newest)) = changed.last() else {
            typists.version = typists.version.max(typing.version());
            return Ok(());
        };
        typists.version = *newest;
        for (room, _) in changed {
            let local = typing
                .users(room)
                .into_iter()
                .filter(|user| user.server_name() == self.server_name());
            let changes = typists.update(room, local.collect());
            if changes.is_empty() {
                continue;
            }
            let snapshot = self.0.parts.store.snapshot().await?;
            let Some(head) = rooms::head(&*snapshot, RoomNo(room)).await? else {
                continue;
            };
            let servers = federation::servers(&*snapshot, RoomNo(room)).await?;
            for (user, is_typing) in changes {
                let edu = json!({
                    "edu_type": "m.typing",
                    "content": { "room_id": head.room_id, "user_id": user, "typing": is_typing },
                });
                let key = format!("typing {room} {user}");
                self.spread(&servers, &key, &edu.to_string());
            }
        }
        Ok(())
    }

    /// Tells other servers who of here is there: those that share a room with her.
    pub(super) async fn spread_presence(&self, seen: &mut u64) -> Result<()> {
        let presence = &self.0.parts.presence;
        let newest = presence.version();
        let changed = presence.changed_since(*seen);
        if changed.is_empty() {
            *seen = newest.max(*seen);
        }
        let now = self.0.parts.clock.now();
        for (user, version) in changed.into_iter().take(PRESENCES_AT_ONCE) {
            *seen = version;
            if user.server_name() != self.server_name() {
                continue;
            }
            let Some(said) = presence.presence(&user) else {
                continue;
            };
            let mut content = json!({ "user_id": user, "presence": said.state });
            if let Some(text) = said.status_msg {
                content["status_msg"] = text.into();
            }
            if let Some(at) = said.last_active {
                let ago = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
                content["last_active_ago"] = ago.min(INTEGER_MAX.cast_unsigned()).into();
            }
            content["currently_active"] = (said.state == PresenceState::Online).into();
            let edu = json!({ "edu_type": "m.presence", "content": { "push": [content] } });
            let servers: Vec<String> = self.servers_around(&user).await?.into_iter().collect();
            self.spread(&servers, &format!("presence {user}"), &edu.to_string());
        }
        Ok(())
    }

    /// The servers that share a room with a user.
    async fn servers_around(&self, user: &UserId) -> Result<BTreeSet<String>> {
        let snapshot = self.0.parts.store.snapshot().await?;
        let mut servers = BTreeSet::new();
        let after = RoomNo(0);
        let rooms = members::rooms_of(&*snapshot, user.as_str(), after, PRESENCE_ROOMS_MAX).await?;
        for (room, row) in rooms {
            if row.membership == MembershipState::Join {
                servers.extend(federation::servers(&*snapshot, room).await?);
            }
        }
        Ok(servers)
    }

    /// Tells the servers of a room which receipts of local users a commit wrote.
    pub(super) async fn spread_receipts(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        at: Position,
    ) -> Result<()> {
        let before = Position(at.0.saturating_sub(1));
        let rows = receipts::changed(snapshot, room, before, at, RECEIPTS_MAX).await?;
        let own = rows
            .into_iter()
            .filter(|(key, _)| key.kind == "m.read" && self.is_local(&key.user));
        let own: Vec<_> = own.collect();
        let Some(head) = rooms::head(snapshot, room)
            .await?
            .filter(|_| !own.is_empty())
        else {
            return Ok(());
        };
        let servers = federation::servers(snapshot, room).await?;
        for (key, row) in own {
            let edu = receipt(head.room_id.as_str(), &key, &row);
            let which = format!("receipt {} {} {}", room.0, key.user, key.thread);
            self.spread(&servers, &which, &edu.to_string());
        }
        Ok(())
    }

    fn is_local(&self, user: &str) -> bool {
        let server = user.split_once(':').map(|(_, server)| server);
        server == Some(self.server_name().as_str())
    }

    fn spread(&self, servers: &[String], key: &str, edu: &str) {
        let edu = Bytes::from(edu.to_owned());
        for server in servers {
            if let Ok(server) = <&ServerName>::try_from(server.as_str()) {
                self.change(server, |queue| {
                    queue.push_passing(key.to_owned(), edu.clone());
                });
            }
        }
    }
}

fn receipt(room_id: &str, key: &ReceiptKey, row: &ReceiptRow) -> serde_json::Value {
    let mut data = BTreeMap::from([("ts", json!(row.ts.0))]);
    if !key.thread.is_empty() {
        data.insert("thread_id", json!(key.thread));
    }
    json!({
        "edu_type": "m.receipt",
        "content": { room_id: { "m.read": { &key.user: {
            "data": data,
            "event_ids": [row.event_id],
        } } } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_begins_and_who_stops_typing_is_told_once() {
        let user = |name: &str| OwnedUserId::try_from(format!("@{name}:here.example")).unwrap();
        let set = |names: &[&str]| names.iter().map(|name| user(name)).collect::<BTreeSet<_>>();
        let mut typists = Typists::default();
        assert_eq!(typists.update(1, set(&["a"])), [(user("a"), true.into())]);
        assert_eq!(typists.update(1, set(&["a"])), []);
        let both = typists.update(1, set(&["b"]));
        assert_eq!(both, [(user("b"), true.into()), (user("a"), false.into())]);
        assert_eq!(typists.update(2, set(&[])), []);
    }
}
