//! A server, and others that are made of a script.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_data::append::Standing;
use hearth_data::state::{HashKey, States};
use hearth_data::{RoomNo, fsck, inbox, meta, rooms as room_rows, timeline};
use hearth_event::{Draft, Parents, Pdu, RoomVersion, SigningKey, auth_keys_of_draft, build};
use hearth_store::{Backend, MemoryBackend};
use hearth_types::{Caller, Ids, ManualClock, UnixMs};
use ruma::{EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::script::Script;
use crate::remote::{Federation, Transaction, TxnAnswer};
use crate::{NewEvent, NewRoom, NewState, Parts, Preset, Result, Rooms, Sender, Settings};

pub(super) const NOW: u64 = 1_700_000_000_000;

/// The key of all other servers.
pub(super) fn far_key() -> SigningKey {
    SigningKey::generate([2; 32], "far").unwrap()
}

pub(super) fn server(name: &str) -> OwnedServerName {
    name.try_into().unwrap()
}

pub(super) fn user(id: &str) -> OwnedUserId {
    id.try_into().unwrap()
}

pub(super) fn alice() -> OwnedUserId {
    user("@alice:house")
}

pub(super) fn raw(value: &serde_json::Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

pub(super) fn json_of(event: &Pdu) -> Box<RawValue> {
    hearth_event::client::federation(event)
}

/// A state event or message of a far user, before it is one.
pub(super) fn draft(
    sender: &UserId,
    (kind, key): (&str, Option<&str>),
    content: &serde_json::Value,
) -> Draft {
    Draft {
        sender: sender.to_owned(),
        kind: kind.to_owned(),
        state_key: key.map(ToOwned::to_owned),
        content: raw(content),
        redacts: None,
    }
}

pub(super) fn message(sender: &UserId, body: &str) -> Draft {
    let content = json!({ "msgtype": "m.text", "body": body });
    draft(sender, ("m.room.message", None), &content)
}

/// An event of a far server.
pub(super) fn far_event(
    version: RoomVersion,
    room: &RoomId,
    draft: &Draft,
    (prev, auth): (&[&Pdu], &[Pdu]),
) -> Pdu {
    let parents = Parents {
        room_id: Some(room.to_owned()),
        prev_events: prev.iter().map(|pdu| pdu.event_id().to_owned()).collect(),
        auth_events: auth.iter().map(|pdu| pdu.event_id().to_owned()).collect(),
        depth: prev.iter().map(|pdu| pdu.depth()).max().unwrap_or(0) + 1,
        origin_server_ts: UnixMs(NOW),
        ..Parents::default()
    };
    let server = draft.sender.server_name();
    build(draft, &parents, version, &far_key(), server).unwrap()
}

/// The server at hand.
pub(super) struct House {
    pub(super) rooms: Rooms,
    pub(super) store: MemoryBackend,
    pub(super) others: Arc<Script>,
    txns: Mutex<u64>,
}

impl House {
    pub(super) fn new() -> Self {
        Self::on(MemoryBackend::new(), Arc::default())
    }

    /// A server whose store is this one, seen through another.
    pub(super) fn through(store: MemoryBackend, backend: Arc<dyn Backend>) -> Self {
        Self::with(store, backend, Arc::default())
    }

    /// The same store after a power loss, with a new server on it.
    pub(super) fn crash(&self) -> Self {
        Self::on(self.store.crash(), self.others.clone())
    }

    fn on(store: MemoryBackend, others: Arc<Script>) -> Self {
        let backend = Arc::new(store.clone());
        Self::with(store, backend, others)
    }

    fn with(store: MemoryBackend, backend: Arc<dyn Backend>, others: Arc<Script>) -> Self {
        let parts = Parts {
            store: backend,
            states: Arc::new(States::new(HashKey::new([7; 16]), 1 << 20)),
            clock: Arc::new(ManualClock::at(UnixMs(NOW))),
            ids: Arc::new(Ids::seeded(1)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let settings = Settings {
            server_name: server("house"),
            key: SigningKey::generate([1; 32], "a").unwrap(),
            default_version: RoomVersion::V11,
            view_cache_bytes_max: 1 << 20,
            retention: hearth_event::retention::Bounds::default(),
        };
        let federation = Federation {
            remote: others.clone(),
            keys: others.clone(),
        };
        Self {
            rooms: Rooms::federated(parts, settings, federation),
            store,
            others,
            txns: Mutex::default(),
        }
    }

    /// A public room of a version, with users of other servers in it who may set state.
    pub(super) async fn room_with(&self, version: &str, members: &[&OwnedUserId]) -> OwnedRoomId {
        let room = NewRoom {
            version: Some(version.to_owned()),
            preset: Some(Preset::PublicChat),
            power_levels: Some(raw(&json!({ "state_default": 0 }))),
            ..NewRoom::default()
        };
        let room = self.rooms.create(&alice(), room).await.unwrap();
        for member in members {
            self.far_join(&room, member).await;
        }
        room
    }

    pub(super) async fn far_join(&self, room: &RoomId, who: &UserId) {
        let join = draft(
            who,
            ("m.room.member", Some(who.as_str())),
            &json!({ "membership": "join" }),
        );
        let event = self.next(room, &join).await;
        let json = json_of(&event);
        let accepted = self
            .rooms
            .accept_join(who.server_name(), room, event.event_id(), &json);
        accepted.await.unwrap();
    }

    /// The event that a far server would make on the room as it is here.
    pub(super) async fn next(&self, room: &RoomId, draft: &Draft) -> Pdu {
        let ends = self.ends(room).await;
        let ends: Vec<&Pdu> = ends.iter().collect();
        self.after(room, draft, &ends).await
    }

    /// The event that a far server would make after others, with the auth events of now.
    pub(super) async fn after(&self, room: &RoomId, draft: &Draft, prev: &[&Pdu]) -> Pdu {
        let auth = self.auth(room, draft).await;
        far_event(self.version(room).await, room, draft, (prev, &auth))
    }

    pub(super) async fn number(&self, room: &RoomId) -> RoomNo {
        let snapshot = self.store.snapshot().await.unwrap();
        let number = room_rows::number(&*snapshot, room).await.unwrap();
        number.unwrap()
    }

    async fn version(&self, room: &RoomId) -> RoomVersion {
        let number = self.number(room).await;
        let snapshot = self.store.snapshot().await.unwrap();
        let head = room_rows::head(&*snapshot, number).await.unwrap().unwrap();
        RoomVersion::new(&head.version).unwrap()
    }

    /// The auth events that the current state has for a draft.
    pub(super) async fn auth(&self, room: &RoomId, draft: &Draft) -> Vec<Pdu> {
        let keys = auth_keys_of_draft(self.version(room).await, draft);
        let keys: Vec<(&str, &str)> = keys
            .iter()
            .map(|(kind, key)| (kind.as_str(), key.as_str()))
            .collect();
        self.state(room, &keys).await
    }

    /// Events of the current state.
    pub(super) async fn state(&self, room: &RoomId, keys: &[(&str, &str)]) -> Vec<Pdu> {
        let number = self.number(room).await;
        let snapshot = self.store.snapshot().await.unwrap();
        let mut stage = self.rooms.scratch(&*snapshot, number).await.unwrap();
        stage.load(keys).await.unwrap();
        let events = keys
            .iter()
            .filter_map(|(kind, key)| stage.view.pdu(kind, key));
        events.cloned().collect()
    }

    /// The ends of the room's graph.
    pub(super) async fn ends(&self, room: &RoomId) -> Vec<Pdu> {
        let number = self.number(room).await;
        let snapshot = self.store.snapshot().await.unwrap();
        let head = room_rows::head(&*snapshot, number).await.unwrap().unwrap();
        let version = RoomVersion::new(&head.version).unwrap();
        let mut ends = Vec::new();
        for end in &head.extremities {
            let found = timeline::event(&*snapshot, number, end.event).await;
            let (_, row) = found.unwrap().unwrap();
            ends.push(timeline::pdu(version, room, &row).unwrap());
        }
        ends
    }

    /// Has a server send events, each of which must not be refused at once.
    pub(super) async fn send(&self, origin: &str, events: &[&Pdu]) {
        let answer = self.offer(origin, events).await.unwrap();
        let refused = answer.0.iter().find(|(_, refused)| refused.is_some());
        assert_eq!(refused, None);
        assert_eq!(answer.0.len(), events.len());
    }

    /// Has a server send events.
    pub(super) async fn offer(&self, origin: &str, events: &[&Pdu]) -> Result<TxnAnswer> {
        let txn_id = {
            let mut txns = self.txns.lock().unwrap();
            *txns += 1;
            format!("{origin}{txns}")
        };
        let txn = Transaction {
            txn_id,
            pdus: events.iter().map(|event| json_of(event)).collect(),
            ..Transaction::default()
        };
        self.rooms.receive(&server(origin), txn).await
    }

    pub(super) async fn say(&self, room: &RoomId, text: &str) -> OwnedEventId {
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: raw(&json!({ "msgtype": "m.text", "body": text })),
            txn_id: None,
        };
        let sent = self.rooms.send(&sender(), room, event).await;
        sent.unwrap()
    }

    pub(super) async fn put(&self, room: &RoomId, kind: &str, content: serde_json::Value) {
        let state = NewState {
            kind: kind.to_owned(),
            state_key: String::new(),
            content: raw(&content),
        };
        self.rooms.put_state(&sender(), room, state).await.unwrap();
    }

    /// How an event stands; `None` if it has no place in the room's history.
    pub(super) async fn standing(&self, event: &EventId) -> Option<Standing> {
        let snapshot = self.store.snapshot().await.unwrap();
        let found = timeline::find(&*snapshot, event).await.unwrap()?;
        let event = timeline::event(&*snapshot, found.room, found.event).await;
        let (place, row) = event.unwrap()?;
        place.map(|_| row.standing)
    }

    /// Lets everything run that can, for some (paused) milliseconds.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// How many events wait in a room's inbox.
    pub(super) async fn waiting(&self, room: &RoomId) -> usize {
        let number = self.number(room).await;
        let snapshot = self.store.snapshot().await.unwrap();
        inbox::after(&*snapshot, number, None, 10_000)
            .await
            .unwrap()
            .len()
    }

    /// Checks every invariant of the store.
    pub(super) async fn fsck(&self) {
        let key = SigningKey::generate([1; 32], "a").unwrap();
        for (name, value) in [
            (meta::HASH_KEY, vec![7; 16]),
            (meta::SERVER_NAME, b"house".to_vec()),
            (meta::SIGNING_KEY, key.to_stored().into_bytes()),
        ] {
            let put = meta::load_or_put(&self.store, name, || value).await;
            put.unwrap();
        }
        let snapshot = self.store.snapshot().await.unwrap();
        let report = fsck::fsck(&*snapshot, &mut |_| {}).await.unwrap();
        assert!(report.is_clean(), "{:#?}", report.problems);
    }
}

pub(super) fn caller(localpart: &str) -> Caller {
    Caller {
        user: user(&format!("@{localpart}:house")),
        device: None,
        is_guest: false,
        is_admin: false,
        is_suspended: false,
        service: None,
    }
}

fn sender() -> Sender {
    Sender::from(&caller("alice"))
}
