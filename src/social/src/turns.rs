//! Taking turns: what needs another server is done for two people, or one group, by one task at a time. Else both would send an
//! invite, and the other server would hold on to the one that the room does not have.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// Whose turn it is.
type Key = (String, String);
type Lock = Arc<tokio::sync::Mutex<()>>;

/// Who is at work, or waits. Holds a row for each of them and no longer than they are.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<HashMap<Key, Lock>>);

/// A turn; ends when it is dropped.
#[must_use = "the turn is over when this is dropped"]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn.
    pub(crate) async fn take(&self, one: &str, other: &str) -> Turn<'_> {
        let key = (one.to_owned(), other.to_owned());
        let lock = self.rows().entry(key.clone()).or_default().clone();
        // Made before the wait, so that whoever gives up waiting is forgotten as well.
        let mut turn = Turn {
            turns: self,
            key,
            guard: None,
        };
        turn.guard = Some(lock.lock_owned().await);
        turn
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Lock>> {
        // A map of locks is whole whenever it can be seen.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut rows = self.turns.rows();
        self.guard = None;
        // Only the map has it: nobody is at work, nobody waits, and to wait the map is needed.
        if rows
            .get(&self.key)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            rows.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_is_at_work_and_nobody_is_remembered() {
        let turns = Turns::default();
        let first = turns.take("anna", "bert").await;
        let other = turns.take("bert", "anna").await;
        {
            let second = turns.take("anna", "bert");
            tokio::pin!(second);
            let waited = futures_util::poll!(&mut second);
            assert!(waited.is_pending());
            drop(first);
            drop(second.await);
        }
        assert_eq!(turns.rows().len(), 1);
        drop(other);
        assert!(turns.rows().is_empty());
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_is_forgotten() {
        let turns = Turns::default();
        let first = turns.take("anna", "bert").await;
        {
            let second = turns.take("anna", "bert");
            tokio::pin!(second);
            assert!(futures_util::poll!(&mut second).is_pending());
        }
        drop(first);
        assert!(turns.rows().is_empty());
    }
}
