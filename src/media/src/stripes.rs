//! Locks by key, in bounded memory: keys that fall together wait for each other, which is rare and harmless.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;
use tokio::sync::{Mutex, MutexGuard};

/// How many things can be locked at once.
const STRIPES: usize = 256;

pub(crate) struct Stripes(Box<[Mutex<()>]>);

impl Default for Stripes {
    fn default() -> Self {
        Self((0..STRIPES).map(|_| Mutex::new(())).collect())
    }
}

impl Stripes {
    /// Waits until nobody else holds the key.
    pub(crate) async fn lock(&self, key: &[u8]) -> MutexGuard<'_, ()> {
        let mut hasher = SipHasher13::new();
        hasher.write(key);
        let stripe = hasher.finish() % (STRIPES as u64);
        let stripe = usize::try_from(stripe).unwrap_or_default();
        self.0[stripe].lock().await
    }
}
