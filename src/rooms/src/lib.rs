//! Rooms: the only writer of room events and room state.
//!
//! [`Rooms`] is the handle: create, join, invite, send, redact, aliases, the directory, and the reads that belong to
//! them. What passes (typing, receipts) is in [`ephemeral`].
//!
//! Every write of a room goes through the room's queue to one worker, which takes all that waits, decides each on what
//! its predecessors leave, and commits them together (`queue.rs`, `worker.rs`, `stage.rs`). What the specification
//! decides is decided by `hearth_event`; this crate loads, asks and commits.
//!
//! Knows no HTTP and no readers: whoever wants to know what happened follows the change log.

mod aftermath;
mod aliases;
mod content;
mod create;
mod direct;
mod directory;
pub mod ephemeral;
mod error;
mod hierarchy;
mod jobs;
mod kind;
mod members;
mod membership;
mod people;
mod policy;
mod queue;
mod read;
mod relate;
pub mod remote;
mod reports;
mod restricted;
mod retention;
mod send;
pub mod serve;
mod stage;
mod summary;
mod third_party;
mod upgrade;
mod view;
mod visible;
mod worker;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hearth_data::meta::Numbers;
use hearth_data::reach::ReachCache;
use hearth_data::{RoomNo, rooms};
use hearth_event::retention::Bounds;
use hearth_event::{RoomVersion, SigningKey};
use hearth_store::{Backend, Batch, Snapshot};
use hearth_types::{Caller, Clock, Ids, UnixMs};
use ruma::{OwnedDeviceId, OwnedServerName, OwnedUserId, RoomId, UserId};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use aliases::AliasTarget;
pub use create::{InitialState, NewRoom, Preset, Publish};
pub use direct::DirectInvite;
pub use directory::{RoomListing, RoomPage, RoomQuery};
pub use error::{Error, Result};
pub use hearth_data::state::{HashKey, States};
pub use hearth_store::Error as StoreError;
pub use hierarchy::{Children, HierarchyPage, HierarchyQuery, HierarchyRoom};
pub use kind::{KIND, RoomKind};
pub use members::{At, JoinedMember, MemberFilter, MutualRooms};
pub use membership::TargetChange;
pub use people::{People, Person};
pub use read::StateFormat;
pub use reports::{Report, Reported};
pub use send::{NewEvent, NewState, RedactOf, RedactRequest};
pub use summary::RoomSummary;
pub use upgrade::Upgrade;

use ephemeral::{Presences, Typing};
use queue::Queues;
use remote::Federation;
use remote::inboxes::Intakes;
use stage::resolve::Resolvers;
use view::Views;

/// What a server is to its rooms.
#[derive(Clone)]
pub struct Settings {
    /// The server's name.
    pub server_name: OwnedServerName,
    /// With what its events are signed.
    pub key: SigningKey,
    /// The version of rooms for which none is asked.
    pub default_version: RoomVersion,
    /// How much memory the views of rooms last written to, with their auth graphs, may take, in bytes.
    pub view_cache_bytes_max: u64,
    /// How long messages are kept.
    pub retention: Bounds,
}

/// What [`Rooms`] is made of.
pub struct Parts {
    /// The store.
    pub store: Arc<dyn Backend>,
    /// The reader of room states, one for the whole server.
    pub states: Arc<States>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<Ids>,
    /// The owner of the rooms' workers.
    pub tasks: TaskTracker,
    /// Cancelled when the server stops.
    pub shutdown: CancellationToken,
}

/// All rooms of this server. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<Inner>);

pub(crate) struct Inner {
    store: Arc<dyn Backend>,
    states: Arc<States>,
    clock: Arc<dyn Clock>,
    ids: Arc<Ids>,
    tasks: TaskTracker,
    settings: Settings,
    federation: Federation,
    shutdown: CancellationToken,
    intakes: Intakes,
    entering: remote::enter::Entering,
    resolvers: Resolvers,
    spaces: hierarchy::Spaces,
    numbers: Numbers,
    queues: Queues,
    turns: policy::Turns,
    views: Views,
    reach: ReachCache,
    typing: Typing,
    presences: Presences,
    // Wakes whoever waits for the rest of a room's state.
    became_whole: Notify,
    // New rooms whose invites the request that made them is just sending.
    inviting: jobs::Inviting,
    // When the youngest room was made, in milliseconds.
    last_birth: AtomicU64,
}

/// Who writes: the part of a caller that events and transactions need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The local user.
    pub user: OwnedUserId,
    /// The device, for the scope of transaction ids.
    pub device: Option<OwnedDeviceId>,
    /// The `origin_server_ts` of what is sent, where an application service says it; `None`: now.
    pub at: Option<UnixMs>,
}

impl From<&Caller> for Sender {
    fn from(caller: &Caller) -> Self {
        Self {
            user: caller.user.clone(),
            device: caller.device.clone(),
            at: None,
        }
    }
}

/// The versions in which rooms can be made, as written.
pub fn supported_versions() -> impl Iterator<Item = &'static str> {
    RoomVersion::SUPPORTED.into_iter().map(RoomVersion::as_str)
}

/// What a caller wants written in the same commit: its own `Expect` and `Put` operations. If one of its expectations
/// does not hold, nothing is written and the answer is [`Error::RiderConflict`].
pub type Rider = Batch;

impl Rooms {
    /// All rooms of a store.
    pub fn new(parts: Parts, settings: Settings) -> Self {
        Self::federated(parts, settings, Federation::default())
    }

    /// All rooms of a store, with the servers around.
    pub fn federated(parts: Parts, settings: Settings, federation: Federation) -> Self {
        let (tasks, shutdown) = (&parts.tasks, &parts.shutdown);
        let typing = Typing::new(parts.clock.now(), tasks.clone(), shutdown.clone());
        let presences = Presences::new(parts.clock.clone(), tasks.clone(), shutdown.clone());
        // Rows of the auth graph are small and few of them are asked for.
        let reach_bytes = settings.view_cache_bytes_max / 4;
        let views = Views::new(settings.view_cache_bytes_max - reach_bytes);
        Self(Arc::new(Inner {
            store: parts.store,
            states: parts.states,
            clock: parts.clock,
            ids: parts.ids,
            tasks: parts.tasks,
            settings,
            federation,
            shutdown: parts.shutdown,
            intakes: Intakes::default(),
            entering: remote::enter::Entering::default(),
            resolvers: Resolvers::default(),
            spaces: hierarchy::Spaces::default(),
            numbers: Numbers::new(ROOM_NUMBERS),
            queues: Queues::default(),
            turns: policy::Turns::default(),
            views,
            reach: ReachCache::new(reach_bytes),
            typing,
            presences,
            became_whole: Notify::new(),
            inviting: jobs::Inviting::default(),
            last_birth: AtomicU64::new(0),
        }))
    }

    /// Who is typing where, for `sync`.
    pub fn typing(&self) -> &Typing {
        &self.0.typing
    }

    /// Who is there, for `sync`.
    pub fn presences(&self) -> &Presences {
        &self.0.presences
    }

    /// The server's name.
    pub fn server_name(&self) -> &ruma::ServerName {
        &self.0.settings.server_name
    }

    /// The version of rooms for which none is asked.
    pub fn default_version(&self) -> RoomVersion {
        self.0.settings.default_version
    }

    async fn snapshot(&self) -> Result<Arc<dyn Snapshot>> {
        Ok(self.0.store.snapshot().await?)
    }

    /// The number of a room in which the question is asked by somebody who claims to be in it.
    async fn number(&self, room_id: &RoomId) -> Result<RoomNo> {
        let snapshot = self.snapshot().await?;
        rooms::number(&*snapshot, room_id)
            .await?
            .ok_or(Error::NoSuchRoom)
    }
}

impl Inner {
    fn is_local(&self, user: &UserId) -> bool {
        user.server_name() == self.settings.server_name
    }
}

/// The allocator of room numbers, in `META`.
const ROOM_NUMBERS: &str = "next_room";
