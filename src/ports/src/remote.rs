//! Other servers, asked about rooms.

use std::sync::Arc;

use bytes::Bytes;
use ruma::{
    EventId, OwnedEventId, OwnedRoomId, OwnedServerName, RoomAliasId, RoomId, ServerName, UserId,
};
use serde_json::value::RawValue;

use crate::{BoxError, BoxFuture};

/// A JSON text of another server: nothing about it was checked but that it is JSON of bounded size.
pub type Untrusted = Box<RawValue>;

/// What one server is asked about rooms. Asked by `rooms`, answered by `federation`, in tests by the other server.
///
/// Each call is one request to one server, with the transport's limits on time and size. The answers' fields are parsed,
/// their events are not: whoever asks checks format, room, hashes and signatures.
pub trait Remote: Send + Sync {
    /// `make_join`, `make_leave`, `make_knock`: a template of a member event.
    fn make_member<'a>(
        &'a self,
        server: &'a ServerName,
        ask: MakeMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Template>>;

    /// `send_join` (version 2).
    fn send_join<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
        members: Members,
    ) -> BoxFuture<'a, RemoteResult<JoinAnswer>>;

    /// `send_leave` (version 2).
    fn send_leave<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<()>>;

    /// `send_knock`: answers stripped state.
    fn send_knock<'a>(
        &'a self,
        server: &'a ServerName,
        event: SendMember<'a>,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>>;

    /// `invite` (version 2; version 1 where the server has no other): answers the event with the server's signature.
    fn invite<'a>(
        &'a self,
        server: &'a ServerName,
        invite: Invite<'a>,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>>;

    /// Asks a policy server to recommend an event: answers its signature.
    fn policy_sign<'a>(
        &'a self,
        server: &'a ServerName,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>>;

    /// `exchange_third_party_invite`.
    fn exchange_third_party_invite<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event: &'a RawValue,
    ) -> BoxFuture<'a, RemoteResult<()>>;

    /// `state_ids`: the state before an event, and its auth chain.
    fn state_ids<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateIds>>;

    /// `state`: the same with the events themselves.
    fn state<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<StateEvents>>;

    /// `event`: one event.
    fn event<'a>(
        &'a self,
        server: &'a ServerName,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Untrusted>>;

    /// `event_auth`: the auth chain of an event.
    fn event_auth<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        event_id: &'a EventId,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>>;

    /// `backfill`: events before and with `from`.
    fn backfill<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        from: &'a [OwnedEventId],
        limit: usize,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>>;

    /// `get_missing_events`.
    fn missing_events<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        ask: &'a MissingEvents,
    ) -> BoxFuture<'a, RemoteResult<Vec<Untrusted>>>;

    /// `timestamp_to_event`.
    fn timestamp_to_event<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        at: At,
    ) -> BoxFuture<'a, RemoteResult<FoundAt>>;

    /// `query/directory`: where an alias of that server leads.
    fn alias<'a>(
        &'a self,
        server: &'a ServerName,
        alias: &'a RoomAliasId,
    ) -> BoxFuture<'a, RemoteResult<AliasAnswer>>;

    /// `hierarchy`: what the server tells of a room, and of its children if it is a space.
    fn hierarchy<'a>(
        &'a self,
        server: &'a ServerName,
        room_id: &'a RoomId,
        children: Children,
    ) -> BoxFuture<'a, RemoteResult<SpaceAnswer>>;
}

/// The membership that a user of ours wants, for which another server makes the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// To join.
    Join,
    /// To leave, also to reject an invite.
    Leave,
    /// To knock.
    Knock,
}

impl MemberKind {
    /// The membership as events write it, and the last part of the endpoints' names.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Knock => "knock",
        }
    }
}

/// A question for a template.
#[derive(Clone, Copy, Debug)]
pub struct MakeMember<'a> {
    /// Which.
    pub kind: MemberKind,
    /// The room.
    pub room_id: &'a RoomId,
    /// The local user.
    pub user: &'a UserId,
    /// The room versions that we know (`ver`; not sent for leaves).
    pub versions: &'a [&'a str],
}

/// A template of a member event.
#[derive(Clone, Debug)]
pub struct Template {
    /// The room's version; absent means `1`.
    pub room_version: Option<String>,
    /// The event without hashes and signatures.
    pub event: Untrusted,
}

/// A member event to be accepted by a resident server.
#[derive(Clone, Copy, Debug)]
pub struct SendMember<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// The event's id.
    pub event_id: &'a EventId,
    /// The event in federation format.
    pub event: &'a RawValue,
}

/// Whether the answer to a join may leave out member events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Members {
    /// All of them.
    All,
    /// Only those of senders and heroes that are needed (`omit_members`).
    Omit,
}

/// The answer of `send_join`.
#[derive(Clone, Debug, Default)]
pub struct JoinAnswer {
    /// The state before the join.
    pub state: Vec<Untrusted>,
    /// The auth events of the state and the join.
    pub auth_chain: Vec<Untrusted>,
    /// The join with the resident's signature, if it sent it.
    pub event: Option<Untrusted>,
    /// Members were left out.
    pub members_omitted: bool,
    /// The servers in the room, if members were left out.
    pub servers_in_room: Vec<OwnedServerName>,
}

/// An invite for a user of another server.
#[derive(Clone, Copy, Debug)]
pub struct Invite<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// The event's id.
    pub event_id: &'a EventId,
    /// The room's version.
    pub room_version: &'a str,
    /// The event in federation format, signed by us.
    pub event: &'a RawValue,
    /// State for the invited user, in federation format; the create event is among it.
    pub state: &'a [Box<RawValue>],
}

/// A state by ids.
#[derive(Clone, Debug, Default)]
pub struct StateIds {
    /// The state.
    pub state: Vec<OwnedEventId>,
    /// Its auth chain.
    pub auth_chain: Vec<OwnedEventId>,
}

/// A state by its events: each the text of a JSON value, and all of them parts of the answer, which may be large.
#[derive(Clone, Debug, Default)]
pub struct StateEvents {
    /// The state.
    pub state: Vec<Bytes>,
    /// Its auth chain.
    pub auth_chain: Vec<Bytes>,
}

/// Which events are missing.
#[derive(Clone, Debug)]
pub struct MissingEvents {
    /// What we have: not to be answered, nor anything before it.
    pub earliest: Vec<OwnedEventId>,
    /// What refers to events that we lack.
    pub latest: Vec<OwnedEventId>,
    /// At most so many.
    pub limit: usize,
    /// None of a smaller depth.
    pub min_depth: u64,
}

/// A moment and where to look from it.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Milliseconds since the epoch.
    pub ts: u64,
    /// Where to look.
    pub direction: Direction,
}

/// Where to look from a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// At or after it.
    Forward,
    /// At or before it.
    Backward,
}

/// The event nearest to a moment.
#[derive(Clone, Debug)]
pub struct FoundAt {
    /// The event.
    pub event_id: OwnedEventId,
    /// Its time.
    pub ts: u64,
}

/// Where an alias leads.
#[derive(Clone, Debug)]
pub struct AliasAnswer {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Servers that know it.
    pub servers: Vec<OwnedServerName>,
}

/// Which children of a space are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Children {
    /// All.
    #[default]
    All,
    /// Those that the space suggests.
    Suggested,
}

/// A room as another server tells of it.
#[derive(Clone, Debug)]
pub struct SpaceAnswer {
    /// Its summary, with the events that name its children.
    pub room: Untrusted,
    /// Summaries of children.
    pub children: Vec<Untrusted>,
    /// Children into which nobody of the asking server can come.
    pub inaccessible: Vec<OwnedRoomId>,
}

/// What calls of [`Remote`] answer.
pub type RemoteResult<T> = Result<T, RemoteError>;

/// Why another server did not give an answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RemoteError {
    /// It could not be reached, did not answer in time, or failed itself: another server, or this one later, may do.
    #[error("the server cannot be reached")]
    Unreachable(#[source] Arc<Cause>),
    /// It answered, and not as the specification has it.
    #[error("the server's answer is malformed: {0}")]
    Malformed(String),
    /// It refused.
    #[error("the server refused: {message}")]
    Refused {
        /// For which reason, as far as that matters.
        reason: Refusal,
        /// In its words.
        message: String,
    },
}

/// A cause in a box, so that errors can be cloned.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Cause(#[from] pub BoxError);

impl RemoteError {
    /// Not reached, for this cause.
    pub fn unreachable(cause: impl Into<BoxError>) -> Self {
        Self::Unreachable(Arc::new(Cause(cause.into())))
    }
}

/// Why a server refused, as far as the asking side does different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 403: not allowed.
    Forbidden,
    /// 404: it does not know the room or event, or does not tell.
    NotFound,
    /// `M_UNRECOGNIZED`: it has no such endpoint.
    NoEndpoint,
    /// The room's version is none of ours; which it is.
    IncompatibleVersion(String),
    /// `M_UNABLE_TO_AUTHORISE_JOIN`: it cannot tell whether a restricted join is allowed.
    CannotAuthorise,
    /// `M_UNABLE_TO_GRANT_JOIN`: it may be allowed, but another server must let the user in.
    CannotGrant,
    /// Anything else.
    Other,
}
