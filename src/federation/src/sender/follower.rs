//! Reads the change log and spreads what is for other servers over their queues.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use hearth_data::changes::{self, Change};
use hearth_data::meta::MetaRow;
use hearth_data::tables::{META, OUTBOX};
use hearth_data::{EventNo, RoomNo, federation, timeline};
use hearth_store::{Batch, Position, Snapshot, decode_key, encode_key};
use ruma::{OwnedServerName, ServerName};
use serde::Deserialize;

use super::Sender;
use super::edus::Typists;
use super::queue::{Queue, Queued};
use crate::Result;

/// Up to where all destinations have everything, or are in the store as not. In `META`.
const POSITION: &str = "federation_position";
/// How many rows of the log are read at once.
const ROWS_AT_ONCE: usize = 256;
/// How often the position is written, at most.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// How long after a failure the log is read again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How many destinations are read at once.
const PAGE: usize = 256;
/// Of how many rooms is known that no other server is in them; of more, all are looked up again.
const ALONE_MAX: usize = 10_000;

/// The few fields of an event that say to whom it goes.
#[derive(Deserialize)]
pub(super) struct Brief<'a> {
    #[serde(borrow)]
    sender: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    state_key: Option<Cow<'a, str>>,
}

impl<'a> Brief<'a> {
    pub(super) fn read(json: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(json).ok()
    }

    /// The sender's server.
    pub(super) fn server(&self) -> Option<&str> {
        self.sender.split_once(':').map(|(_, server)| server)
    }

    /// The server of the user whose membership it is.
    fn member_server(&self) -> Option<&str> {
        let user = self.state_key.as_ref()?;
        let is_member = self.kind == "m.room.member";
        user.split_once(':')
            .filter(|_| is_member)
            .map(|(_, server)| server)
    }
}

/// The servers of rooms, as one snapshot shows them, and those that left in the part of the log that is being read.
#[derive(Default)]
struct Servers {
    /// Rooms that no other server was in when the log was read last: for what is said there, nothing is looked up.
    alone: HashSet<RoomNo>,
    joined: HashMap<RoomNo, Vec<String>>,
    left: HashMap<RoomNo, Vec<(Position, String)>>,
}

impl Servers {
    /// Goes on to the next part of the log.
    fn read_log(&mut self, rows: &[(Position, Vec<Change>)]) {
        self.joined.clear();
        self.left.clear();
        if self.alone.len() > ALONE_MAX {
            self.alone.clear();
        }
        for (position, changes) in rows {
            for change in changes {
                match change {
                    Change::Member { room, user, joined } => {
                        self.alone.remove(room);
                        if let Some((_, server)) = user.split_once(':').filter(|_| !joined) {
                            let left = self.left.entry(*room).or_default();
                            left.push((*position, server.to_owned()));
                        }
                    }
                    Change::State { room } => {
                        self.alone.remove(room);
                    }
                    _ => {}
                }
            }
        }
    }

    /// To which other servers than `own` an event goes that was committed at a position: whoever is in the room, and
    /// whoever left with it or after it.
    async fn others(
        &mut self,
        snapshot: &dyn Snapshot,
        (room, at): (RoomNo, Position),
        own: &ServerName,
    ) -> Result<BTreeSet<String>> {
        if self.alone.contains(&room) {
            return Ok(BTreeSet::new());
        }
        let joined = match self.joined.entry(room) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(federation::servers(snapshot, room).await?),
        };
        let left = self.left.get(&room);
        if left.is_none() && joined.iter().all(|server| server == own.as_str()) {
            self.alone.insert(room);
            return Ok(BTreeSet::new());
        }
        let left = left.into_iter().flatten();
        let left = left
            .filter(|(when, _)| *when >= at)
            .map(|(_, server)| server);
        let mut servers: BTreeSet<String> = joined.iter().chain(left).cloned().collect();
        servers.remove(own.as_str());
        Ok(servers)
    }
}

impl Sender {
    /// Follows the log until the server stops.
    pub async fn run(&self) {
        let shutdown = &self.0.parts.shutdown;
        let mut begun = false;
        let mut typists = Typists::starting_at(self.0.parts.typing.version());
        let mut presence_seen = self.0.parts.presence.version();
        let mut written = tokio::time::interval(WRITE_EVERY);
        let mut servers = Servers::default();
        while !shutdown.is_cancelled() {
            let step = async {
                if !begun {
                    self.begin().await?;
                    begun = true;
                }
                let wake = self.start_due();
                let wait = wake.map_or(WRITE_EVERY, |at| at.since(self.0.parts.clock.now()));
                let seen = self.board().seen;
                tokio::select! {
                    biased;
                    moved = self.0.parts.store.wait_past(seen) => {
                        moved?;
                        self.follow(&mut servers).await
                    }
                    _ = self.0.parts.typing.wait_past(typists.version()) => {
                        self.spread_typing(&mut typists).await
                    }
                    _ = self.0.parts.presence.wait_past(presence_seen) => {
                        self.spread_presence(&mut presence_seen).await
                    }
                    () = self.0.due_changed.notified() => Ok(()),
                    () = tokio::time::sleep(wait) => Ok(()),
                    _ = written.tick() => self.write_position().await,
                }
            };
            let stepped = tokio::select! {
                () = shutdown.cancelled() => break,
                stepped = step => stepped,
            };
            if let Err(error) = stepped {
                tracing::warn!(%error, "following the log for other servers failed; trying again");
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(RETRY_AFTER) => {}
                }
            }
        }
        if let Err(error) = self.write_position().await {
            tracing::debug!(%error, "could not write how far other servers are");
        }
    }

    /// Takes up where the last run ended.
    async fn begin(&self) -> Result<()> {
        let snapshot = self.0.parts.store.snapshot().await?;
        let stored = META.get(&*snapshot, &POSITION.to_owned()).await?;
        let position = stored.and_then(|row| decode_key(&row.0).ok());
        let position = position.unwrap_or_else(|| snapshot.position());
        let is_lost = position < changes::trimmed_to(&*snapshot).await?;
        self.board().seen = if is_lost {
            snapshot.position()
        } else {
            position
        };
        let mut after = String::new();
        loop {
            let page = federation::destinations_after(&*snapshot, &after, PAGE).await?;
            for (server, row) in &page {
                self.restore(server, Queue::restored(row));
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after.clone_from(last),
                _ => break,
            }
        }
        if is_lost {
            self.all_fall_behind(&*snapshot, position).await?;
        }
        self.restore_outboxes(&*snapshot).await
    }

    fn restore(&self, server: &str, restored: Queue) {
        let Ok(server) = OwnedServerName::try_from(server) else {
            return;
        };
        if self.is_destination(&server) {
            let mut board = self.board();
            board.queues.insert(server.clone(), restored);
            self.schedule(&mut board, &server);
        }
    }

    /// The log does not reach back to where the last run ended: every server is looked after as if it had been away.
    async fn all_fall_behind(&self, snapshot: &dyn Snapshot, from: Position) -> Result<()> {
        let table = hearth_data::tables::SERVER_ROOMS;
        let mut range = table.prefix(&());
        while let Some(((server, _), _)) = table
            .range(snapshot, range.clone(), 1)
            .await?
            .into_iter()
            .next()
        {
            range.from = table.prefix(&server).to;
            let row = federation::DestinationRow {
                cursor: from.0,
                ..Default::default()
            };
            if federation::destination(snapshot, &server).await?.is_none() {
                self.restore(&server, Queue::restored(&row));
            }
        }
        Ok(())
    }

    async fn restore_outboxes(&self, snapshot: &dyn Snapshot) -> Result<()> {
        let mut range = OUTBOX.prefix(&());
        while let Some(((server, _, _), _)) = OUTBOX
            .range(snapshot, range.clone(), 1)
            .await?
            .into_iter()
            .next()
        {
            range.from = OUTBOX.prefix(&server).to;
            self.outbound(&server);
        }
        Ok(())
    }

    fn outbound(&self, server: &str) {
        if let Ok(server) = <&ServerName>::try_from(server) {
            self.change(server, |queue| queue.has_outbox = true);
        }
    }

    async fn follow(&self, servers: &mut Servers) -> Result<()> {
        let snapshot = self.0.parts.store.snapshot().await?;
        let to = snapshot.position();
        loop {
            let seen = self.board().seen;
            if seen >= to {
                return Ok(());
            }
            let rows = changes::since(&*snapshot, seen, to, ROWS_AT_ONCE).await?;
            let upto = match rows.last() {
                Some((position, _)) if rows.len() == ROWS_AT_ONCE => *position,
                _ => to,
            };
            servers.read_log(&rows);
            for (position, changes) in &rows {
                for change in changes.iter().filter(|change| !is_handed(change, changes)) {
                    self.spread_change(&*snapshot, servers, *position, (change, changes))
                        .await?;
                }
            }
            self.board().seen = upto;
        }
    }

    async fn spread_change(
        &self,
        snapshot: &dyn Snapshot,
        servers: &mut Servers,
        at: Position,
        (change, changes): (&Change, &[Change]),
    ) -> Result<()> {
        match change {
            Change::Event { room, event } => {
                let event = (*room, *event);
                self.spread_event(snapshot, servers, (at, event), (None, changes))
                    .await
            }
            Change::Relay { room, event, from } => {
                let event = (*room, *event);
                self.spread_event(snapshot, servers, (at, event), (Some(from), changes))
                    .await
            }
            Change::Expelled { room, event } => {
                self.tell_expelled(snapshot, (at, (*room, *event))).await
            }
            Change::Receipt {
                room,
                private_to: None,
            } => self.spread_receipts(snapshot, *room, at).await,
            Change::Outbound { server } => {
                self.outbound(server);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Queues an event for the servers of its room: one of a user here, or one that `from` asked this server to send on.
    async fn spread_event(
        &self,
        snapshot: &dyn Snapshot,
        servers: &mut Servers,
        (at, (room, event)): (Position, (RoomNo, EventNo)),
        (from, changes): (Option<&String>, &[Change]),
    ) -> Result<()> {
        let place = (room, at);
        let mut to = servers.others(snapshot, place, self.server_name()).await?;
        // Only what becomes of a member may concern a server that is not in the room.
        let is_member = |change| matches!(change, &Change::Member { room: of, .. } if of == room);
        if to.is_empty() && from.is_none() && !changes.iter().any(is_member) {
            return Ok(());
        }
        let Some((_, row)) = timeline::event(snapshot, room, event).await? else {
            return Ok(());
        };
        let Some(brief) = Brief::read(&row.json) else {
            return Ok(());
        };
        if from.is_none() && brief.server() != Some(self.server_name().as_str()) {
            return Ok(());
        }
        // Also to whose invite is taken back or knock is refused; an invite is told otherwise.
        if let Some(server) = brief.member_server()
            && !is_invite(&row.json)
        {
            to.insert(server.to_owned());
        }
        // Whoever asked us to send it on has it.
        if let Some(from) = from {
            to.remove(from);
        }
        for server in to {
            if let Ok(server) = <&ServerName>::try_from(server.as_str()) {
                self.change(server, |queue| queue.push(Queued { at, room, event }));
            }
        }
        Ok(())
    }

    /// Queues a member event for the server of its user alone.
    async fn tell_expelled(
        &self,
        snapshot: &dyn Snapshot,
        (at, (room, event)): (Position, (RoomNo, EventNo)),
    ) -> Result<()> {
        let Some((_, row)) = timeline::event(snapshot, room, event).await? else {
            return Ok(());
        };
        let brief = Brief::read(&row.json);
        let server = brief.as_ref().and_then(Brief::member_server);
        if let Some(server) = server.and_then(|server| <&ServerName>::try_from(server).ok()) {
            self.change(server, |queue| queue.push(Queued { at, room, event }));
        }
        Ok(())
    }

    async fn write_position(&self) -> Result<()> {
        let done = self.done_up_to();
        // Nothing has happened but the writing of the last position.
        if done <= self.board().written_at {
            return Ok(());
        }
        let mut batch = Batch::buffered();
        let row = MetaRow(encode_key(&done).to_vec());
        META.put(&mut batch, &POSITION.to_owned(), &row);
        let written_at = self.0.parts.store.commit(batch).await?;
        self.board().written_at = written_at;
        Ok(())
    }
}

/// Whether a change is an event that another server has taken over.
fn is_handed(change: &Change, changes: &[Change]) -> bool {
    let Change::Event { room, event } = change else {
        return false;
    };
    let handed = Change::Handed {
        room: *room,
        event: *event,
    };
    changes.contains(&handed)
}

fn is_invite(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Event<'a> {
        #[serde(borrow)]
        content: Content<'a>,
    }
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        membership: Option<Cow<'a, str>>,
    }
    let event = serde_json::from_slice::<Event<'_>>(json);
    event.is_ok_and(|event| event.content.membership.as_deref() == Some("invite"))
}
