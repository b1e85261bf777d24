//! Adding events.

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_store::{Batch, Snapshot};

use super::{AuthLinks, Reach, ReachCache};
use crate::state::RoomItem;
use crate::tables::AUTH_LINKS;
use crate::{EventNo, Result, RoomNo};

/// Whether an event was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indexed {
    /// It was, now or before.
    Done,
    /// It was not: this auth event of it has to be added first. An event that has itself in its auth chain (the ids
    /// of room versions 1 and 2 do not exclude that) can therefore never be added.
    AuthMissing(EventNo),
}

/// Adds events of a room for one batch, auth events before those that refer to them.
pub struct ReachWriter<'a> {
    room: RoomNo,
    snapshot: &'a dyn Snapshot,
    cache: &'a ReachCache,
    staged: BTreeMap<EventNo, Arc<AuthLinks>>,
}

impl<'a> ReachWriter<'a> {
    /// Nothing added.
    pub fn new(room: RoomNo, snapshot: &'a dyn Snapshot, cache: &'a ReachCache) -> Self {
        Self {
            room,
            snapshot,
            cache,
            staged: BTreeMap::new(),
        }
    }

    /// The graph including what was added here.
    pub fn view(&self) -> Reach<'_> {
        Reach {
            staged: Some(&self.staged),
            ..Reach::new(self.room, self.snapshot, self.cache)
        }
    }

    /// Adds an event. Its auth events are numbers of the same room, in any order.
    pub async fn append(&mut self, event: EventNo, auth_events: &[EventNo]) -> Result<Indexed> {
        let view = self.view();
        if view.links(event).await?.is_some() {
            return Ok(Indexed::Done);
        }
        let mut auth = auth_events.to_vec();
        auth.sort_unstable();
        auth.dedup();
        let mut generation = 0;
        for auth_event in &auth {
            match view.links(*auth_event).await? {
                Some(links) => generation = generation.max(links.generation + 1),
                None => return Ok(Indexed::AuthMissing(*auth_event)),
            }
        }
        self.staged
            .insert(event, Arc::new(AuthLinks { generation, auth }));
        Ok(Indexed::Done)
    }

    /// Takes out what was added here of events from a number on: they were not written, and the numbers go to others.
    pub fn withdraw(&mut self, from: EventNo) {
        self.staged.retain(|event, _| *event < from);
    }

    /// Puts the new rows into the batch.
    pub fn flush(self, batch: &mut Batch) {
        for (event, links) in self.staged {
            let key = RoomItem {
                room: self.room,
                number: event.0,
            };
            AUTH_LINKS.put(batch, &key, &links);
        }
    }
}
