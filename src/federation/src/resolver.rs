//! From a server name to where the server is: asks well-known and DNS, and remembers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hearth_ports::{HttpOut, OutError, OutOptions, OutRequest, no_body};
use hearth_types::{Clock, Ids, UnixMs};
use http::header::USER_AGENT;
use http::{Request, StatusCode, Uri};
use quick_cache::sync::Cache;
use ruma::{OwnedServerName, ServerName};

use crate::Target;
use crate::discovery::{
    Name, by_default, by_services, failure_life, read_name, read_well_known, service_names,
    well_known_life,
};

/// How many servers are remembered.
const SERVERS_MAX: usize = 10_000;
/// Largest well-known answer that is read, in bytes.
const WELL_KNOWN_BYTES_MAX: u64 = 50 << 10;
/// How long a server may take for it.
const WELL_KNOWN_TIME_MAX: Duration = Duration::from_secs(10);
/// How many redirects are followed for it.
const WELL_KNOWN_REDIRECTS_MAX: u8 = 5;
/// How long what DNS said is remembered. The records' own lifetimes are kept by the resolver beneath.
const SERVICES_LIFE: Duration = Duration::from_secs(5 * 60);

/// What requests say who they are from.
pub(crate) const AGENT: &str = concat!("Hearth/", env!("CARGO_PKG_VERSION"));

/// Finds servers.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    http: Arc<dyn HttpOut>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    well_known: Cache<OwnedServerName, Arc<WellKnown>>,
    targets: Cache<OwnedServerName, Arc<Found>>,
    // Lookups that are going on, so that a server is looked up once for many who wait.
    busy: Mutex<Vec<(OwnedServerName, Arc<tokio::sync::Mutex<()>>)>>,
}

/// What a host's well-known said.
struct WellKnown {
    /// Whom it delegates to; nobody if there was no valid answer.
    server: Option<OwnedServerName>,
    failures: u32,
    until: UnixMs,
}

struct Found {
    target: Target,
    until: UnixMs,
}

impl Resolver {
    /// A resolver that asks through `http`.
    pub fn new(http: Arc<dyn HttpOut>, clock: Arc<dyn Clock>, ids: Arc<Ids>) -> Self {
        Self(Arc::new(Inner {
            http,
            clock,
            ids,
            well_known: Cache::new(SERVERS_MAX),
            targets: Cache::new(SERVERS_MAX),
            busy: Mutex::default(),
        }))
    }

    /// Where a server is.
    pub async fn target(&self, server: &ServerName) -> Result<Target, OutError> {
        let host = match read_name(server) {
            Name::Settled(target) => return Ok(target),
            Name::Host(host) => host,
        };
        if let Some(found) = self.remembered(server) {
            return Ok(found);
        }
        let turn = self.turn(server);
        let guard = turn.lock().await;
        let found = match self.remembered(server) {
            Some(found) => Ok(found),
            None => self.find(server, &host).await,
        };
        drop(guard);
        self.end_turn(server, &turn);
        found
    }

    /// What was remembered of a server led nowhere: it is looked up again the next time. A well-known that failed
    /// stays remembered as that, or an unreachable host would be asked each time.
    pub fn forget(&self, server: &ServerName) {
        self.0.targets.remove(server);
        if let Some(well_known) = self.0.well_known.get(server)
            && well_known.server.is_some()
        {
            self.0.well_known.remove(server);
        }
    }

    fn remembered(&self, server: &ServerName) -> Option<Target> {
        let found = self.0.targets.get(server)?;
        (found.until > self.0.clock.now()).then(|| found.target.clone())
    }

    async fn find(&self, server: &ServerName, host: &str) -> Result<Target, OutError> {
        let now = self.0.clock.now();
        let well_known = self.well_known(server, host).await;
        let target = match well_known.server.as_deref().map(read_name) {
            Some(Name::Settled(target)) => target,
            Some(Name::Host(delegated)) => self.by_dns(&delegated).await?,
            None => self.by_dns(host).await?,
        };
        let until = well_known.until.min(now.after(SERVICES_LIFE));
        let found = Arc::new(Found {
            target: target.clone(),
            until,
        });
        self.0.targets.insert(server.to_owned(), found);
        Ok(target)
    }

    async fn by_dns(&self, host: &str) -> Result<Target, OutError> {
        for name in service_names(host) {
            // No DNS at all is found out where the host itself is looked up.
            let services = self.0.http.services(&name).await.unwrap_or_default();
            if !services.is_empty() {
                let draw = |below: u32| u32::from_be_bytes(self.0.ids.bytes()) % below.max(1);
                return Ok(by_services(host, services, draw));
            }
        }
        Ok(by_default(host))
    }

    async fn well_known(&self, server: &ServerName, host: &str) -> Arc<WellKnown> {
        let now = self.0.clock.now();
        let before = self.0.well_known.get(server);
        if let Some(before) = before.as_ref().filter(|before| before.until > now) {
            return before.clone();
        }
        let fetched = match self.fetch_well_known(host).await {
            Some((delegated, life)) => WellKnown {
                server: Some(delegated),
                failures: 0,
                until: now.after(life),
            },
            None => {
                let failures = before.map_or(0, |before| before.failures).saturating_add(1);
                WellKnown {
                    server: None,
                    failures,
                    until: now.after(failure_life(failures)),
                }
            }
        };
        let fetched = Arc::new(fetched);
        self.0.well_known.insert(server.to_owned(), fetched.clone());
        fetched
    }

    async fn fetch_well_known(&self, host: &str) -> Option<(OwnedServerName, Duration)> {
        let uri = Uri::builder()
            .scheme("https")
            .authority(host)
            .path_and_query("/.well-known/matrix/server")
            .build()
            .ok()?;
        let request = Request::get(uri)
            .header(USER_AGENT, AGENT)
            .body(no_body())
            .ok()?;
        let options = OutOptions {
            redirects_max: WELL_KNOWN_REDIRECTS_MAX,
            head_time_max: WELL_KNOWN_TIME_MAX,
            body_time_max: WELL_KNOWN_TIME_MAX,
            body_bytes_max: WELL_KNOWN_BYTES_MAX,
            ..OutOptions::default()
        };
        let answer = self.0.http.send(OutRequest { request, options }).await;
        let answer = match answer {
            Ok(answer) if answer.response.status() == StatusCode::OK => answer,
            Ok(_) => return None,
            Err(error) => {
                tracing::debug!(%error, "`{host}` gave no well-known");
                return None;
            }
        };
        let life = well_known_life(answer.response.headers());
        let body = answer.bytes().await.ok()?;
        Some((read_well_known(&body)?, life))
    }

    fn turn(&self, server: &ServerName) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, turn)) = busy.iter().find(|(name, _)| name == server) {
            return turn.clone();
        }
        let turn = Arc::new(tokio::sync::Mutex::new(()));
        busy.push((server.to_owned(), turn.clone()));
        turn
    }

    fn end_turn(&self, server: &ServerName, turn: &Arc<tokio::sync::Mutex<()>>) {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // Two owners: the list and the caller. With more, somebody still waits.
        if Arc::strong_count(turn) <= 2 {
            busy.retain(|(name, _)| name != server);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use hearth_ports::{HostPort, Service};

    use super::*;
    use crate::fake::{Here, Others, name};

    fn well_known(host: &'static str, answer: &'static str) -> Others {
        Others::new(move |seen| {
            let is_asked = seen.authority == host && seen.uri == "/.well-known/matrix/server";
            is_asked.then(|| (200, answer.to_owned()))
        })
    }

    fn summary(target: &Target) -> String {
        let connect: Vec<String> = target.connect.iter().map(ToString::to_string).collect();
        format!("{} {} {}", target.host, target.tls_name, connect.join("+"))
    }

    async fn found(others: Others, server: &str) -> String {
        let here = Here::new(others);
        summary(&here.resolver.target(&name(server)).await.unwrap())
    }

    fn with_service(mut others: Others, service: &str) -> Others {
        let target = HostPort {
            host: "box.example".to_owned(),
            port: 7,
        };
        let record = Service {
            priority: 1,
            weight: 1,
            target,
        };
        others.services = Arc::new([(service.to_owned(), vec![record])].into());
        others
    }

    #[tokio::test]
    async fn each_step_of_the_specification_leads_to_its_target() {
        let none = || Others::new(|_| None);
        let to = |answer| well_known("a.example", answer);
        for (others, server, expected) in [
            (none(), "a.example", "a.example a.example a.example:8448"),
            (none(), "a.example:5", "a.example:5 a.example a.example:5"),
            (none(), "[::1]:5", "[::1]:5 ::1 [::1]:5"),
            (
                to(r#"{"m.server":"b.example:443"}"#),
                "a.example",
                "b.example:443 b.example b.example:443",
            ),
            (
                to(r#"{"m.server":"b.example"}"#),
                "a.example",
                "b.example b.example b.example:8448",
            ),
            (
                to(r#"{"m.server":"1.2.3.4"}"#),
                "a.example",
                "1.2.3.4 1.2.3.4 1.2.3.4:8448",
            ),
            (
                to("nonsense"),
                "a.example",
                "a.example a.example a.example:8448",
            ),
            (
                with_service(none(), "_matrix-fed._tcp.a.example"),
                "a.example",
                "a.example a.example box.example:7",
            ),
            (
                with_service(none(), "_matrix._tcp.a.example"),
                "a.example",
                "a.example a.example box.example:7",
            ),
            (
                with_service(
                    to(r#"{"m.server":"b.example"}"#),
                    "_matrix-fed._tcp.b.example",
                ),
                "a.example",
                "b.example b.example box.example:7",
            ),
        ] {
            assert_eq!(found(others, server).await, expected, "{server}");
        }
    }

    #[tokio::test]
    async fn answers_and_failures_are_remembered_until_they_lead_nowhere() {
        let is_there = Arc::new(AtomicBool::new(false));
        let there = is_there.clone();
        let here = Here::new(Others::new(move |_| {
            let answer = r#"{"m.server":"b.example:1"}"#.to_owned();
            there.load(Ordering::SeqCst).then_some((200, answer))
        }));
        let target = || async { here.resolver.target(&name("a.example")).await.unwrap() };
        assert_eq!(target().await.host, "a.example");
        is_there.store(true, Ordering::SeqCst);
        here.resolver.forget(&name("a.example"));
        assert_eq!(target().await.host, "a.example", "a failure lasts a minute");
        here.clock.advance(Duration::from_secs(61));
        assert_eq!(target().await.host, "b.example:1");
        is_there.store(false, Ordering::SeqCst);
        assert_eq!(target().await.host, "b.example:1");
        here.resolver.forget(&name("a.example"));
        assert_eq!(target().await.host, "a.example");
        assert_eq!(here.others.seen().len(), 3);
    }
}
