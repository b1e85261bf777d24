//! Friends and groups: what Hearth adds to Matrix. `spec/social.yaml` says what clients see of it.
//!
//! Everything is made of ordinary rooms, written by `rooms`. What two people are to each other is derived from their
//! memberships in their direct chats ([`derive`](mod@derive), pure), by [`Social::run`], which follows the change log, and by each request
//! for itself: both load, derive and commit the same, so that it does not matter who is first. What the server then has to do for
//! its own user (leave a chat that the friend has left, join the one that stays of two crossed requests) is noted
//! in the same commit and done afterwards, again after a crash.
//!
//! [`Social`] is the handle. Knows no HTTP; account data is all that tells clients of a change.

mod act;
mod circle;
mod derive;
mod error;
mod facts;
mod follow;
mod friends;
mod groups;
mod lists;
mod private;
mod settle;
mod turns;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use hearth_data::RoomNo;
use hearth_data::state::States;
use hearth_rooms::Rooms;
use hearth_store::{Backend, Position, Snapshot};
use hearth_types::Clock;
use quick_cache::sync::Cache;
use ruma::{OwnedUserId, UserId};
use tokio::sync::{Notify, watch};

pub use circle::{Circle, CircleUser};
pub use error::{Error, Result};
pub use friends::Friend;
pub use groups::{Group, GroupList, GroupPage, GroupQuery, NewGroup};
pub use hearth_data::social::{Ending, FriendState};
pub use lists::{FriendPage, FriendQuery, Standing};
pub use private::Opened;
use turns::Turns;

/// How many rooms' kinds are remembered.
const KINDS_MAX: usize = 10_000;

/// What [`Social`] is made of.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Backend>,
    /// The reader of room states, one for the whole server.
    pub states: Arc<States>,
    /// The only writer of rooms.
    pub rooms: Rooms,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Friends and groups of this server's users. Cheap to clone.
#[derive(Clone)]
pub struct Social(Arc<Inner>);

struct Inner {
    store: Arc<dyn Backend>,
    states: Arc<States>,
    rooms: Rooms,
    clock: Arc<dyn Clock>,
    // Never changes for a room, so it cannot be out of date.
    kinds: Cache<RoomNo, Option<facts::Made>>,
    // Up to where the log has been followed.
    seen: watch::Sender<Position>,
    // Somebody waits until the log was read.
    wanted: Notify,
    // Wakes whoever does what is to be done.
    acts: Notify,
    // Who does it, of a request and the worker. Held while other servers are asked; nothing else is locked meanwhile.
    turns: Turns,
}

impl Social {
    /// Friends and groups on a store.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            store: parts.store,
            states: parts.states,
            rooms: parts.rooms,
            clock: parts.clock,
            kinds: Cache::new(KINDS_MAX),
            seen: watch::Sender::new(Position::ZERO),
            wanted: Notify::new(),
            acts: Notify::new(),
            turns: Turns::default(),
        }))
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.0.store.snapshot().await?)
    }

    fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.0.rooms.server_name()
    }

    /// The user of an id, if she is one of this server.
    fn local(&self, user: &str) -> Option<OwnedUserId> {
        let user = UserId::parse(user).ok()?;
        self.is_local(&user).then_some(user)
    }
}
