//! The tasks that empty the inboxes: one per room with something in it, each on its own time, so that a slow or hostile
//! room delays itself only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use hearth_data::inbox::{self, InboxKey, InboxRow};
use hearth_data::{RoomNo, rooms};
use hearth_event::{Pdu, RoomVersion, VerifyError};
use ruma::{OwnedRoomId, OwnedServerName, ServerName};
use tokio::sync::Semaphore;

use super::check::{KeySource, Refused};
use crate::stage::admit::{Intake, Live, Taken};
use crate::{Error, Result, Rooms};

/// Most rooms whose inboxes are emptied at the same time.
const TASKS_MAX: usize = 64;
/// How many events are taken from an inbox at once.
const PAGE: usize = 64;
/// How long a room waits before it tries again what could not be completed; doubles each time.
const RETRY: Duration = Duration::from_secs(5);
/// How often that is done. After that the event is dropped; should later events refer to it, it is fetched again.
const TRIES_MAX: u32 = 8;

/// Who is at work, and how much waits.
pub(crate) struct Intakes {
    // Held for a few operations, never over an await.
    rooms: Mutex<HashMap<RoomNo, Waiting>>,
    tasks: Arc<Semaphore>,
}

#[derive(Default)]
struct Waiting {
    /// Events in the inbox, by origin.
    by_origin: HashMap<String, usize>,
    /// A task is at work.
    running: bool,
    /// Something came since it last looked.
    again: bool,
}

impl Default for Intakes {
    fn default() -> Self {
        Self {
            rooms: Mutex::default(),
            tasks: Arc::new(Semaphore::new(TASKS_MAX)),
        }
    }
}

impl Intakes {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomNo, Waiting>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, room: RoomNo, origin: &str) {
        let mut rooms = self.rooms();
        let waiting = rooms.entry(room).or_default();
        *waiting.by_origin.entry(origin.to_owned()).or_default() += 1;
    }

    fn remove(&self, room: RoomNo, origin: &str) {
        let mut rooms = self.rooms();
        let Some(waiting) = rooms.get_mut(&room) else {
            return;
        };
        if let Some(count) = waiting.by_origin.get_mut(origin) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                waiting.by_origin.remove(origin);
            }
        }
    }

    /// How many events of a server, and of all, wait for a room.
    pub(crate) fn waiting(&self, room: RoomNo, origin: &str) -> (usize, usize) {
        let rooms = self.rooms();
        let waiting = rooms.get(&room);
        let of_origin = waiting.and_then(|waiting| waiting.by_origin.get(origin));
        let all = waiting.map_or(0, |waiting| waiting.by_origin.values().sum());
        (of_origin.copied().unwrap_or(0), all)
    }

    /// Whether the caller has to begin a task.
    fn begin(&self, room: RoomNo) -> bool {
        let mut rooms = self.rooms();
        let waiting = rooms.entry(room).or_default();
        waiting.again = true;
        !std::mem::replace(&mut waiting.running, true)
    }

    fn look(&self, room: RoomNo) {
        if let Some(waiting) = self.rooms().get_mut(&room) {
            waiting.again = false;
        }
    }

    /// Whether the task may end: nothing came since it looked.
    fn end(&self, room: RoomNo) -> bool {
        let mut rooms = self.rooms();
        let Some(waiting) = rooms.get_mut(&room) else {
            return true;
        };
        if waiting.again {
            return false;
        }
        waiting.running = false;
        if waiting.by_origin.is_empty() {
            rooms.remove(&room);
        }
        true
    }
}

/// A room whose inbox is being emptied.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) room: RoomNo,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) version: RoomVersion,
}

/// An event of the inbox.
struct Row {
    key: InboxKey,
    origin: OwnedServerName,
    pdu: Pdu,
}

/// What became of a row.
enum Fate {
    /// It is gone from the inbox.
    Settled,
    /// Something is missing that may come.
    Later,
}

impl Rooms {
    /// Goes on with what an earlier run left in the inboxes. Called once at the start.
    pub async fn resume_intakes(&self) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let mut from = RoomNo(0);
        while let Some(room) = inbox::next_room(&*snapshot, from).await? {
            let mut after = None;
            loop {
                let rows = inbox::after(&*snapshot, room, after, PAGE).await?;
                let Some((last, _)) = rows.last() else { break };
                after = Some(*last);
                for (_, row) in &rows {
                    self.0.intakes.add(room, &row.origin);
                }
            }
            self.wake_intake(room);
            from = RoomNo(room.0.saturating_add(1));
        }
        Ok(())
    }

    /// Has a room's inbox looked at.
    pub(crate) fn wake_intake(&self, room: RoomNo) {
        if !self.0.intakes.begin(room) {
            return;
        }
        let rooms = self.clone();
        self.0.tasks.spawn(async move {
            let shutdown = rooms.0.shutdown.clone();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = rooms.empty_inbox(room) => {}
            }
        });
    }

    async fn empty_inbox(&self, room: RoomNo) {
        let tasks = self.0.intakes.tasks.clone();
        let mut tries: HashMap<InboxKey, u32> = HashMap::new();
        loop {
            self.0.intakes.look(room);
            let pass = match tasks.clone().acquire_owned().await {
                Ok(_permit) => self.pass(room, &mut tries).await,
                Err(_) => return,
            };
            match pass {
                Ok(true) => {
                    if self.0.intakes.end(room) {
                        return;
                    }
                }
                Ok(false) => {
                    let tried = tries.values().copied().max().unwrap_or(0);
                    tokio::time::sleep(RETRY * 2_u32.saturating_pow(tried.min(10))).await;
                }
                Err(Error::Stopping) => return,
                Err(error) => {
                    tracing::warn!(error = %error, "could not empty a room's inbox");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Goes once through a room's inbox. Whether it is empty then.
    async fn pass(&self, room: RoomNo, tries: &mut HashMap<InboxKey, u32>) -> Result<bool> {
        let mut after = None;
        let mut is_empty = true;
        loop {
            let snapshot = self.snapshot().await?;
            let rows = inbox::after(&*snapshot, room, after, PAGE).await?;
            let Some((last, _)) = rows.last() else {
                return Ok(is_empty);
            };
            after = Some(*last);
            let Some(head) = rooms::head(&*snapshot, room).await? else {
                return Ok(true);
            };
            drop(snapshot);
            let version = RoomVersion::new(&head.version)
                .ok_or_else(|| Error::UnsupportedVersion(head.version.to_string()))?;
            let site = Site {
                room,
                room_id: head.room_id,
                version,
            };
            is_empty &= self.take_page(&site, rows, tries).await?;
        }
    }

    async fn take_page(
        &self,
        site: &Site,
        rows: Vec<(InboxKey, InboxRow)>,
        tries: &mut HashMap<InboxKey, u32>,
    ) -> Result<bool> {
        let origins: HashMap<InboxKey, String> = rows
            .iter()
            .map(|(key, row)| (*key, row.origin.clone()))
            .collect();
        let (checked, mut later) = self.checked(site, rows).await?;
        let lives = checked
            .iter()
            .map(|row| self.take_in(site.room, live(row, None)));
        let taken = join_all(lives).await;
        for (row, taken) in checked.iter().zip(taken) {
            let fate = match taken? {
                Taken::Missing(_) => self.complete(site, row).await?,
                _ => Fate::Settled,
            };
            match fate {
                Fate::Settled => {
                    tries.remove(&row.key);
                    self.0.intakes.remove(site.room, row.origin.as_str());
                }
                Fate::Later => later.push(row.key),
            }
        }
        let mut given_up = Vec::new();
        for key in &later {
            let tried = tries.entry(*key).or_default();
            *tried += 1;
            if *tried >= TRIES_MAX {
                given_up.push(*key);
            }
        }
        if !given_up.is_empty() {
            tracing::debug!(room.id = %site.room_id, events = given_up.len(), "gave up on events");
            for key in &given_up {
                tries.remove(key);
                if let Some(origin) = origins.get(key) {
                    self.0.intakes.remove(site.room, origin);
                }
            }
            later.retain(|key| !given_up.contains(key));
            self.take_in(site.room, Intake::Drop(given_up)).await?;
        }
        Ok(later.is_empty())
    }

    /// The rows whose signatures are right. What is wrong is dropped; what cannot be told yet comes as keys.
    async fn checked(
        &self,
        site: &Site,
        rows: Vec<(InboxKey, InboxRow)>,
    ) -> Result<(Vec<Row>, Vec<InboxKey>)> {
        let texts: Vec<&[u8]> = rows.iter().map(|(_, row)| row.json.as_slice()).collect();
        let place = (site.version, &*site.room_id);
        let results = self.check(place, &texts, KeySource::Network).await;
        let (mut checked, mut dropped, mut later) = (Vec::new(), Vec::new(), Vec::new());
        for ((key, row), result) in rows.iter().zip(results) {
            match (result, ServerName::parse(row.origin.as_str())) {
                (Ok(pdu), Ok(origin)) => checked.push(Row {
                    key: *key,
                    origin,
                    pdu,
                }),
                (Err(Refused::Bad(VerifyError::NoKey(_))), _) => later.push(*key),
                (result, _) => {
                    tracing::debug!(origin = %row.origin, "dropped an event: {:?}", result.err());
                    dropped.push(*key);
                    self.0.intakes.remove(site.room, &row.origin);
                }
            }
        }
        if !dropped.is_empty() {
            self.take_in(site.room, Intake::Drop(dropped)).await?;
        }
        Ok((checked, later))
    }

    /// Fetches what an event refers to and has it taken in again.
    async fn complete(&self, site: &Site, row: &Row) -> Result<Fate> {
        let gap = match self.fetch_references(site, &row.origin, &row.pdu).await {
            Ok(gap) => gap,
            Err(error @ (Error::Stopping | Error::Store(_))) => return Err(error),
            Err(error) => {
                tracing::debug!(event.id = %row.pdu.event_id(), error = %error, "not complete yet");
                return Ok(Fate::Later);
            }
        };
        match self.take_in(site.room, live(row, gap)).await? {
            Taken::Missing(missing) => {
                tracing::debug!(event.id = %row.pdu.event_id(), ?missing, "not complete yet");
                Ok(Fate::Later)
            }
            _ => Ok(Fate::Settled),
        }
    }
}

fn live(row: &Row, after_gap: Option<hearth_data::StateId>) -> Intake {
    Intake::Live(Live {
        pdu: row.pdu.clone(),
        after_gap,
        inbox: Some(row.key),
        relay_from: None,
    })
}
