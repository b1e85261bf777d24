//! What users have read: receipts, and the marker of what was read fully.

use hearth_data::accounts::account_data::{self, AccountDataKey};
use hearth_data::changes::{self, Change};
use hearth_data::receipts::{self, ReceiptKey, ReceiptRow};
use hearth_data::row::Json;
use hearth_data::timeline::{self, EventRef};
use hearth_data::{EventNo, Place};
use hearth_event::canonical::Object;
use hearth_event::relations::relation;
use hearth_store::{Batch, Position};
use ruma::{EventId, OwnedEventId, RoomId, UserId};

use crate::read::Reader;
use crate::{Error, Result, Rooms, content};

/// How often a receipt is written anew because another was first.
const CONFLICTS_MAX: usize = 16;
/// Over how many relations an event belongs to a thread.
const THREAD_HOPS_MAX: usize = 3;
/// The thread of all events that are in none.
const MAIN: &str = "main";
const FULLY_READ: &str = "m.fully_read";

/// Who is told of a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiptKind {
    /// Everybody: `m.read`.
    Read,
    /// Only the user: `m.read.private`.
    ReadPrivate,
}

impl ReceiptKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "m.read",
            Self::ReadPrivate => "m.read.private",
        }
    }
}

/// What a receipt is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ReceiptThread {
    /// The whole room.
    #[default]
    Unthreaded,
    /// Events that are in no thread.
    Main,
    /// A thread, by its root.
    Thread(OwnedEventId),
}

impl ReceiptThread {
    fn as_str(&self) -> &str {
        match self {
            Self::Unthreaded => "",
            Self::Main => MAIN,
            Self::Thread(root) => root.as_str(),
        }
    }
}

/// What is to be moved at once.
#[derive(Clone, Debug, Default)]
pub struct MarkersUpdate {
    /// The marker of what was read fully.
    pub fully_read: Option<OwnedEventId>,
    /// Receipts.
    pub receipts: Vec<(ReceiptKind, ReceiptThread, OwnedEventId)>,
}

impl Rooms {
    /// Moves receipts and the marker forward, all in one commit. What would go backwards stays.
    pub async fn mark_read(
        &self,
        user: &UserId,
        room_id: &RoomId,
        update: &MarkersUpdate,
    ) -> Result<()> {
        self.presences().active(user);
        for _ in 0..CONFLICTS_MAX {
            let reader = self.reader(user, room_id).await?;
            if !reader.is_joined() {
                return Err(Error::NotInRoom);
            }
            let batch = self.marks(&reader, update).await?;
            if batch.is_empty() {
                return Ok(());
            }
            match self.0.store.commit(batch).await {
                Ok(_) => return Ok(()),
                Err(hearth_store::Error::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Contended)
    }

    async fn marks(&self, reader: &Reader, update: &MarkersUpdate) -> Result<Batch> {
        let mut batch = Batch::new();
        let mut changes = Vec::new();
        for (kind, thread, event_id) in &update.receipts {
            let read = reader.read_event(event_id).await?;
            reader.check_thread(thread, event_id, read.event).await?;
            let key = ReceiptKey {
                user: reader.user.to_string(),
                kind: kind.as_str().to_owned(),
                thread: thread.as_str().to_owned(),
            };
            let before = receipts::receipt(&*reader.snapshot, reader.room, &key).await?;
            if before.as_ref().and_then(|before| before.place) >= Some(read.place) {
                continue;
            }
            let row = ReceiptRow {
                event_id: event_id.clone(),
                place: Some(read.place),
                ts: self.0.clock.now(),
                position: Position::ZERO,
            };
            receipts::put(&mut batch, reader.room, &key, before.as_ref(), &row);
            changes.push(Change::Receipt {
                room: reader.room,
                private_to: (*kind == ReceiptKind::ReadPrivate).then(|| reader.user.to_string()),
            });
        }
        if let Some(event_id) = &update.fully_read
            && reader.put_fully_read(&mut batch, event_id).await?
        {
            changes.push(Change::AccountData {
                user: reader.user.to_string(),
            });
        }
        changes::record(&mut batch, changes);
        Ok(batch)
    }
}

/// An event that somebody has read.
struct Read {
    event: EventNo,
    place: Place,
}

impl Reader {
    async fn read_event(&self, event_id: &EventId) -> Result<Read> {
        let found = timeline::find(&*self.snapshot, event_id).await?;
        let Some(EventRef { event, .. }) = found.filter(|found| found.room == self.room) else {
            return Err(Error::NoSuchEvent);
        };
        match timeline::event(&*self.snapshot, self.room, event).await? {
            Some((Some(place), _)) => Ok(Read { event, place }),
            _ => Err(Error::NoSuchEvent),
        }
    }

    /// A receipt for a thread must be for an event of it, or for one whose relations lead to its root: clients show
    /// those with the thread. The root is both in the thread and in none.
    async fn check_thread(
        &self,
        thread: &ReceiptThread,
        event_id: &EventId,
        event: EventNo,
    ) -> Result<()> {
        let root = match thread {
            ReceiptThread::Unthreaded => return Ok(()),
            ReceiptThread::Thread(root) if root == event_id => return Ok(()),
            ReceiptThread::Main => None,
            ReceiptThread::Thread(root) => Some(root),
        };
        let (thread, leads_to) = self.thread_of(event).await?;
        match thread.as_ref() == root || (root.is_some() && leads_to.as_ref() == root) {
            true => Ok(()),
            false => Err(Error::Invalid("the event is not in that thread")),
        }
    }

    /// The root of the thread that an event is in, by its own relation or that of what it relates to; and the last
    /// event to which its relations lead.
    async fn thread_of(
        &self,
        event: EventNo,
    ) -> Result<(Option<OwnedEventId>, Option<OwnedEventId>)> {
        let mut event = event;
        let mut leads_to = None;
        for _ in 0..THREAD_HOPS_MAX {
            let Some((_, row)) = timeline::event(&*self.snapshot, self.room, event).await? else {
                break;
            };
            let Some(relation) = relation(&self.pdu(&row)?) else {
                break;
            };
            if relation.rel_type == "m.thread" {
                return Ok((Some(relation.event_id), None));
            }
            let found = timeline::find(&*self.snapshot, &relation.event_id).await?;
            leads_to = Some(relation.event_id);
            match found {
                Some(found) if found.room == self.room => event = found.event,
                _ => break,
            }
        }
        Ok((None, leads_to))
    }

    /// Moves the marker if it goes forward. Whether it does.
    async fn put_fully_read(&self, batch: &mut Batch, event_id: &EventId) -> Result<bool> {
        let read = self.read_event(event_id).await?;
        let key: AccountDataKey = (
            self.user.to_string(),
            self.head.room_id.to_string(),
            FULLY_READ.to_owned(),
        );
        let before = account_data::account_data(&*self.snapshot, &key).await?;
        if let Some(before) = &before
            && let Some(marked) = marked_event(before.content.text())
            && let Ok(marked) = self.read_event(&marked).await
            && marked.place >= read.place
        {
            return Ok(false);
        }
        let content = Object::from([("event_id".to_owned(), event_id.as_str().into())]);
        let content = Json::from_text(content::raw(&content)?.get());
        account_data::put(batch, &key, before.as_ref(), content);
        Ok(true)
    }
}

fn marked_event(content: &str) -> Option<OwnedEventId> {
    #[derive(serde::Deserialize)]
    struct Content {
        event_id: OwnedEventId,
    }
    let content: Content = serde_json::from_str(content).ok()?;
    Some(content.event_id)
}
