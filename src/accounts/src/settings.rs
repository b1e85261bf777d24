//! What the administrator decides.

use std::time::Duration;

use ruma::OwnedServerName;

use crate::Turn;

/// Who may register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Nobody; the administrator makes the users.
    #[default]
    Closed,
    /// Everybody who has a registration token.
    Token,
    /// Everybody.
    Open,
}

/// Whether there are guests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuestAccess {
    /// No.
    #[default]
    Forbidden,
    /// Anybody can be one.
    Allowed,
}

/// What a password hash costs (argon2id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// How often the memory is gone through.
    pub passes: u32,
    /// Degree of parallelism.
    pub lanes: u32,
}

impl Default for PasswordCost {
    /// The recommendation of OWASP for argon2id.
    fn default() -> Self {
        Self {
            memory_kib: 19 * 1024,
            passes: 2,
            lanes: 1,
        }
    }
}

impl PasswordCost {
    /// The least that the algorithm allows: for tests.
    pub const CHEAPEST: Self = Self {
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };
}

/// A document that new users have to agree to, in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// One word for the document, the same in all languages.
    pub id: String,
    /// Its version.
    pub version: String,
    /// The language.
    pub language: String,
    /// What it is called.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// The settings of this crate.
#[derive(Clone)]
pub struct Settings {
    /// The domain of all local users.
    pub server_name: OwnedServerName,
    /// Who may register.
    pub registration: Registration,
    /// Whether there are guests.
    pub guests: GuestAccess,
    /// The secret with which `/_synapse/admin/v1/register` may be used. `None`: not at all.
    pub shared_secret: Option<String>,
    /// What new users have to agree to.
    pub terms: Vec<Policy>,
    /// Through which server calls find their way.
    pub turn: Option<Turn>,
    /// How long an access token is good before it has to be refreshed, for clients that can. `None`: for ever.
    pub access_token_lifetime: Option<Duration>,
    /// Shortest password, in characters.
    pub password_length_min: usize,
    /// What a password hash costs.
    pub password_cost: PasswordCost,
    /// How many passwords are hashed at once.
    pub password_workers: usize,
}

impl Settings {
    /// The defaults for a server of that name: nobody may register.
    pub fn new(server_name: OwnedServerName) -> Self {
        Self {
            server_name,
            registration: Registration::default(),
            guests: GuestAccess::default(),
            shared_secret: None,
            terms: Vec::new(),
            turn: None,
            access_token_lifetime: Some(Duration::from_secs(60 * 60)),
            password_length_min: 8,
            password_cost: PasswordCost::default(),
            password_workers: 2,
        }
    }
}
