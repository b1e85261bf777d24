//! Which servers a room shuts out: `m.room.server_acl` (client-server API, "Server Access Control Lists").

use std::net::{Ipv4Addr, Ipv6Addr};

use ruma::ServerName;

use crate::canonical::{Object, Value};
use crate::{Glob, Pdu};

/// Most patterns of each list that are read. An event has 64 KiB, so that only one of nothing but empty patterns has
/// more.
const PATTERNS_MAX: usize = 16_384;

/// A room's access list, compiled. Matching takes a time linear in the list and the name.
#[derive(Clone, Debug)]
pub struct ServerAcl {
    allow: Patterns,
    deny: Patterns,
    allow_ip_literals: bool,
}

/// Patterns of one list, names without wildcards apart.
#[derive(Clone, Debug, Default)]
struct Patterns {
    /// In lower case, sorted.
    names: Vec<String>,
    globs: Vec<Glob>,
}

impl ServerAcl {
    /// The list of an `m.room.server_acl` event. A missing `allow` allows nobody; what is malformed counts as absent.
    pub fn of(event: &Pdu) -> Self {
        Self::of_content(&event.content_object())
    }

    /// The list of the content of such an event.
    pub fn of_content(content: &Object) -> Self {
        Self {
            allow: Patterns::read(content.get("allow")),
            deny: Patterns::read(content.get("deny")),
            allow_ip_literals: !matches!(
                content.get("allow_ip_literals"),
                Some(Value::Bool(false))
            ),
        }
    }

    /// Whether the server may take part. The port does not count, nor does letter case.
    pub fn permits(&self, server: &ServerName) -> bool {
        let host = server.host();
        if !self.allow_ip_literals && is_ip_literal(host) {
            return false;
        }
        let host = host.to_lowercase();
        !self.deny.matches(&host) && self.allow.matches(&host)
    }
}

impl Patterns {
    fn read(list: Option<&Value>) -> Self {
        let mut patterns = Self::default();
        let list = list.and_then(Value::as_array).unwrap_or_default();
        for pattern in list.iter().filter_map(Value::as_str).take(PATTERNS_MAX) {
            if pattern.contains(['*', '?']) {
                patterns.globs.push(Glob::new(pattern));
            } else {
                patterns.names.push(pattern.to_lowercase());
            }
        }
        patterns.names.sort_unstable();
        patterns
    }

    fn matches(&self, host: &str) -> bool {
        let by_name = self.names.binary_search_by(|name| name.as_str().cmp(host));
        by_name.is_ok() || self.globs.iter().any(|glob| glob.matches(host))
    }
}

fn is_ip_literal(host: &str) -> bool {
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    host.parse::<Ipv4Addr>().is_ok() || v6.is_some_and(|host| host.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::canonical::{Strictness, parse_object};

    fn acl(content: &str) -> ServerAcl {
        ServerAcl::of_content(&parse_object(content.as_bytes(), Strictness::Lenient).unwrap())
    }

    fn permits(acl: &ServerAcl, server: &str) -> bool {
        acl.permits(<&ServerName>::try_from(server).unwrap())
    }

    #[test]
    fn s15_denying_wins_case_and_port_do_not_count() {
        let acl = acl(r#"{"allow":["*"],"deny":["*.evil.com","Evil.com","b?d.org"]}"#);
        for (server, expected) in [
            ("good.example", true),
            ("evil.com", false),
            ("EVIL.com:8448", false),
            ("a.evil.com", false),
            ("a.EVIL.com:1", false),
            ("bad.org", false),
            ("bd.org", true),
            ("notevil.com", true),
            ("1.2.3.4", true),
            ("[::1]:8448", true),
        ] {
            assert_eq!(permits(&acl, server), expected, "{server}");
        }
    }

    #[test]
    fn s15_a_missing_or_malformed_allow_list_allows_nobody() {
        for content in [
            "{}",
            r#"{"deny":[]}"#,
            r#"{"allow":"*"}"#,
            r#"{"allow":[1,null]}"#,
            r#"{"allow":[]}"#,
        ] {
            assert!(!permits(&acl(content), "a.example"), "{content}");
        }
    }

    #[test]
    fn s15_ip_literals_are_shut_out_when_it_says_so_and_only_then() {
        for (flag, expected) in [
            ("false", false),
            ("true", true),
            ("\"false\"", true),
            ("0", true),
        ] {
            let acl = acl(&format!(r#"{{"allow":["*"],"allow_ip_literals":{flag}}}"#));
            for server in ["1.2.3.4", "1.2.3.4:5", "[::1]", "[2001:db8::1]:99"] {
                assert_eq!(permits(&acl, server), expected, "{flag} {server}");
            }
            assert!(permits(&acl, "1.2.3.4.example"));
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "measures how long it takes")]
    fn s15_costly_patterns_take_no_long_time() {
        let pattern = format!("{}b", "*a".repeat(500));
        let many = vec![format!("\"{pattern}\""); 60].join(",");
        let acl = acl(&format!(r#"{{"allow":["*"],"deny":[{many}]}}"#));
        let server = "a".repeat(230);
        let begin = std::time::Instant::now();
        for _ in 0..20 {
            assert!(permits(&acl, &server));
        }
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}
