//! Nonsense for every route: malformed JSON, wrong types, huge and deeply nested bodies, odd percent-encoding, bad tokens.
//!
//! No answer may be 5xx, every refusal must be a Matrix error, no thread may panic, and memory stays bounded. The routes are
//! those of the specification (`routes.tsv`, made by `gen_routes.py`), whether the server has them or not.

mod nonsense;
mod routes;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::Method;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Result,
    client::{Answer, Http, User},
    server::{Server, Setup},
};
use nonsense::{Case, Size, Token};
pub use routes::{Auth, Route, routes};

/// The server never needs more memory for any of this. Its own aim (`memory_limit`) is 256 MiB by default.
const MEMORY_MIB_MAX: f64 = 400.0;
/// Routes that are walked at the same time.
const ROUTES_AT_ONCE: usize = 8;
/// A user who loses her token (there are routes that log out) is replaced so many times per route.
const USERS_PER_ROUTE_MAX: u64 = 400;
/// A request without an answer is sent so many times.
const TRIES_MAX: usize = 5;
/// So many findings per route are printed; the rest are counted.
const FINDINGS_PER_ROUTE_MAX: usize = 5;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Random bodies per route, beyond the fixed list.
    pub random: usize,
    /// Of the random bodies.
    pub seed: u64,
    /// Only routes whose path contains this.
    pub only: Option<String>,
}

#[derive(Debug, Default)]
struct Findings {
    by_route: BTreeMap<String, Vec<String>>,
    statuses: BTreeMap<u16, u64>,
}

struct Walk {
    /// For nonsense only: a server that does not read a body to its end closes the connection, and whatever is sent on
    /// it next gets no answer.
    http: Http,
    /// For what has to be answered.
    visitors: Http,
    options: Options,
    requests: AtomicU64,
    findings: Mutex<Findings>,
}

/// Runs it against a server of its own; an error is the list of findings.
pub async fn run(options: Options, folder: &Path) -> Result<String> {
    // An island: what is asked of other servers would rightly end in 502, and this test is about 5xx of our own.
    let setup = Setup::new(folder)?.with("HEARTH_FEDERATION__ENABLED", "false");
    let server = Server::start(setup).await?;
    let before = server.process().memory_mib()?;
    let walk = Arc::new(Walk {
        http: server.http.apart(),
        visitors: server.http.clone(),
        options,
        requests: AtomicU64::new(0),
        findings: Mutex::default(),
    });
    walk_all(&walk).await?;
    let memory = server.process().memory_peak_mib()?;
    let alive = server.http.is_up().await;
    let setup = server.stop().await?;
    let mut told = walk.told();
    told.extend(setup.panics()?);
    if memory > MEMORY_MIB_MAX {
        told.push(format!(
            "memory went up to {memory:.0} MiB, {MEMORY_MIB_MAX:.0} are allowed"
        ));
    }
    if !alive {
        told.push("the server no longer answers".to_owned());
    }
    if !told.is_empty() {
        return Err(format!("{} findings\n  {}", told.len(), told.join("\n  ")).into());
    }
    let requests = walk.requests.load(Ordering::Relaxed);
    Ok(format!(
        "{requests} requests, statuses {}, memory {before:.0} → peak {memory:.0} MiB",
        walk.statuses()
    ))
}

async fn walk_all(walk: &Arc<Walk>) -> Result<()> {
    let wanted = |route: &Route| {
        walk.options
            .only
            .as_ref()
            .is_none_or(|only| route.path.contains(only))
    };
    let mut waiting = routes().into_iter().filter(wanted).enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < ROUTES_AT_ONCE
            && let Some((index, route)) = waiting.next()
        {
            running.spawn(walk_route(Arc::clone(walk), index, route));
        }
        match running.join_next().await {
            Some(ended) => ended??,
            None => return Ok(()),
        }
    }
}

async fn walk_route(walk: Arc<Walk>, index: usize, route: Route) -> Result<()> {
    let mut random = StdRng::seed_from_u64(walk.options.seed.wrapping_add(index as u64));
    let mut visitor = Visitor::arrive(&walk.visitors, index, 0).await?;
    for case in nonsense::cases(&route, walk.options.random, &mut random) {
        let status = walk.try_case(&route, &visitor, &case).await;
        if status == Some(401)
            && matches!(case.token, Token::Valid)
            && visitor.generation < USERS_PER_ROUTE_MAX
        {
            visitor = visitor.replace_if_logged_out(&walk.visitors, index).await?;
        }
    }
    Ok(())
}

/// A user with a room, an event and so on, for the valid parts of requests.
struct Visitor {
    user: User,
    room: String,
    event: String,
    generation: u64,
}

impl Visitor {
    async fn arrive(http: &Http, index: usize, generation: u64) -> Result<Self> {
        let user = http
            .register(&format!("visitor{index}x{generation}"))
            .await?;
        let room = user.create_room(&json!({"preset": "public_chat"})).await?;
        let event = user.send(&room, "first", "hello").await?;
        Ok(Self {
            user,
            room,
            event,
            generation,
        })
    }

    async fn replace_if_logged_out(self, http: &Http, index: usize) -> Result<Self> {
        if self
            .user
            .read("/_matrix/client/v3/account/whoami")
            .await
            .is_ok()
        {
            return Ok(self);
        }
        Self::arrive(http, index, self.generation + 1).await
    }
}

impl Walk {
    /// Sends one request and judges the answer; gives the status.
    async fn try_case(&self, route: &Route, visitor: &Visitor, case: &Case) -> Option<u16> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let path = case.path(route, &visitor.user.id, &visitor.room, &visitor.event);
        let token = case.token.bytes(&visitor.user.token);
        let method = case.method.clone().unwrap_or_else(|| route.method.clone());
        let body = case.body.clone();
        let what = format!("{method} {}: {}", shortened(&path), case.name);
        match self.send(method, &path, token.as_deref(), body).await {
            Ok(answer) => {
                if let Some(finding) = judge(&path, answer.status, &answer.body) {
                    self.find(route, format!("{what}: {finding}"));
                }
                self.count(answer.status);
                Some(answer.status)
            }
            Err(_) if case.size == Size::Large => None,
            Err(error) => {
                self.find(route, format!("{what}: no answer: {error:?}"));
                None
            }
        }
    }

    /// A server may answer before it has read a body, and then close the connection: the answer, or the next request on
    /// it, can get lost on the way. So no answer counts only if there is none again and again.
    async fn send(
        &self,
        method: Method,
        path: &str,
        token: Option<&[u8]>,
        body: Bytes,
    ) -> Result<Answer> {
        let mut tries = 1;
        loop {
            let sent = self.http.send(method.clone(), path, token, body.clone());
            match sent.await {
                Err(_) if tries < TRIES_MAX => tries += 1,
                done => return done,
            }
        }
    }

    fn find(&self, route: &Route, finding: String) {
        let key = format!("{} {}", route.method, route.path);
        self.findings()
            .by_route
            .entry(key)
            .or_default()
            .push(finding);
    }

    fn count(&self, status: u16) {
        *self.findings().statuses.entry(status).or_default() += 1;
    }

    fn findings(&self) -> std::sync::MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        for findings in self.findings().by_route.values() {
            told.extend(findings.iter().take(FINDINGS_PER_ROUTE_MAX).cloned());
            if findings.len() > FINDINGS_PER_ROUTE_MAX {
                told.push(format!(
                    "  … and {} more there",
                    findings.len() - FINDINGS_PER_ROUTE_MAX
                ));
            }
        }
        told
    }

    fn statuses(&self) -> String {
        let counts: Vec<String> = self
            .findings()
            .statuses
            .iter()
            .map(|(s, n)| format!("{s}: {n}"))
            .collect();
        counts.join(", ")
    }
}

/// What is wrong with an answer.
fn judge(path: &str, status: u16, body: &[u8]) -> Option<String> {
    // Described: a request goes to the other user's server, and an island reaches none.
    let is_described = status == 502 && path.contains("/chat.hearth.social/friends/");
    if status >= 500 && !is_described {
        return Some(format!(
            "status {status}: {}",
            shortened(&String::from_utf8_lossy(body))
        ));
    }
    // What is no HTTP at all is refused below Matrix, with an empty body.
    let below_matrix = matches!(status, 400 | 414 | 431) && body.is_empty();
    if status < 400 || below_matrix || !path.starts_with("/_matrix") {
        return None;
    }
    let errcode = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|error| error.get("errcode").cloned());
    // User-interactive authentication asks with 401 and flows instead.
    let flows = status == 401 && body.windows(7).any(|part| part == b"\"flows\"");
    if flows || errcode.is_some_and(|code| code.is_string()) {
        return None;
    }
    Some(format!(
        "status {status} without an errcode: {}",
        shortened(&String::from_utf8_lossy(body))
    ))
}

fn shortened(text: &str) -> String {
    let start: String = text.chars().take(200).collect();
    if start.len() < text.len() {
        format!("{start}…")
    } else {
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_is_a_finding() {
        assert!(judge("/_matrix/x", 500, b"{\"errcode\":\"M_UNKNOWN\"}").is_some());
        assert!(judge("/_matrix/x", 502, b"{\"errcode\":\"M_UNKNOWN\"}").is_some());
    }

    #[test]
    fn that_the_server_of_a_friend_is_not_there_is_none() {
        let path = "/_matrix/client/unstable/chat.hearth.social/friends/%40a%3Ab/request";
        assert!(judge(path, 502, b"{\"errcode\":\"M_UNKNOWN\"}").is_none());
        assert!(judge(path, 502, b"nothing").is_some());
        assert!(judge(path, 500, b"{\"errcode\":\"M_UNKNOWN\"}").is_some());
    }

    #[test]
    fn a_refusal_needs_an_errcode() {
        assert!(judge("/_matrix/x", 404, b"not found").is_some());
        assert!(judge("/_matrix/x", 404, b"{\"errcode\":\"M_UNRECOGNIZED\"}").is_none());
        assert!(judge("/_matrix/x", 401, b"{\"flows\":[]}").is_none());
        assert!(judge("/_matrix/x", 431, b"").is_none());
    }

    #[test]
    fn the_routes_are_those_of_the_specification() {
        let all = routes();
        assert!(all.len() > 160);
        let send = all
            .iter()
            .find(|route| route.path.contains("/send/{eventType}"))
            .unwrap();
        assert_eq!((send.method.as_str(), send.auth), ("PUT", Auth::Token));
    }

    #[test]
    fn every_case_of_every_route_is_a_request_that_can_be_sent() {
        let mut random = StdRng::seed_from_u64(1);
        for route in routes() {
            for case in nonsense::cases(&route, 3, &mut random) {
                let path = case.path(&route, "@a:localhost", "!r", "$e");
                assert!(
                    format!("http://127.0.0.1:1{path}")
                        .parse::<http::Uri>()
                        .is_ok(),
                    "{path}"
                );
                let token = case.token.bytes("t").unwrap_or_default();
                assert!(
                    http::HeaderValue::from_bytes(&token).is_ok(),
                    "{}",
                    case.name
                );
            }
        }
    }
}
