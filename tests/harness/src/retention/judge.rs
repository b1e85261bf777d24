//! What may be served, and what has to be.

use std::{collections::HashSet, time::Duration};

use http::Method;
use serde_json::{Value, json};

use super::{LIFETIME_MS, Rooms, now_ms, writer::Sent};
use crate::{
    Result,
    client::{Direction, Http, Page, User, escape},
};

/// How many events a page of history is asked for.
const PAGE: usize = 100;
/// Paging ends in an error after as many pages.
const PAGES_MAX: usize = 10_000;
/// Between two looks at the newest and the oldest page, in milliseconds.
const READ_EACH_MS: u64 = 20;
/// So many of the events that have ended last are asked for one by one.
const ASKED_MAX: usize = 30;

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    /// Events in answers.
    pub(super) served: u64,
    /// Those in the room whose messages end which were not state.
    pub(super) living: u64,
}

/// A reader.
#[derive(Clone)]
pub(super) struct Judge {
    user: User,
    rooms: Rooms,
}

impl Judge {
    pub(super) fn new(http: Http, user: &User, rooms: &Rooms) -> Self {
        let user = User {
            http,
            ..user.clone()
        };
        Self {
            user,
            rooms: rooms.clone(),
        }
    }

    /// Reads everything; what was acknowledged and lives has to be there once.
    pub(super) async fn all(&self, sent: &[Sent]) -> Result<Tally> {
        let mut tally = Tally::default();
        for room in [&self.rooms.short, &self.rooms.kept] {
            let mine: Vec<&Sent> = sent.iter().filter(|sent| sent.room == *room).collect();
            for direction in [Direction::Back, Direction::Forward] {
                let found = self.history(room, direction, &mut tally).await?;
                self.compare(room, &found, &mine)?;
            }
        }
        self.ended_one_by_one(sent).await?;
        let filter = json!({"room": {"timeline": {"limit": 100}}});
        let asked_ms = now_ms();
        let answer = self.user.sync(None, 0, &filter).await?;
        for room in [&self.rooms.short, &self.rooms.kept] {
            let timeline = answer["rooms"]["join"][room.as_str()]["timeline"]["events"].as_array();
            let timeline = timeline.ok_or("a room is missing in sync")?;
            self.check(room, timeline, asked_ms, &mut tally)?;
        }
        Ok(tally)
    }

    /// Reads the newest and the oldest page until the server is gone.
    pub(super) async fn follow(self) -> Result<Tally> {
        let mut tally = Tally::default();
        loop {
            for direction in [Direction::Back, Direction::Forward] {
                let page = Page {
                    from: None,
                    direction,
                    limit: PAGE,
                };
                let asked_ms = now_ms();
                let Ok(answer) = self.user.messages(&self.rooms.short, page).await else {
                    return Ok(tally);
                };
                let chunk = answer["chunk"].as_array().ok_or("a page without `chunk`")?;
                self.check(&self.rooms.short, chunk, asked_ms, &mut tally)?;
            }
            tokio::time::sleep(Duration::from_millis(READ_EACH_MS)).await;
        }
    }

    async fn history(
        &self,
        room: &str,
        direction: Direction,
        tally: &mut Tally,
    ) -> Result<History> {
        let mut history = History::default();
        let mut from: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = Page {
                from: from.as_deref(),
                direction,
                limit: PAGE,
            };
            let asked_ms = now_ms();
            let answer = self.user.messages(room, page).await?;
            let chunk = answer["chunk"].as_array().ok_or("a page without `chunk`")?;
            self.check(room, chunk, asked_ms, tally)?;
            for event in chunk {
                let id = event["event_id"].as_str().unwrap_or_default();
                if !history.ids.insert(id.to_owned()) {
                    return Err(format!("{id} is in the history of {room} twice").into());
                }
            }
            match answer["end"].as_str() {
                Some(end) if from.as_deref() != Some(end) => from = Some(end.to_owned()),
                _ => {
                    history.done_ms = now_ms();
                    return Ok(history);
                }
            }
        }
        Err(format!("paging over {room} did not end").into())
    }

    /// None of these events had ended when they were asked for.
    fn check(&self, room: &str, events: &[Value], asked_ms: u64, tally: &mut Tally) -> Result<()> {
        let oldest_ms = asked_ms.saturating_sub(LIFETIME_MS);
        for event in events {
            tally.served += 1;
            if room != self.rooms.short || event.get("state_key").is_some() {
                continue;
            }
            tally.living += 1;
            let sent_ms = event["origin_server_ts"]
                .as_u64()
                .ok_or("an event without time")?;
            if sent_ms < oldest_ms {
                return Err(
                    format!("served {} ms after its end: {event}", oldest_ms - sent_ms).into(),
                );
            }
        }
        Ok(())
    }

    /// Whether everything that lives is there.
    fn compare(&self, room: &str, found: &History, sent: &[&Sent]) -> Result<()> {
        // What was alive when the last page came was so all the time.
        let oldest_ms = found.done_ms.saturating_sub(LIFETIME_MS);
        for one in sent.iter().filter(|one| one.lives_after(oldest_ms)) {
            if !found.ids.contains(&one.id) {
                return Err(format!("{} of {room} is lost: {one:?}", one.id).into());
            }
        }
        Ok(())
    }

    /// What has ended is not there by its id, nor is what is around it.
    async fn ended_one_by_one(&self, sent: &[Sent]) -> Result<()> {
        let oldest_ms = now_ms().saturating_sub(LIFETIME_MS);
        let ended = sent.iter().filter(|one| one.ends_before(oldest_ms));
        let room = escape(&self.rooms.short);
        for one in ended.rev().take(ASKED_MAX) {
            for kind in ["event", "context"] {
                let id = escape(&one.id);
                let path = format!("/_matrix/client/v3/rooms/{room}/{kind}/{id}");
                let answer = self.user.ask(Method::GET, &path, &Value::Null).await?;
                if answer.status != 404 {
                    let status = answer.status;
                    return Err(format!("{kind} of {} has ended: status {status}", one.id).into());
                }
            }
        }
        Ok(())
    }
}

/// A whole history.
#[derive(Debug, Default)]
struct History {
    ids: HashSet<String>,
    /// When the last page had come.
    done_ms: u64,
}
