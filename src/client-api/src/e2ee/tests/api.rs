//! A server with users who log in, and a client's device that signs.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use hearth_accounts::{Accounts, PasswordCost, Registration, Settings};
use hearth_e2ee::E2ee;
use hearth_event::canonical::{Strictness, parse_object, to_string_without};
use hearth_event::{RoomVersion, SigningKey};
use hearth_http::{Gate, fallbacks};
use hearth_rooms::{HashKey, Rooms, States};
use hearth_store::{Backend, MemoryBackend, Position};
use hearth_types::{Ids, ManualClock, UnixMs};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use ruma::server_name;
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

pub(super) const PASSWORD: &str = "correct horse";
pub(super) const ALICE: &str = "@alice:h.test";
pub(super) const BOB: &str = "@bob:h.test";

#[derive(Clone, FromRef)]
struct Handles {
    gate: Gate,
    accounts: Accounts,
    e2ee: E2ee,
    sync: hearth_sync::Sync,
    rooms: Rooms,
    federation: hearth_federation::Client,
}

/// A server.
pub(super) struct Api {
    router: Router,
    store: MemoryBackend,
    shutdown: CancellationToken,
}

impl Drop for Api {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// What a client gets.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

impl Answer {
    /// Status and errcode.
    pub(super) fn error(&self) -> (u16, &str) {
        let errcode = self.body["errcode"].as_str().unwrap_or_default();
        (self.status.as_u16(), errcode)
    }

    /// The body of a 200.
    #[track_caller]
    pub(super) fn ok(self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        self.body
    }
}

impl Api {
    pub(super) fn new() -> Self {
        let store = MemoryBackend::new();
        let backend: Arc<dyn Backend> = Arc::new(store.clone());
        let clock = Arc::new(ManualClock::at(UnixMs(1_000_000)));
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let states = Arc::new(States::new(HashKey::new([1; 16]), 1 << 20));
        let server_name = server_name!("h.test").to_owned();
        let mut settings = Settings::new(server_name.clone());
        settings.registration = Registration::Open;
        settings.password_cost = PasswordCost::CHEAPEST;
        let ids = Arc::new(Ids::seeded(7));
        let accounts = Accounts::new(backend.clone(), clock.clone(), ids.clone(), settings);
        let rooms = Rooms::new(
            hearth_rooms::Parts {
                store: backend.clone(),
                states: states.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                tasks: tasks.clone(),
                shutdown: shutdown.clone(),
            },
            hearth_rooms::Settings {
                server_name: server_name.clone(),
                key: SigningKey::generate([1; 32], "a").unwrap(),
                default_version: RoomVersion::V12,
                view_cache_bytes_max: 1 << 20,
                retention: hearth_event::retention::Bounds::default(),
            },
        );
        let sync = hearth_sync::Sync::new(hearth_sync::Parts {
            store: backend.clone(),
            states,
            typing: Arc::new(rooms.typing().clone()),
            presences: Arc::new(rooms.presences().clone()),
            clock: clock.clone(),
            settings: hearth_sync::Settings::default(),
        });
        let (notifier, stop) = (sync.notifier().clone(), shutdown.clone());
        tasks.spawn(async move { notifier.run(stop).await });
        let handles = Handles {
            gate: Gate::new(Arc::new(accounts.clone()), 1 << 20),
            accounts,
            e2ee: E2ee::new(hearth_e2ee::Parts {
                store: backend,
                clock,
                ids,
                remote: Arc::new(hearth_ports::NoRemoteKeys),
                server_name: server_name.clone(),
            }),
            sync,
            rooms,
            federation: hearth_federation::Client::island(server_name),
        };
        let router = crate::e2ee::router::<Handles>()
            .merge(crate::accounts::router())
            .merge(crate::sync::router());
        Self {
            router: fallbacks(router).with_state(handles),
            store,
            shutdown,
        }
    }

    /// The newest commit.
    pub(super) async fn position(&self) -> Position {
        self.store.snapshot().await.unwrap().position()
    }

    /// A request with a raw body.
    pub(super) async fn raw(&self, line: &str, token: &str, body: Vec<u8>) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/_matrix/client/v3/{path}"),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("Authorization", format!("Bearer {token}"))
            .body(Body::from(body))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, body }
    }

    pub(super) async fn ask(&self, line: &str, token: &str, body: &Value) -> Answer {
        self.raw(line, token, body.to_string().into_bytes()).await
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.raw(&format!("GET {path}"), token, vec![]).await
    }

    pub(super) async fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.ask(&format!("POST {path}"), token, body).await
    }

    pub(super) async fn put(&self, path: &str, token: &str, body: &Value) -> Answer {
        self.ask(&format!("PUT {path}"), token, body).await
    }

    /// Registers a user on a device.
    pub(super) async fn device(&self, name: &str, id: &str) -> Device {
        let body = json!({
            "username": name,
            "password": PASSWORD,
            "device_id": id,
            "auth": { "type": "m.login.dummy" },
        });
        let answer = self.post("register", "", &body).await.ok();
        Device {
            user: format!("@{name}:h.test"),
            id: id.to_owned(),
            token: answer["access_token"].as_str().unwrap().to_owned(),
            key: key(&format!("{name} {id}")),
        }
    }

    /// The keys of a user as another one sees them.
    pub(super) async fn query(&self, asker: &Device, user: &str) -> Value {
        let body = json!({ "device_keys": { user: [] } });
        self.post("keys/query", &asker.token, &body).await.ok()
    }

    /// Claims a key of a device: `{"algorithm:id": key}`.
    pub(super) async fn claim(&self, asker: &Device, device: &Device) -> Value {
        let body = json!({ "one_time_keys": { &device.user: { &device.id: SIGNED } } });
        let answer = self.post("keys/claim", &asker.token, &body).await.ok();
        answer["one_time_keys"][&device.user][&device.id].clone()
    }
}

pub(super) const SIGNED: &str = "signed_curve25519";

/// A key that follows from a name.
pub(super) fn key(name: &str) -> SigningKey {
    let mut seed = [3; 32];
    for (slot, byte) in seed.iter_mut().zip(name.bytes()) {
        *slot ^= byte;
    }
    SigningKey::generate(seed, "x").unwrap()
}

/// A client's device with its secrets.
pub(super) struct Device {
    pub(super) user: String,
    pub(super) id: String,
    pub(super) token: String,
    pub(super) key: SigningKey,
}

impl Device {
    pub(super) fn key_id(&self) -> String {
        format!("ed25519:{}", self.id)
    }

    pub(super) fn sign(&self, value: &mut Value) {
        sign(&self.key, &self.user, &self.key_id(), value);
    }

    /// Identity keys as a client uploads them.
    pub(super) fn keys(&self) -> Value {
        let mut keys = json!({
            "user_id": self.user,
            "device_id": self.id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                self.key_id(): self.key.public_key(),
                format!("curve25519:{}", self.id): self.key.public_key(),
            },
        });
        self.sign(&mut keys);
        keys
    }

    pub(super) fn one_time_key(&self, number: usize) -> Value {
        // Nobody computes with it: any 32 bytes in base64 are a key.
        let mut key = json!({ "key": format!("{number:0>42}A") });
        self.sign(&mut key);
        key
    }

    pub(super) fn one_time_keys(&self, numbers: std::ops::Range<usize>) -> Value {
        let keys = numbers.map(|number| (format!("{SIGNED}:K{number}"), self.one_time_key(number)));
        Value::Object(keys.collect::<Map<String, Value>>())
    }

    pub(super) fn fallback_keys(&self, number: usize) -> Value {
        let mut key = json!({ "key": format!("{number:0>42}A"), "fallback": true });
        self.sign(&mut key);
        json!({ format!("{SIGNED}:F{number}"): key })
    }
}

/// Adds a signature to an object.
pub(super) fn sign(key: &SigningKey, user: &str, key_id: &str, value: &mut Value) {
    let object = parse_object(value.to_string().as_bytes(), Strictness::Strict).unwrap();
    let message = to_string_without(&object, &["signatures", "unsigned"]);
    value["signatures"][user][key_id] = json!(key.sign_bytes(message.as_bytes()));
}

/// A user's cross-signing keys with their secrets.
pub(super) struct Identity {
    pub(super) user: String,
    pub(super) master: SigningKey,
    pub(super) self_signing: SigningKey,
    pub(super) user_signing: SigningKey,
}

/// The id of a cross-signing key.
pub(super) fn id_of(key: &SigningKey) -> String {
    format!("ed25519:{}", key.public_key())
}

impl Identity {
    pub(super) fn new(user: &str, number: u8) -> Self {
        Self {
            user: user.to_owned(),
            master: key(&format!("master {number}")),
            self_signing: key(&format!("self {number}")),
            user_signing: key(&format!("user {number}")),
        }
    }

    pub(super) fn public(&self, usage: &str, key: &SigningKey) -> Value {
        json!({
            "user_id": self.user,
            "usage": [usage],
            "keys": { id_of(key): key.public_key() },
        })
    }

    /// The body of an upload.
    pub(super) fn body(&self) -> Value {
        let master =
            |value: &mut Value| sign(&self.master, &self.user, &id_of(&self.master), value);
        let mut self_signing = self.public("self_signing", &self.self_signing);
        let mut user_signing = self.public("user_signing", &self.user_signing);
        master(&mut self_signing);
        master(&mut user_signing);
        json!({
            "master_key": self.public("master", &self.master),
            "self_signing_key": self_signing,
            "user_signing_key": user_signing,
        })
    }
}
