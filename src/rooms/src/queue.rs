//! The rooms' queues. A room has one while somebody waits or its worker runs; one worker per queue.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_data::RoomNo;
use hearth_event::Pdu;
use ruma::OwnedEventId;
use tokio::sync::{Semaphore, oneshot};

use crate::policy::submit_signed;
use crate::stage::Intent;
use crate::stage::admit::Taken;
use crate::{Error, Inner, Result, Rider, worker};

/// Most requests that wait for one room.
const WAITING_MAX: usize = 1_024;
/// Most requests that are decided and committed together.
pub(crate) const GROUP_MAX: usize = 64;
/// Most rooms whose workers are at work at the same time; others wait.
const WORKERS_MAX: usize = 256;

/// One request to a room, and where its answer goes.
pub(crate) struct Ask {
    pub(crate) intent: Intent,
    pub(crate) rider: Rider,
    /// The event as the room's policy server has signed it.
    pub(crate) signed: Option<Pdu>,
    pub(crate) answer: oneshot::Sender<Result<Outcome>>,
}

/// What became of a request.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The event, new or found; `None` if the intent makes none.
    pub(crate) event_id: Option<OwnedEventId>,
    /// What became of what came from other servers.
    pub(crate) taken: Option<Taken>,
}

impl Outcome {
    pub(crate) fn event(self) -> Result<OwnedEventId> {
        self.event_id.ok_or(Error::NoSuchEvent)
    }
}

pub(crate) struct Queues {
    // Held for a few operations, never over an await.
    rooms: Mutex<HashMap<RoomNo, VecDeque<Ask>>>,
    workers: Arc<Semaphore>,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            rooms: Mutex::default(),
            workers: Arc::new(Semaphore::new(WORKERS_MAX)),
        }
    }
}

impl Queues {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomNo, VecDeque<Ask>>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next requests of a room. `None` if nobody waits: then the queue is gone and its worker has to end.
    pub(crate) fn take(&self, room: RoomNo) -> Option<Vec<Ask>> {
        let mut rooms = self.rooms();
        let waiting = rooms.get_mut(&room)?;
        if waiting.is_empty() {
            rooms.remove(&room);
            return None;
        }
        let count = waiting.len().min(GROUP_MAX);
        Some(waiting.drain(..count).collect())
    }

    /// Puts requests that did not fit back to the front.
    pub(crate) fn put_back(&self, room: RoomNo, asks: Vec<Ask>) {
        let mut rooms = self.rooms();
        let waiting = rooms.entry(room).or_default();
        for ask in asks.into_iter().rev() {
            waiting.push_front(ask);
        }
    }
}

/// Has a room's worker do something, and waits for the answer. Where the room's policy server has to sign an event first,
/// it is asked to.
pub(crate) async fn submit(
    inner: &Arc<Inner>,
    room: RoomNo,
    intent: Intent,
    rider: Rider,
) -> Result<Outcome> {
    match enqueue(inner, room, (intent, rider), None).await {
        // Boxed: it is seldom needed, and large.
        Err(Error::Unsigned(event)) => Box::pin(submit_signed(inner, room, *event)).await,
        outcome => outcome,
    }
}

/// Has a room's worker do something, and waits for the answer.
pub(crate) async fn enqueue(
    inner: &Arc<Inner>,
    room: RoomNo,
    (intent, rider): (Intent, Rider),
    signed: Option<Pdu>,
) -> Result<Outcome> {
    let (answer, answered) = oneshot::channel();
    let ask = Ask {
        intent,
        rider,
        signed,
        answer,
    };
    let is_first = {
        let mut rooms = inner.queues.rooms();
        let is_first = !rooms.contains_key(&room);
        let waiting = rooms.entry(room).or_default();
        if waiting.len() >= WAITING_MAX {
            return Err(Error::Busy);
        }
        waiting.push_back(ask);
        is_first
    };
    if is_first {
        let worker = Running {
            inner: inner.clone(),
            room,
        };
        inner.tasks.spawn(async move { worker.run().await });
    }
    // The sender is dropped only when the worker is stopped with the server, or panics.
    answered.await.map_err(|_| Error::Stopping)?
}

/// A worker and its claim on the room's queue.
struct Running {
    inner: Arc<Inner>,
    room: RoomNo,
}

impl Running {
    async fn run(self) {
        let workers = self.inner.queues.workers.clone();
        let Ok(_permit) = workers.acquire().await else {
            return;
        };
        worker::run(&self.inner, self.room).await;
    }
}

/// Should the worker be stopped in the middle, those who wait are not left waiting for ever.
impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.inner.queues.rooms().remove(&self.room);
        }
    }
}
