//! One registration, as its file says it (application service API, "Registration").

use serde::Deserialize;

use crate::{Error, Result};

/// A registration of an application service. Fields of other servers are passed over.
#[derive(Clone, Deserialize)]
pub struct Registration {
    /// Its name: unique, never shown to users.
    pub id: String,
    /// Where it listens; `None` if it wants to be told of nothing.
    #[serde(default)]
    pub url: Option<String>,
    /// The token by which this server knows it.
    pub as_token: String,
    /// The token by which it knows this server.
    pub hs_token: String,
    /// The localpart of the user that it is when it does not say.
    pub sender_localpart: String,
    /// The names that it holds.
    #[serde(default)]
    pub namespaces: NamespaceList,
    /// Whether its requests are counted as everybody's.
    #[serde(default)]
    pub rate_limited: Option<bool>,
}

/// The names that an application service holds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceList {
    /// Local users.
    pub users: Vec<Namespace>,
    /// Room aliases.
    pub aliases: Vec<Namespace>,
    /// Room ids.
    pub rooms: Vec<Namespace>,
}

/// Names that a pattern describes.
#[derive(Clone, Debug, Deserialize)]
pub struct Namespace {
    /// Nobody else may have them.
    #[serde(default)]
    pub exclusive: bool,
    /// What they begin with.
    pub regex: String,
}

impl Registration {
    /// Reads the YAML of a registration file.
    pub fn from_yaml(text: &str) -> Result<Self> {
        serde_saphyr::from_str(text).map_err(|error| Error::NotARegistration(error.into()))
    }
}

// Tokens are not to be printed.
impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.id)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
