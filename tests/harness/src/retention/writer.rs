//! A user who writes into both rooms until the server is gone.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::{Rooms, now_ms};
use crate::{
    Result,
    client::{Http, User, escape, text},
};

/// So many events are written as fast as they are answered: of all writers together more than two chunks.
const BURST: usize = 300;
/// Then one after each of these, in milliseconds.
const PAUSE_MS: u64 = 25;
/// One event in so many goes into the room whose messages do not end.
const KEPT_EACH: usize = 5;
const MESSAGE: &str = "m.room.message";

/// An event that was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// Its id.
    pub(super) id: String,
    /// In which room.
    pub(super) room: String,
    /// Whether it comes to an end.
    pub(super) ends: bool,
    /// It was sent between these moments.
    pub(super) after_ms: u64,
    pub(super) before_ms: u64,
}

impl Sent {
    /// Whether it had come to its end, at the latest, when what was sent at that moment had.
    pub(super) fn ends_before(&self, moment_ms: u64) -> bool {
        self.ends && self.before_ms < moment_ms
    }

    /// Whether it certainly had not.
    pub(super) fn lives_after(&self, moment_ms: u64) -> bool {
        !self.ends || self.after_ms > moment_ms
    }
}

pub(super) struct Writer {
    user: User,
    rooms: Rooms,
    /// Round and number: what makes transactions differ.
    name: (usize, usize),
    /// What relations point to, per room.
    last: [Option<String>; 2],
    topic: [Option<String>; 2],
}

impl Writer {
    pub(super) fn new(http: &Http, user: &User, rooms: &Rooms, name: (usize, usize)) -> Self {
        let user = User {
            http: http.clone(),
            ..user.clone()
        };
        Self {
            user,
            rooms: rooms.clone(),
            name,
            last: [None, None],
            topic: [None, None],
        }
    }

    /// Writes until the server is gone; what was acknowledged. A refusal is a finding, unless what an event points to
    /// had come to its end.
    pub(super) async fn write(&mut self) -> Result<Vec<Sent>> {
        let mut sent = Vec::new();
        for number in 0.. {
            let (which, after_ms) = (usize::from(number % KEPT_EACH == 0), now_ms());
            let (path, body) = self.next(number, which);
            let Ok(answer) = self.user.ask(Method::PUT, &path, &body).await else {
                break;
            };
            if answer.status == 404 && number % 11 == 8 {
                continue;
            }
            let id = text(&answer.ok()?, "event_id")?;
            let is_state = path.contains("/state/");
            self.note(number, which, &id);
            sent.push(Sent {
                id,
                ends: !is_state && which == 0,
                room: self.room(which),
                after_ms,
                before_ms: now_ms(),
            });
            if number >= BURST {
                tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
            }
        }
        Ok(sent)
    }

    fn room(&self, which: usize) -> String {
        [&self.rooms.short, &self.rooms.kept][which].clone()
    }

    /// The next request: mostly messages; also what points to them, what takes them back, and state.
    fn next(&mut self, number: usize, which: usize) -> (String, Value) {
        let room = format!("/_matrix/client/v3/rooms/{}", escape(&self.room(which)));
        let txn = format!("{}-{}-{number}", self.name.0, self.name.1);
        let send = |(kind, body): (&str, Value)| (format!("{room}/send/{kind}/{txn}"), body);
        let redact = |event: String| {
            let path = format!("{room}/redact/{}/{txn}", escape(&event));
            (path, json!({}))
        };
        match (number % 11, self.last[which].clone()) {
            (3, Some(last)) => send(reaction(&last)),
            (5, Some(last)) => send(edit(&last)),
            (7, Some(last)) => send(thread(&last)),
            (8, Some(last)) => {
                self.last[which] = None;
                redact(last)
            }
            (9, _) => (format!("{room}/state/m.room.topic/"), json!({"topic": txn})),
            (10, _) if self.topic[which].is_some() => {
                redact(self.topic[which].take().unwrap_or_default())
            }
            _ => {
                let body = format!("message {txn}");
                send((MESSAGE, json!({"msgtype": "m.text", "body": body})))
            }
        }
    }

    fn note(&mut self, number: usize, which: usize, id: &str) {
        match number % 11 {
            9 => self.topic[which] = Some(id.to_owned()),
            0 | 1 | 2 | 4 | 6 => self.last[which] = Some(id.to_owned()),
            _ => {}
        }
    }
}

fn reaction(last: &str) -> (&'static str, Value) {
    let relation = json!({"rel_type": "m.annotation", "event_id": last, "key": "+"});
    ("m.reaction", json!({"m.relates_to": relation}))
}

fn edit(last: &str) -> (&'static str, Value) {
    let relation = json!({"rel_type": "m.replace", "event_id": last});
    let new = json!({"msgtype": "m.text", "body": "edited"});
    let content = json!({"msgtype": "m.text", "body": "* edited", "m.new_content": new, "m.relates_to": relation});
    (MESSAGE, content)
}

fn thread(last: &str) -> (&'static str, Value) {
    let relation = json!({"rel_type": "m.thread", "event_id": last});
    let content = json!({"msgtype": "m.text", "body": "in a thread", "m.relates_to": relation});
    (MESSAGE, content)
}
