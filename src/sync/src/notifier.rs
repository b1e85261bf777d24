//! The follower of the log.

use tokio_util::sync::CancellationToken;

use crate::Parts;

/// One task that follows the log and wakes the local users concerned.
#[derive(Clone)]
pub struct Notifier {}

impl Notifier {
    pub(crate) fn new(_parts: &Parts) -> Self {
        Self {}
    }

    /// Follows the log until shutdown. Without it no sync is answered.
    pub async fn run(&self, shutdown: CancellationToken) {
        shutdown.cancelled().await;
    }
}
