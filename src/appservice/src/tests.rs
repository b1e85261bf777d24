//! Services beside rooms, on the store in memory; what they are told is looked at.

mod telling;

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hearth_data::state::{HashKey, States};
use hearth_event::{RoomVersion, SigningKey};
use hearth_ports::{BoxFuture, HttpOut, Namespaces, OutError, OutRequest, OutResponse, full_body};
use hearth_rooms::{NewEvent, NewRoom, Preset, Rooms, Sender};
use hearth_store::MemoryBackend;
use hearth_types::{Ids, ManualClock, UnixMs};
use http_body_util::BodyExt;
use ruma::{OwnedRoomId, OwnedUserId, RoomId, UserId, server_name};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{AppServices, Error, Parts, Registration, Registrations};

/// A bridge of users, rooms and aliases.
const BRIDGE: &str = "
id: bridge
url: http://bridge.test:9000/
as_token: theirs
hs_token: ours
sender_localpart: bridgebot
rate_limited: false
de.sorunome.msc2409.push_ephemeral: true
namespaces:
  users:
    - exclusive: true
      regex: '@_b_.*'
  aliases:
    - exclusive: false
      regex: '#_b_.*'
  rooms: []
";

/// The services' side: takes what comes, or answers with a status.
#[derive(Clone)]
struct Wire {
    status: Arc<AtomicU16>,
    seen: Arc<Mutex<Vec<(String, String, Value)>>>,
}

impl Wire {
    fn new() -> Self {
        Self {
            status: Arc::new(AtomicU16::new(200)),
            seen: Arc::default(),
        }
    }

    /// From now on answers so; 0: not at all.
    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Method and URI, token, body of what came.
    fn seen(&self) -> Vec<(String, String, Value)> {
        self.seen.lock().unwrap().clone()
    }
}

impl HttpOut for Wire {
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async move {
            let (parts, body) = request.request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let token = parts.headers["authorization"].to_str().unwrap().to_owned();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let line = format!("{} {}", parts.method, parts.uri);
            self.seen.lock().unwrap().push((line, token, body));
            match self.status.load(Ordering::SeqCst) {
                0 => Err(OutError::Connect("nobody is there".into())),
                status => Ok(OutResponse {
                    uri: parts.uri,
                    response: http::Response::builder()
                        .status(status)
                        .body(full_body("{}"))
                        .unwrap(),
                }),
            }
        })
    }

    fn services<'a>(
        &'a self,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Vec<hearth_ports::Service>, OutError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// A server with its services.
struct House {
    store: Arc<MemoryBackend>,
    states: Arc<States>,
    rooms: Rooms,
    wire: Wire,
}

/// Services that run.
struct Running {
    services: AppServices,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn user(name: &str) -> OwnedUserId {
    UserId::parse(format!("@{name}:house")).unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)))
}

impl House {
    fn new() -> Self {
        let store = Arc::new(MemoryBackend::new());
        let states = Arc::new(States::new(HashKey::new([7; 16]), 1 << 20));
        let rooms = Rooms::new(
            hearth_rooms::Parts {
                store: store.clone(),
                states: states.clone(),
                clock: clock(),
                ids: Arc::new(Ids::seeded(1)),
                tasks: TaskTracker::new(),
                shutdown: CancellationToken::new(),
            },
            hearth_rooms::Settings {
                server_name: server_name!("house").to_owned(),
                key: SigningKey::generate([1; 32], "a").unwrap(),
                default_version: RoomVersion::V12,
                view_cache_bytes_max: 1 << 20,
                retention: hearth_event::retention::Bounds::default(),
            },
        );
        Self {
            store,
            states,
            rooms,
            wire: Wire::new(),
        }
    }

    fn start(&self, yaml: &str) -> Running {
        let registration = Registration::from_yaml(yaml).unwrap();
        let registrations = Registrations::new(server_name!("house"), vec![registration]);
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        let parts = Parts {
            store: self.store.clone(),
            states: self.states.clone(),
            clock: clock(),
            http: Arc::new(self.wire.clone()),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        let services = AppServices::new(parts, Arc::new(registrations.unwrap()));
        let running = services.clone();
        tasks.spawn(async move { running.run().await });
        Running {
            services,
            tasks,
            shutdown,
        }
    }

    async fn room(&self, name: &str, alias: Option<&str>) -> OwnedRoomId {
        let room = NewRoom {
            preset: Some(Preset::PublicChat),
            alias_localpart: alias.map(str::to_owned),
            ..NewRoom::default()
        };
        self.rooms.create(&user(name), room).await.unwrap()
    }

    async fn join(&self, name: &str, room: &RoomId) {
        let caller = hearth_types::Caller {
            user: user(name),
            device: None,
            is_guest: false,
            is_admin: false,
            is_suspended: false,
            service: None,
        };
        let joined = self
            .rooms
            .join_with(&caller, room.into(), (None, None))
            .await;
        joined.unwrap();
    }

    async fn say(&self, name: &str, room: &RoomId, text: &str) {
        let sender = Sender {
            user: user(name),
            device: None,
            at: None,
        };
        let content = format!(r#"{{"msgtype":"m.text","body":"{text}"}}"#);
        let event = NewEvent {
            kind: "m.room.message".to_owned(),
            content: serde_json::value::RawValue::from_string(content).unwrap(),
            txn_id: None,
        };
        self.rooms.send(&sender, room, event).await.unwrap();
    }

    /// Waits until the service was told this, and answers all that it was told: messages, and who was made what.
    async fn told(&self, last: &str) -> Vec<String> {
        let waiting = async {
            loop {
                let told = self.all_told();
                if told.iter().any(|told| told == last) {
                    return told;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(3_600), waiting).await;
        told.unwrap_or_else(|_| panic!("never told {last}: {:?}", self.all_told()))
    }

    fn all_told(&self) -> Vec<String> {
        let seen = self.wire.seen();
        let events = seen
            .iter()
            .flat_map(|(_, _, body)| body["events"].as_array().cloned().unwrap_or_default());
        events.filter_map(|event| short(&event)).collect()
    }
}

/// A message's text, or whose membership it is and which.
fn short(event: &Value) -> Option<String> {
    let content = &event["content"];
    match event["type"].as_str()? {
        "m.room.message" => Some(content["body"].as_str()?.to_owned()),
        "m.room.member" => {
            let (who, what) = (
                event["state_key"].as_str()?,
                content["membership"].as_str()?,
            );
            Some(format!("{who} {what}"))
        }
        _ => None,
    }
}

#[test]
fn registrations_are_read_and_fields_of_other_servers_passed_over() {
    let registration = Registration::from_yaml(BRIDGE).unwrap();
    assert_eq!(registration.id, "bridge");
    assert_eq!(registration.rate_limited, Some(false));
    assert_eq!(registration.namespaces.users[0].regex, "@_b_.*");
    assert!(registration.namespaces.users[0].exclusive);
    assert!(!format!("{registration:?}").contains("theirs"));
    for text in ["", "id: x", "- a", "id: [", "namespaces: 7", "&a [*a]"] {
        let refused = Registration::from_yaml(text);
        assert!(matches!(refused, Err(Error::NotARegistration(_))), "{text}");
    }
}

#[test]
fn registrations_that_contradict_each_other_or_themselves_are_refused() {
    let with = |from: &str, to: &str| Registration::from_yaml(&BRIDGE.replace(from, to)).unwrap();
    let same = || Registration::from_yaml(BRIDGE).unwrap();
    let other = with("id: bridge", "id: other");
    let other_token = with("as_token: theirs", "as_token: others");
    let cases = [
        vec![same(), other],
        vec![same(), other_token],
        vec![with("as_token: theirs", "as_token: ''")],
        vec![with("'@_b_.*'", "'@_b_('")],
        vec![with("'@_b_.*'", "'(?:a{1000}){1000}{1000}'")],
        vec![with("http://bridge.test:9000/", "nowhere")],
    ];
    for registrations in cases {
        let named = format!("{registrations:?}");
        let refused = Registrations::new(server_name!("house"), registrations);
        assert!(matches!(refused, Err(Error::Refused(_))), "{named}");
    }
}

#[test]
fn names_are_held_from_their_beginning() {
    let registrations = Registrations::new(
        server_name!("house"),
        vec![Registration::from_yaml(BRIDGE).unwrap()],
    );
    let registrations = registrations.unwrap();
    for (name, is_held) in [
        ("_b_ann", true),
        ("bridgebot", true),
        ("ann", false),
        ("x_b_ann", false),
    ] {
        assert_eq!(
            registrations.may_be("bridge", &user(name)),
            is_held,
            "{name}"
        );
        let is_reserved = registrations.is_user_reserved(&user(name), None);
        assert_eq!(is_reserved, is_held, "{name}");
        assert!(!registrations.is_user_reserved(&user(name), Some("bridge")));
        assert!(!registrations.may_be("other", &user(name)));
    }
    let of_token = registrations.service_of_token("theirs").unwrap();
    assert_eq!(of_token.sender, user("bridgebot"));
    assert!(!of_token.caller.is_rate_limited);
    assert!(registrations.service_of_token("ours").is_none());
    assert!(registrations.service_of_token("").is_none());
}
