//! For tests: other servers that answer from a function, without a network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hearth_ports::{BoxFuture, HttpOut, OutError, OutRequest, OutResponse, Service, full_body};
use hearth_store::MemoryBackend;
use hearth_types::{Ids, ManualClock, UnixMs};
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use ruma::OwnedServerName;

use crate::published::tests::keys_of;
use crate::{Client, KeyRing, OwnKeys, Policy, Resolver};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// Host of the URI, with its port.
    pub(crate) authority: String,
    /// Where it was sent to.
    pub(crate) connect: Option<String>,
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Handler = dyn Fn(&Seen) -> Option<(u16, String)> + Send + Sync;

/// All other servers: `None` for a request that reaches nobody.
#[derive(Clone)]
pub(crate) struct Others {
    handler: Arc<Handler>,
    pub(crate) services: Arc<HashMap<String, Vec<Service>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Others {
    pub(crate) fn new(
        handler: impl Fn(&Seen) -> Option<(u16, String)> + Send + Sync + 'static,
    ) -> Self {
        Self {
            handler: Arc::new(handler),
            services: Arc::default(),
            seen: Arc::default(),
        }
    }

    /// What arrived so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl HttpOut for Others {
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async move {
            let (parts, body) = request.request.into_parts();
            let seen = Seen {
                method: parts.method.to_string(),
                authority: parts.uri.authority().unwrap().to_string(),
                connect: request.options.connect.map(|to| to.to_string()),
                uri: parts.uri.path_and_query().unwrap().to_string(),
                headers: parts.headers,
                body: body.collect().await.unwrap().to_bytes(),
            };
            self.seen.lock().unwrap().push(seen.clone());
            match (self.handler)(&seen) {
                Some((status, text)) => Ok(OutResponse {
                    uri: parts.uri,
                    response: Response::builder()
                        .status(status)
                        .body(full_body(text))
                        .unwrap(),
                }),
                None => Err(OutError::Connect("nobody is there".into())),
            }
        })
    }

    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        let found = self.services.get(name).cloned().unwrap_or_default();
        Box::pin(async move { Ok(found) })
    }
}

/// A server among others.
pub(crate) struct Here {
    pub(crate) store: Arc<MemoryBackend>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) own: OwnKeys,
    pub(crate) resolver: Resolver,
    pub(crate) client: Client,
    pub(crate) others: Others,
}

/// When the tests play.
pub(crate) const NOW: u64 = 1_700_000_000_000;

impl Here {
    pub(crate) fn new(others: Others) -> Self {
        let clock = Arc::new(ManualClock::at(UnixMs(NOW)));
        let own = keys_of("here.example", 9, "own", NOW);
        let http = Arc::new(others.clone());
        let resolver = Resolver::new(http.clone(), clock.clone(), Arc::new(Ids::seeded(1)));
        let policy = Policy::on(&[], &[]);
        let client = Client::new(http, resolver.clone(), own.clone(), policy);
        Self {
            store: Arc::new(MemoryBackend::new()),
            clock,
            own,
            resolver,
            client,
            others,
        }
    }

    pub(crate) fn ring(&self, notaries: &[&str]) -> KeyRing {
        let notaries = notaries.iter().map(|name| (*name).try_into().unwrap());
        KeyRing::new(
            self.store.clone(),
            self.clock.clone(),
            self.own.clone(),
            self.client.clone(),
            notaries.collect(),
        )
    }
}

pub(crate) fn name(text: &str) -> OwnedServerName {
    text.try_into().unwrap()
}
