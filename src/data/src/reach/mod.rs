//! Reachability over `auth_events`: auth chains, their differences, and paths between events, for state resolution
//! and for other servers. `spec/decisions/003-reachability.md` says why it is built so.
//!
//! Each event that can be an auth event has one row: its auth events and its generation, one more than the greatest
//! of theirs. Questions are walks from higher to lower generations that stop where nothing can change any more. A
//! walk looks at each event once and each link once, whatever the graph looks like (S04).
//!
//! [`ReachWriter`] adds events within a batch; [`Reach`] answers. Does not know what makes an event a good auth event.

mod row;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_store::{Error, Snapshot};

use crate::state::RoomItem;
use crate::tables::AUTH_LINKS;
use crate::{EventNo, Result, RoomNo};

pub use row::AuthLinks;
pub use walk::StateSets;
pub use writer::{Indexed, ReachWriter};

/// How many rows are fetched at once.
const FETCH: usize = 256;

/// Rows that lie this dense (one in so many numbers) are read as a range.
const DENSE: u64 = 4;

/// Decoded rows under a byte budget. An event's auth events never change, so an entry cannot be wrong.
#[derive(Debug)]
pub struct ReachCache(quick_cache::sync::Cache<RoomItem, Arc<AuthLinks>, Weight>);

#[derive(Clone, Debug)]
struct Weight;

impl quick_cache::Weighter<RoomItem, Arc<AuthLinks>> for Weight {
    fn weight(&self, _: &RoomItem, links: &Arc<AuthLinks>) -> u64 {
        (size_of_val(links.auth_events()) + 96) as u64
    }
}

impl ReachCache {
    /// A cache of at most this many bytes.
    pub fn new(bytes_max: u64) -> Self {
        let items = usize::try_from(bytes_max / 128).unwrap_or(usize::MAX);
        Self(quick_cache::sync::Cache::with_weighter(
            items, bytes_max, Weight,
        ))
    }

    /// What it holds, in bytes.
    pub fn bytes(&self) -> u64 {
        self.0.weight()
    }
}

/// The auth graph of a room as a snapshot shows it.
#[derive(Clone, Copy)]
pub struct Reach<'a> {
    room: RoomNo,
    snapshot: &'a dyn Snapshot,
    cache: &'a ReachCache,
    // What a writer has not yet committed; never goes into the cache.
    staged: Option<&'a BTreeMap<EventNo, Arc<AuthLinks>>>,
}

impl<'a> Reach<'a> {
    /// The auth graph of a room.
    pub fn new(room: RoomNo, snapshot: &'a dyn Snapshot, cache: &'a ReachCache) -> Self {
        Self {
            room,
            snapshot,
            cache,
            staged: None,
        }
    }

    /// An event's row, if it was added.
    pub async fn links(&self, event: EventNo) -> Result<Option<Arc<AuthLinks>>> {
        if let Some(links) = self.in_memory(event) {
            return Ok(Some(links));
        }
        let key = self.item(event);
        let row = AUTH_LINKS.get(self.snapshot, &key).await?;
        Ok(row.map(|links| self.remember(key, links)))
    }

    /// The rows of events, which must have been added, in their order.
    async fn load_many(&self, events: &[EventNo]) -> Result<Vec<Arc<AuthLinks>>> {
        let mut rows = BTreeMap::new();
        let mut missing = Vec::new();
        for event in events {
            match self.in_memory(*event) {
                Some(links) => {
                    rows.insert(*event, links);
                }
                None => missing.push(*event),
            }
        }
        missing.sort_unstable();
        missing.dedup();
        for some in missing.chunks(FETCH) {
            rows.extend(self.fetch(some).await?);
        }
        events
            .iter()
            .map(|event| rows.get(event).cloned().ok_or_else(|| self.unknown(*event)))
            .collect()
    }

    async fn fetch(&self, sorted: &[EventNo]) -> Result<Vec<(EventNo, Arc<AuthLinks>)>> {
        let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
            return Ok(Vec::new());
        };
        let span = last.0 - first.0;
        let found = if sorted.len() > 1 && span / DENSE < sorted.len() as u64 {
            let range = AUTH_LINKS.between(
                &self.item(*first),
                &self.item(EventNo(last.0.saturating_add(1))),
            );
            AUTH_LINKS.range(self.snapshot, range, usize::MAX).await?
        } else {
            let keys: Vec<RoomItem> = sorted.iter().map(|event| self.item(*event)).collect();
            let rows = AUTH_LINKS.get_many(self.snapshot, &keys).await?;
            keys.into_iter()
                .zip(rows)
                .filter_map(|(key, links)| Some((key, links?)))
                .collect()
        };
        Ok(found
            .into_iter()
            .map(|(key, links)| (EventNo(key.number), self.remember(key, links)))
            .collect())
    }

    fn in_memory(&self, event: EventNo) -> Option<Arc<AuthLinks>> {
        if let Some(links) = self.staged.and_then(|staged| staged.get(&event)) {
            return Some(links.clone());
        }
        self.cache.0.get(&self.item(event))
    }

    fn remember(&self, key: RoomItem, links: AuthLinks) -> Arc<AuthLinks> {
        let links = Arc::new(links);
        self.cache.0.insert(key, links.clone());
        links
    }

    fn item(&self, event: EventNo) -> RoomItem {
        RoomItem {
            room: self.room,
            number: event.0,
        }
    }

    fn unknown(&self, event: EventNo) -> Error {
        Error::Corrupt {
            table: AUTH_LINKS.info().name,
            key: format!("room {}, event {}", self.room.0, event.0),
            reason: "an event that others refer to is missing".to_owned(),
        }
    }
}
