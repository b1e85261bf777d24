//! The handle of this crate.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hearth_data::state::States;
use hearth_ports::TypingSource;
use hearth_store::Backend;
use hearth_types::Clock;

use crate::ask::{ContextAsk, MessagesAsk, RelationsAsk, SyncAsk, ThreadsAsk, TimestampAsk};
use crate::{Notifier, Result};

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest wait of a long-poll, whatever the client asks for.
    pub timeout_max: Duration,
    /// What caches of events may hold, in bytes.
    pub cache_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_max: Duration::from_secs(300),
            cache_bytes_max: 16 << 20,
        }
    }
}

/// What the reader is made of.
#[derive(Clone)]
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Backend>,
    /// The reader of room state.
    pub states: Arc<States>,
    /// Who is typing.
    pub typing: Arc<dyn TypingSource>,
    /// The time, for the age of events.
    pub clock: Arc<dyn Clock>,
    /// What can be set.
    pub settings: Settings,
}

/// The reader for clients. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Sync(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) notifier: Notifier,
}

impl Sync {
    /// A reader. It answers once [`Notifier::run`] of [`Sync::notifier`] runs.
    pub fn new(parts: Parts) -> Self {
        let notifier = Notifier::new(&parts);
        Self(Arc::new(Inner { parts, notifier }))
    }

    /// The follower of the log, to be run by the binary.
    pub fn notifier(&self) -> &Notifier {
        &self.0.notifier
    }

    /// GET `/sync`.
    pub async fn v3(&self, _ask: SyncAsk) -> Result<Bytes> {
        unimplemented!()
    }

    /// GET `/rooms/{roomId}/messages`.
    pub async fn messages(&self, _ask: MessagesAsk) -> Result<Bytes> {
        unimplemented!()
    }

    /// GET `/rooms/{roomId}/context/{eventId}`.
    pub async fn context(&self, _ask: ContextAsk) -> Result<Bytes> {
        unimplemented!()
    }

    /// GET `/rooms/{roomId}/relations/{eventId}` and its longer forms.
    pub async fn relations(&self, _ask: RelationsAsk) -> Result<Bytes> {
        unimplemented!()
    }

    /// GET `/rooms/{roomId}/threads`.
    pub async fn threads(&self, _ask: ThreadsAsk) -> Result<Bytes> {
        unimplemented!()
    }

    /// GET `/rooms/{roomId}/timestamp_to_event`.
    pub async fn timestamp_to_event(&self, _ask: TimestampAsk) -> Result<Bytes> {
        unimplemented!()
    }
}
