//! The handle of this crate.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use hearth_data::RoomNo;
use hearth_data::accounts::filters;
use hearth_data::state::States;
use hearth_event::retention::Bounds;
use hearth_ports::{History, PresenceSource, TypingSource};
use hearth_store::{Backend, Snapshot};
use hearth_types::Clock;

use crate::ask::{
    ContextAsk, EventAsk, KeyChangesAsk, MessagesAsk, PeekAsk, Reader, RelationsAsk,
    RoomInitialAsk, SyncAsk, ThreadsAsk, TimestampAsk,
};
use crate::counts::CountsCache;
use crate::encryption::{HeadsCache, ListsAsk, device_lists};
use crate::filter::Filter;
use crate::json::JsonWriter;
use crate::lazy::LazyCache;
use crate::notifier::News;
use crate::partials::Partials;
use crate::profile::{ReaderFacts, ReaderFactsCache};
use crate::room::{RoomCaches, RoomReader};
use crate::{Error, Notifier, Result, SyncToken, Token, pages, v3};

/// How many parsed filters are kept.
const FILTERS_MAX: usize = 1_000;
/// A longer filter is parsed each time.
const FILTER_KEPT_BYTES_MAX: usize = 4_096;

/// What can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Longest wait of a long-poll, whatever the client asks for.
    pub timeout_max: Duration,
    /// What the newest events of watched rooms may take in memory, in bytes.
    pub cache_bytes_max: u64,
    /// How long messages are kept, and shown.
    pub retention: Bounds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout_max: Duration::from_secs(300),
            cache_bytes_max: 16 << 20,
            retention: Bounds::default(),
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
    /// Who is there.
    pub presences: Arc<dyn PresenceSource>,
    /// The time, for the age of events.
    pub clock: Arc<dyn Clock>,
    /// What can be set.
    pub settings: Settings,
}

/// The reader for clients. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Sync(Arc<Inner>);

/// What reading rooms takes besides a snapshot.
pub(crate) struct Reading {
    pub(crate) states: Arc<States>,
    pub(crate) rooms: RoomCaches,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retention: Bounds,
}

pub(crate) struct Inner {
    pub(crate) parts: Parts,
    pub(crate) reading: Arc<Reading>,
    pub(crate) notifier: Notifier,
    pub(crate) lazy: LazyCache,
    pub(crate) partials: Partials,
    pub(crate) counts: CountsCache,
    pub(crate) heads: HeadsCache,
    /// Who fetches history that is not here; nobody on a server without others.
    history: OnceLock<Arc<dyn History>>,
    readers: ReaderFactsCache,
    filters: quick_cache::sync::Cache<(String, String), Arc<Filter>>,
}

impl Inner {
    pub(crate) fn history(&self) -> Option<&Arc<dyn History>> {
        self.history.get()
    }
}

impl Sync {
    /// A reader. It answers once [`Notifier::run`] of [`Sync::notifier`] runs.
    pub fn new(parts: Parts) -> Self {
        let reading = Arc::new(Reading {
            states: parts.states.clone(),
            rooms: RoomCaches::new(),
            clock: parts.clock.clone(),
            retention: parts.settings.retention,
        });
        Self(Arc::new(Inner {
            notifier: Notifier::new(&parts, reading.clone()),
            parts,
            reading,
            lazy: LazyCache::new(),
            partials: Partials::default(),
            counts: CountsCache::new(),
            heads: HeadsCache::new(),
            history: OnceLock::new(),
            readers: ReaderFactsCache::new(),
            filters: quick_cache::sync::Cache::new(FILTERS_MAX),
        }))
    }

    /// Names who fetches history that is not here. The first one stays.
    #[must_use]
    pub fn with_history(self, history: Arc<dyn History>) -> Self {
        if self.0.history.set(history).is_err() {
            tracing::debug!("history was named before");
        }
        self
    }

    /// The follower of the log, to be run by the binary.
    pub fn notifier(&self) -> &Notifier {
        &self.0.notifier
    }

    /// Longest wait of a long-poll.
    pub fn timeout_max(&self) -> Duration {
        self.0.parts.settings.timeout_max
    }

    /// GET `/sync`.
    pub async fn v3(&self, ask: SyncAsk) -> Result<Bytes> {
        v3::sync(&self.0, ask).await
    }

    /// GET `/rooms/{roomId}/messages`.
    pub async fn messages(&self, ask: MessagesAsk) -> Result<Bytes> {
        pages::messages(&self.0, ask).await
    }

    /// GET `/rooms/{roomId}/context/{eventId}`.
    pub async fn context(&self, ask: ContextAsk) -> Result<Bytes> {
        pages::context(&self.0, ask).await
    }

    /// GET `/rooms/{roomId}/event/{eventId}` and `/events/{eventId}`.
    pub async fn event(&self, ask: EventAsk) -> Result<Bytes> {
        pages::event(&self.0, ask).await
    }

    /// GET `/rooms/{roomId}/initialSync`.
    pub async fn room_initial(&self, ask: RoomInitialAsk) -> Result<Bytes> {
        pages::room_initial(&self.0, ask).await
    }

    /// GET `/events` of one room.
    pub async fn peek(&self, ask: PeekAsk) -> Result<Bytes> {
        pages::peek(&self.0, ask).await
    }

    /// The token of this moment.
    pub async fn now(&self) -> Result<SyncToken> {
        let typing = self.0.parts.typing.version();
        let position = self.0.parts.store.snapshot().await?.position();
        let presence = self.0.notifier.presences_seen();
        Ok(SyncToken {
            position,
            typing,
            presence,
            to_device: None,
            misled_since: None,
        })
    }

    /// GET `/rooms/{roomId}/relations/{eventId}` and its longer forms.
    pub async fn relations(&self, ask: RelationsAsk) -> Result<Bytes> {
        pages::relations(&self.0, ask).await
    }

    /// GET `/rooms/{roomId}/threads`.
    pub async fn threads(&self, ask: ThreadsAsk) -> Result<Bytes> {
        pages::threads(&self.0, ask).await
    }

    /// GET `/keys/changes`.
    pub async fn key_changes(&self, ask: KeyChangesAsk) -> Result<Bytes> {
        let position = |token: Option<Token>| match token {
            Some(Token::Sync(token)) => Ok(token.position),
            Some(token @ (Token::History(_) | Token::Gap { .. })) => {
                Err(Error::BadToken(token.to_string()))
            }
            None => Err(Error::BadToken(String::new())),
        };
        let snapshot = self.0.parts.store.snapshot().await?;
        let to = position(ask.to)?.min(snapshot.position());
        let ask = ListsAsk {
            inner: &self.0,
            snapshot: &*snapshot,
            user: ask.reader.user.as_str(),
            from: position(ask.from)?.min(to),
            to,
            news: &News::Unknown,
        };
        let mut json = JsonWriter::new();
        device_lists(&ask).await?.write(&mut json);
        Ok(json.finish().into())
    }

    /// GET `/rooms/{roomId}/timestamp_to_event`.
    pub async fn timestamp_to_event(&self, ask: TimestampAsk) -> Result<Bytes> {
        pages::timestamp_to_event(&self.0, ask).await
    }
}

impl Inner {
    /// Opens a room in a snapshot.
    pub(crate) async fn room<'a>(
        &'a self,
        snapshot: &'a dyn Snapshot,
        room: RoomNo,
    ) -> Result<Option<RoomReader<'a>>> {
        RoomReader::open(snapshot, room, &self.reading).await
    }

    /// Opens a room that a user asks about by its id.
    pub(crate) async fn room_by_id<'a>(
        &'a self,
        snapshot: &'a dyn Snapshot,
        room_id: &ruma::RoomId,
    ) -> Result<RoomReader<'a>> {
        let room = hearth_data::rooms::number(snapshot, room_id).await?;
        let room = room.ok_or(Error::NotInRoom)?;
        self.room(snapshot, room).await?.ok_or(Error::NotInRoom)
    }

    /// What concerns the reader in all rooms: whom she ignores, her push rules.
    pub(crate) async fn reader_facts(
        &self,
        snapshot: &dyn Snapshot,
        reader: &Reader,
    ) -> Result<Arc<ReaderFacts>> {
        let user = reader.user.as_str();
        if let Some(facts) = self.readers.get(user)
            && !self.notifier.has_data_since(user, facts.at)
        {
            return Ok(facts);
        }
        let facts = Arc::new(ReaderFacts::load(snapshot, &reader.user).await?);
        self.readers.put(user, facts.clone());
        Ok(facts)
    }

    /// A filter, given as its id or as JSON text.
    pub(crate) async fn filter(&self, reader: &Reader, given: Option<&str>) -> Result<Arc<Filter>> {
        let Some(given) = given.filter(|given| !given.is_empty()) else {
            return Ok(Arc::default());
        };
        let is_json = given.trim_start().starts_with('{');
        // The same text means the same for everybody; an id only for its owner.
        let owner = if is_json { "" } else { reader.user.as_str() };
        let key = (owner.to_owned(), given.to_owned());
        if let Some(filter) = self.filters.get(&key) {
            return Ok(filter);
        }
        let filter = if is_json {
            Filter::parse(given)?
        } else {
            let snapshot = self.parts.store.snapshot().await?;
            let stored = filters::filter(&*snapshot, reader.user.as_str(), given).await?;
            Filter::parse(stored.ok_or(Error::NoSuchFilter)?.text())?
        };
        let filter = Arc::new(filter);
        if given.len() <= FILTER_KEPT_BYTES_MAX {
            self.filters.insert(key, filter.clone());
        }
        Ok(filter)
    }
}
