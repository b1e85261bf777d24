//! Application services: bridges and bots that hold a part of the names and are told of what happens there
//! (application service API).
//!
//! [`Registrations`] are what the administrator has registered: who holds which token, which names belong to whom. They
//! are the [`hearth_ports::Namespaces`] of the server. [`AppServices`] tells each service of the events that concern
//! it: one follower of the change log puts them into a queue for each service, in the same commit as how far it has read, and a
//! worker for each sends its queue in transactions, one at a time, until they are acknowledged.
//!
//! Knows no handlers, and of rooms only what the store says. Does not decide who may do what.

mod call;
mod deliver;
mod error;
mod follower;
mod interest;
mod ping;
mod registration;
mod registrations;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use hearth_data::state::States;
use hearth_ports::HttpOut;
use hearth_store::Backend;
use hearth_types::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use crate::error::{AliasReserved, Error, PingError};
pub use crate::registration::{Namespace, NamespaceList, Registration};
pub use crate::registrations::Registrations;

/// What every operation of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the crate needs.
#[derive(Clone)]
pub struct Parts {
    /// Where everything is kept.
    pub store: Arc<dyn Backend>,
    /// Room states.
    pub states: Arc<States>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The way to the services; to any address, as the administrator has named them.
    pub http: Arc<dyn HttpOut>,
    /// What runs in the background.
    pub tasks: TaskTracker,
    /// Ends it.
    pub shutdown: CancellationToken,
}

/// The application services of the server. Cheap to clone.
#[derive(Clone)]
pub struct AppServices(Arc<Inner>);

struct Inner {
    parts: Parts,
    registrations: Arc<Registrations>,
    /// By service: something was put into its queue, or it has shown that it is there.
    news: HashMap<Arc<str>, Notify>,
}

impl fmt::Debug for AppServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppServices").finish_non_exhaustive()
    }
}

impl AppServices {
    /// The services of these registrations.
    pub fn new(parts: Parts, registrations: Arc<Registrations>) -> Self {
        let ids = registrations.iter().map(|service| service.id.clone());
        let news = ids.map(|id| (id, Notify::new())).collect();
        Self(Arc::new(Inner {
            parts,
            registrations,
            news,
        }))
    }

    /// What is registered.
    pub fn registrations(&self) -> &Registrations {
        &self.0.registrations
    }

    fn wake(&self, service: &str) {
        if let Some(news) = self.0.news.get(service) {
            news.notify_one();
        }
    }
}
