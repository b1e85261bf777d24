//! From a server name to where the server is: the steps, without the network (server-server API, "Resolving server
//! names").

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use hearth_ports::{HostPort, Service};
use http::HeaderMap;
use http::header::{CACHE_CONTROL, EXPIRES};
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

/// The port where servers listen of whose port nothing is said.
pub(crate) const PORT: u16 = 8448;

/// How long a well-known answer is remembered that does not say for how long.
const WELL_KNOWN_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest and the shortest that it is remembered, whatever it says.
const WELL_KNOWN_MAX: Duration = Duration::from_secs(48 * 60 * 60);
const WELL_KNOWN_MIN: Duration = Duration::from_secs(60);
/// How long the first failure is remembered; doubled with each further one.
const FAILURE_MIN: Duration = Duration::from_secs(60);
/// The longest that a failure is remembered.
const FAILURE_MAX: Duration = Duration::from_secs(60 * 60);

/// Where a server is and who it has to prove to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The `Host` header: with a port only where the (delegated) name has one.
    pub host: String,
    /// The name in its certificate: a host name or an address, without port and brackets.
    pub tls_name: String,
    /// Where to connect, in this order.
    pub connect: Vec<HostPort>,
}

/// What has to be found out about a name without an explicit port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// Nothing: it is an address, or has a port.
    Settled(Target),
    /// A host name alone: well-known (if it is not itself delegated to), SRV records, or the default port.
    Host(String),
}

/// Steps 1 and 2 (of a delegated name 3.1 and 3.2).
pub(crate) fn read_name(name: &ServerName) -> Name {
    let host = name.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let is_literal = bare.parse::<Ipv4Addr>().is_ok() || bare.parse::<Ipv6Addr>().is_ok();
    if !is_literal && name.port().is_none() {
        return Name::Host(host.to_owned());
    }
    Name::Settled(Target {
        host: name.to_string(),
        tls_name: bare.to_owned(),
        connect: vec![HostPort {
            host: bare.to_owned(),
            port: name.port().unwrap_or(PORT),
        }],
    })
}

/// The names of the SRV records to ask for, in this order.
pub(crate) fn service_names(host: &str) -> [String; 2] {
    [
        format!("_matrix-fed._tcp.{host}"),
        format!("_matrix._tcp.{host}"),
    ]
}

/// The target of SRV records: still named as the host, which its certificate has to prove. `draw` answers a random
/// number below its argument, to share load by weight.
pub(crate) fn by_services(
    host: &str,
    mut services: Vec<Service>,
    mut draw: impl FnMut(u32) -> u32,
) -> Target {
    services.sort_by_key(|service| service.priority);
    let mut connect = Vec::with_capacity(services.len());
    while let Some(priority) = services.first().map(|service| service.priority) {
        let equal = services
            .iter()
            .take_while(|service| service.priority == priority)
            .count();
        let total: u32 = services[..equal]
            .iter()
            .map(|service| u32::from(service.weight))
            .sum();
        let mut left = draw(total.saturating_add(1));
        let chosen = services[..equal]
            .iter()
            .position(|service| {
                let weight = u32::from(service.weight);
                let is_it = left <= weight;
                left = left.saturating_sub(weight);
                is_it
            })
            .unwrap_or(0);
        connect.push(services.remove(chosen).target);
    }
    Target {
        host: host.to_owned(),
        tls_name: host.to_owned(),
        connect,
    }
}

/// The last step: the host itself at the default port.
pub(crate) fn by_default(host: &str) -> Target {
    Target {
        host: host.to_owned(),
        tls_name: host.to_owned(),
        connect: vec![HostPort {
            host: host.to_owned(),
            port: PORT,
        }],
    }
}

/// The server that a well-known answer delegates to.
pub(crate) fn read_well_known(body: &[u8]) -> Option<OwnedServerName> {
    #[derive(Deserialize)]
    struct WellKnown {
        #[serde(rename = "m.server")]
        server: OwnedServerName,
    }
    serde_json::from_slice::<WellKnown>(body)
        .ok()
        .map(|well_known| well_known.server)
}

/// How long a well-known answer is remembered.
pub(crate) fn well_known_life(headers: &HeaderMap) -> Duration {
    let control = headers
        .get(CACHE_CONTROL)
        .and_then(|value| value.to_str().ok());
    let said = match control.map(max_age) {
        Some(Some(life)) => Some(life),
        // An `Expires` without `Cache-Control` is mostly a date in the past, to forbid caching.
        None if headers.contains_key(EXPIRES) => Some(WELL_KNOWN_MIN),
        _ => None,
    };
    said.unwrap_or(WELL_KNOWN_DEFAULT)
        .clamp(WELL_KNOWN_MIN, WELL_KNOWN_MAX)
}

fn max_age(control: &str) -> Option<Duration> {
    let mut directives = control
        .split(',')
        .map(|part| part.trim().to_ascii_lowercase());
    directives.find_map(|directive| match directive.as_str() {
        "no-store" | "no-cache" => Some(Duration::ZERO),
        other => {
            let seconds = other.strip_prefix("max-age=")?.trim_matches('"');
            Some(Duration::from_secs(seconds.parse().ok()?))
        }
    })
}

/// How long the failure of a lookup is remembered: the first a minute, at most an hour.
pub(crate) fn failure_life(failures: u32) -> Duration {
    let factor = 1_u32 << failures.saturating_sub(1).min(10);
    FAILURE_MIN.saturating_mul(factor).min(FAILURE_MAX)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn settled(name: &str) -> Option<(String, String, String)> {
        match read_name(<&ServerName>::try_from(name).unwrap()) {
            Name::Settled(target) => {
                let connect = &target.connect[0];
                let at = format!("{} {}", connect.host, connect.port);
                Some((target.host, target.tls_name, at))
            }
            Name::Host(_) => None,
        }
    }

    #[test]
    fn addresses_and_ports_need_no_lookup_of_names() {
        for (name, host, tls, connect) in [
            ("1.2.3.4", "1.2.3.4", "1.2.3.4", "1.2.3.4 8448"),
            ("1.2.3.4:99", "1.2.3.4:99", "1.2.3.4", "1.2.3.4 99"),
            ("[::1]", "[::1]", "::1", "::1 8448"),
            ("[::1]:99", "[::1]:99", "::1", "::1 99"),
            ("a.example:99", "a.example:99", "a.example", "a.example 99"),
        ] {
            let expected = (host.to_owned(), tls.to_owned(), connect.to_owned());
            assert_eq!(settled(name), Some(expected), "{name}");
        }
        assert_eq!(settled("a.example"), None);
        assert_eq!(by_default("a.example").connect[0].port, PORT);
    }

    fn service(priority: u16, weight: u16, host: &str) -> Service {
        Service {
            priority,
            weight,
            target: HostPort {
                host: host.to_owned(),
                port: 1,
            },
        }
    }

    fn order(services: Vec<Service>, draw: impl FnMut(u32) -> u32) -> Vec<String> {
        let target = by_services("a.example", services, draw);
        assert_eq!(target.host, "a.example");
        assert_eq!(target.tls_name, "a.example");
        target.connect.into_iter().map(|to| to.host).collect()
    }

    #[test]
    fn services_are_tried_by_priority_and_weight() {
        let all = || {
            vec![
                service(20, 0, "last"),
                service(10, 10, "light"),
                service(10, 90, "heavy"),
            ]
        };
        assert_eq!(order(all(), |_| 0), ["light", "heavy", "last"]);
        assert_eq!(order(all(), |below| below - 1), ["heavy", "light", "last"]);
        assert_eq!(order(Vec::new(), |_| 0), Vec::<String>::new());
    }

    #[test]
    fn well_known_answers_live_as_long_as_they_say_within_bounds() {
        let hour = Duration::from_secs(3_600);
        for (control, expected) in [
            (None, 24 * hour),
            (Some("max-age=7200"), 2 * hour),
            (Some("public, Max-Age=\"7200\""), 2 * hour),
            (Some("max-age=99999999999"), 48 * hour),
            (Some("max-age=0"), WELL_KNOWN_MIN),
            (Some("no-store"), WELL_KNOWN_MIN),
            (Some("public"), 24 * hour),
            (Some("max-age=x"), 24 * hour),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(control) = control {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static(control));
            }
            assert_eq!(well_known_life(&headers), expected, "{control:?}");
        }
    }

    #[test]
    fn failures_are_remembered_longer_and_longer_up_to_an_hour() {
        let lives = [1, 2, 3, 7, 40].map(|failures| failure_life(failures).as_secs());
        assert_eq!(lives, [60, 120, 240, 3_600, 3_600]);
    }

    #[test]
    fn a_well_known_answer_needs_a_server_name() {
        let read = |body: &str| read_well_known(body.as_bytes()).map(|name| name.to_string());
        assert_eq!(
            read(r#"{"m.server":"b.example:1"}"#).as_deref(),
            Some("b.example:1")
        );
        for body in ["", "{}", r#"{"m.server":1}"#, r#"{"m.server":"a/b"}"#, "[]"] {
            assert_eq!(read(body), None, "{body}");
        }
    }
}
