//! Sends what happens here to other servers.
//!
//! One follower reads the change log and spreads it over the destinations' queues in memory; a destination has one task
//! while there is something to send, and one transaction on its way. What is durable: the position up to which all
//! destinations have everything, and a row for each one that is behind. A destination that is behind gets the newest
//! event of each room that it shares, not everything that it missed.

mod backoff;
mod catch_up;
mod deliver;
mod edus;
mod follower;
mod queue;
mod transaction;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hearth_ports::{PresenceSource, TypingSource};
use hearth_store::{Backend, Position};
use hearth_types::{Clock, Ids, UnixMs};
use ruma::{OwnedServerName, ServerName};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Client;
use queue::{Queue, Todo};

/// How many transactions are on their way at once, to all servers together.
const TRANSACTIONS_MAX: usize = 64;

/// What a sender is made of.
pub struct SenderParts {
    /// The store.
    pub store: Arc<dyn Backend>,
    /// Asks the servers.
    pub client: Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<Ids>,
    /// Who is typing.
    pub typing: Arc<dyn TypingSource>,
    /// Who is there.
    pub presence: Arc<dyn PresenceSource>,
    /// The owner of its tasks.
    pub tasks: TaskTracker,
    /// Cancelled when the server stops.
    pub shutdown: CancellationToken,
}

/// Sends to other servers. Cheap to clone.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

struct Inner {
    parts: SenderParts,
    board: Mutex<Board>,
    transactions: Semaphore,
    // A destination is due earlier than before.
    due_changed: Notify,
}

#[derive(Default)]
struct Board {
    queues: HashMap<OwnedServerName, Queue>,
    /// Destinations that wait, by when they are tried again.
    due: BTreeSet<(UnixMs, OwnedServerName)>,
    /// Up to where the follower has read.
    seen: Position,
    /// The commit that last wrote how far all are.
    written_at: Position,
}

impl Sender {
    /// A sender. It does nothing before [`Sender::run`].
    pub fn new(parts: SenderParts) -> Self {
        let sender = Self(Arc::new(Inner {
            parts,
            board: Mutex::default(),
            transactions: Semaphore::new(TRANSACTIONS_MAX),
            due_changed: Notify::new(),
        }));
        sender.0.parts.client.set_sender(sender.clone());
        sender
    }

    /// A server has asked or answered something: if it was out of reach, it is tried again at once.
    pub fn alive(&self, server: &ServerName) {
        let now = self.0.parts.clock.now();
        let mut board = self.board();
        let Some(queue) = board.queues.get_mut(server) else {
            return;
        };
        if queue.failures == 0 || queue.is_running {
            return;
        }
        let before = queue.retry_at;
        queue.retry_at = before.min(backoff::on_life(now, queue.tried_at));
        board.due.remove(&(before, server.to_owned()));
        self.schedule(&mut board, server);
    }

    fn server_name(&self) -> &ServerName {
        self.0.parts.client.server_name()
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.0.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something is sent to a server at all.
    fn is_destination(&self, server: &ServerName) -> bool {
        server != self.server_name() && self.0.parts.client.policy().permits(server)
    }

    /// Changes a destination's queue and has it sent, if there is something to send.
    fn change(&self, server: &ServerName, change: impl FnOnce(&mut Queue)) {
        if !self.is_destination(server) {
            return;
        }
        let mut board = self.board();
        let queue = board
            .queues
            .entry(server.to_owned())
            .or_insert_with(Queue::empty);
        change(queue);
        self.schedule(&mut board, server);
    }

    /// Starts a destination's task, or notes when to.
    fn schedule(&self, board: &mut Board, server: &ServerName) {
        let now = self.0.parts.clock.now();
        let Some(queue) = board.queues.get_mut(server) else {
            return;
        };
        if queue.is_running {
            return;
        }
        match queue.todo(now) {
            Todo::Rest => {
                // Nothing is known of it that the next change would not bring again.
                if queue.failures == 0 && !queue.is_stored {
                    board.queues.remove(server);
                }
            }
            Todo::Wait(until) => {
                board.due.insert((until, server.to_owned()));
                self.0.due_changed.notify_one();
            }
            Todo::CatchUp(_) | Todo::Send => {
                queue.is_running = true;
                let (sender, server) = (self.clone(), server.to_owned());
                self.0
                    .parts
                    .tasks
                    .spawn(async move { sender.deliver(server).await });
            }
        }
    }

    /// Starts the tasks of those whose time has come. Answers when the next one's does.
    fn start_due(&self) -> Option<UnixMs> {
        let now = self.0.parts.clock.now();
        let mut board = self.board();
        while let Some((at, _)) = board.due.first() {
            if *at > now {
                return Some(*at);
            }
            if let Some((_, server)) = board.due.pop_first() {
                self.schedule(&mut board, &server);
            }
        }
        None
    }

    /// The position up to which nothing needs to be read again after a restart.
    fn done_up_to(&self) -> Position {
        let board = self.board();
        let seen = board.seen;
        let done = board.queues.values().map(|queue| queue.done_up_to(seen));
        done.min().unwrap_or(seen).min(seen)
    }
}
