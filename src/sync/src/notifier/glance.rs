//! What the notifier knows of a user at a moment, without asking the store.

use std::sync::Arc;

use hearth_data::RoomNo;

/// What changed for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It is not remembered so far back: every room has to be looked at.
    Unknown,
    /// This and nothing else.
    Known {
        /// Rooms with events, state or receipts, oldest change first.
        rooms: Vec<RoomNo>,
        /// Account data.
        has_data: bool,
        /// Memberships.
        has_memberships: bool,
        /// Device lists of somebody in the same rooms, or her own.
        has_lists: bool,
        /// Her key counts, or keys that she signed.
        has_keys: bool,
    },
}

/// What is known of a user at a moment, without asking the store.
#[derive(Debug)]
pub(crate) struct Glance {
    /// What changed.
    pub(crate) news: News,
    /// Whose presence is news; `None` if it is not remembered so far back.
    pub(crate) faces: Option<Vec<Arc<str>>>,
    /// There may be messages to her devices.
    pub(crate) has_to_device: bool,
}

impl Glance {
    /// Nothing is known: everything has to be looked at.
    pub(crate) fn nothing() -> Self {
        Self {
            news: News::Unknown,
            faces: None,
            has_to_device: true,
        }
    }
}
