//! One server in memory.

use std::sync::Arc;
use std::time::Duration;

use hearth_data::accounts::profiles::ProfileRow;
use hearth_data::append::EventRow;
use hearth_data::members::{self, MemberRow};
use hearth_data::rooms::{self, RoomHead};
use hearth_data::state::{HashKey, States};
use hearth_data::{Place, RoomNo, fsck, meta, tables, timeline};
use hearth_event::retention::Bounds;
use hearth_event::{Pdu, RoomVersion, SigningKey};
use hearth_store::{Backend, Batch, MemoryBackend, Snapshot};
use hearth_types::{Caller, Ids, ManualClock, UnixMs};
use ruma::events::room::member::MembershipState;
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{
    NewEvent, NewRoom, NewState, Parts, Preset, RedactRequest, Result, Rooms, Sender, Settings,
    StateFormat, TargetChange,
};

pub(super) struct House {
    pub(super) rooms: Rooms,
    pub(super) store: MemoryBackend,
    pub(super) clock: Arc<ManualClock>,
    pub(super) tasks: TaskTracker,
    pub(super) states: Arc<States>,
}

pub(super) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:house")).expect("a user id")
}

fn key() -> SigningKey {
    SigningKey::generate([1; 32], "a").expect("a key")
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

pub(super) fn sender(name: &str) -> Sender {
    Sender::from(&caller(name))
}

pub(super) fn raw(value: Value) -> Box<RawValue> {
    to_raw_value(&value).expect("JSON")
}

pub(super) fn parsed(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).expect("JSON")
}

pub(super) fn public() -> NewRoom {
    NewRoom {
        preset: Some(Preset::PublicChat),
        ..NewRoom::default()
    }
}

pub(super) fn text(body: &str) -> Value {
    serde_json::json!({"msgtype": "m.text", "body": body})
}

impl House {
    pub(super) fn new() -> Self {
        Self::on(MemoryBackend::new())
    }

    /// A server that starts on a store.
    pub(super) fn on(store: MemoryBackend) -> Self {
        Self::with_version(store, RoomVersion::V12)
    }

    pub(super) fn with_version(store: MemoryBackend, default_version: RoomVersion) -> Self {
        Self::with(store, default_version, Bounds::default())
    }

    /// A server that keeps messages of rooms so long.
    pub(super) fn with(
        store: MemoryBackend,
        default_version: RoomVersion,
        retention: Bounds,
    ) -> Self {
        let clock = Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)));
        let tasks = TaskTracker::new();
        let states = Arc::new(States::new(HashKey::new([7; 16]), 1 << 20));
        let parts = Parts {
            store: Arc::new(store.clone()),
            states: states.clone(),
            clock: clock.clone(),
            ids: Arc::new(Ids::seeded(1)),
            tasks: tasks.clone(),
            shutdown: CancellationToken::new(),
        };
        let settings = Settings {
            server_name: "house".try_into().expect("a server name"),
            key: key(),
            default_version,
            view_cache_bytes_max: 1 << 20,
            retention,
        };
        Self {
            rooms: Rooms::new(parts, settings),
            store,
            clock,
            tasks,
            states,
        }
    }

    pub(super) async fn room(&self, creator: &str, room: NewRoom) -> OwnedRoomId {
        self.rooms
            .create(&user(creator), room)
            .await
            .expect("a room")
    }

    pub(super) async fn public_room(&self, creator: &str) -> OwnedRoomId {
        self.room(creator, public()).await
    }

    pub(super) async fn join(&self, name: &str, room: &RoomId) -> Result<OwnedRoomId> {
        let room = room.as_str().try_into().expect("a room id");
        self.rooms.join(&caller(name), room, None).await
    }

    pub(super) async fn leave(&self, name: &str, room: &RoomId) -> Result<()> {
        self.rooms.leave(&user(name), room, None).await
    }

    pub(super) async fn change(
        &self,
        name: &str,
        room: &RoomId,
        change: TargetChange,
        target: &str,
    ) -> Result<()> {
        let target = user(target);
        let change = (change, &*target);
        self.rooms
            .change_other(&user(name), room, change, None)
            .await
    }

    pub(super) async fn invite(&self, name: &str, room: &RoomId, target: &str) -> Result<()> {
        self.change(name, room, TargetChange::Invite, target).await
    }

    pub(super) async fn say(&self, name: &str, room: &RoomId, body: &str) -> Result<OwnedEventId> {
        self.send(name, room, "m.room.message", text(body)).await
    }

    pub(super) async fn send(
        &self,
        name: &str,
        room: &RoomId,
        kind: &str,
        content: Value,
    ) -> Result<OwnedEventId> {
        let event = NewEvent {
            kind: kind.to_owned(),
            content: raw(content),
            txn_id: None,
        };
        self.rooms.send(&sender(name), room, event).await
    }

    pub(super) async fn put(
        &self,
        name: &str,
        room: &RoomId,
        kind: &str,
        content: Value,
    ) -> Result<OwnedEventId> {
        let state = NewState {
            kind: kind.to_owned(),
            state_key: String::new(),
            content: raw(content),
        };
        self.rooms.put_state(&sender(name), room, state).await
    }

    pub(super) async fn redact(
        &self,
        name: &str,
        room: &RoomId,
        target: &EventId,
    ) -> Result<OwnedEventId> {
        let txn_id = format!("redact {target}");
        let request = RedactRequest {
            reason: Some("a reason"),
            txn_id: &txn_id,
            of: crate::RedactOf::Anybody,
        };
        self.rooms
            .redact(&sender(name), room, target, request)
            .await
    }

    pub(super) async fn event(&self, name: &str, room: &RoomId, event: &EventId) -> Result<Value> {
        let event = self.rooms.event(&sender(name), room, event).await?;
        Ok(parsed(&event))
    }

    pub(super) async fn state(&self, name: &str, room: &RoomId, kind: &str) -> Result<Value> {
        self.state_at_key(name, room, (kind, "")).await
    }

    pub(super) async fn state_at_key(
        &self,
        name: &str,
        room: &RoomId,
        key: (&str, &str),
    ) -> Result<Value> {
        let format = StateFormat::Content;
        let event = self
            .rooms
            .state_event(&user(name), room, key, format)
            .await?;
        Ok(parsed(&event))
    }

    pub(super) async fn set_profile(&self, name: &str, profile: Value) {
        let Value::Object(fields) = profile else {
            panic!("a profile is an object");
        };
        let mut batch = Batch::new();
        let row = ProfileRow(fields);
        tables::PROFILES.put(&mut batch, &user(name).to_string(), &row);
        self.store.commit(batch).await.expect("a commit");
    }

    pub(super) async fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.store.snapshot().await.expect("a snapshot")
    }

    pub(super) async fn head(&self, room: &RoomId) -> (RoomNo, RoomHead) {
        let snapshot = self.snapshot().await;
        let number = rooms::number(&*snapshot, room)
            .await
            .expect("a read")
            .expect("a room");
        let head = rooms::head(&*snapshot, number)
            .await
            .expect("a read")
            .expect("a head");
        (number, head)
    }

    /// All events of a room, oldest first.
    pub(super) async fn history(&self, room: &RoomId) -> Vec<(EventRow, Pdu)> {
        let (number, head) = self.head(room).await;
        let version = RoomVersion::new(&head.version).expect("a version");
        let snapshot = self.snapshot().await;
        let rows = timeline::forward(&*snapshot, number, Place::MIN, Place::MAX, 100_000).await;
        rows.expect("a read")
            .into_iter()
            .map(|placed| {
                let pdu = timeline::pdu(version, room, &placed.row).expect("an event");
                (placed.row, pdu)
            })
            .collect()
    }

    pub(super) async fn kinds(&self, room: &RoomId) -> Vec<String> {
        let history = self.history(room).await;
        history
            .iter()
            .map(|(_, pdu)| pdu.kind().to_owned())
            .collect()
    }

    pub(super) async fn membership(&self, name: &str, room: &RoomId) -> Option<MembershipState> {
        let membership = self.rooms.membership(&user(name), room).await;
        membership.expect("a read")
    }

    pub(super) async fn member_rows(&self, room: &RoomId) -> Vec<(String, MemberRow)> {
        let (number, _) = self.head(room).await;
        let snapshot = self.snapshot().await;
        members::members_after(&*snapshot, number, "", 100_000)
            .await
            .expect("a read")
    }

    /// Reads everything in the store back and checks every invariant.
    pub(super) async fn fsck(&self) {
        for (name, value) in [
            (meta::HASH_KEY, vec![7; 16]),
            (meta::SERVER_NAME, b"house".to_vec()),
            (meta::SIGNING_KEY, key().to_stored().into_bytes()),
        ] {
            let put = meta::load_or_put(&self.store, name, || value).await;
            put.expect("a commit");
        }
        let snapshot = self.snapshot().await;
        let report = fsck::fsck(&*snapshot, &mut |_| {}).await;
        let report = report.expect("a report");
        assert!(report.is_clean(), "{:#?}", report.problems);
    }

    /// The same store after a power loss, with a new server on it.
    pub(super) fn crash(&self) -> Self {
        Self::on(self.store.crash())
    }

    pub(super) fn tick(&self) {
        self.clock.advance(Duration::from_millis(1));
    }
}
