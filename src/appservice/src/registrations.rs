//! All registrations, checked, and whose a name is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use hearth_ports::{Namespaces, RegisteredService};
use hearth_types::ServiceCaller;
use regex::{Regex, RegexBuilder};
use ruma::{OwnedServerName, OwnedUserId, RoomAliasId, RoomId, ServerName, UserId};

use crate::registration::Namespace;
use crate::{AliasReserved, Error, Registration, Result};

/// How large a compiled pattern may be, in bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;

/// What the administrator has registered.
#[derive(Debug)]
pub struct Registrations {
    server_name: OwnedServerName,
    services: BTreeMap<Arc<str>, Service>,
    by_token: HashMap<String, Arc<str>>,
}

/// An application service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) id: Arc<str>,
    /// Without a slash at the end.
    pub(crate) url: Option<String>,
    pub(crate) hs_token: String,
    pub(crate) sender: OwnedUserId,
    is_rate_limited: bool,
    users: Vec<Pattern>,
    aliases: Vec<Pattern>,
    rooms: Vec<Pattern>,
}

/// A compiled namespace.
#[derive(Debug)]
struct Pattern {
    is_exclusive: bool,
    regex: Regex,
}

impl Registrations {
    /// No services.
    pub fn none(server_name: OwnedServerName) -> Self {
        Self {
            server_name,
            services: BTreeMap::new(),
            by_token: HashMap::new(),
        }
    }

    /// Checks registrations: ids and tokens are unique, patterns can be compiled, names are well-formed.
    pub fn new(server_name: &ServerName, registrations: Vec<Registration>) -> Result<Self> {
        let mut all = Self::none(server_name.to_owned());
        let mut tokens = HashSet::new();
        for registration in registrations {
            let token = registration.as_token.clone();
            let service = Service::new(server_name, registration)?;
            let id = service.id.clone();
            if !tokens.insert(token.clone()) {
                return Err(Error::Refused(format!(
                    "application service `{id}` has the as_token of another one"
                )));
            }
            all.by_token.insert(token, id.clone());
            if all.services.insert(id.clone(), service).is_some() {
                return Err(Error::Refused(format!(
                    "there are two application services `{id}`"
                )));
            }
        }
        Ok(all)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// The id of each service, and the user that it is when it does not say.
    pub fn senders(&self) -> impl Iterator<Item = (&str, &UserId)> {
        self.iter().map(|service| (&*service.id, &*service.sender))
    }

    /// Whether an alias may be made: by this service, or by nobody's (application service API, "Server admin style
    /// permissions").
    pub fn check_alias(
        &self,
        alias: &RoomAliasId,
        service: Option<&ServiceCaller>,
    ) -> Result<(), AliasReserved> {
        let asking = service.and_then(|service| self.services.get(&service.id));
        if let Some(asking) = asking
            && !matches(&asking.aliases, alias.as_str())
        {
            return Err(AliasReserved);
        }
        let mut others = self.others(asking.map(|asking| &*asking.id));
        match others.any(|other| is_exclusive(&other.aliases, alias.as_str())) {
            true => Err(AliasReserved),
            false => Ok(()),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Service> {
        self.services.values()
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Service> {
        self.services.get(id)
    }

    /// Whether a user is of this server.
    pub(crate) fn is_local(&self, user: &str) -> bool {
        user.split_once(':')
            .is_some_and(|(_, server)| server == self.server_name.as_str())
    }

    fn others(&self, but: Option<&str>) -> impl Iterator<Item = &Service> {
        self.iter().filter(move |other| Some(&*other.id) != but)
    }
}

impl Namespaces for Registrations {
    fn service_of_token(&self, token: &str) -> Option<RegisteredService> {
        let service = self.services.get(self.by_token.get(token)?)?;
        Some(RegisteredService {
            caller: ServiceCaller {
                id: service.id.clone(),
                is_rate_limited: service.is_rate_limited,
            },
            sender: service.sender.clone(),
        })
    }

    fn may_be(&self, service: &str, user: &UserId) -> bool {
        self.services
            .get(service)
            .is_some_and(|service| service.is_user(user.as_str()))
    }

    fn is_user_reserved(&self, user: &UserId, service: Option<&str>) -> bool {
        self.others(service)
            .any(|other| other.sender == user || is_exclusive(&other.users, user.as_str()))
    }
}

impl Service {
    fn new(server_name: &ServerName, registration: Registration) -> Result<Self> {
        let id = registration.id;
        let refused = |why: String| Error::Refused(format!("application service `{id}`: {why}"));
        if registration.as_token.is_empty() || registration.hs_token.is_empty() {
            return Err(refused(
                "as_token and hs_token must not be empty".to_owned(),
            ));
        }
        let sender = format!("@{}:{server_name}", registration.sender_localpart);
        let sender = UserId::parse(sender)
            .map_err(|error| refused(format!("sender_localpart is not one: {error}")))?;
        let compiled = |namespaces: &[Namespace]| -> Result<Vec<Pattern>> {
            let compiled = namespaces.iter().map(Pattern::new);
            compiled.collect::<Result<_, _>>().map_err(&refused)
        };
        let namespaces = &registration.namespaces;
        let url = registration.url.filter(|url| !url.is_empty());
        Ok(Self {
            users: compiled(&namespaces.users)?,
            aliases: compiled(&namespaces.aliases)?,
            rooms: compiled(&namespaces.rooms)?,
            url: match url {
                Some(url) if is_address(&url) => Some(url.trim_end_matches('/').to_owned()),
                Some(url) => return Err(refused(format!("`{url}` is not an http address"))),
                None => None,
            },
            hs_token: registration.hs_token,
            sender,
            is_rate_limited: registration.rate_limited.unwrap_or(true),
            id: id.as_str().into(),
        })
    }

    /// Whether a local user is its own, or in one of its namespaces.
    pub(crate) fn is_user(&self, user: &str) -> bool {
        self.sender == user || matches(&self.users, user)
    }

    pub(crate) fn is_alias(&self, alias: &str) -> bool {
        matches(&self.aliases, alias)
    }

    pub(crate) fn is_room(&self, room: &RoomId) -> bool {
        matches(&self.rooms, room.as_str())
    }

    pub(crate) fn has_aliases(&self) -> bool {
        !self.aliases.is_empty()
    }
}

impl Pattern {
    fn new(namespace: &Namespace) -> Result<Self, String> {
        // From the start, but not to the end: so other servers take it, and registrations are written for that.
        let regex = RegexBuilder::new(&format!("^(?:{})", namespace.regex))
            .size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| format!("cannot take the pattern `{}`: {error}", namespace.regex))?;
        Ok(Self {
            is_exclusive: namespace.exclusive,
            regex,
        })
    }
}

fn is_address(url: &str) -> bool {
    let uri = url.parse::<http::Uri>();
    uri.is_ok_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.query().is_none())
}

fn matches(patterns: &[Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.regex.is_match(name))
}

fn is_exclusive(patterns: &[Pattern], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern.is_exclusive && pattern.regex.is_match(name))
}
