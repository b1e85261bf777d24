//! One server in memory, with what follows its log.

use std::sync::Arc;
use std::time::Duration;

use hearth_data::accounts::account_data;
use hearth_data::accounts::profiles::ProfileRow;
use hearth_data::accounts::users::UserRow;
use hearth_data::state::{HashKey, States};
use hearth_data::{fsck, meta, tables};
use hearth_event::{RoomVersion, SigningKey};
use hearth_rooms::{NewEvent, NewRoom, Preset, Publish, Rooms, Sender, Settings, TargetChange};
use hearth_store::{Backend, Batch, MemoryBackend};
use hearth_types::{Caller, Ids, ManualClock, UnixMs};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, RoomOrAliasId, UserId};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::away::Away;
use crate::{Friend, Parts, Result, Social, Standing};

pub(super) use hearth_data::social::FriendState::{
    Ended, Friend as Friends, PendingIn, PendingOut,
};

pub(super) const NAMES: [&str; 5] = ["anna", "bert", "cleo", "dora", "emil"];

pub(super) struct House {
    pub(super) social: Social,
    pub(super) rooms: Rooms,
    pub(super) store: MemoryBackend,
    pub(super) clock: Arc<ManualClock>,
    pub(super) away: Arc<Away>,
    shutdown: CancellationToken,
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(super) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:house")).expect("a user id")
}

pub(super) fn users(names: &[&str]) -> Vec<OwnedUserId> {
    names.iter().map(|name| user(name)).collect()
}

pub(super) fn caller(name: &str) -> Caller {
    Caller {
        user: user(name),
        device: Some("PHONE".into()),
        is_guest: false,
        is_admin: false,
        is_suspended: false,
        service: None,
    }
}

fn key() -> SigningKey {
    SigningKey::generate([1; 32], "a").expect("a key")
}

impl House {
    pub(super) async fn new() -> Self {
        let store = MemoryBackend::new();
        let mut batch = Batch::new();
        for name in NAMES {
            let id = user(name).to_string();
            tables::USERS.put(&mut batch, &id, &UserRow::default());
            let Value::Object(profile) = json!({"displayname": name.to_uppercase()}) else {
                panic!("an object");
            };
            tables::PROFILES.put(&mut batch, &id, &ProfileRow(profile));
        }
        store.commit(batch).await.expect("a commit");
        for (name, value) in [
            (meta::HASH_KEY, vec![7; 16]),
            (meta::SERVER_NAME, b"house".to_vec()),
            (meta::SIGNING_KEY, key().to_stored().into_bytes()),
        ] {
            let put = meta::load_or_put(&store, name, || value).await;
            put.expect("a commit");
        }
        Self::on(store)
    }

    /// A server that starts on a store.
    pub(super) fn on(store: MemoryBackend) -> Self {
        let clock = Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)));
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let backend: Arc<dyn Backend> = Arc::new(store.clone());
        let states = Arc::new(States::new(HashKey::new([7; 16]), 1 << 20));
        let away = Arc::new(Away::default());
        let rooms = Rooms::federated(
            hearth_rooms::Parts {
                store: backend.clone(),
                states: states.clone(),
                clock: clock.clone(),
                ids: Arc::new(Ids::seeded(store.commits())),
                tasks: tasks.clone(),
                shutdown: shutdown.clone(),
            },
            Settings {
                server_name: "house".try_into().expect("a server name"),
                key: key(),
                default_version: RoomVersion::V12,
                view_cache_bytes_max: 1 << 20,
                retention: hearth_event::retention::Bounds::default(),
            },
            super::remote::federation(away.clone()),
        );
        let social = Social::new(Parts {
            store: backend,
            states,
            rooms: rooms.clone(),
            clock: clock.clone(),
        });
        let (follower, stop) = (social.clone(), shutdown.clone());
        tasks.spawn(async move { follower.run(stop).await });
        let (actor, stop) = (social.clone(), shutdown.clone());
        tasks.spawn(async move { actor.run_acts(stop).await });
        let (jobs, stop) = (rooms.clone(), shutdown.clone());
        tasks.spawn(async move { jobs.run_jobs(stop).await });
        Self {
            social,
            rooms,
            store,
            clock,
            away,
            shutdown,
        }
    }

    /// The same store after a power loss, with a new server on it.
    pub(super) fn crash(self) -> Self {
        Self::on(self.store.crash())
    }

    pub(super) async fn request(&self, name: &str, peer: &str) -> Result<Friend> {
        self.clock.advance(Duration::from_millis(1));
        self.social.request(&caller(name), &user(peer), None).await
    }

    pub(super) async fn accept(&self, name: &str, peer: &str) -> Result<Friend> {
        self.social.accept(&caller(name), &user(peer)).await
    }

    /// Makes two friends; answers their chat.
    pub(super) async fn befriend(&self, name: &str, peer: &str) -> OwnedRoomId {
        self.request(name, peer).await.expect("a request");
        let friend = self.accept(peer, name).await.expect("accepted");
        friend.room.expect("a room")
    }

    pub(super) async fn shown(&self, name: &str, peer: &str) -> Friend {
        let friend = self.social.friend(&user(name), &user(peer)).await;
        friend.expect("an entry")
    }

    pub(super) async fn standing(&self, name: &str, peer: &str) -> Standing {
        self.shown(name, peer).await.standing
    }

    pub(super) async fn membership(&self, name: &str, room: &RoomId) -> Option<MembershipState> {
        let membership = self.rooms.membership(&user(name), room).await;
        membership.expect("a read")
    }

    pub(super) async fn join(&self, name: &str, room: &RoomId) {
        let joined = self
            .rooms
            .join(&caller(name), <&RoomOrAliasId>::from(room), None)
            .await;
        joined.expect("joined");
    }

    pub(super) async fn leave(&self, name: &str, room: &RoomId) {
        let left = self.rooms.leave(&user(name), room, None).await;
        left.expect("left");
    }

    pub(super) async fn invite(&self, name: &str, room: &RoomId, peer: &str) {
        let target = user(peer);
        let change = (TargetChange::Invite, &*target);
        let invited = self
            .rooms
            .change_other(&user(name), room, change, None)
            .await;
        invited.expect("invited");
    }

    pub(super) async fn say(
        &self,
        name: &str,
        room: &RoomId,
        body: &str,
    ) -> hearth_rooms::Result<()> {
        let content = json!({"msgtype": "m.text", "body": body}).to_string();
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: serde_json::value::RawValue::from_string(content).expect("JSON"),
            txn_id: None,
        };
        let sender = Sender::from(&caller(name));
        self.rooms.send(&sender, room, event).await.map(drop)
    }

    /// A room as an ordinary client makes it.
    pub(super) async fn plain_room(&self, name: &str, direct_with: Option<&str>) -> OwnedRoomId {
        self.clock.advance(Duration::from_millis(1));
        let room = NewRoom {
            invite: direct_with.map(user).into_iter().collect(),
            is_direct: direct_with.is_some(),
            ..NewRoom::default()
        };
        let made = self.rooms.create(&user(name), room).await;
        made.expect("a room")
    }

    pub(super) async fn public_room(&self, name: &str, title: &str) -> OwnedRoomId {
        self.clock.advance(Duration::from_millis(1));
        let room = NewRoom {
            preset: Some(Preset::PublicChat),
            publish: Publish::Public,
            name: Some(title.to_owned()),
            ..NewRoom::default()
        };
        let made = self.rooms.create(&user(name), room).await;
        made.expect("a room")
    }

    pub(super) async fn kind(&self, name: &str, room: &RoomId) -> Value {
        let format = hearth_rooms::StateFormat::Content;
        let create = ("m.room.create", "");
        let content = self
            .rooms
            .state_event(&user(name), room, create, format)
            .await;
        let content: Value = serde_json::from_str(content.expect("state").get()).expect("JSON");
        content["chat.hearth.kind"].clone()
    }

    pub(super) async fn data(&self, name: &str, kind: &str) -> Value {
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let key = (user(name).to_string(), String::new(), kind.to_owned());
        let row = account_data::account_data(&*snapshot, &key).await;
        let row = row.expect("a read");
        row.map_or(Value::Null, |row| {
            serde_json::from_str(row.content.text()).expect("JSON")
        })
    }

    pub(super) async fn put_data(&self, name: &str, kind: &str, content: Value) {
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let key = (user(name).to_string(), String::new(), kind.to_owned());
        let row = account_data::account_data(&*snapshot, &key).await;
        let mut batch = Batch::new();
        let content = hearth_data::row::Json::from_text(content.to_string());
        account_data::put(&mut batch, &key, row.expect("a read").as_ref(), content);
        let change = hearth_data::changes::Change::AccountData {
            user: key.0.clone(),
        };
        hearth_data::changes::record(&mut batch, vec![change]);
        self.store.commit(batch).await.expect("a commit");
    }

    /// The rooms of `m.direct` with somebody.
    pub(super) async fn direct(&self, name: &str, peer: &str) -> Vec<String> {
        let content = self.data(name, "m.direct").await;
        let rooms = content[user(peer).as_str()].as_array().cloned();
        let rooms = rooms.unwrap_or_default();
        rooms
            .iter()
            .map(|room| room.as_str().expect("a text").to_owned())
            .collect()
    }

    /// Waits until nothing is left to be done for anybody.
    pub(super) async fn rest(&self) {
        for _ in 0..1_000 {
            self.social.reach_now().await.expect("followed");
            let snapshot = self.store.snapshot().await.expect("a snapshot");
            let acts = hearth_data::social::acts_after(&*snapshot, None, 10).await;
            let position = snapshot.position();
            tokio::task::yield_now().await;
            let after = self.store.snapshot().await.expect("a snapshot").position();
            if acts.expect("a read").is_empty() && position == after {
                return;
            }
        }
        panic!("there is always something to do");
    }

    /// Reads everything in the store back and checks every invariant.
    pub(super) async fn fsck(&self) {
        let snapshot = self.store.snapshot().await.expect("a snapshot");
        let report = fsck::fsck(&*snapshot, &mut |_| {}).await;
        let report = report.expect("a report");
        assert!(report.is_clean(), "{:#?}", report.problems);
    }
}
