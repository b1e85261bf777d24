//! Passwords: argon2id on a bounded number of threads, with a bounded queue.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use hearth_types::Ids;
use tokio::sync::Semaphore;

use crate::{Error, PasswordCost, Result};

/// How many may wait for a thread; beyond that a login is refused at once.
const WAITING_MAX: usize = 64;

/// Longest password, in bytes.
pub(crate) const PASSWORD_BYTES_MAX: usize = 512;

#[derive(Debug)]
pub(crate) struct Hasher {
    cost: PasswordCost,
    // Working and waiting.
    admitted: Arc<Semaphore>,
    working: Arc<Semaphore>,
}

impl Hasher {
    pub(crate) fn new(cost: PasswordCost, workers: usize) -> Self {
        let workers = workers.max(1);
        Self {
            cost,
            admitted: Arc::new(Semaphore::new(workers + WAITING_MAX)),
            working: Arc::new(Semaphore::new(workers)),
        }
    }

    /// The PHC string of a password with a new salt.
    pub(crate) async fn hash(&self, ids: &Ids, password: &str) -> Result<String> {
        let salt: [u8; 16] = ids.bytes();
        let argon2 = self.argon2()?;
        let password = password.to_owned();
        self.run(move || {
            let hash: PasswordHash = argon2
                .hash_password_with_salt(password.as_bytes(), &salt)
                .map_err(|error| Error::Hash(error.to_string()))?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Whether a password is that of a PHC string. Without one the answer is no, after the same time.
    pub(crate) async fn verify(&self, password: &str, phc: Option<&str>) -> Result<bool> {
        let known = phc.is_some();
        let phc = phc.map_or_else(|| self.decoy(), str::to_owned);
        if password.len() > PASSWORD_BYTES_MAX {
            return Ok(false);
        }
        let argon2 = self.argon2()?;
        let password = password.to_owned();
        let matches = self
            .run(move || {
                // The cost is that of the string, the comparison takes constant time.
                let hash =
                    PasswordHash::new(&phc).map_err(|error| Error::Hash(error.to_string()))?;
                Ok(argon2.verify_password(password.as_bytes(), &hash).is_ok())
            })
            .await?;
        Ok(matches && known)
    }

    /// A hash that costs what a real one does.
    fn decoy(&self) -> String {
        let PasswordCost {
            memory_kib,
            passes,
            lanes,
        } = self.cost;
        let salt = "A".repeat(22);
        let output = "A".repeat(43);
        format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${output}")
    }

    fn argon2(&self) -> Result<Argon2<'static>> {
        let PasswordCost {
            memory_kib,
            passes,
            lanes,
        } = self.cost;
        let params = Params::new(memory_kib, passes, lanes, None)
            .map_err(|error| Error::Hash(error.to_string()))?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let admitted = self.admitted.clone().try_acquire_owned();
        let admitted = admitted.map_err(|_| Error::Busy)?;
        let working = self.working.clone().acquire_owned().await;
        let working = working.map_err(|_| Error::Busy)?;
        // The permits go along: a request that is dropped does not free a thread that still works.
        tokio::task::spawn_blocking(move || {
            let _permits = (admitted, working);
            work()
        })
        .await
        .map_err(|error| Error::Hash(error.to_string()))?
    }
}
