//! Unread counts: exact, by applying the push rules that were in force to each event once.
//!
//! A [`Tally`] holds what is unread of one room for one user, kept in memory and now and then as a checkpoint in the
//! store. New events add to it, receipts and own messages take from it; nothing that was read comes back. A join
//! begins it anew: what was before is history, not news.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hearth_data::counts::{self, CountRow, Unread};
use hearth_data::{Place, RoomNo, receipts, timeline};
use hearth_event::push::PushContext;
use hearth_event::relations::relation;
use hearth_event::visibility::Membership;
use hearth_store::{Backend, Batch, Position};
use ruma::OwnedEventId;
use tokio::sync::Mutex;

use crate::Result;
use crate::notifier::Tail;
use crate::profile::ReaderFacts;
use crate::room::{Event, RoomReader};
use crate::viewer::Viewer;

/// How many tallies are kept in memory.
const TALLIES_MAX: usize = 4_096;
/// How many unread events are counted per room; a user who reads never has that many, and no client shows more.
const UNREAD_MAX: usize = 5_000;
/// How many events are looked at when there is no recent checkpoint; older ones are taken as read.
const EVALUATED_MAX: usize = 10_000;
/// How many events are loaded at once for that.
const LOADED_AT_ONCE: usize = 256;
/// After how many events a checkpoint is written: so many are looked at again after a start.
const CHECKPOINT_EVERY: u64 = 64;
/// How many receipts of a user in a room are read.
const RECEIPTS_MAX: usize = 5_000;
/// How many changes of her profile are gone back over to find a user's join.
const PROFILES_WALKED_MAX: usize = 1_000;
/// How many names of threads and senders are kept besides those in use.
const NAMES_KEPT: usize = 32;
/// How many relations are followed to find an event's thread ("Receiving notifications" asks for three).
const THREAD_HOPS_MAX: usize = 3;

/// Counts of one room or thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) notifications: u64,
    pub(crate) highlights: u64,
}

/// Counts of a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// When they last changed, as far as is known.
    pub(crate) changed_at: Position,
    /// Whom they count messages of may be ignored: there are some.
    pub(crate) has_senders: bool,
    /// Of the main timeline.
    pub(crate) main: Count,
    /// Of the threads that have any, by root.
    pub(crate) threads: BTreeMap<String, Count>,
}

impl Counts {
    /// Of all together.
    pub(crate) fn total(&self) -> Count {
        self.threads.values().fold(self.main, |sum, count| Count {
            notifications: sum.notifications + count.notifications,
            highlights: sum.highlights + count.highlights,
        })
    }
}

/// What is unread of one room for one user.
#[derive(Debug, Default)]
struct Tally {
    row: CountRow,
    is_loaded: bool,
    receipts_upto: Position,
    since_checkpoint: u64,
    /// When what is unread last changed, as far as is known.
    changed_at: Position,
}

/// The tallies asked for last.
pub(crate) struct CountsCache(quick_cache::sync::Cache<(Box<str>, RoomNo), Arc<Mutex<Tally>>>);

impl CountsCache {
    pub(crate) fn new() -> Self {
        Self(quick_cache::sync::Cache::new(TALLIES_MAX))
    }

    fn tally(&self, user: &str, room: RoomNo) -> Arc<Mutex<Tally>> {
        let key = (user.into(), room);
        match self.0.get(&key) {
            Some(tally) => tally,
            None => {
                let tally = Arc::<Mutex<Tally>>::default();
                self.0.insert(key, tally.clone());
                tally
            }
        }
    }
}

/// What counting takes besides the room.
pub(crate) struct Counting<'a> {
    pub(crate) cache: &'a CountsCache,
    pub(crate) store: &'a dyn Backend,
    pub(crate) facts: &'a ReaderFacts,
    /// What the notifier has at hand between a position and the snapshot's.
    pub(crate) tail: &'a (dyn Fn(Position) -> Tail + std::marker::Sync),
}

impl Counting<'_> {
    /// The counts of a joined user as of the reader's snapshot, or of a little later if another sync was there.
    pub(crate) async fn counts(&self, reader: &RoomReader<'_>, viewer: &Viewer) -> Result<Counts> {
        let tally = self.cache.tally(&viewer.user, reader.no);
        let mut tally = tally.lock().await;
        if !tally.is_loaded {
            let row = counts::checkpoint(reader.snapshot, &viewer.user, reader.no).await?;
            tally.row = match row {
                Some(row) => row,
                None => first_row(reader, viewer).await?,
            };
            tally.is_loaded = true;
            tally.changed_at = tally.row.position();
        }
        let to = reader.snapshot.position();
        if tally.row.position() < to {
            let tail = (self.tail)(tally.row.position());
            self.evaluate(reader, viewer, &mut tally, tail.events)
                .await?;
            tally.row.upto = to.0;
        }
        let receipts_same = (self.tail)(tally.receipts_upto).are_receipts_same;
        if tally.receipts_upto < to && !receipts_same {
            let before = tally.row.unread.len();
            apply_receipts(reader, &viewer.user, &mut tally).await?;
            if tally.row.unread.len() != before {
                tally.changed_at = to;
            }
            tally.receipts_upto = to;
        }
        if forget_ended(reader, &mut tally).await? {
            tally.changed_at = to;
        }
        if tally.since_checkpoint >= CHECKPOINT_EVERY {
            tally.since_checkpoint = 0;
            let mut batch = Batch::buffered();
            counts::put(&mut batch, &viewer.user, reader.no, &tally.row);
            self.store.commit(batch).await?;
        }
        Ok(tally.counts(&self.facts.ignored))
    }

    async fn evaluate(
        &self,
        reader: &RoomReader<'_>,
        viewer: &Viewer,
        tally: &mut Tally,
        at_hand: Option<Vec<(Position, Arc<Event>)>>,
    ) -> Result<()> {
        if let Some(events) = at_hand {
            for (position, event) in events {
                self.evaluate_event(reader, viewer, tally, (position, &event))
                    .await?;
            }
            return Ok(());
        }
        let (from, to) = (tally.row.position(), reader.snapshot.position());
        let newest =
            timeline::positions_since(reader.snapshot, reader.no, from, to, EVALUATED_MAX).await?;
        let oldest_first: Vec<_> = newest.into_iter().rev().collect();
        for page in oldest_first.chunks(LOADED_AT_ONCE) {
            for (position, placed) in timeline::placed(reader.snapshot, reader.no, page).await? {
                if let Some(event) = reader.placed(placed).await? {
                    self.evaluate_event(reader, viewer, tally, (position, &event))
                        .await?;
                }
            }
        }
        Ok(())
    }

    async fn evaluate_event(
        &self,
        reader: &RoomReader<'_>,
        viewer: &Viewer,
        tally: &mut Tally,
        (position, event): (Position, &Event),
    ) -> Result<()> {
        tally.since_checkpoint += 1;
        let before = tally.row.unread.len();
        self.take_in(reader, viewer, tally, (position, event))
            .await?;
        // What is redacted already when it is looked at was never added, but may have been told of before a restart.
        if tally.row.unread.len() != before || event.pdu.redacts().is_some() {
            tally.changed_at = position;
        }
        Ok(())
    }

    async fn take_in(
        &self,
        reader: &RoomReader<'_>,
        viewer: &Viewer,
        tally: &mut Tally,
        (position, event): (Position, &Event),
    ) -> Result<()> {
        let pdu = &event.pdu;
        if pdu.is("m.room.member", &viewer.user) && joins(reader, event, &viewer.user).await? {
            tally.row.unread.clear();
        }
        if let Some(target) = pdu.redacts() {
            forget_redacted(reader, tally, target).await?;
        }
        if pdu.sender().as_str() == viewer.user {
            if !pdu.is_state() {
                let thread = thread_of(reader, event).await?;
                tally.read_thread(thread.as_deref().map(|root| root.as_str()), event.place);
            }
            return Ok(());
        }
        if event.is_redacted() || !viewer.sees(reader, event).await? {
            return Ok(());
        }
        let context = push_context(reader, event, &self.facts.user).await?;
        let outcome = event
            .push()
            .evaluate(&self.facts.rules_at(position), &context);
        if outcome.notify || outcome.highlight {
            let thread = thread_of(reader, event).await?;
            let thread = thread.as_deref().map(|root| root.as_str());
            tally.add(event, thread, outcome.highlight);
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, event: &Event, thread: Option<&str>, highlight: bool) {
        let Some(place) = event.place else { return };
        let thread = thread.map(|root| index_in(&mut self.row.threads, root));
        // Whether she is ignored is asked when it is counted: the list may change.
        let is_message = !event.pdu.is_state();
        let sender =
            is_message.then(|| index_in(&mut self.row.senders, event.pdu.sender().as_str()));
        self.row.unread.push(Unread {
            place,
            thread,
            highlight,
            sender,
        });
        if self.row.unread.len() > UNREAD_MAX {
            self.row.unread.remove(0);
        }
    }

    /// The whole room was read up to and with a place.
    fn read_all(&mut self, upto: Place) {
        self.row.unread.retain(|unread| unread.place > upto);
        self.drop_names();
    }

    /// One thread (`None`: the main timeline) was read up to and with a place.
    fn read_thread(&mut self, thread: Option<&str>, upto: Option<Place>) {
        let Some(upto) = upto else { return };
        let index = match thread {
            None => None,
            Some(root) => match self.row.threads.iter().position(|known| known == root) {
                Some(index) => u32::try_from(index).ok(),
                None => return,
            },
        };
        let is_read = |unread: &Unread| unread.thread == index && unread.place <= upto;
        self.row.unread.retain(|unread| !is_read(unread));
        self.drop_names();
    }

    /// Forgets the names of threads and senders of which nothing is unread, when they are many.
    fn drop_names(&mut self) {
        let row = &mut self.row;
        if row.threads.len() + row.senders.len() <= 2 * row.unread.len() + NAMES_KEPT {
            return;
        }
        let (threads, senders) = (
            std::mem::take(&mut row.threads),
            std::mem::take(&mut row.senders),
        );
        for unread in &mut row.unread {
            let thread = unread.thread.and_then(|index| name_at(&threads, index));
            unread.thread = thread.map(|root| index_in(&mut row.threads, root));
            let sender = unread.sender.and_then(|index| name_at(&senders, index));
            unread.sender = sender.map(|sender| index_in(&mut row.senders, sender));
        }
    }

    fn counts(&self, ignored: &HashSet<String>) -> Counts {
        let mut counts = Counts {
            changed_at: self.changed_at,
            ..Counts::default()
        };
        for unread in &self.row.unread {
            let sender = unread
                .sender
                .and_then(|index| name_at(&self.row.senders, index));
            counts.has_senders |= sender.is_some();
            if sender.is_some_and(|sender| ignored.contains(sender)) {
                continue;
            }
            let root = unread
                .thread
                .and_then(|index| name_at(&self.row.threads, index));
            let count = match root {
                Some(root) => counts.threads.entry(root.to_owned()).or_default(),
                None => &mut counts.main,
            };
            count.notifications += 1;
            count.highlights += u64::from(unread.highlight);
        }
        counts
    }
}

fn index_in(names: &mut Vec<String>, name: &str) -> u32 {
    let found = names.iter().position(|known| known == name);
    let index = found.unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn name_at(names: &[String], index: u32) -> Option<&str> {
    let name = names.get(usize::try_from(index).ok()?)?;
    Some(name)
}

/// Where counting begins when nothing is known: at the join, or after what was read of the whole room.
async fn first_row(reader: &RoomReader<'_>, viewer: &Viewer) -> Result<CountRow> {
    let member = hearth_data::members::user_room(reader.snapshot, &viewer.user, reader.no).await?;
    let mut joined_at = Position::ZERO;
    let mut number = member.map(|row| row.event);
    // Back over changes of the profile to the join.
    for _ in 0..PROFILES_WALKED_MAX {
        let Some(event) = number else { break };
        let Some((_, row, _)) = reader.stored(event).await? else {
            break;
        };
        joined_at = row.position;
        let before = reader.member(row.state_before, &viewer.user).await?;
        number = before
            .event
            .filter(|_| before.membership == Membership::Join);
    }
    Ok(CountRow {
        upto: joined_at.0,
        ..CountRow::default()
    })
}

/// Whether the event makes the user a member who was none before.
async fn joins(reader: &RoomReader<'_>, event: &Event, user: &str) -> Result<bool> {
    let before = reader.member(event.row.state_before, user).await?;
    Ok(Membership::of(&event.pdu) == Some(Membership::Join)
        && before.membership != Membership::Join)
}

async fn forget_redacted(
    reader: &RoomReader<'_>,
    tally: &mut Tally,
    target: &ruma::EventId,
) -> Result<()> {
    let Some(found) = timeline::find(reader.snapshot, target).await? else {
        return Ok(());
    };
    if found.room == reader.no
        && let Some((Some(place), row)) =
            timeline::event(reader.snapshot, reader.no, found.event).await?
        && row.redacted_by.is_some()
    {
        tally.row.unread.retain(|unread| unread.place != place);
    }
    Ok(())
}

/// Forgets messages that have come to their end. Answers whether there were any. They end in the order of history but
/// for clocks that are wrong, so the oldest says whether there is anything to do.
async fn forget_ended(reader: &RoomReader<'_>, tally: &mut Tally) -> Result<bool> {
    if !reader.may_end() {
        return Ok(false);
    }
    let before = tally.row.unread.len();
    // What is no message has no sender here, and stays.
    while let Some(index) = (tally.row.unread.iter()).position(|unread| unread.sender.is_some())
        && reader.is_gone(tally.row.unread[index].place).await?
    {
        tally.row.unread.remove(index);
    }
    tally.drop_names();
    Ok(tally.row.unread.len() != before)
}

async fn apply_receipts(reader: &RoomReader<'_>, user: &str, tally: &mut Tally) -> Result<()> {
    for (key, row) in receipts::of_user(reader.snapshot, reader.no, user, RECEIPTS_MAX).await? {
        match (key.thread.as_str(), row.place) {
            (_, None) => {}
            ("", Some(place)) => tally.read_all(place),
            ("main", place) => tally.read_thread(None, place),
            (root, place) => tally.read_thread(Some(root), place),
        }
    }
    Ok(())
}

async fn push_context(
    reader: &RoomReader<'_>,
    event: &Event,
    user: &ruma::UserId,
) -> Result<PushContext> {
    let state = event.row.state_before;
    let member = reader.member(state, user.as_str()).await?;
    Ok(PushContext {
        user_id: user.to_owned(),
        display_name: member.display_name.as_deref().map(str::to_owned),
        joined_members: reader.joined_members(state).await?,
        power_levels: reader.power(state).await?,
    })
}

/// The root of the thread that an event is part of.
pub(crate) async fn thread_of(
    reader: &RoomReader<'_>,
    event: &Event,
) -> Result<Option<OwnedEventId>> {
    let root = event.thread.get_or_try_init(|| async {
        let mut next = relation(&event.pdu);
        for _ in 0..THREAD_HOPS_MAX {
            let Some(found) = next.take() else { break };
            if found.rel_type == "m.thread" {
                return Ok::<_, crate::Error>(Some(found.event_id));
            }
            let target = timeline::find(reader.snapshot, &found.event_id).await?;
            let Some(target) = target.filter(|target| target.room == reader.no) else {
                break;
            };
            let stored = reader.stored(target.event).await?;
            next = stored.and_then(|(_, _, pdu)| relation(&pdu));
        }
        Ok(None)
    });
    Ok(root.await?.clone())
}
