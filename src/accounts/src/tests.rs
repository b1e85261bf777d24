//! Tests of the crate through its public functions, on the store in memory.

mod data;
mod jobs;
mod push;
mod registering;
mod sessions;
mod states;
mod uia;

use std::sync::Arc;
use std::time::Duration;

use hearth_ports::{AuthFailure, Authenticate};
use hearth_store::MemoryBackend;
use hearth_types::{Caller, Ids, ManualClock, UnixMs};
use ruma::{OwnedUserId, UserId, server_name};

use crate::{
    Accounts, GuestAccess, Identifier, Login, NewDevice, NewUser, PasswordCost, RefreshTokens,
    Registration, Session, Settings,
};

pub(super) const PASSWORD: &str = "correct horse";

/// A server with its store and clock.
pub(super) struct Fixture {
    pub(super) accounts: Accounts,
    pub(super) store: MemoryBackend,
    pub(super) clock: Arc<ManualClock>,
}

impl Fixture {
    /// Open to all, guests too.
    pub(super) fn open() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::new(server_name!("h.test").to_owned());
        settings.registration = Registration::Open;
        settings.guests = GuestAccess::Allowed;
        settings.shared_secret = Some("shh".to_owned());
        settings.access_token_lifetime = Some(Duration::from_secs(300));
        settings.password_cost = PasswordCost::CHEAPEST;
        change(&mut settings);
        let store = MemoryBackend::new();
        let clock = Arc::new(ManualClock::at(UnixMs(1_000_000)));
        let ids = Arc::new(Ids::seeded(7));
        let accounts = Accounts::new(Arc::new(store.clone()), clock.clone(), ids, settings);
        Self {
            accounts,
            store,
            clock,
        }
    }

    /// Registers a user with [`PASSWORD`].
    pub(super) async fn user(&self, name: &str) -> Session {
        self.user_with(name, &NewDevice::default()).await
    }

    pub(super) async fn user_with(&self, name: &str, device: &NewDevice) -> Session {
        let registered = self.accounts.register(new_user(name), Some(device)).await;
        registered.unwrap().session.unwrap()
    }

    pub(super) async fn login(&self, name: &str, device: &NewDevice) -> crate::Result<Session> {
        self.accounts.login(password(name, PASSWORD), device).await
    }

    /// Logs in on a new device.
    pub(super) async fn enter(&self, login: Login) -> crate::Result<Session> {
        self.accounts.login(login, &NewDevice::default()).await
    }

    pub(super) async fn caller(&self, token: &str) -> Result<Caller, AuthFailure> {
        self.accounts.authenticate(token).await
    }

    /// Whether a token is good.
    pub(super) async fn lives(&self, token: &str) -> bool {
        self.caller(token).await.is_ok()
    }
}

pub(super) fn new_user(name: &str) -> NewUser {
    NewUser {
        username: Some(name.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..NewUser::default()
    }
}

pub(super) fn password(name: &str, password: &str) -> Login {
    Login::Password {
        identifier: Identifier::User(name.to_owned()),
        password: password.to_owned(),
    }
}

pub(super) fn device(id: &str) -> NewDevice {
    NewDevice {
        device_id: Some(id.into()),
        ..NewDevice::default()
    }
}

pub(super) fn refreshable() -> NewDevice {
    NewDevice {
        refresh: RefreshTokens::Supported,
        ..NewDevice::default()
    }
}

pub(super) fn user_id(text: &str) -> OwnedUserId {
    UserId::parse(text).unwrap()
}
