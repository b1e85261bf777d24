//! What a room's worker knows of its room: the head, and the events of the current state that it has asked for.

use std::collections::HashMap;
use std::sync::Arc;

use hearth_data::rooms::RoomHead;
use hearth_data::{EventNo, RoomNo};
use hearth_event::{Pdu, PowerLevels, RoomVersion};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use ruma::UserId;

use crate::{Error, Result};

/// How many state events of one room are kept between two commits.
const KNOWN_MAX: usize = 1_024;

/// An event of the current state.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) event: EventNo,
    pub(crate) pdu: Pdu,
}

/// A room as its last commit left it, or as the events decided so far leave it.
#[derive(Clone, Debug)]
pub(crate) struct RoomView {
    pub(crate) room: RoomNo,
    pub(crate) version: RoomVersion,
    /// As in the store.
    pub(crate) head: RoomHead,
    /// By type and state key; `None` where the state has nothing. What is not here was not asked for yet.
    known: HashMap<String, HashMap<String, Option<Known>>>,
    count: usize,
    bytes: usize,
}

impl RoomView {
    pub(crate) fn new(room: RoomNo, head: RoomHead) -> Result<Self> {
        let version = RoomVersion::new(&head.version)
            .ok_or_else(|| Error::UnsupportedVersion(head.version.to_string()))?;
        Ok(Self {
            room,
            version,
            head,
            known: HashMap::new(),
            count: 0,
            bytes: 0,
        })
    }

    /// What the current state has at a key: `None` if that is not known here.
    pub(crate) fn known(&self, kind: &str, key: &str) -> Option<Option<&Known>> {
        Some(self.known.get(kind)?.get(key)?.as_ref())
    }

    /// The state event at a key that was loaded before.
    pub(crate) fn pdu(&self, kind: &str, key: &str) -> Option<&Pdu> {
        self.known(kind, key)?.map(|known| &known.pdu)
    }

    pub(crate) fn learn(&mut self, kind: &str, key: &str, event: Option<Known>) {
        let bytes = 256 + 3 * event.as_ref().map_or(0, |known| known.pdu.json().len());
        let keys = self.known.entry(kind.to_owned()).or_default();
        if keys.insert(key.to_owned(), event).is_none() {
            self.count += 1;
        }
        self.bytes += bytes;
    }

    /// Keeps within bounds between two commits.
    pub(crate) fn trim(&mut self) {
        if self.count > KNOWN_MAX {
            self.known.clear();
            self.count = 0;
            self.bytes = 0;
        }
    }

    /// The create event; every room has one, and it is loaded first.
    pub(crate) fn create(&self) -> Option<&Pdu> {
        self.pdu("m.room.create", "")
    }

    /// The power levels in force. Both events must have been loaded.
    pub(crate) fn power(&self) -> Option<PowerLevels> {
        let create = self.create()?;
        Some(PowerLevels::of(create, self.pdu("m.room.power_levels", "")))
    }

    /// The content of a user's member event that was loaded before.
    pub(crate) fn membership(
        &self,
        user: &UserId,
    ) -> Option<ruma::events::room::member::MembershipState> {
        self.pdu("m.room.member", user.as_str())
            .and_then(crate::content::membership)
    }
}

/// The views of rooms that were written to lately, under a byte budget. A worker takes its room's view out and puts it
/// back when it is done.
pub(crate) struct Views(Cache<RoomNo, Arc<RoomView>, Weight>);

#[derive(Clone)]
struct Weight;

impl Weighter<RoomNo, Arc<RoomView>> for Weight {
    fn weight(&self, _: &RoomNo, view: &Arc<RoomView>) -> u64 {
        (view.bytes + 1_024) as u64
    }
}

impl Views {
    pub(crate) fn new(bytes_max: u64) -> Self {
        // A view of a small room takes about 16 KiB.
        let items = usize::try_from(bytes_max / 16_384).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(items.max(1), bytes_max, Weight))
    }

    pub(crate) fn take(&self, room: RoomNo) -> Option<RoomView> {
        let (_, view) = self.0.remove(&room)?;
        Some(Arc::unwrap_or_clone(view))
    }

    pub(crate) fn put(&self, view: RoomView) {
        self.0.insert(view.room, Arc::new(view));
    }
}
