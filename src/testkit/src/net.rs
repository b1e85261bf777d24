//! The network between the servers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hearth_ports::{BoxFuture, HttpOut, OutError, OutRequest, OutResponse, Service, full_body};
use hearth_types::Ids;
use http::Request;
use http_body_util::BodyExt;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// The longest time after which a request arrives for the second time.
const LATE_MS_MAX: u64 = 20_000;

/// What the network does to requests, in thousandths and milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// So many of a thousand requests are lost on their way.
    pub lost: u64,
    /// So many of a thousand answers are lost: the request was done.
    pub unanswered: u64,
    /// So many of a thousand requests arrive twice: at once, or some seconds later.
    pub doubled: u64,
    /// The longest way.
    pub delay_ms_max: u64,
}

/// The network. Cheap to clone.
#[derive(Clone)]
pub struct Net(Arc<Inner>);

struct Inner {
    chance: Ids,
    // Held for a few operations, never over an await.
    wiring: Mutex<Wiring>,
    late: TaskTracker,
}

/// A server that listens. Each start is a life of its own.
#[derive(Clone)]
struct Listener {
    life: u64,
    router: Router,
}

#[derive(Default)]
struct Wiring {
    listeners: BTreeMap<String, Listener>,
    cut: BTreeSet<(String, String)>,
    faults: Faults,
    requests: u64,
}

impl Net {
    /// A network without servers and without faults.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Inner {
            chance: Ids::seeded(seed),
            wiring: Mutex::default(),
            late: TaskTracker::new(),
        }))
    }

    fn wiring(&self) -> MutexGuard<'_, Wiring> {
        self.0.wiring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `end`, by the seed.
    pub fn pick(&self, end: u64) -> u64 {
        u64::from_be_bytes(self.0.chance.bytes()) % end.max(1)
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.wiring().faults = faults;
    }

    /// Nothing passes between two servers.
    pub fn cut(&self, one: &str, other: &str) {
        let mut wiring = self.wiring();
        wiring.cut.insert((one.to_owned(), other.to_owned()));
        wiring.cut.insert((other.to_owned(), one.to_owned()));
    }

    /// Everything passes again, at once and unharmed.
    pub fn heal(&self) {
        let mut wiring = self.wiring();
        wiring.cut.clear();
        wiring.faults = Faults::default();
    }

    /// How many requests were sent.
    pub fn requests(&self) -> u64 {
        self.wiring().requests
    }

    pub(crate) fn attach(&self, name: &str, life: u64, router: Router) {
        let listener = Listener { life, router };
        self.wiring().listeners.insert(name.to_owned(), listener);
    }

    pub(crate) fn detach(&self, name: &str) {
        self.wiring().listeners.remove(name);
    }

    pub(crate) fn wire(&self, from: &str, life: u64) -> Wire {
        Wire {
            net: self.clone(),
            from: from.to_owned(),
            life,
        }
    }

    fn happens(&self, of_thousand: u64) -> bool {
        of_thousand > 0 && self.pick(1_000) < of_thousand
    }

    async fn delay(&self) {
        let most = self.wiring().faults.delay_ms_max;
        let millis = 1 + self.pick(most.max(1));
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Whether a request gets through now, and to whom.
    fn reach(&self, from: &str, to: &str) -> Option<Listener> {
        let wiring = self.wiring();
        let is_cut = wiring.cut.contains(&(from.to_owned(), to.to_owned()));
        wiring.listeners.get(to).filter(|_| !is_cut).cloned()
    }

    /// Whether a server still lives the life that it did. What is left of an earlier one neither sends nor hears.
    fn lives(&self, name: &str, life: u64) -> bool {
        let wiring = self.wiring();
        let listener = wiring.listeners.get(name);
        listener.is_some_and(|listener| listener.life == life)
    }

    /// The same request once more, some time later, to whoever is there then.
    fn repeat_later(&self, (from, to): (String, String), letter: Letter) {
        let net = self.clone();
        let pause = Duration::from_millis(self.pick(LATE_MS_MAX));
        self.0.late.spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(listener) = net.reach(&from, &to) {
                listener.router.oneshot(letter.request()).await.unwrap();
            }
        });
    }
}

/// A request that can be sent more than once.
#[derive(Clone)]
struct Letter {
    parts: http::request::Parts,
    body: Bytes,
}

impl Letter {
    fn request(&self) -> Request<Body> {
        let mut parts = self.parts.clone();
        let path = parts.uri.path_and_query().unwrap().clone();
        parts.uri = path.into();
        Request::from_parts(parts, Body::from(self.body.clone()))
    }
}

/// One server's way into the network, in one of its lives.
pub(crate) struct Wire {
    net: Net,
    from: String,
    life: u64,
}

impl Wire {
    /// Who gets a request; an error if it gets nowhere.
    fn listener(&self, to: &str) -> Result<Listener, OutError> {
        let listener = self.net.reach(&self.from, to);
        listener
            .filter(|_| self.net.lives(&self.from, self.life))
            .ok_or_else(|| OutError::Connect("nobody is there".into()))
    }
}

impl HttpOut for Wire {
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async move {
            let (parts, body) = request.request.into_parts();
            let to = parts.uri.authority().map(ToString::to_string).unwrap();
            let body = body.collect().await.unwrap().to_bytes();
            let letter = Letter { parts, body };
            let faults = {
                let mut wiring = self.net.wiring();
                wiring.requests += 1;
                wiring.faults
            };
            self.net.delay().await;
            let there = self.listener(&to)?;
            if self.net.happens(faults.lost) {
                return Err(OutError::Timeout);
            }
            let mut answer = there
                .router
                .clone()
                .oneshot(letter.request())
                .await
                .unwrap();
            if self.net.happens(faults.doubled) {
                match self.net.pick(2) {
                    0 => answer = there.router.oneshot(letter.request()).await.unwrap(),
                    _ => self
                        .net
                        .repeat_later((self.from.clone(), to.clone()), letter.clone()),
                }
            }
            let (head, body) = answer.into_parts();
            let body: Bytes = body.collect().await.unwrap().to_bytes();
            self.net.delay().await;
            // Whoever stopped meanwhile answers nothing, and whoever asked and stopped hears nothing.
            if self.listener(&to)?.life != there.life || self.net.happens(faults.unanswered) {
                return Err(OutError::Timeout);
            }
            Ok(OutResponse {
                uri: letter.parts.uri,
                response: http::Response::from_parts(head, full_body(body)),
            })
        })
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
