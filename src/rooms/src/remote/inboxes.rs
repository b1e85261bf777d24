//! How much waits in the rooms' inboxes, and who is at work: the limits of each server and of all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_data::RoomNo;
use hearth_data::inbox::InboxKey;
use ruma::{EventId, OwnedServerName, ServerName};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::waiting::{Kept, Parked, Waiting};

/// Most rooms whose inboxes are read at the same time. Nobody holds one of these while waiting for the network.
const ROOMS_AT_ONCE_MAX: usize = 64;
/// Most events for which something is being fetched from other servers.
const FETCHES_MAX: usize = 128;
/// In how many rooms something is fetched at the same time for events that one server sent.
const FETCHES_PER_ORIGIN_MAX: usize = 4;
/// Most events of one server that wait in one room's inbox; what is more is refused, and fetched when later events
/// refer to it.
pub(super) const WAITING_PER_ORIGIN_IN_ROOM_MAX: usize = 1_000;
/// Most events of one server that wait in all inboxes.
const WAITING_PER_ORIGIN_MAX: usize = 20_000;
/// Most events that wait in one room's inbox.
const WAITING_IN_ROOM_MAX: usize = 5_000;
/// Most transactions that wait for space, one of a server.
const HELD_UP_MAX: usize = 16;

/// Who is at work, and what waits.
pub(crate) struct Intakes {
    // Held for a few operations, never over an await.
    board: Mutex<Board>,
    readers: Arc<Semaphore>,
    fetches: Arc<Semaphore>,
    // Wakes whoever waits for space.
    freed: Notify,
}

#[derive(Default)]
struct Board {
    rooms: HashMap<RoomNo, Inbox>,
    origins: HashMap<String, Origin>,
    /// Servers whose transactions wait for space.
    held_up: HashSet<OwnedServerName>,
}

/// The right to wait for space.
pub(super) struct HeldUp<'a> {
    intakes: &'a Intakes,
    origin: &'a ServerName,
}

impl Drop for HeldUp<'_> {
    fn drop(&mut self) {
        self.intakes.board().held_up.remove(self.origin);
    }
}

#[derive(Default)]
struct Inbox {
    /// Events in the inbox, by origin.
    by_origin: HashMap<String, usize>,
    waiting: Waiting,
    /// A task is at work.
    is_running: bool,
    /// Something came since it last looked.
    has_news: bool,
    /// Wakes the task.
    news: Arc<Notify>,
}

/// What is known of a server that sends events.
struct Origin {
    waiting: usize,
    fetches: Arc<Semaphore>,
}

/// What a room's task does next.
pub(crate) enum Next {
    /// Nothing is left.
    End,
    /// Look again.
    Look,
    /// Look again then, or when it is woken.
    Wait(Option<Instant>),
}

/// The right to fetch something for an event.
pub(crate) struct FetchPermit {
    _of_origin: Option<OwnedSemaphorePermit>,
    _of_all: Option<OwnedSemaphorePermit>,
}

impl Default for Intakes {
    fn default() -> Self {
        Self {
            board: Mutex::default(),
            readers: Arc::new(Semaphore::new(ROOMS_AT_ONCE_MAX)),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            freed: Notify::new(),
        }
    }
}

impl Board {
    fn withdraw(&mut self, room: RoomNo, origin: &str) {
        if let Some(inbox) = self.rooms.get_mut(&room) {
            decrement(&mut inbox.by_origin, origin);
            if inbox.by_origin.is_empty() && !inbox.is_running {
                self.rooms.remove(&room);
            }
        }
        if let Some(of_all) = self.origins.get_mut(origin) {
            of_all.waiting = of_all.waiting.saturating_sub(1);
            if of_all.waiting == 0 {
                self.origins.remove(origin);
            }
        }
    }
}

impl Intakes {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_room<T>(&self, room: RoomNo, act: impl FnOnce(&mut Inbox) -> T) -> Option<T> {
        self.board().rooms.get_mut(&room).map(act)
    }

    /// An event is in the inbox, or will be in a moment.
    pub(crate) fn add(&self, room: RoomNo, origin: &str) {
        let mut board = self.board();
        let inbox = board.rooms.entry(room).or_default();
        *inbox.by_origin.entry(origin.to_owned()).or_default() += 1;
        let of_all = board.origins.entry(origin.to_owned()).or_insert_with(|| {
            let fetches = Arc::new(Semaphore::new(FETCHES_PER_ORIGIN_MAX));
            Origin {
                waiting: 0,
                fetches,
            }
        });
        of_all.waiting += 1;
    }

    /// An event has left the inbox.
    pub(crate) fn remove(&self, room: RoomNo, key: InboxKey, origin: &str) {
        let mut board = self.board();
        if let Some(inbox) = board.rooms.get_mut(&room) {
            inbox.waiting.settle(key);
        }
        board.withdraw(room, origin);
        drop(board);
        self.freed.notify_waiters();
    }

    /// An event that was added is not in the inbox.
    pub(crate) fn withdraw(&self, room: RoomNo, origin: &str) {
        self.board().withdraw(room, origin);
        self.freed.notify_waiters();
    }

    /// The right to wait until there is space for a transaction of a server; `None` if another one of it, or too many of
    /// all, are waiting.
    pub(super) fn held_up<'a>(&'a self, origin: &'a ServerName) -> Option<HeldUp<'a>> {
        let has_place = {
            let mut board = self.board();
            board.held_up.len() < HELD_UP_MAX && board.held_up.insert(origin.to_owned())
        };
        let intakes = self;
        // Made only where there is a place: dropping it gives that back, which takes the lock.
        has_place.then(|| HeldUp { intakes, origin })
    }

    /// Ends when an event has left an inbox.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// A row that was believed to wait is not in the inbox any more.
    pub(crate) fn gone(&self, room: RoomNo, key: InboxKey) {
        let origin = self.waiting(room, |waiting| waiting.origin(key)).flatten();
        if let Some(origin) = origin {
            self.remove(room, key, origin.as_str());
        }
    }

    /// Whether no more events of a server are taken for a room, if `more` have just been.
    pub(crate) fn is_full(&self, room: RoomNo, origin: &ServerName, more: usize) -> bool {
        let board = self.board();
        let of_server = board.origins.get(origin.as_str());
        let of_server = of_server.map_or(0, |origin| origin.waiting);
        let inbox = board.rooms.get(&room);
        let of_both = inbox.and_then(|inbox| inbox.by_origin.get(origin.as_str()));
        let of_room: usize = inbox.map_or(0, |inbox| inbox.by_origin.values().sum());
        of_server + more >= WAITING_PER_ORIGIN_MAX
            || of_both.copied().unwrap_or(0) + more >= WAITING_PER_ORIGIN_IN_ROOM_MAX
            || of_room + more >= WAITING_IN_ROOM_MAX
    }

    /// There is something to look at. Whether the caller has to begin a task.
    pub(crate) fn wake(&self, room: RoomNo) -> bool {
        let mut board = self.board();
        let inbox = board.rooms.entry(room).or_default();
        inbox.has_news = true;
        inbox.news.notify_one();
        !std::mem::replace(&mut inbox.is_running, true)
    }

    /// The task looks now. Answers by what it is woken afterwards.
    pub(crate) fn look(&self, room: RoomNo) -> Arc<Notify> {
        let seen = self.in_room(room, |inbox| {
            inbox.has_news = false;
            inbox.news.clone()
        });
        seen.unwrap_or_default()
    }

    /// What the task does next.
    pub(crate) fn next(&self, room: RoomNo) -> Next {
        let mut board = self.board();
        let Some(inbox) = board.rooms.get_mut(&room) else {
            return Next::End;
        };
        if inbox.has_news || inbox.waiting.has_ready() {
            return Next::Look;
        }
        if !inbox.waiting.is_empty() {
            return Next::Wait(inbox.waiting.next_due());
        }
        inbox.is_running = false;
        if inbox.by_origin.is_empty() {
            board.rooms.remove(&room);
        }
        Next::End
    }

    /// An event is known now. Whether a room's task has to be woken for it.
    pub(crate) fn arrived(&self, room: RoomNo, event_id: &EventId) -> bool {
        let arrived = self.in_room(room, |inbox| inbox.waiting.arrived(event_id));
        arrived.unwrap_or(false)
    }

    /// Does something with what waits in a room.
    pub(crate) fn waiting<T>(
        &self,
        room: RoomNo,
        act: impl FnOnce(&mut Waiting) -> T,
    ) -> Option<T> {
        self.in_room(room, |inbox| act(&mut inbox.waiting))
    }

    pub(crate) fn park(&self, room: RoomNo, key: InboxKey, parked: Parked) {
        self.waiting(room, |waiting| waiting.park(key, parked, Instant::now()));
    }

    /// Something was fetched for an event, and it is not settled by that.
    pub(crate) fn fetched_in_vain(&self, room: RoomNo, key: InboxKey) -> Kept {
        let kept = self.waiting(room, |waiting| waiting.fetched_in_vain(key, Instant::now()));
        kept.unwrap_or(Kept::Yes)
    }

    /// The right to read an inbox. Not to be held while waiting for the network.
    pub(crate) async fn reader(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.readers.clone().acquire_owned().await.ok()
    }

    /// The right to fetch something for an event of a server.
    pub(crate) async fn fetcher(&self, origin: &OwnedServerName) -> FetchPermit {
        let of_origin = {
            let board = self.board();
            let known = board.origins.get(origin.as_str());
            known.map(|origin| origin.fetches.clone())
        };
        // The server's own first: whoever waits for that takes nobody else's place.
        let of_origin = match of_origin {
            Some(semaphore) => semaphore.acquire_owned().await.ok(),
            None => None,
        };
        FetchPermit {
            _of_origin: of_origin,
            _of_all: self.fetches.clone().acquire_owned().await.ok(),
        }
    }
}

fn decrement(counts: &mut HashMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use hearth_store::Position;

    use super::*;

    fn server(name: &str) -> OwnedServerName {
        name.try_into().unwrap()
    }

    #[test]
    fn s06_a_server_fills_neither_a_room_nor_all_inboxes() {
        let intakes = Intakes::default();
        let (evil, good) = (server("evil"), server("good"));
        let in_room = WAITING_PER_ORIGIN_IN_ROOM_MAX as u64;
        let rooms = WAITING_PER_ORIGIN_MAX as u64 / in_room;
        for room in 0..rooms {
            assert!(!intakes.is_full(RoomNo(room), &evil, 0));
            for _ in 0..in_room {
                intakes.add(RoomNo(room), "evil");
            }
            assert!(intakes.is_full(RoomNo(room), &evil, 0));
            assert!(!intakes.is_full(RoomNo(room), &good, 0));
        }
        assert!(intakes.is_full(RoomNo(rooms), &evil, 0));
        intakes.remove(RoomNo(0), (Position(1), 0), "evil");
        assert!(!intakes.is_full(RoomNo(rooms), &evil, 0));
        assert!(intakes.is_full(RoomNo(rooms), &evil, 1));
    }

    #[test]
    fn s06_one_transaction_of_a_server_waits_for_space_and_not_too_many_of_all() {
        let intakes = std::sync::Arc::new(Intakes::default());
        let (told, done) = std::sync::mpsc::channel();
        // In a thread of its own: should it wait for itself, the test does not.
        std::thread::spawn(move || {
            let names: Vec<_> = (0..HELD_UP_MAX).map(|n| server(&format!("s{n}"))).collect();
            let first = intakes.held_up(&names[0]);
            let second = intakes.held_up(&names[0]).is_some();
            let others: Vec<_> = names[1..]
                .iter()
                .map(|name| intakes.held_up(name))
                .collect();
            let more = server("more");
            let is_full = intakes.held_up(&more).is_none();
            let all = first.is_some() && others.iter().all(Option::is_some);
            drop(first);
            let again = intakes.held_up(&names[0]).is_some();
            told.send((second, all, is_full, again)).unwrap();
        });
        let told = done.recv_timeout(std::time::Duration::from_secs(5));
        assert_eq!(told, Ok((false, true, true, true)));
    }

    #[tokio::test]
    async fn s06_a_slow_server_takes_the_places_of_no_other() {
        let intakes = Intakes::default();
        let (slow, good) = (server("slow"), server("good"));
        intakes.add(RoomNo(1), "slow");
        intakes.add(RoomNo(1), "good");
        let mut held = Vec::new();
        for _ in 0..FETCHES_PER_ORIGIN_MAX {
            held.push(intakes.fetcher(&slow).await);
        }
        let soon = std::time::Duration::from_millis(1);
        let more = tokio::time::timeout(soon, intakes.fetcher(&slow)).await;
        assert!(more.is_err());
        intakes.fetcher(&good).await;
        held.pop();
        intakes.fetcher(&slow).await;
    }
}
