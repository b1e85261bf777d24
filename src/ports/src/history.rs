//! The past of rooms that began before we were in them.

use ruma::{OwnedEventId, RoomId};

use crate::BoxFuture;
use crate::remote::At;

/// Fetches missing history. Asked by `sync` before it answers a page, answered by `rooms`.
pub trait History: Send + Sync {
    /// Has the next part of a gap fetched that lies in the page going back from `before`. Returns when it is in the
    /// store, or when nobody could be asked.
    fn fill<'a>(&'a self, room_id: &'a RoomId, page: PageBack) -> BoxFuture<'a, Filled>;

    /// Asks other servers for the event nearest to a moment, and has the history fetched that lies between it and what is
    /// here. Answers the event, which is then in the store, or nothing if nobody knows one that can be reached.
    fn find<'a>(&'a self, room_id: &'a RoomId, at: At) -> BoxFuture<'a, Option<OwnedEventId>>;
}

/// A page of history, newest event first.
#[derive(Clone, Copy, Debug)]
pub struct PageBack {
    /// Its events have places below this one.
    pub before: i64,
    /// How many events are wanted.
    pub limit: usize,
}

/// What became of a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// There was none in the page.
    NoGap,
    /// Events came: read again.
    More,
    /// There is one, and nobody could fill it now.
    Unreachable,
}
