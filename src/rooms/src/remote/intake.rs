//! The tasks that empty the inboxes: one per room with something in it, each on its own time, so that a slow or hostile
//! room delays itself only.
//!
//! A room's task decides what can be decided by what is here. What lacks something is put aside (`waiting.rs`), and for
//! each server that sent such events one task at a time asks others for it, oldest first; when something arrives, by
//! whatever way, those that lack it are decided upon at once. `spec/decisions/050-inbox.md` says why.

use std::collections::HashMap;
use std::time::Duration;

use futures_util::future::join_all;
use hearth_data::inbox::{self, InboxKey, InboxRow};
use hearth_data::{RoomNo, StateId, rooms};
use hearth_event::visibility::Membership;
use hearth_event::{Pdu, RoomVersion, VerifyError};
use hearth_store::Snapshot;
use ruma::{OwnedRoomId, OwnedServerName, ServerName, UserId};
use tokio::time::Instant;

use super::check::{KeySource, Refused};
use super::fetch::Gap;
use super::inboxes::Next;
use super::waiting::{Kept, Lack, Parked, Waiting};
use crate::stage::admit::{Intake, Live, Taken};
use crate::{Error, Result, Rooms};

/// How many events are taken from an inbox at once.
const PAGE: usize = 64;
/// How often is asked for what is missing before an event until the state there is taken instead, and a gap left.
const TRIES_BEFORE_GAP: u32 = 2;
/// How long a room waits when its inbox could not be read.
const RETRY: Duration = Duration::from_secs(5);

/// A room whose inbox is being emptied.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) room: RoomNo,
    pub(crate) room_id: OwnedRoomId,
    pub(crate) version: RoomVersion,
}

/// An event of the inbox whose signatures are right.
pub(super) struct Row {
    pub(super) key: InboxKey,
    pub(super) origin: OwnedServerName,
    pub(super) pdu: Pdu,
}

/// What became of a row.
enum Fate {
    /// It is gone from the inbox.
    Settled,
    /// It lacks something.
    Lacks(Lack),
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
        if self.0.intakes.wake(room) {
            let rooms = self.clone();
            self.spawn(async move { rooms.empty_inbox(room).await });
        }
    }

    /// Runs something until it ends or the server stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.0.shutdown.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = task => {}
            }
        });
    }

    async fn empty_inbox(&self, room: RoomNo) {
        let mut cursor = None;
        loop {
            let news = self.0.intakes.look(room);
            match self.pass(room, &mut cursor).await {
                Ok(()) => {}
                Err(Error::Stopping) => return,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "could not empty a room's inbox");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            self.begin_fetches(room);
            match self.0.intakes.next(room) {
                Next::End => return,
                Next::Look => {}
                Next::Wait(None) => news.notified().await,
                Next::Wait(Some(at)) => {
                    // Whether it was woken or it is time makes no difference.
                    let _woken = tokio::time::timeout_at(at, news.notified()).await;
                }
            }
        }
    }

    /// Decides what can be decided: what has become ready, and what is new after `cursor`.
    async fn pass(&self, room: RoomNo, cursor: &mut Option<InboxKey>) -> Result<()> {
        let _reader = self.0.intakes.reader().await;
        let intakes = &self.0.intakes;
        loop {
            let ready = intakes.waiting(room, |waiting| waiting.take_ready(PAGE));
            let ready = ready.unwrap_or_default();
            if ready.is_empty() {
                break;
            }
            let snapshot = self.snapshot().await?;
            let taken = match self.rows(&*snapshot, room, &ready).await {
                Ok(rows) => self.take_rows(room, rows, KeySource::AtHand).await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                intakes.waiting(room, |waiting| waiting.still_ready(&ready));
                return Err(error);
            }
        }
        loop {
            let snapshot = self.snapshot().await?;
            let mut rows = inbox::after(&*snapshot, room, *cursor, PAGE).await?;
            let Some((last, _)) = rows.last() else {
                return Ok(());
            };
            let last = *last;
            drop(snapshot);
            // After a failure in the middle of a page some of it wait already.
            rows.retain(|(key, _)| {
                let is_known = intakes.waiting(room, |waiting| waiting.has(*key));
                !is_known.unwrap_or(false)
            });
            self.take_rows(room, rows, KeySource::AtHand).await?;
            *cursor = Some(last);
        }
    }

    /// Rows of an inbox. Those that are gone do not wait any longer.
    async fn rows(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        keys: &[InboxKey],
    ) -> Result<Vec<(InboxKey, InboxRow)>> {
        let rows = inbox::by_keys(snapshot, room, keys).await?;
        if rows.len() < keys.len() {
            for key in keys {
                if !rows.iter().any(|(found, _)| found == key) {
                    self.0.intakes.gone(room, *key);
                }
            }
        }
        Ok(rows)
    }

    /// Decides rows of an inbox, as far as it can be done without asking others for events.
    async fn take_rows(
        &self,
        room: RoomNo,
        rows: Vec<(InboxKey, InboxRow)>,
        source: KeySource,
    ) -> Result<()> {
        let Some((site, is_resident)) = self.site(room).await? else {
            return Ok(());
        };
        let checked = self.checked(&site, rows, source).await?;
        if !is_resident {
            return self.take_from_outside(&site, checked).await;
        }
        let lives = checked.iter().map(|row| {
            let live = Live {
                is_judged: false,
                ..live(row, None)
            };
            self.take_in(site.room, Intake::Live(live))
        });
        let taken = join_all(lives).await;
        for (row, taken) in checked.into_iter().zip(taken) {
            let fate = fate(taken)?;
            self.note(&site, &row, fate);
        }
        Ok(())
    }

    /// The room, and whether users of this server are in it.
    pub(super) async fn site(&self, room: RoomNo) -> Result<Option<(Site, bool)>> {
        let snapshot = self.snapshot().await?;
        let Some(head) = rooms::head(&*snapshot, room).await? else {
            return Ok(None);
        };
        let version = RoomVersion::new(&head.version)
            .ok_or_else(|| Error::UnsupportedVersion(head.version.to_string()))?;
        let site = Site {
            room,
            room_id: head.room_id,
            version,
        };
        Ok(Some((site, head.joined_local > 0)))
    }

    fn note(&self, site: &Site, row: &Row, fate: Fate) {
        let intakes = &self.0.intakes;
        match fate {
            Fate::Settled => intakes.remove(site.room, row.key, row.origin.as_str()),
            Fate::Lacks(lack) => {
                let event_id = row.pdu.event_id().to_owned();
                tracing::debug!(event.id = %event_id, ?lack, "not complete yet");
                let parked = Parked {
                    origin: row.origin.clone(),
                    event_id: Some(event_id),
                    lack,
                };
                intakes.park(site.room, row.key, parked);
            }
        }
    }

    /// The rows whose signatures are right. What is wrong is dropped; what cannot be told yet is put aside.
    async fn checked(
        &self,
        site: &Site,
        rows: Vec<(InboxKey, InboxRow)>,
        source: KeySource,
    ) -> Result<Vec<Row>> {
        let texts: Vec<&[u8]> = rows.iter().map(|(_, row)| row.json.as_slice()).collect();
        let place = (site.version, &*site.room_id);
        let results = self.check(place, &texts, source).await;
        let (mut checked, mut dropped) = (Vec::new(), HashMap::new());
        for ((key, row), result) in rows.iter().zip(results) {
            match (result, ServerName::parse(row.origin.as_str())) {
                (Ok(pdu), Ok(origin)) => checked.push(Row {
                    key: *key,
                    origin,
                    pdu,
                }),
                (Err(Refused::Bad(VerifyError::NoKey(_))), Ok(origin)) => {
                    let parked = Parked {
                        origin,
                        event_id: None,
                        lack: Lack::Keys,
                    };
                    self.0.intakes.park(site.room, *key, parked);
                }
                (result, _) => {
                    tracing::debug!(origin = %row.origin, "dropped an event: {:?}", result.err());
                    dropped.insert(*key, row.origin.clone());
                }
            }
        }
        self.drop_rows(site.room, dropped).await?;
        Ok(checked)
    }

    /// Removes rows that lead to nothing.
    pub(super) async fn drop_rows(
        &self,
        room: RoomNo,
        rows: HashMap<InboxKey, String>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let keys = rows.keys().copied().collect();
        self.take_in(room, Intake::Drop(keys)).await?;
        for (key, origin) in rows {
            self.0.intakes.remove(room, key, &origin);
        }
        Ok(())
    }

    /// Begins to fetch what is to be fetched now.
    fn begin_fetches(&self, room: RoomNo) {
        let next = || {
            let next = |waiting: &mut Waiting| waiting.next_fetch(Instant::now());
            self.0.intakes.waiting(room, next).flatten()
        };
        while let Some((key, origin)) = next() {
            let rooms = self.clone();
            self.spawn(async move {
                let permit = rooms.0.intakes.fetcher(&origin).await;
                let fetched = rooms.fetch_for(room, key).await;
                drop(permit);
                if let Err(error) = fetched {
                    tracing::warn!(error = error.chain(), "could not complete an event");
                }
                rooms
                    .0
                    .intakes
                    .waiting(room, |waiting| waiting.end_fetch(key, &origin));
                rooms.wake_intake(room);
            });
        }
    }

    /// Fetches keys and events for a row of the inbox, and decides it if that is enough.
    async fn fetch_for(&self, room: RoomNo, key: InboxKey) -> Result<()> {
        let outcome = self.try_fetch_for(room, key).await;
        if matches!(outcome, Err(Error::Stopping)) {
            return Ok(());
        }
        // A row that was settled is not known any more.
        if self.0.intakes.fetched_in_vain(room, key) == Kept::No {
            let snapshot = self.snapshot().await?;
            let rows = self.rows(&*snapshot, room, &[key]).await?;
            tracing::debug!("gave up on an event that lacks others");
            let given_up = rows.into_iter().map(|(key, row)| (key, row.origin));
            self.drop_rows(room, given_up.collect()).await?;
        }
        outcome
    }

    async fn try_fetch_for(&self, room: RoomNo, key: InboxKey) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let rows = self.rows(&*snapshot, room, &[key]).await?;
        drop(snapshot);
        let Some((site, is_resident)) = self.site(room).await? else {
            return Ok(());
        };
        let mut checked = self.checked(&site, rows, KeySource::Network).await?;
        if !checked.is_empty() {
            self.0.intakes.waiting(room, Waiting::keys_arrived);
        }
        if !is_resident {
            return self.take_from_outside(&site, checked).await;
        }
        let Some(mut row) = checked.pop() else {
            return Ok(());
        };
        row.pdu = self.ask_policy(&site, row.pdu).await?;
        let mut decided = fate(self.take_in(room, Intake::Live(live(&row, None))).await)?;
        if let Fate::Lacks(Lack::Events(_)) = &decided {
            let tries = self.0.intakes.waiting(room, |waiting| waiting.tries(key));
            let gap = match tries.unwrap_or(0) {
                0..TRIES_BEFORE_GAP => Gap::NotYet,
                _ => Gap::Allowed,
            };
            let wanted = (&row.pdu, gap);
            match self.fetch_references(&site, &row.origin, wanted).await {
                Ok(gap) => {
                    let live = Intake::Live(live(&row, gap));
                    decided = fate(self.take_in(room, live).await)?;
                }
                Err(error @ (Error::Stopping | Error::Store(_))) => return Err(error),
                Err(error) if error.is_kept_from_us() && self.ends_stay(&row.pdu) => {
                    let ending = Intake::Ending(live(&row, None));
                    decided = fate(self.take_in(room, ending).await)?;
                }
                Err(error) => {
                    let event_id = row.pdu.event_id();
                    tracing::debug!(event.id = %event_id, error = error.chain(), "nothing fetched");
                    if error.is_kept_from_us()
                        && let Fate::Lacks(Lack::Events(kept)) = decided
                    {
                        decided = Fate::Lacks(Lack::Kept(kept));
                    }
                }
            }
        }
        self.note(&site, &row, decided);
        Ok(())
    }

    /// Whether an event makes a user of this server leave, by another's will: whoever heard of it before us may tell us
    /// nothing of the room any more.
    fn ends_stay(&self, pdu: &Pdu) -> bool {
        let is_ours = |user: &str| {
            let user = <&UserId>::try_from(user);
            user.is_ok_and(|user| user.server_name() == self.server_name())
        };
        let ends = [Membership::Leave, Membership::Ban];
        pdu.kind() == "m.room.member"
            && pdu.state_key().is_some_and(is_ours)
            && pdu.sender().server_name() != self.server_name()
            && Membership::of(pdu).is_some_and(|membership| ends.contains(&membership))
    }
}

/// What an answer of the room's worker says of a row. A failure of this server is that row's alone: others go on.
fn fate(taken: Result<Taken>) -> Result<Fate> {
    match taken {
        Ok(Taken::Missing(missing)) => Ok(Fate::Lacks(Lack::Events(missing))),
        Ok(Taken::Unjudged) => Ok(Fate::Lacks(Lack::Policy)),
        Ok(_) => Ok(Fate::Settled),
        Err(Error::Stopping) => Err(Error::Stopping),
        Err(error) => {
            tracing::warn!(error = error.chain(), "could not decide upon an event");
            Ok(Fate::Lacks(Lack::Nothing))
        }
    }
}

fn live(row: &Row, after_gap: Option<StateId>) -> Live {
    Live {
        pdu: row.pdu.clone(),
        after_gap,
        inbox: Some(row.key),
        relay_from: None,
        is_judged: true,
    }
}
