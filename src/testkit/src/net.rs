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
use tower::ServiceExt;

/// What the network does to requests, in thousandths and milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// So many of a thousand requests are lost on their way.
    pub lost: u64,
    /// So many of a thousand answers are lost: the request was done.
    pub unanswered: u64,
    /// So many of a thousand requests arrive twice.
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
}

#[derive(Default)]
struct Wiring {
    routers: BTreeMap<String, Router>,
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

    pub(crate) fn attach(&self, name: &str, router: Router) {
        self.wiring().routers.insert(name.to_owned(), router);
    }

    pub(crate) fn detach(&self, name: &str) {
        self.wiring().routers.remove(name);
    }

    pub(crate) fn wire(&self, from: &str) -> Wire {
        Wire {
            net: self.clone(),
            from: from.to_owned(),
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
    fn reach(&self, from: &str, to: &str) -> Option<Router> {
        let wiring = self.wiring();
        let is_cut = wiring.cut.contains(&(from.to_owned(), to.to_owned()));
        wiring.routers.get(to).filter(|_| !is_cut).cloned()
    }
}

/// One server's way into the network.
pub(crate) struct Wire {
    net: Net,
    from: String,
}

impl HttpOut for Wire {
    fn send(&self, request: OutRequest) -> BoxFuture<'_, Result<OutResponse, OutError>> {
        Box::pin(async move {
            let (parts, body) = request.request.into_parts();
            let to = parts.uri.authority().map(ToString::to_string).unwrap();
            let body = body.collect().await.unwrap().to_bytes();
            let faults = {
                let mut wiring = self.net.wiring();
                wiring.requests += 1;
                wiring.faults
            };
            self.net.delay().await;
            let unreachable = || OutError::Connect("nobody is there".into());
            let router = self.net.reach(&self.from, &to).ok_or_else(unreachable)?;
            if self.net.happens(faults.lost) {
                return Err(OutError::Timeout);
            }
            let path = parts.uri.path_and_query().unwrap().to_string();
            let again = self.net.happens(faults.doubled);
            let mut answer = None;
            for _ in 0..=u8::from(again) {
                let mut request = Request::builder()
                    .method(parts.method.clone())
                    .uri(&path)
                    .body(Body::from(body.clone()))
                    .unwrap();
                *request.headers_mut() = parts.headers.clone();
                answer = Some(router.clone().oneshot(request).await.unwrap());
            }
            let (head, body) = answer.unwrap().into_parts();
            let body: Bytes = body.collect().await.unwrap().to_bytes();
            self.net.delay().await;
            if self.net.reach(&self.from, &to).is_none() {
                return Err(unreachable());
            }
            if self.net.happens(faults.unanswered) {
                return Err(OutError::Timeout);
            }
            Ok(OutResponse {
                uri: parts.uri,
                response: http::Response::from_parts(head, full_body(body)),
            })
        })
    }

    fn services<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Vec<Service>, OutError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
