//! Every setting.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, Media, Retention, Secret};

/// All settings. What each means for whoever runs a server is written in `config/hearth.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The part of user ids after the colon. Cannot be changed once there is a store.
    #[serde(deserialize_with = "crate::value::text")]
    pub server_name: String,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    /// Addresses of plain HTTP.
    #[serde(deserialize_with = "crate::value::addresses")]
    pub listen: Vec<SocketAddr>,
    /// Proxies whose `X-Forwarded-For` is believed, as addresses or CIDR blocks.
    #[serde(deserialize_with = "crate::value::networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Registration files of application services, YAML.
    pub application_services: Vec<PathBuf>,
    /// A listener for `/metrics` alone. Without it `/metrics` answers on the main listeners, to loopback only.
    pub metrics_address: Option<SocketAddr>,
    /// What the process aims to stay under; split among the caches.
    pub memory_limit: ByteSize,
    /// Addresses of HTTPS.
    pub tls: Tls,
    /// What `/.well-known/matrix` says.
    pub well_known: WellKnown,
    /// Who may make an account.
    pub registration: Registration,
    /// What has to be agreed to before.
    pub terms: Vec<Policy>,
    /// Where calls find a way through firewalls.
    pub turn: Turn,
    /// New rooms.
    pub room: Room,
    /// How much one user or address may ask.
    pub rate_limits: RateLimits,
    /// Sizes and times.
    pub limits: Limits,
    /// Requests that leave the server.
    pub egress: Egress,
    /// Other servers.
    pub federation: Federation,
    /// Files that users upload.
    pub media: Media,
    /// How long messages are kept.
    pub retention: Retention,
    /// Logs.
    pub log: Log,
    /// Cost of a password hash.
    pub password: Password,
    /// The store.
    pub store: Store,
    /// The web client.
    pub web: Web,
}

/// `[tls]`: HTTPS without a proxy in front.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Addresses of HTTPS.
    #[serde(deserialize_with = "crate::value::addresses")]
    pub listen: Vec<SocketAddr>,
    /// Certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Private key, PEM.
    pub key: Option<PathBuf>,
}

/// `[well_known]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WellKnown {
    /// The `base_url` that clients are sent to.
    pub client: Option<String>,
    /// The `host:port` that other servers are sent to.
    pub server: Option<String>,
    /// A page that helps users.
    pub support_page: Option<String>,
    /// Whom users can ask.
    pub contacts: Vec<Contact>,
}

/// `[[well_known.contacts]]`: at least one of the two ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contact {
    /// What for: `m.role.admin`, `m.role.security`, or a name of one's own.
    pub role: String,
    /// A Matrix user id.
    pub matrix_id: Option<String>,
    /// An e-mail address.
    pub email_address: Option<String>,
}

/// `[[terms]]`: a document that has to be agreed to at registration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// One word for the document, the same for all its translations.
    pub id: String,
    /// The document's version.
    #[serde(deserialize_with = "crate::value::text")]
    pub version: String,
    /// The language of name and text, such as `en`.
    #[serde(default = "english")]
    pub language: String,
    /// What the document is called.
    pub name: String,
    /// Where it is.
    pub url: String,
}

fn english() -> String {
    "en".to_owned()
}

/// `[turn]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// Addresses such as `turn:turn.example.org?transport=udp`.
    pub uris: Vec<String>,
    /// coturn's `static-auth-secret`.
    pub shared_secret: Option<Secret>,
    /// The file that holds `shared_secret`.
    pub shared_secret_file: Option<PathBuf>,
}

/// `[registration]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registration {
    /// Accounts can be made at all through the client API.
    pub open: bool,
    /// Confirms `open` for a server that others can reach.
    pub allow_open: bool,
    /// A registration token is asked for.
    pub token_required: bool,
    /// Whether there are guests: accounts without a password that may do little.
    pub guests: bool,
    /// Lets its holder make accounts and administrators through `/_synapse/admin/v1/register`.
    pub shared_secret: Option<Secret>,
    /// The file that holds `shared_secret`.
    pub shared_secret_file: Option<PathBuf>,
}

/// `[room]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Room {
    /// The version of rooms whose creator asks for none.
    #[serde(deserialize_with = "crate::value::text")]
    pub default_version: String,
}

/// `[rate_limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimits {
    /// Off means none at all.
    pub enabled: bool,
    /// Logging in and registering, per address.
    pub login: Rate,
    /// Writing, per user.
    pub send: Rate,
    /// Everything else, per user, or per address where nobody is logged in.
    pub read: Rate,
}

/// How often something may be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// In the long run.
    pub per_minute: u32,
    /// At once, after a pause.
    pub burst: u32,
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest JSON body of a request.
    pub body: ByteSize,
    /// Connections at once.
    pub connections: usize,
    /// Longest long-poll of `/sync`.
    pub long_poll_seconds_max: u64,
    /// How long open requests may take after the server was told to stop.
    pub shutdown_seconds_max: u64,
}

/// `[egress]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Egress {
    /// Blocks that no request goes to, in addition to all that are not on the public internet.
    #[serde(deserialize_with = "crate::value::networks")]
    pub deny: Vec<IpNet>,
    /// Exceptions.
    #[serde(deserialize_with = "crate::value::networks")]
    pub allow: Vec<IpNet>,
    /// Certificate authorities in addition to the well-known ones, PEM.
    pub ca_file: Option<PathBuf>,
}

/// `[federation]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Federation {
    /// This server talks to others.
    pub enabled: bool,
    /// Only to these, if there are any: names with `*` and `?`.
    pub allow: Vec<String>,
    /// Not to these.
    pub deny: Vec<String>,
    /// Who is asked for the keys of servers that do not answer.
    pub notaries: Vec<String>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or of parts, as `info,hearth_rooms=debug`.
    #[serde(deserialize_with = "crate::value::text")]
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[password]`: Argon2id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Password {
    /// Memory of one hash.
    pub memory: ByteSize,
    /// Passes over it.
    pub iterations: u32,
    /// How many characters a password has at least, when it is chosen.
    pub min_length: u32,
}

/// `[store]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Whether an answer waits until its write is on the disk. Off only to show that tests notice.
    pub sync_writes: bool,
}

/// `[web]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Web {
    /// Whether there is a web client at `/`.
    pub enabled: bool,
    /// The folder of its files, in place of those in the binary.
    pub folder: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server_name: "localhost".to_owned(),
            data_dir: PathBuf::from("./data"),
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8008)],
            trusted_proxies: Vec::new(),
            application_services: Vec::new(),
            metrics_address: None,
            memory_limit: ByteSize::mebibytes(104),
            tls: Tls::default(),
            well_known: WellKnown::default(),
            registration: Registration::default(),
            terms: Vec::new(),
            turn: Turn::default(),
            room: Room::default(),
            rate_limits: RateLimits::default(),
            limits: Limits::default(),
            egress: Egress::default(),
            federation: Federation::default(),
            media: Media::default(),
            retention: Retention::default(),
            log: Log::default(),
            password: Password::default(),
            store: Store::default(),
            web: Web::default(),
        }
    }
}

impl Default for Registration {
    fn default() -> Self {
        Self {
            open: true,
            allow_open: false,
            token_required: false,
            guests: false,
            shared_secret: None,
            shared_secret_file: None,
        }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self {
            default_version: "12".to_owned(),
        }
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            enabled: true,
            login: Rate {
                per_minute: 30,
                burst: 30,
            },
            send: Rate {
                per_minute: 1_200,
                burst: 200,
            },
            read: Rate {
                per_minute: 6_000,
                burst: 1_000,
            },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: ByteSize::mebibytes(4),
            connections: 10_000,
            long_poll_seconds_max: 120,
            shutdown_seconds_max: 5,
        }
    }
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            enabled: true,
            allow: Vec::new(),
            deny: Vec::new(),
            notaries: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl Default for Password {
    fn default() -> Self {
        Self {
            memory: ByteSize::mebibytes(19),
            iterations: 2,
            min_length: 8,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { sync_writes: true }
    }
}

impl Config {
    /// As TOML, with secrets masked: what `hearth config print` shows.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).unwrap_or_else(|error| format!("# cannot be printed: {error}"))
    }
}

impl Default for Web {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: None,
        }
    }
}
