//! Credentials for a TURN server, in the form that coturn calls `use-auth-secret`: a name that says when it expires, and
//! a MAC over it. The TURN server checks both without asking anybody.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use ruma::UserId;
use sha1::Sha1;

use crate::Accounts;

/// A TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct Turn {
    /// Where it is.
    pub uris: Vec<String>,
    /// What it shares with this server.
    pub shared_secret: String,
    /// How long credentials are good.
    pub lifetime: Duration,
}

/// What a client shows to the TURN server.
#[derive(Clone, PartialEq, Eq)]
pub struct TurnCredentials {
    /// The name: when it expires, and for whom it was made.
    pub username: String,
    /// The MAC.
    pub password: String,
    /// Where the server is.
    pub uris: Vec<String>,
    /// How long it is good.
    pub lifetime: Duration,
}

impl Accounts {
    /// Credentials for a user; `None` if there is no TURN server.
    pub fn turn_credentials(&self, user: &UserId) -> Option<TurnCredentials> {
        let turn = self.inner.settings.turn.as_ref()?;
        let expires_at = self.inner.clock.now().after(turn.lifetime);
        let username = format!("{}:{user}", expires_at.0 / 1_000);
        let mut mac = Hmac::<Sha1>::new_from_slice(turn.shared_secret.as_bytes()).ok()?;
        mac.update(username.as_bytes());
        Some(TurnCredentials {
            password: STANDARD.encode(mac.finalize().into_bytes()),
            username,
            uris: turn.uris.clone(),
            lifetime: turn.lifetime,
        })
    }
}
