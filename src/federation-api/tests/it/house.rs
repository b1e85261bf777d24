//! A server, and others that sign what they ask.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hearth_accounts::{Accounts, NewUser, PasswordCost, Registration};
use hearth_e2ee::E2ee;
use hearth_event::canonical::Object;
use hearth_event::join::{Wish, complete};
use hearth_event::{Pdu, RoomVersion, SigningKey};
use hearth_federation::{
    Client, KeyRing, Notary, OwnKeys, Policy, Resolver, Sender as Outbound, SenderParts,
    SignedRequest, XMatrix,
};
use hearth_federation_api::{Door, Edus, Parts};
use hearth_http::fallbacks;
use hearth_ports::{
    BoxFuture, HttpOut, NoRemoteKeys, OutError, OutRequest, OutResponse, Service, full_body,
};
use hearth_rooms::remote::Federation;
use hearth_rooms::{HashKey, NewEvent, NewRoom, NewState, Preset, Rooms, Sender, States};
use hearth_store::MemoryBackend;
use hearth_types::{Caller, Clock, Ids, ManualClock, UnixMs};
use http::{Request, Response};
use http_body_util::BodyExt;
use ruma::{OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, UserId};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub(crate) const NOW: u64 = 1_700_000_000_000;

/// Servers that are there. `denied` is one with which this server does not talk, `silent` never tells its keys.
const FAR: [&str; 4] = ["far", "further", "denied", "silent"];

pub(crate) fn name(text: &str) -> OwnedServerName {
    text.try_into().unwrap()
}

pub(crate) fn user(id: &str) -> OwnedUserId {
    id.try_into().unwrap()
}

pub(crate) fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

/// The key of another server.
pub(crate) fn key_of(server: &str) -> SigningKey {
    let seed = server.bytes().fold(7, u8::wrapping_add);
    SigningKey::generate([seed; 32], server).unwrap()
}

/// The way to other servers: they tell their keys, and sign the invites that they get.
#[derive(Clone)]
struct World {
    clock: Arc<ManualClock>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl World {
    fn answer(&self, host: &str, path: &str, body: &Bytes) -> Option<String> {
        if host == "silent" || !FAR.contains(&host) {
            return None;
        }
        if path == "/_matrix/key/v2/server" {
            return Some(keys(host, self.clock.clone()).document_text());
        }
        if path.starts_with("/_matrix/federation/v2/invite/") {
            let invite: Value = serde_json::from_slice(body).unwrap();
            return Some(json!({ "event": invite["event"] }).to_string());
        }
        None
    }
}

fn keys(server: &str, clock: Arc<dyn Clock>) -> OwnKeys {
    OwnKeys::new(name(server), key_of(server), Vec::new(), clock)
}

impl HttpOut for World {
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async move {
            let (parts, body) = request.request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let host = parts.uri.host().unwrap().to_owned();
            let path = parts.uri.path_and_query().unwrap().as_str();
            let line = format!("{} {host} {path}", parts.method);
            self.asked.lock().unwrap().push(line);
            let text = self.answer(&host, path, &body);
            let text = text.ok_or_else(|| OutError::Connect("nobody is there".into()))?;
            let response = Response::new(full_body(text));
            Ok(OutResponse {
                uri: parts.uri,
                response,
            })
        })
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// What another server gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Answer {
    /// Status and errcode.
    pub(crate) fn error(&self) -> (u16, &str) {
        (
            self.status,
            self.body["errcode"].as_str().unwrap_or_default(),
        )
    }

    /// The body of a 200.
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }
}

pub(crate) struct House {
    pub(crate) rooms: Rooms,
    pub(crate) clock: Arc<ManualClock>,
    accounts: Accounts,
    router: Router,
    asked: Arc<Mutex<Vec<String>>>,
}

fn rooms(parts: hearth_rooms::Parts, client: &Client, ring: &KeyRing) -> Rooms {
    let settings = hearth_rooms::Settings {
        server_name: name("house"),
        key: key_of("house"),
        default_version: RoomVersion::V11,
        view_cache_bytes_max: 1 << 20,
        retention: hearth_event::retention::Bounds::default(),
    };
    let federation = Federation {
        remote: Arc::new(client.clone()),
        keys: Arc::new(ring.clone()),
    };
    Rooms::federated(parts, settings, federation)
}

impl House {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::at(UnixMs(NOW)));
        let store = Arc::new(MemoryBackend::new());
        let ids = Arc::new(Ids::seeded(1));
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let own_keys = keys("house", clock.clone());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let world = Arc::new(World {
            clock: clock.clone(),
            asked: asked.clone(),
        });
        let resolver = Resolver::new(world.clone(), clock.clone(), ids.clone());
        let policy = Policy::on(&[], &["denied".to_owned()]);
        let client = Client::new(world, resolver, own_keys.clone(), policy);
        let ring = KeyRing::new(
            store.clone(),
            clock.clone(),
            own_keys.clone(),
            client.clone(),
            Vec::new(),
        );
        let parts = hearth_rooms::Parts {
            store: store.clone(),
            states: Arc::new(States::new(HashKey::new([7; 16]), 1 << 20)),
            clock: clock.clone(),
            ids: ids.clone(),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let rooms = rooms(parts, &client, &ring);
        let mut settings = hearth_accounts::Settings::new(name("house"));
        settings.registration = Registration::Open;
        settings.password_cost = PasswordCost::CHEAPEST;
        let accounts = Accounts::new(store.clone(), clock.clone(), ids.clone(), settings);
        let e2ee = E2ee::new(hearth_e2ee::Parts {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            remote: Arc::new(NoRemoteKeys),
            server_name: name("house"),
        });
        let sender = Outbound::new(SenderParts {
            store,
            client: client.clone(),
            clock: clock.clone(),
            ids,
            typing: Arc::new(rooms.typing().clone()),
            presence: Arc::new(rooms.presences().clone()),
            tasks: tasks.clone(),
            shutdown,
        });
        let router = hearth_federation_api::router(Parts {
            notary: Notary::new(ring.clone(), own_keys.clone()),
            own_keys,
            door: Door::new(client, ring, sender),
            edus: Edus::new(rooms.clone(), e2ee.clone(), tasks),
            e2ee,
            rooms: rooms.clone(),
            accounts: accounts.clone(),
            clock: clock.clone(),
        });
        Self {
            rooms,
            clock,
            accounts,
            router: fallbacks(router),
            asked,
        }
    }

    /// What this server asked of others.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// A request as it comes over the wire.
    pub(crate) async fn wire(&self, line: &str, auth: Option<&str>, body: Bytes) -> Answer {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(auth) = auth {
            request = request.header("Authorization", auth);
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, body }
    }

    /// The header with which a server signs a request.
    pub(crate) fn signed(&self, origin: &str, line: &str, body: Option<&Bytes>) -> XMatrix {
        let (method, uri) = line.split_once(' ').unwrap();
        let request = SignedRequest { method, uri, body };
        let keys = keys(origin, self.clock.clone());
        XMatrix::sign(&keys, &name("house"), request).unwrap()
    }

    /// A signed request; `null` for no body. Paths are below `/_matrix/federation/`.
    pub(crate) async fn ask(&self, origin: &str, line: &str, body: &Value) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let line = format!("{method} /_matrix/federation/{path}");
        let bytes = Bytes::from(match body {
            Value::Null => String::new(),
            body => body.to_string(),
        });
        let signed = Some(&bytes).filter(|bytes| !bytes.is_empty());
        let header = self.signed(origin, &line, signed).to_header();
        self.wire(&line, Some(&header), bytes).await
    }

    pub(crate) async fn get(&self, origin: &str, path: &str) -> Answer {
        self.ask(origin, &format!("GET {path}"), &Value::Null).await
    }

    /// Registers a user.
    pub(crate) async fn register(&self, localpart: &str) -> OwnedUserId {
        let new = NewUser {
            username: Some(localpart.to_owned()),
            ..NewUser::default()
        };
        self.accounts.register(new, None).await.unwrap().user_id
    }

    /// A room that alice has made.
    pub(crate) async fn room(&self, room: NewRoom) -> OwnedRoomId {
        let made = self.rooms.create(&user("@alice:house"), room).await;
        made.unwrap()
    }

    /// A room into which everybody may come.
    pub(crate) async fn open_room(&self) -> OwnedRoomId {
        let room = NewRoom {
            preset: Some(Preset::PublicChat),
            ..NewRoom::default()
        };
        self.room(room).await
    }

    pub(crate) async fn say(&self, room: &RoomId, text: &str) -> OwnedEventId {
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: raw(&json!({ "msgtype": "m.text", "body": text })),
            txn_id: None,
        };
        self.rooms.send(&alice(), room, event).await.unwrap()
    }

    pub(crate) async fn put(&self, room: &RoomId, (kind, key): (&str, &str), content: Value) {
        let state = NewState {
            kind: kind.to_owned(),
            state_key: key.to_owned(),
            content: raw(&content),
        };
        self.rooms.put_state(&alice(), room, state).await.unwrap();
    }

    /// The member event that a server makes of this server's template.
    pub(crate) fn member(&self, template: &Value, who: &UserId, membership: &str) -> Pdu {
        let version = RoomVersion::parse(template["room_version"].as_str().unwrap()).unwrap();
        let room = template["event"]["room_id"].as_str().unwrap();
        let server = who.server_name();
        let wish = Wish {
            room_id: &RoomId::parse(room).unwrap(),
            user: who,
            membership,
            content: Object::new(),
            now: self.clock.now(),
            key: &key_of(server.as_str()),
            server_name: server,
        };
        complete(version, &template["event"].to_string(), &wish).unwrap()
    }

    /// Has a user of another server join a room. Answers the join.
    pub(crate) async fn far_join(&self, room: &RoomId, who: &UserId) -> Pdu {
        let origin = who.server_name().as_str();
        let asked = format!("v1/make_join/{room}/{who}?ver=11");
        let template = self.get(origin, &asked).await.ok();
        let join = self.member(&template, who, "join");
        let line = format!("PUT v2/send_join/{room}/{}", join.event_id());
        self.ask(origin, &line, &json_of(&join)).await.ok();
        join
    }
}

/// An event in federation format.
pub(crate) fn json_of(event: &Pdu) -> Value {
    serde_json::from_slice(&event.json()[..]).unwrap()
}

pub(crate) fn alice() -> Sender {
    Sender::from(&Caller {
        user: user("@alice:house"),
        device: None,
        is_guest: false,
        is_admin: false,
        is_suspended: false,
        service: None,
    })
}
