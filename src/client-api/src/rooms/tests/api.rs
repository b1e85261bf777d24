//! A server of rooms alone.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use hearth_appservice::{AppServices, Registration, Registrations};
use hearth_event::{RoomVersion, SigningKey};
use hearth_http::{Gate, fallbacks};
use hearth_ports::{
    Acting, AuthFailure, Authenticate, BoxFuture, HttpOut, OutError, OutRequest, OutResponse,
    Service,
};
use hearth_rooms::{HashKey, Parts, Rooms, Settings, States};
use hearth_store::{Backend, MemoryBackend};
use hearth_types::{Caller, Ids, ManualClock, ServiceCaller, UnixMs};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use ruma::UserId;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

#[derive(Clone)]
struct Handles {
    gate: Gate,
    federation: hearth_federation::Client,
    rooms: Rooms,
    sync: hearth_sync::Sync,
    e2ee: hearth_e2ee::E2ee,
    services: AppServices,
}

impl FromRef<Handles> for AppServices {
    fn from_ref(handles: &Handles) -> Self {
        handles.services.clone()
    }
}

impl FromRef<Handles> for hearth_e2ee::E2ee {
    fn from_ref(handles: &Handles) -> Self {
        handles.e2ee.clone()
    }
}

impl FromRef<Handles> for hearth_sync::Sync {
    fn from_ref(handles: &Handles) -> Self {
        handles.sync.clone()
    }
}

impl FromRef<Handles> for hearth_federation::Client {
    fn from_ref(handles: &Handles) -> Self {
        handles.federation.clone()
    }
}

impl FromRef<Handles> for Gate {
    fn from_ref(handles: &Handles) -> Self {
        handles.gate.clone()
    }
}

impl FromRef<Handles> for Rooms {
    fn from_ref(handles: &Handles) -> Self {
        handles.rooms.clone()
    }
}

/// A network that leads nowhere.
struct Nowhere;

impl HttpOut for Nowhere {
    fn send(&self, _: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async { Err(OutError::Connect("there is no network".into())) })
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

/// The one application service: it holds `#irc_…`, and its token is `bridge`.
const SERVICE: &str = "
id: irc
url: http://bridge.test:9000
as_token: bridge
hs_token: home
sender_localpart: bridge
rate_limited: false
namespaces:
  aliases:
    - exclusive: true
      regex: '#irc_.*'
";

fn app_services(parts: &Parts) -> AppServices {
    let registration = Registration::from_yaml(SERVICE).unwrap();
    let registrations = Registrations::new("house".try_into().unwrap(), vec![registration]);
    let parts = hearth_appservice::Parts {
        store: parts.store.clone(),
        states: parts.states.clone(),
        clock: parts.clock.clone(),
        http: Arc::new(Nowhere),
        tasks: parts.tasks.clone(),
        shutdown: parts.shutdown.clone(),
    };
    AppServices::new(parts, Arc::new(registrations.unwrap()))
}

/// Takes a name as its user's token.
struct ByName;

impl Authenticate for ByName {
    fn is_service(&self, token: &str) -> bool {
        token == "bridge"
    }

    fn authenticate_service<'a>(
        &'a self,
        token: &'a str,
        _: Acting<'a>,
    ) -> BoxFuture<'a, Result<Caller, AuthFailure>> {
        self.authenticate(token)
    }

    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, AuthFailure>> {
        Box::pin(async move {
            if token == "nobody" {
                return Err(AuthFailure::Unknown { soft_logout: false });
            }
            let user = UserId::parse(format!("@{token}:house"));
            let user = user.map_err(|_| AuthFailure::Unknown { soft_logout: false })?;
            Ok(Caller {
                user,
                device: Some("DEVICE".into()),
                is_guest: token.starts_with("guest"),
                is_admin: false,
                is_suspended: token == "suspended",
                service: (token == "bridge").then(|| ServiceCaller {
                    id: "irc".into(),
                    is_rate_limited: false,
                }),
            })
        })
    }
}

/// A server.
pub(super) struct Api {
    router: Router,
    store: MemoryBackend,
    pub(super) rooms: Rooms,
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
        let states = Arc::new(States::new(HashKey::new([1; 16]), 1 << 20));
        let clock = Arc::new(ManualClock::at(UnixMs(1_700_000_000_000)));
        let parts = Parts {
            store: Arc::new(store.clone()),
            states: states.clone(),
            clock: clock.clone(),
            ids: Arc::new(Ids::seeded(1)),
            tasks: TaskTracker::new(),
            shutdown: CancellationToken::new(),
        };
        let settings = Settings {
            server_name: "house".try_into().unwrap(),
            key: SigningKey::generate([1; 32], "a").unwrap(),
            default_version: RoomVersion::V12,
            view_cache_bytes_max: 1 << 20,
            retention: hearth_event::retention::Bounds::default(),
        };
        let services = app_services(&parts);
        let rooms = Rooms::new(parts, settings);
        let sync = hearth_sync::Sync::new(hearth_sync::Parts {
            store: Arc::new(store.clone()),
            states,
            typing: Arc::new(rooms.typing().clone()),
            presences: Arc::new(rooms.presences().clone()),
            clock: clock.clone(),
            settings: hearth_sync::Settings::default(),
        });
        let notifier = sync.notifier().clone();
        let tasks = TaskTracker::new();
        tasks.spawn(async move { notifier.run(CancellationToken::new()).await });
        let handles = Handles {
            federation: hearth_federation::Client::island(rooms.server_name().to_owned()),
            gate: Gate::new(Arc::new(ByName), 1 << 20),
            rooms: rooms.clone(),
            services,
            sync,
            e2ee: hearth_e2ee::E2ee::new(hearth_e2ee::Parts {
                store: Arc::new(store.clone()),
                clock,
                ids: Arc::new(Ids::seeded(2)),
                remote: Arc::new(hearth_ports::NoRemoteKeys),
                server_name: "house".try_into().unwrap(),
            }),
        };
        let router = crate::rooms::router::<Handles>().merge(crate::sync::router());
        let router = fallbacks(router).with_state(handles);
        Self {
            router,
            store,
            rooms,
        }
    }

    /// The newest commit.
    pub(super) async fn position(&self) -> u64 {
        self.store.snapshot().await.unwrap().position().0
    }

    /// A request with a raw body.
    pub(super) async fn raw(&self, line: &str, token: Option<&str>, body: Vec<u8>) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/_matrix/client/v3/{path}"),
        };
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let request = request.body(Body::from(body)).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
        Answer { status, body }
    }

    pub(super) async fn ask(&self, line: &str, token: Option<&str>, body: Value) -> Answer {
        self.raw(line, token, body.to_string().into_bytes()).await
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.raw(&format!("GET {path}"), Some(token), vec![]).await
    }

    pub(super) async fn post(&self, path: &str, token: &str, body: Value) -> Answer {
        self.ask(&format!("POST {path}"), Some(token), body).await
    }

    pub(super) async fn put(&self, path: &str, token: &str, body: Value) -> Answer {
        self.ask(&format!("PUT {path}"), Some(token), body).await
    }

    /// Makes a room.
    pub(super) async fn room(&self, creator: &str, body: Value) -> String {
        let made = self.post("createRoom", creator, body).await.ok();
        made["room_id"].as_str().unwrap().to_owned()
    }
}
