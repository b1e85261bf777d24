//! The endpoints as clients see them, on the store in memory.

mod account;
mod admin;
mod fuzz;
mod guests;
mod pages;
mod services;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRef;
use hearth_accounts::{
    Accounts, GuestAccess, NewDevice, NewUser, PasswordCost, Registration, RegistrationKind,
    Settings,
};
use hearth_http::{Gate, fallbacks};
use hearth_ports::{Namespaces, NoNamespaces};
use hearth_store::MemoryBackend;
use hearth_types::{Ids, ManualClock, UnixMs};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use ruma::server_name;
use serde_json::{Value, json};
use tower::ServiceExt;

pub(super) const PASSWORD: &str = "correct horse";

#[derive(Clone)]
struct Handles {
    gate: Gate,
    federation: hearth_federation::Client,
    accounts: Accounts,
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

impl FromRef<Handles> for Accounts {
    fn from_ref(handles: &Handles) -> Self {
        handles.accounts.clone()
    }
}

/// A server.
pub(super) struct Api {
    pub(super) router: Router,
    pub(super) accounts: Accounts,
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
    pub(super) fn open() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        Self::beside_services(change, Arc::new(NoNamespaces))
    }

    pub(super) fn beside_services(
        change: impl FnOnce(&mut Settings),
        namespaces: Arc<dyn Namespaces>,
    ) -> Self {
        let mut settings = Settings::new(server_name!("h.test").to_owned());
        settings.registration = Registration::Open;
        settings.guests = GuestAccess::Allowed;
        settings.shared_secret = Some("shh".to_owned());
        settings.access_token_lifetime = Some(Duration::from_secs(300));
        settings.password_cost = PasswordCost::CHEAPEST;
        change(&mut settings);
        let clock = Arc::new(ManualClock::at(UnixMs(1_000_000)));
        let parts = (
            Arc::new(MemoryBackend::new()) as _,
            clock as _,
            Arc::new(Ids::seeded(7)),
        );
        let accounts = Accounts::beside_services(parts, settings, namespaces);
        let gate = Gate::new(Arc::new(accounts.clone()), 1 << 20);
        let handles = Handles {
            federation: hearth_federation::Client::island(server_name!("h.test").to_owned()),
            gate,
            accounts: accounts.clone(),
        };
        let router = fallbacks(super::router::<Handles>()).with_state(handles);
        Self { router, accounts }
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

    /// A request with a JSON body.
    pub(super) async fn ask(&self, line: &str, token: Option<&str>, body: Value) -> Answer {
        self.raw(line, token, body.to_string().into_bytes()).await
    }

    /// A request without a body.
    pub(super) async fn get(&self, path: &str, token: &str) -> Answer {
        self.raw(&format!("GET {path}"), Some(token), vec![]).await
    }

    /// Registers a user with [`PASSWORD`] on a device and returns its access token.
    pub(super) async fn user(&self, name: &str, device: &str) -> String {
        let body = json!({
            "username": name,
            "password": PASSWORD,
            "device_id": device,
            "auth": { "type": "m.login.dummy" },
        });
        let answer = self.ask("POST register", None, body).await.ok();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Makes an administrator and returns her access token.
    pub(super) async fn administrator(&self, name: &str) -> String {
        let new = NewUser {
            username: Some(name.to_owned()),
            password: Some(PASSWORD.to_owned()),
            kind: RegistrationKind::ByAdministrator,
            admin: true,
            ..NewUser::default()
        };
        let registered = self
            .accounts
            .register(new, Some(&NewDevice::default()))
            .await;
        registered.unwrap().session.unwrap().access_token
    }
}

/// The stage by password.
pub(super) fn auth(name: &str, password: &str) -> Value {
    json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": name },
        "password": password,
    })
}

pub(super) fn login(name: &str) -> Value {
    auth(name, PASSWORD)
}
