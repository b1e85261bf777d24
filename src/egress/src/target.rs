//! The other end of a connection: where it is, and what it has to prove.

use hearth_ports::{HostPort, OutError, OutOptions};
use http::Uri;
use url::{Host, Url};

/// What connections are kept and reused by. Two requests with equal targets may share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The name in the certificate; none for plain HTTP.
    pub(crate) tls_name: Option<String>,
    /// Where to connect.
    pub(crate) at: HostPort,
}

impl Target {
    /// The target of a URL, unless the options say another.
    pub(crate) fn of(url: &Url, options: &OutOptions) -> Result<Self, OutError> {
        let (host, port) = (url.host(), url.port_or_known_default());
        let (Some(host), Some(port)) = (host, port) else {
            return Err(OutError::Invalid("the URI has no host".to_owned()));
        };
        let name = plain(&host);
        let at = match &options.connect {
            None => HostPort {
                host: name.clone(),
                port,
            },
            Some(HostPort { host, port }) => HostPort {
                host: normalized(host)?,
                port: *port,
            },
        };
        let tls_name = match &options.tls_name {
            _ if url.scheme() == "http" => None,
            None => Some(name),
            Some(name) => Some(normalized(name)?),
        };
        Ok(Self { tls_name, at })
    }

    /// As the authority of a URI, which is what hyper's pool goes by.
    pub(crate) fn to_authority(&self) -> String {
        let tls_name = self.tls_name.as_deref().unwrap_or_default();
        let text = format!("{} {} {tls_name}", self.at.port, self.at.host);
        text.bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The target that an authority was made of.
    pub(crate) fn from_authority(authority: &str) -> Option<Self> {
        let bytes: Option<Vec<u8>> = (0..authority.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(authority.get(at..at + 2)?, 16).ok())
            .collect();
        let text = String::from_utf8(bytes?).ok()?;
        let mut parts = text.splitn(3, ' ');
        let port = parts.next()?.parse().ok()?;
        let host = parts.next()?.to_owned();
        let tls_name = parts.next().filter(|name| !name.is_empty());
        Some(Self {
            tls_name: tls_name.map(str::to_owned),
            at: HostPort { host, port },
        })
    }
}

/// Checks that a URI is one that requests can be sent to. All notations of an address become one.
pub(crate) fn parse(uri: &Uri) -> Result<Url, OutError> {
    check(Url::parse(&uri.to_string()).map_err(|error| OutError::Invalid(error.to_string()))?)
}

pub(crate) fn check(url: Url) -> Result<Url, OutError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(OutError::Invalid(format!("scheme `{}`", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(OutError::Invalid("user information in a URI".to_owned()));
    }
    Ok(url)
}

/// A host without brackets.
fn plain<S: AsRef<str>>(host: &Host<S>) -> String {
    match host {
        Host::Domain(name) => name.as_ref().trim_end_matches('.').to_owned(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    }
}

fn normalized(host: &str) -> Result<String, OutError> {
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let parsed = match bare_v6 {
        true => Host::parse(&format!("[{host}]")),
        false => Host::parse(host),
    };
    parsed
        .map(|host| plain(&host))
        .map_err(|error| OutError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(uri: &str, options: &OutOptions) -> Result<Target, OutError> {
        Target::of(&parse(&uri.parse().expect(uri))?, options)
    }

    #[test]
    fn s16_all_notations_of_an_address_are_one() {
        for host in ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1"] {
            let target = target(&format!("http://{host}/"), &OutOptions::default()).expect(host);
            assert_eq!(target.at.to_string(), "127.0.0.1:80", "{host}");
        }
        let options = OutOptions {
            connect: Some(HostPort {
                host: "0x7f000001".to_owned(),
                port: 8448,
            }),
            ..OutOptions::default()
        };
        let target = target("https://example.org/", &options).expect("a target");
        assert_eq!(target.at.to_string(), "127.0.0.1:8448");
    }

    #[test]
    fn only_http_without_passwords_is_sent() {
        for uri in [
            "ftp://example.org/",
            "gopher://example.org/",
            "https://a:b@example.org/",
            "/path",
        ] {
            assert!(target(uri, &OutOptions::default()).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_target_survives_the_pool() {
        let options = OutOptions {
            connect: Some(HostPort {
                host: "2001:db8::1".to_owned(),
                port: 1,
            }),
            tls_name: Some("b.example.org".to_owned()),
            ..OutOptions::default()
        };
        for (uri, options) in [
            ("https://example.org/", &options),
            ("http://example.org/", &options),
            ("https://[2001:db8::2]:8448/", &OutOptions::default()),
        ] {
            let target = target(uri, options).expect(uri);
            let authority = target.to_authority();
            assert_eq!(Target::from_authority(&authority), Some(target));
            assert!(authority.parse::<http::uri::Authority>().is_ok());
        }
    }
}
