//! What clients ask.

use std::time::Duration;

use ruma::{OwnedDeviceId, OwnedEventId, OwnedRoomId, OwnedUserId};

use crate::Token;

/// Who asks.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The user.
    pub user: OwnedUserId,
    /// Her device.
    pub device: Option<OwnedDeviceId>,
}

/// GET `/sync`.
#[derive(Clone, Debug)]
pub struct SyncAsk {
    /// Who asks.
    pub reader: Reader,
    /// The last `next_batch`; `None` for an initial sync.
    pub since: Option<Token>,
    /// A filter's id, or a filter as JSON text.
    pub filter: Option<String>,
    /// How much state is wanted.
    pub state_wanted: StateWanted,
    /// Up to where the state section goes.
    pub state_until: StateUntil,
    /// How long to wait for news.
    pub timeout: Duration,
}

/// How much state an incremental sync holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateWanted {
    /// What changed.
    Changes,
    /// All of it (`full_state`).
    Full,
}

/// Up to where the state section goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateUntil {
    /// Up to the start of the timeline: `state`.
    TimelineStart,
    /// Up to its end: `state_after`.
    TimelineEnd,
}

/// In which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Newest first.
    Backward,
    /// Oldest first.
    Forward,
}

/// A page of a list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it begins; `None` for the end of the list that the direction comes from.
    pub from: Option<Token>,
    /// Where to stop.
    pub to: Option<Token>,
    /// The direction.
    pub direction: Direction,
    /// How many entries the client wants.
    pub limit: Option<u64>,
}

/// GET `/rooms/{roomId}/messages`.
#[derive(Clone, Debug)]
pub struct MessagesAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room.
    pub room_id: OwnedRoomId,
    /// Which page.
    pub page: Page,
    /// A `RoomEventFilter` as JSON text.
    pub filter: Option<String>,
}

/// GET `/rooms/{roomId}/context/{eventId}`.
#[derive(Clone, Debug)]
pub struct ContextAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room.
    pub room_id: OwnedRoomId,
    /// The event.
    pub event_id: OwnedEventId,
    /// How many events around it.
    pub limit: Option<u64>,
    /// A `RoomEventFilter` as JSON text.
    pub filter: Option<String>,
}

/// GET `/rooms/{roomId}/event/{eventId}`, or `/events/{eventId}`.
#[derive(Clone, Debug)]
pub struct EventAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room; `None`: whatever room it is in.
    pub room_id: Option<OwnedRoomId>,
    /// The event.
    pub event_id: OwnedEventId,
}

/// GET `/rooms/{roomId}/initialSync`.
#[derive(Clone, Debug)]
pub struct RoomInitialAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room.
    pub room_id: OwnedRoomId,
    /// How many messages.
    pub limit: Option<u64>,
}

/// GET `/events` of one room.
#[derive(Clone, Debug)]
pub struct PeekAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room.
    pub room_id: OwnedRoomId,
    /// What the client knows; `None`: all up to now.
    pub from: Option<Token>,
    /// How long to wait for news.
    pub timeout: Duration,
}

/// GET `/rooms/{roomId}/relations/{eventId}[/{relType}[/{eventType}]]`.
#[derive(Clone, Debug)]
pub struct RelationsAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room.
    pub room_id: OwnedRoomId,
    /// The event related to.
    pub event_id: OwnedEventId,
    /// Only relations of this type.
    pub rel_type: Option<String>,
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Which page.
    pub page: Page,
    /// Whether relations of relations are wanted too.
    pub depth: RelationDepth,
}

/// How far relations are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationDepth {
    /// Events that relate to the event itself.
    Direct,
    /// Also those that relate to these (`recurse`).
    Recursive,
}

/// GET `/rooms/{roomId}/threads`.
#[derive(Clone, Debug)]
pub struct ThreadsAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room.
    pub room_id: OwnedRoomId,
    /// Only threads in which she wrote.
    pub include: ThreadsIncluded,
    /// Where it begins.
    pub from: Option<Token>,
    /// How many threads.
    pub limit: Option<u64>,
}

/// Which threads are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadsIncluded {
    /// All.
    All,
    /// Those in which the reader wrote.
    Participated,
}

/// GET `/rooms/{roomId}/timestamp_to_event`.
#[derive(Clone, Debug)]
pub struct TimestampAsk {
    /// Who asks.
    pub reader: Reader,
    /// The room.
    pub room_id: OwnedRoomId,
    /// Milliseconds since the Unix epoch.
    pub ts: u64,
    /// Which way to search from there.
    pub direction: Direction,
}

/// GET `/keys/changes`.
#[derive(Clone, Debug)]
pub struct KeyChangesAsk {
    /// Who asks.
    pub reader: Reader,
    /// After which moment.
    pub from: Option<Token>,
    /// Up to which.
    pub to: Option<Token>,
}
