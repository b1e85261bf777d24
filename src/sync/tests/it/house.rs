//! One server in memory: what `rooms` writes, `sync` reads.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hearth_data::state::{HashKey, States};
use hearth_data::{Place, accounts, changes, rooms, timeline};
use hearth_event::retention::Bounds;
use hearth_event::{RoomVersion, SigningKey, client};
use hearth_rooms::ephemeral::{MarkersUpdate, ReceiptKind, ReceiptThread};
use hearth_rooms::{
    NewEvent, NewRoom, NewState, Preset, RedactRequest, Rooms, Sender, TargetChange,
};
use hearth_store::{Backend, Batch, MemoryBackend};
use hearth_sync::ask::{Reader, StateUntil, StateWanted, SyncAsk};
use hearth_sync::{Parts, Settings, Sync};
use hearth_types::{Caller, Ids, ManualClock, UnixMs};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedUserId, RoomId, UserId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::costs::Counting;

pub(crate) struct House {
    pub(crate) rooms: Rooms,
    pub(crate) sync: Sync,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) store: Arc<MemoryBackend>,
    /// How often `sync` has read of the store.
    pub(crate) reads: Arc<AtomicU64>,
    /// How many of its next reads fail.
    pub(crate) failing: Arc<AtomicU64>,
    parts: Parts,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

pub(crate) fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:house")).unwrap()
}

pub(crate) fn reader(name: &str) -> Reader {
    Reader {
        user: user(name),
        device: Some("PHONE".into()),
    }
}

fn caller(name: &str) -> Caller {
    Caller {
        user: user(name),
        device: Some("PHONE".into()),
        is_guest: false,
        is_admin: false,
        is_suspended: false,
        service: None,
    }
}

fn sender(name: &str) -> Sender {
    Sender::from(&caller(name))
}

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

/// What a test asks of a sync.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) filter: Option<Value>,
    pub(crate) full_state: bool,
    pub(crate) state_after: bool,
    pub(crate) timeout: Duration,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::keeping(Bounds::default())
    }

    /// A server that keeps messages so long.
    pub(crate) fn keeping(retention: Bounds) -> Self {
        let store = Arc::new(MemoryBackend::new());
        let clock = Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)));
        let tasks = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let states = Arc::new(States::new(HashKey::new([7; 16]), 1 << 20));
        let rooms = Rooms::new(
            hearth_rooms::Parts {
                store: store.clone(),
                states: states.clone(),
                clock: clock.clone(),
                ids: Arc::new(Ids::seeded(1)),
                tasks: tasks.clone(),
                shutdown: shutdown.clone(),
            },
            hearth_rooms::Settings {
                server_name: "house".try_into().unwrap(),
                key: SigningKey::generate([1; 32], "a").unwrap(),
                default_version: RoomVersion::V12,
                view_cache_bytes_max: 1 << 20,
                retention,
            },
        );
        let (reads, failing) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let parts = Parts {
            store: Arc::new(Counting {
                store: store.clone(),
                reads: reads.clone(),
                failing: failing.clone(),
            }),
            states,
            typing: Arc::new(rooms.typing().clone()),
            presences: Arc::new(rooms.presences().clone()),
            clock: clock.clone(),
            settings: Settings {
                retention,
                ..Settings::default()
            },
        };
        let sync = start(&parts, &tasks, &shutdown);
        Self {
            rooms,
            sync,
            clock,
            store,
            reads,
            failing,
            parts,
            tasks,
            shutdown,
        }
    }

    /// Waits until the follower has done what there is to do: somebody else's sync waits for it.
    pub(crate) async fn caught_up(&self) {
        ask(&self.sync, "nobody", None, Options::default()).await;
        ask(&self.sync, "nobody", None, Options::default()).await;
    }

    /// Another reader on the same store, which remembers nothing.
    pub(crate) fn fresh_sync(&self) -> Sync {
        start(&self.parts, &self.tasks, &self.shutdown)
    }

    pub(crate) async fn room(&self, creator: &str, room: NewRoom) -> OwnedRoomId {
        self.rooms.create(&user(creator), room).await.unwrap()
    }

    pub(crate) async fn public_room(&self, creator: &str) -> OwnedRoomId {
        let room = NewRoom {
            preset: Some(Preset::PublicChat),
            ..NewRoom::default()
        };
        self.room(creator, room).await
    }

    /// A public room with these members; the first one creates it.
    pub(crate) async fn room_of(&self, names: &[&str]) -> OwnedRoomId {
        let room = self.public_room(names[0]).await;
        for name in &names[1..] {
            self.join(name, &room).await;
        }
        room
    }

    pub(crate) async fn try_join(&self, name: &str, room: &RoomId) -> hearth_rooms::Result<()> {
        let id = room.as_str().try_into().unwrap();
        self.rooms.join(&caller(name), id, None).await.map(drop)
    }

    pub(crate) async fn join(&self, name: &str, room: &RoomId) {
        self.try_join(name, room).await.unwrap();
    }

    pub(crate) async fn leave(&self, name: &str, room: &RoomId) {
        self.rooms.leave(&user(name), room, None).await.unwrap();
    }

    pub(crate) async fn change(&self, by: &str, room: &RoomId, change: TargetChange, target: &str) {
        let target = user(target);
        let change = (change, &*target);
        self.rooms
            .change_other(&user(by), room, change, None)
            .await
            .unwrap();
    }

    pub(crate) async fn say(&self, name: &str, room: &RoomId, body: &str) -> OwnedEventId {
        let content = json!({"msgtype": "m.text", "body": body});
        self.send(name, room, "m.room.message", content).await
    }

    pub(crate) async fn send(
        &self,
        name: &str,
        room: &RoomId,
        kind: &str,
        content: Value,
    ) -> OwnedEventId {
        let event = NewEvent {
            kind: kind.to_owned(),
            content: raw(&content),
            txn_id: Some(format!("{kind}{content}")),
        };
        self.rooms.send(&sender(name), room, event).await.unwrap()
    }

    pub(crate) async fn put(
        &self,
        name: &str,
        room: &RoomId,
        kind: &str,
        content: Value,
    ) -> OwnedEventId {
        let state = NewState {
            kind: kind.to_owned(),
            state_key: String::new(),
            content: raw(&content),
        };
        self.rooms
            .put_state(&sender(name), room, state)
            .await
            .unwrap()
    }

    pub(crate) async fn try_send(
        &self,
        name: &str,
        room: &RoomId,
        kind: &str,
        content: &Value,
    ) -> hearth_rooms::Result<OwnedEventId> {
        let event = NewEvent {
            kind: kind.to_owned(),
            content: raw(content),
            txn_id: None,
        };
        self.rooms.send(&sender(name), room, event).await
    }

    pub(crate) async fn try_put(
        &self,
        name: &str,
        room: &RoomId,
        (kind, state_key): (&str, &str),
        content: &Value,
    ) -> hearth_rooms::Result<OwnedEventId> {
        let state = NewState {
            kind: kind.to_owned(),
            state_key: state_key.to_owned(),
            content: raw(content),
        };
        self.rooms.put_state(&sender(name), room, state).await
    }

    /// The events of a room in the order of its history, without the first ones.
    pub(crate) async fn history(&self, room: &RoomId, without: usize) -> Vec<Value> {
        let snapshot = self.store.snapshot().await.unwrap();
        let number = rooms::number(&*snapshot, room).await.unwrap().unwrap();
        let from = Place(i64::try_from(without).unwrap() + 1);
        let placed = timeline::forward(&*snapshot, number, from, Place::MAX, usize::MAX);
        let events = placed.await.unwrap().into_iter().map(|placed| {
            let pdu = timeline::pdu(RoomVersion::V12, room, &placed.row).unwrap();
            let event = client::event(&pdu, &client::Unsigned::default());
            serde_json::from_str(event.get()).unwrap()
        });
        events.collect()
    }

    /// Sets the push rules, `{"global": …}`.
    pub(crate) async fn set_push_rules(&self, name: &str, content: &Value) {
        let user = user(name).to_string();
        let kind = accounts::push_rules::TYPE.to_owned();
        let key = (user.clone(), String::new(), kind);
        let snapshot = self.store.snapshot().await.unwrap();
        let current = accounts::account_data::account_data(&*snapshot, &key);
        let current = current.await.unwrap();
        let history = accounts::push_rules::history(&*snapshot, &user).await;
        let json = hearth_data::row::Json::from_text(content.to_string());
        let mut batch = Batch::new();
        accounts::push_rules::put(&mut batch, &user, &history.unwrap(), &json);
        accounts::account_data::put(&mut batch, &key, current.as_ref(), json);
        changes::record(&mut batch, vec![changes::Change::AccountData { user }]);
        self.store.commit(batch).await.unwrap();
    }

    pub(crate) async fn redact(&self, name: &str, room: &RoomId, target: &EventId) {
        let txn_id = format!("redact {target}");
        let request = RedactRequest {
            reason: None,
            txn_id: &txn_id,
            of: hearth_rooms::RedactOf::Anybody,
        };
        self.rooms
            .redact(&sender(name), room, target, request)
            .await
            .unwrap();
    }

    pub(crate) async fn read(&self, name: &str, room: &RoomId, event: &EventId) {
        self.receipt(
            name,
            room,
            (ReceiptKind::Read, ReceiptThread::Unthreaded, event),
        )
        .await;
    }

    pub(crate) async fn receipt(
        &self,
        name: &str,
        room: &RoomId,
        (kind, thread, event): (ReceiptKind, ReceiptThread, &EventId),
    ) {
        let update = MarkersUpdate {
            fully_read: None,
            receipts: vec![(kind, thread, event.to_owned())],
        };
        self.rooms
            .mark_read(&user(name), room, &update)
            .await
            .unwrap();
    }

    /// Sets account data, global if `room` is empty.
    pub(crate) async fn set_data(&self, name: &str, room: &str, kind: &str, content: Value) {
        let key = (user(name).to_string(), room.to_owned(), kind.to_owned());
        let snapshot = self.store.snapshot().await.unwrap();
        let current = accounts::account_data::account_data(&*snapshot, &key)
            .await
            .unwrap();
        let mut batch = Batch::new();
        let json = hearth_data::row::Json::from_text(content.to_string());
        accounts::account_data::put(&mut batch, &key, current.as_ref(), json);
        let user = key.0;
        changes::record(&mut batch, vec![changes::Change::AccountData { user }]);
        self.store.commit(batch).await.unwrap();
    }

    pub(crate) async fn initial(&self, name: &str) -> Value {
        self.sync_with(name, None, Options::default()).await
    }

    pub(crate) async fn since(&self, name: &str, since: &Value) -> Value {
        self.sync_with(name, Some(since), Options::default()).await
    }

    pub(crate) async fn sync_with(
        &self,
        name: &str,
        since: Option<&Value>,
        options: Options,
    ) -> Value {
        ask(&self.sync, name, since, options).await
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A sync; `since` is an earlier answer.
pub(crate) async fn ask(sync: &Sync, name: &str, since: Option<&Value>, options: Options) -> Value {
    let ask = SyncAsk {
        reader: reader(name),
        since: since.map(|answer| answer["next_batch"].as_str().unwrap().parse().unwrap()),
        filter: options.filter.map(|filter| filter.to_string()),
        state_wanted: match options.full_state {
            true => StateWanted::Full,
            false => StateWanted::Changes,
        },
        state_until: match options.state_after {
            true => StateUntil::TimelineEnd,
            false => StateUntil::TimelineStart,
        },
        timeout: options.timeout,
    };
    serde_json::from_slice(&sync.v3(ask).await.unwrap()).unwrap()
}

fn start(parts: &Parts, tasks: &TaskTracker, shutdown: &CancellationToken) -> Sync {
    let sync = Sync::new(parts.clone());
    let notifier = sync.notifier().clone();
    let shutdown = shutdown.clone();
    tasks.spawn(async move { notifier.run(shutdown).await });
    sync
}

pub(crate) fn joined<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"]["join"][room.as_str()]
}

pub(crate) fn left<'a>(answer: &'a Value, room: &RoomId) -> &'a Value {
    &answer["rooms"]["leave"][room.as_str()]
}

/// The bodies of the messages of a section's timeline.
pub(crate) fn bodies(room: &Value) -> Vec<&str> {
    let events = room["timeline"]["events"].as_array();
    let events = events.into_iter().flatten();
    events
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}

/// The event ids of a section's timeline.
pub(crate) fn ids(room: &Value) -> Vec<String> {
    let events = room["timeline"]["events"].as_array();
    let events = events.into_iter().flatten();
    events
        .map(|event| event["event_id"].as_str().unwrap().to_owned())
        .collect()
}

/// (notifications, highlights) of a section.
pub(crate) fn unread(room: &Value) -> (u64, u64) {
    let counts = &room["unread_notifications"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    (count("notification_count"), count("highlight_count"))
}
