//! Randomness as a parameter: every token, opaque id and secret is drawn from here.

use std::sync::{Mutex, PoisonError};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A cryptographic generator, seeded from the system in production and from a number in tests.
///
/// The lock is held only for the copy of a few bytes, never over an `.await`.
#[derive(Debug)]
pub struct Ids(Mutex<ChaCha20Rng>);

impl Ids {
    /// Seeded by the operating system. Made once, by the binary.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that takes randomness from the system"
    )]
    pub fn from_system() -> Self {
        let mut seed = [0; 32];
        rand::rng().fill_bytes(&mut seed);
        Self(Mutex::new(ChaCha20Rng::from_seed(seed)))
    }

    /// The same sequence for the same number: for tests and simulation.
    pub fn seeded(seed: u64) -> Self {
        Self(Mutex::new(ChaCha20Rng::seed_from_u64(seed)))
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .fill_bytes(&mut bytes);
        bytes
    }

    /// A string of `length` characters out of A–Z, a–z, 0–9 (5.95 bits each).
    pub fn token(&self, length: usize) -> String {
        let mut rng = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (0..length)
            .map(|_| char::from(ALPHANUMERIC[rng.random_range(0..ALPHANUMERIC.len())]))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_tokens() {
        assert_eq!(Ids::seeded(7).token(40), Ids::seeded(7).token(40));
        assert_ne!(Ids::seeded(7).token(40), Ids::seeded(8).token(40));
    }
}
