//! Users that send numbered messages at full speed until the server is gone, and one that follows by long-polling.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Error, Result,
    client::{Http, User, text},
    ledger::{self, Ledger, Message},
};

/// A sender and where she stands.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Her number.
    pub id: usize,
    /// Herself.
    pub user: User,
    /// The one room she writes into.
    pub room: String,
    /// The number of her next message, which may have been tried before.
    pub next: usize,
}

/// All that a run of senders needs.
#[derive(Debug)]
pub struct Cast {
    /// Those who write.
    pub senders: Vec<Sender>,
    /// The one who follows; a member of every room.
    pub follower: Follower,
    /// The rooms.
    pub rooms: Vec<String>,
    /// What was acknowledged so far.
    pub ledger: Ledger,
}

impl Cast {
    /// Registers users and makes rooms; sender n writes into room n modulo `rooms`.
    pub async fn gather(http: &Http, senders: usize, rooms: usize) -> Result<Self> {
        let follower = http.register("follower").await?;
        let mut cast = Self {
            senders: Vec::new(),
            follower: Follower::new(follower),
            rooms: Vec::new(),
            ledger: Ledger::default(),
        };
        for _ in 0..rooms {
            let room = cast
                .follower
                .user
                .create_room(&json!({"preset": "public_chat"}))
                .await?;
            cast.rooms.push(room);
        }
        for id in 0..senders {
            let user = http.register(&format!("sender{id}")).await?;
            let room = cast.rooms[id % rooms].clone();
            user.join(&room).await?;
            cast.senders.push(Sender {
                id,
                user,
                room,
                next: 0,
            });
        }
        Ok(cast)
    }

    /// The numbers of those who write into a room.
    #[must_use]
    pub fn writers(&self, room: &str) -> Vec<usize> {
        self.senders
            .iter()
            .filter(|sender| sender.room == room)
            .map(|sender| sender.id)
            .collect()
    }

    /// Takes back the senders of a run and enters what they were told.
    pub fn settle(&mut self, outcomes: Vec<Outcome>) -> Result<()> {
        for Outcome {
            sender,
            acknowledged,
        } in outcomes
        {
            let first = sender.next - acknowledged.len();
            for (offset, event_id) in acknowledged.into_iter().enumerate() {
                self.ledger
                    .acknowledge(sender.id, first + offset, event_id)?;
            }
            let id = sender.id;
            self.senders[id] = sender;
        }
        Ok(())
    }

    /// Judges every room's whole history.
    pub async fn judge_history(&self) -> Result<()> {
        for room in &self.rooms {
            let events = ledger::history(&self.follower.user, room, None).await?;
            let judged = self
                .ledger
                .judge(&ledger::messages(&events), &self.writers(room));
            judged.map_err(|error| format!("history of {room}: {error}"))?;
        }
        Ok(())
    }

    /// Judges what the follower was shown by sync; she must have caught up.
    pub fn judge_follower(&self) -> Result<()> {
        for room in &self.rooms {
            let shown = self
                .follower
                .shown
                .get(room)
                .map(Vec::as_slice)
                .unwrap_or_default();
            let judged = self.ledger.judge(shown, &self.writers(room));
            judged.map_err(|error| format!("what sync showed of {room}: {error}"))?;
        }
        Ok(())
    }
}

/// How one sender's run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The sender with her new place.
    pub sender: Sender,
    /// The event ids of what was acknowledged in this run.
    pub acknowledged: Vec<String>,
}

/// Starts all senders; each ends when the server no longer answers. `count` counts acknowledgements.
pub fn start(senders: &[Sender], count: &Arc<AtomicU64>) -> JoinSet<Result<Outcome>> {
    let mut running = JoinSet::new();
    for sender in senders.iter().cloned() {
        running.spawn(send_until_gone(sender, Arc::clone(count)));
    }
    running
}

/// Waits for all senders.
pub async fn finish(mut running: JoinSet<Result<Outcome>>) -> Result<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    while let Some(ended) = running.join_next().await {
        outcomes.push(ended??);
    }
    Ok(outcomes)
}

async fn send_until_gone(mut sender: Sender, count: Arc<AtomicU64>) -> Result<Outcome> {
    let mut acknowledged = Vec::new();
    loop {
        let (txn, body) = (
            format!("t{}", sender.next),
            Message::body(sender.id, sender.next),
        );
        let Ok(answer) = sender.user.try_send(&sender.room, &txn, &body).await else {
            return Ok(Outcome {
                sender,
                acknowledged,
            });
        };
        acknowledged.push(text(&answer.ok()?, "event_id")?);
        sender.next += 1;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A user who follows all rooms by sync over all restarts.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Herself.
    pub user: User,
    since: Option<String>,
    shown: HashMap<String, Vec<Message>>,
    /// Per room the newest event that she was shown.
    newest: HashMap<String, String>,
}

impl Follower {
    fn new(user: User) -> Self {
        Self {
            user,
            since: None,
            shown: HashMap::new(),
            newest: HashMap::new(),
        }
    }

    /// Long-polls until the server no longer answers.
    pub async fn follow_until_gone(mut self) -> Result<Self> {
        loop {
            match self.poll(30_000).await {
                Ok(_) => {}
                Err(error) if is_gone(&error) => return Ok(self),
                Err(error) => return Err(error),
            }
        }
    }

    /// Syncs until nothing is new.
    pub async fn catch_up(&mut self) -> Result<()> {
        while self.poll(0).await? {}
        Ok(())
    }

    /// One sync; whether it brought any event. Her place moves on only when all of it was taken in.
    async fn poll(&mut self, timeout_ms: u32) -> Result<bool> {
        let filter = json!({"room": {"timeline": {"limit": 100}}, "presence": {"types": []}});
        let answer = self
            .user
            .sync(self.since.as_deref(), timeout_ms, &filter)
            .await?;
        let mut taken = Vec::new();
        let joined = answer.pointer("/rooms/join").and_then(Value::as_object);
        for (room, update) in joined.into_iter().flatten() {
            taken.push((room.clone(), self.events(room, update).await?));
        }
        let news = taken.iter().any(|(_, events)| !events.is_empty());
        for (room, events) in taken {
            if let Some(newest) = events.last() {
                self.newest.insert(room.clone(), text(newest, "event_id")?);
            }
            self.shown
                .entry(room)
                .or_default()
                .extend(ledger::messages(&events));
        }
        self.since = Some(text(&answer, "next_batch")?);
        Ok(news)
    }

    /// The timeline of one room, with what a limited one left out.
    async fn events(&self, room: &str, update: &Value) -> Result<Vec<Value>> {
        let timeline = update.get("timeline").unwrap_or(&Value::Null);
        let mut events = Vec::new();
        if timeline.get("limited").and_then(Value::as_bool) == Some(true) {
            let token = text(timeline, "prev_batch")?;
            let known = self.newest.get(room).map(String::as_str);
            events = ledger::back_from(&self.user, room, token, known).await?;
        }
        events.extend(
            timeline
                .get("events")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default(),
        );
        Ok(events)
    }
}

/// Whether an error means that the server went away, and not that it answered something wrong.
fn is_gone(error: &Error) -> bool {
    !error.to_string().starts_with("status ") && error.downcast_ref::<serde_json::Error>().is_none()
}
