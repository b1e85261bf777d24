//! Registration by whoever knows the shared secret, in Synapse's form: a nonce, and a MAC over the request.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hearth_types::UnixMs;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use crate::{Accounts, Error, NewDevice, NewUser, RegistrationKind, Result, Session};

/// How long a nonce is good.
const NONCE_LIFETIME: Duration = Duration::from_secs(60);

/// How many nonces are out at most; the oldest go first.
const NONCES_MAX: usize = 1_000;

/// A registration with the shared secret.
#[derive(Clone)]
pub struct SharedSecretRequest {
    /// The nonce that was asked for before.
    pub nonce: String,
    /// The name, as it goes into the MAC.
    pub username: String,
    /// The password.
    pub password: String,
    /// The display name.
    pub displayname: Option<String>,
    /// Whether she may use the administration surface.
    pub admin: bool,
    /// Synapse's type of user; only part of the MAC.
    pub user_type: Option<String>,
    /// HMAC-SHA1 in hexadecimal.
    pub mac: String,
}

/// The nonces that are out, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Nonces(Mutex<VecDeque<(UnixMs, String)>>);

impl Nonces {
    fn put(&self, nonce: String, now: UnixMs) {
        let mut nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while nonces.len() >= NONCES_MAX || nonces.front().is_some_and(|(until, _)| *until <= now) {
            nonces.pop_front();
        }
        nonces.push_back((now.after(NONCE_LIFETIME), nonce));
    }

    fn take(&self, nonce: &str, now: UnixMs) -> bool {
        let mut nonces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = nonces
            .iter()
            .position(|(until, known)| *until > now && known == nonce);
        found.and_then(|index| nonces.remove(index)).is_some()
    }
}

impl Accounts {
    /// A nonce for a registration with the shared secret.
    pub fn shared_secret_nonce(&self) -> Result<String> {
        if self.inner.settings.shared_secret.is_none() {
            return Err(Error::NoSharedSecret);
        }
        let nonce = self.inner.ids.token(40);
        self.inner.nonces.put(nonce.clone(), self.inner.clock.now());
        Ok(nonce)
    }

    /// Registers a user for somebody who knows the shared secret.
    pub async fn register_by_shared_secret(&self, request: SharedSecretRequest) -> Result<Session> {
        let secret = self.inner.settings.shared_secret.as_deref();
        let secret = secret.ok_or(Error::NoSharedSecret)?;
        if !self
            .inner
            .nonces
            .take(&request.nonce, self.inner.clock.now())
        {
            return Err(Error::UnknownNonce);
        }
        if !mac_matches(secret, &request) {
            return Err(Error::BadMac);
        }
        let new = NewUser {
            username: Some(request.username),
            password: Some(request.password),
            displayname: request.displayname,
            kind: RegistrationKind::ByAdministrator,
            admin: request.admin,
            ..NewUser::default()
        };
        let registered = self.register(new, Some(&NewDevice::default())).await?;
        registered.session.ok_or(Error::NoSuchUser)
    }
}

/// Compares in constant time.
fn mac_matches(secret: &str, request: &SharedSecretRequest) -> bool {
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(secret.as_bytes()) else {
        return false;
    };
    let admin = if request.admin { "admin" } else { "notadmin" };
    let mut parts = vec![
        &*request.nonce,
        &*request.username,
        &*request.password,
        admin,
    ];
    parts.extend(request.user_type.as_deref());
    mac.update(parts.join("\0").as_bytes());
    unhex(&request.mac).is_some_and(|given| mac.verify_slice(&given).is_ok())
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| u8::try_from(digit(*high)? << 4 | digit(*low)?).ok())
        .collect()
}
