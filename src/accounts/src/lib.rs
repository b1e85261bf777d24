//! Users and their sessions: registration, login, tokens, user-interactive authentication, devices, profiles, account
//! data, push rules and filters.
//!
//! [`Accounts`] is the handle through which all of it is reached; it implements [`hearth_ports::Authenticate`]. Each
//! operation loads, decides and commits one batch; what it returns is durable. A batch expects the rows on which its
//! decision rests, so that of two that contradict each other one is decided again.
//!
//! Every session is made in one place (`sessions::mint`), which refuses accounts that may not have one.
//!
//! Knows no HTTP and no rooms: what a change means for rooms is a row in `JOBS`.

mod account_data;
mod authenticate;
mod devices;
mod error;
mod filters;
mod jobs;
mod login;
mod moderation;
mod openid;
mod password;
mod profile;
mod push_rules;
mod registration;
mod registration_tokens;
mod services;
mod sessions;
mod settings;
mod shared_secret;
mod threepids;
mod tokens;
mod turn;
mod uia;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use hearth_ports::{Namespaces, NoNamespaces};
use hearth_store::{Backend, Batch, Snapshot};
use hearth_types::{Clock, Ids};
use ruma::UserId;

pub use hearth_data::row::Json;
pub use hearth_store::Error as StoreError;

pub use crate::account_data::AccountDataError;
pub use crate::devices::Device;
pub use crate::error::{Error, NameError};
pub use crate::login::{Identifier, Login};
pub use crate::moderation::{Erase, Flag, Logout, User};
pub use crate::openid::OpenidToken;
pub use crate::profile::{DISPLAYNAME_BYTES_MAX, ProfileError};
pub use crate::push_rules::{PushRuleError, RuleChange, RulePlace};
pub use crate::registration::{NewUser, Registered, RegistrationKind};
pub use crate::registration_tokens::{NewRegistrationToken, RegistrationToken};
pub use crate::sessions::{NewDevice, RefreshTokens, Refreshed, Session};
pub use crate::settings::{GuestAccess, PasswordCost, Policy, Registration, Settings};
pub use crate::shared_secret::SharedSecretRequest;
pub use crate::turn::{Turn, TurnCredentials};
pub use crate::uia::{Challenge, Failure, Flows, Passed, Stage, UiaAnswer, UiaCall};

/// What every operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How often a decision is made again because somebody else was first.
const DECISIONS_MAX: usize = 32;

/// The users of this server. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Backend>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    settings: Settings,
    namespaces: Arc<dyn Namespaces>,
    hasher: password::Hasher,
    uia: uia::Sessions,
    nonces: shared_secret::Nonces,
    seen: authenticate::Seen,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts")
            .field("server_name", &self.inner.settings.server_name)
            .finish_non_exhaustive()
    }
}

impl Accounts {
    /// The users in a store.
    pub fn new(
        store: Arc<dyn Backend>,
        clock: Arc<dyn Clock>,
        ids: Arc<Ids>,
        settings: Settings,
    ) -> Self {
        Self::beside_services((store, clock, ids), settings, Arc::new(NoNamespaces))
    }

    /// The users in a store, some of which belong to application services.
    pub fn beside_services(
        (store, clock, ids): (Arc<dyn Backend>, Arc<dyn Clock>, Arc<Ids>),
        settings: Settings,
        namespaces: Arc<dyn Namespaces>,
    ) -> Self {
        let hasher = password::Hasher::new(settings.password_cost, settings.password_workers);
        let inner = Inner {
            store,
            clock,
            ids,
            settings,
            namespaces,
            hasher,
            uia: uia::Sessions::default(),
            nonces: shared_secret::Nonces::default(),
            seen: authenticate::Seen::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What the crate was set up with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// Whether a user id is one of this server's.
    pub fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.inner.settings.server_name
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.inner.store.snapshot().await?)
    }

    /// Loads, decides and commits; all again with a newer snapshot when somebody else was first. An empty batch is
    /// not committed.
    async fn decide<T, F, Fut>(&self, decision: F) -> Result<T>
    where
        F: Fn(Arc<dyn Snapshot>) -> Fut,
        Fut: Future<Output = Result<(Batch, T)>>,
    {
        for _ in 0..DECISIONS_MAX {
            let (batch, value) = decision(self.snapshot().await?).await?;
            if batch.is_empty() {
                return Ok(value);
            }
            match self.inner.store.commit(batch).await {
                Ok(_) => return Ok(value),
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }
}

#[cfg(test)]
mod tests;
