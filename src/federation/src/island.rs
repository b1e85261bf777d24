//! A server that talks with no other.

use std::sync::Arc;

use hearth_event::SigningKey;
use hearth_ports::{BoxFuture, HttpOut, OutError, OutRequest, OutResponse, Service};
use hearth_types::{Ids, ManualClock};
use ruma::OwnedServerName;

use crate::{Client, OwnKeys, Policy, Resolver};

/// HTTP that leads nowhere.
struct Nowhere;

impl HttpOut for Nowhere {
    fn send(&self, _: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async { Err(OutError::Connect("there is no network".into())) })
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

impl Client {
    /// A client that never reaches anybody, for tests of what asks one.
    pub fn island(server_name: OwnedServerName) -> Self {
        let clock = Arc::new(ManualClock::default());
        let key = SigningKey::generate([1; 32], "island").expect("the version is made of letters");
        let keys = OwnKeys::new(server_name, key, Vec::new(), clock.clone());
        let http = Arc::new(Nowhere);
        let resolver = Resolver::new(http.clone(), clock, Arc::new(Ids::seeded(1)));
        Self::new(http, resolver, keys, Policy::off())
    }
}
