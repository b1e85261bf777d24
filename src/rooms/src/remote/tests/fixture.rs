//! A server, and others that are made of a script.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hearth_data::append::Standing;
use hearth_data::state::{HashKey, States};
use hearth_data::{RoomNo, fsck, inbox, meta, rooms as room_rows, timeline};
use hearth_event::{
    Draft, Parents, Pdu, RoomVersion, SigningKey, VerifyKey, auth_keys_of_draft, build,
};
use hearth_ports::remote::{
    AliasAnswer, At, Children, FoundAt, Invite, JoinAnswer, MakeMember, Members, MissingEvents,
    Refusal, RemoteError, RemoteResult, SendMember, SpaceAnswer, StateEvents, StateIds, Template,
    Untrusted,
};
use hearth_ports::{BoxFuture, KeySet, Keys, Remote, WantedKey};
use hearth_store::{Backend, MemoryBackend};
use hearth_types::{Caller, Ids, ManualClock, UnixMs};
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomAliasId, RoomId,
    ServerName, UserId,
};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::remote::{Federation, NoRemote, Transaction, TxnAnswer};
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

/// What other servers say.
#[derive(Default)]
pub(super) struct Script {
    // Held for a few operations, never over an await.
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    events: HashMap<OwnedEventId, Untrusted>,
    before: HashMap<OwnedEventId, Vec<Untrusted>>,
    states: HashMap<OwnedEventId, StateIds>,
    spaces: HashMap<OwnedRoomId, SpaceAnswer>,
    silent: HashSet<OwnedServerName>,
    unknown_keys: HashSet<OwnedServerName>,
    asked: Vec<String>,
}

impl Script {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap()
    }

    /// Others have an event, and give it to who asks.
    pub(super) fn knows(&self, event: &Pdu) {
        let id = event.event_id().to_owned();
        self.said().events.insert(id, json_of(event));
    }

    /// The answer to the question for events before one.
    pub(super) fn before(&self, event: &EventId, events: &[&Pdu]) {
        let events = events.iter().map(|event| json_of(event)).collect();
        self.said().before.insert(event.to_owned(), events);
    }

    /// The answer to the question for the state before an event.
    pub(super) fn state(&self, event: &EventId, state: &[&Pdu]) {
        let ids = StateIds {
            state: state
                .iter()
                .map(|event| event.event_id().to_owned())
                .collect(),
            auth_chain: Vec::new(),
        };
        self.said().states.insert(event.to_owned(), ids);
    }

    /// What others tell of a room and its children.
    pub(super) fn space(&self, room: &RoomId, answer: &serde_json::Value) {
        let all = |field: &str| {
            let items = answer[field].as_array().into_iter().flatten();
            items.map(raw).collect()
        };
        let inaccessible = answer["inaccessible_children"].clone();
        let answer = SpaceAnswer {
            room: raw(&answer["room"]),
            children: all("children"),
            inaccessible: serde_json::from_value(inaccessible).unwrap_or_default(),
        };
        self.said().spaces.insert(room.to_owned(), answer);
    }

    /// A server never answers.
    pub(super) fn is_silent(&self, name: &str) {
        self.said().silent.insert(server(name));
    }

    /// Nobody knows a server's key, or everybody does again.
    pub(super) fn keys_known(&self, name: &str, known: bool) {
        let mut said = self.said();
        match known {
            true => said.unknown_keys.remove(&server(name)),
            false => said.unknown_keys.insert(server(name)),
        };
    }

    /// What was asked of whom.
    pub(super) fn asked(&self) -> Vec<String> {
        self.said().asked.clone()
    }

    fn answer<'a, T: Send + 'a>(
        &'a self,
        server: &'a ServerName,
        question: String,
        answer: impl FnOnce(&Said) -> Option<T> + Send + 'a,
    ) -> BoxFuture<'a, RemoteResult<T>> {
        Box::pin(async move {
            let is_silent = {
                let mut said = self.said();
                said.asked.push(format!("{server} {question}"));
                said.silent.contains(server)
            };
            if is_silent {
                std::future::pending::<()>().await;
            }
            answer(&self.said()).ok_or_else(|| RemoteError::Refused {
                reason: Refusal::NotFound,
                message: "not there".to_owned(),
            })
        })
    }

    fn keys(&self, wanted: &[WantedKey]) -> KeySet {
        let mut set = KeySet::default();
        for key in wanted {
            if self.said().unknown_keys.contains(&key.server) {
                continue;
            }
            let known = VerifyKey {
                key: far_key().public_key_bytes(),
                valid_until: UnixMs(u64::MAX),
            };
            set.insert(key.server.clone(), key.key_id.clone(), known);
        }
        set
    }
}

impl Keys for Script {
    fn at_hand<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async move { self.keys(wanted) })
    }
    fn fetch<'a>(&'a self, wanted: &'a [WantedKey]) -> BoxFuture<'a, KeySet> {
        Box::pin(async move {
            self.said().asked.push("keys".to_owned());
            self.keys(wanted)
        })
    }
}

impl Remote for Script {
    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        ask: MakeMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Template>> {
        NoRemote.make_member(server, ask)
    }
    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
        members: Members,
    ) -> BoxFuture<'a, RemoteResult<JoinAnswer>> {
        NoRemote.send_join(server, event, members)
    }
    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        NoRemote.send_leave(server, event)
    }
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.send_knock(server, event)
    }
    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        invite: Invite<'a>,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        NoRemote.invite(server, invite)
    }
    fn exchange_third_party_invite<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<()>> {
        NoRemote.exchange_third_party_invite(server, room_id, event)
    }
    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        _: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateIds>> {
        self.answer(server, format!("state_ids {event_id}"), |said| {
            said.states.get(event_id).cloned()
        })
    }
    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateEvents>> {
        NoRemote.state(server, room_id, event_id)
    }
    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>> {
        self.answer(server, format!("event {event_id}"), |said| {
            said.events.get(event_id).cloned()
        })
    }
    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        _: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        self.answer(server, format!("event_auth {event_id}"), |_| None)
    }
    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        from: &'a [OwnedEventId],
        limit: usize,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        NoRemote.backfill(server, room_id, from, limit)
    }
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        _: &'a RoomId,
        ask: &'a MissingEvents,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>> {
        let latest = ask.latest.first().cloned();
        self.answer(server, "missing_events".to_owned(), move |said| {
            said.before.get(&latest?).cloned()
        })
    }
    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        at: At,
    ) -> BoxFuture<'a, RemoteResult<FoundAt>> {
        NoRemote.timestamp_to_event(server, room_id, at)
    }
    fn alias<'a>(
        &'a self,
        server: &'a ServerName,
        alias: &'a RoomAliasId,
    ) -> BoxFuture<'a, RemoteResult<AliasAnswer>> {
        NoRemote.alias(server, alias)
    }
    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        _: Children,
    ) -> BoxFuture<'a, RemoteResult<SpaceAnswer>> {
        self.answer(server, format!("hierarchy {room_id}"), |said| {
            said.spaces.get(room_id).cloned()
        })
    }
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
    }
}

fn sender() -> Sender {
    Sender::from(&caller("alice"))
}
