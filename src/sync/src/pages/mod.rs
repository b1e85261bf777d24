//! Reads of a room: single events, messages, context, relations, threads, the event nearest to a time, previews.

mod context;
mod event;
mod initial;
mod messages;
mod peek;
mod related;
mod timestamp;

pub(crate) use context::context;
pub(crate) use event::event;
pub(crate) use initial::room_initial;
pub(crate) use messages::messages;
pub(crate) use peek::peek;
pub(crate) use related::{relations, threads};
pub(crate) use timestamp::timestamp_to_event;

use std::collections::BTreeMap;
use std::sync::Arc;

use hearth_data::relations as relation_rows;
use hearth_data::{EventNo, Place, StateId, timeline};
use hearth_store::Snapshot;
use serde_json::value::RawValue;

use crate::ask::{Direction, Reader};
use crate::filter::{EventFilter, EventFormat};
use crate::profile::ReaderFacts;
use crate::render::{Rendering, Shape, visible};
use crate::room::{Event, RoomReader};
use crate::service::Inner;
use crate::viewer::Viewer;
use crate::{Error, Result};

/// How many events are looked through for one page; a client goes on from where it ended.
const SCANNED_MAX: usize = 2_000;
/// How many events are loaded at once.
const LOADED_AT_ONCE: usize = 100;
/// How many relations of an event are looked at by a filter.
const FILTER_RELATIONS_MAX: usize = 200;

/// A room, open for a reader who may look into it.
pub(crate) struct Open<'a> {
    pub(crate) room: RoomReader<'a>,
    pub(crate) viewer: Viewer,
    pub(crate) reader: &'a Reader,
    pub(crate) facts: Arc<ReaderFacts>,
    pub(crate) now: hearth_types::UnixMs,
}

impl<'a> Open<'a> {
    pub(crate) async fn new(
        inner: &'a Inner,
        snapshot: &'a dyn Snapshot,
        reader: &'a Reader,
        room_id: &ruma::RoomId,
    ) -> Result<Self> {
        let room = inner.room_by_id(snapshot, room_id).await?;
        let viewer = Viewer::of(&room, reader.user.as_str()).await?;
        let facts = inner.reader_facts(snapshot, reader).await?;
        Ok(Self {
            room,
            viewer,
            reader,
            facts,
            now: inner.parts.clock.now(),
        })
    }

    fn rendering(&self) -> Rendering<'_> {
        Rendering {
            reader: self.reader,
            facts: &self.facts,
            now: self.now,
            shape: Shape::Alone,
            format: EventFormat::Client,
            fields: None,
        }
    }

    pub(crate) async fn render(&self, event: &Event) -> Result<Box<RawValue>> {
        self.rendering()
            .event(&self.room, &self.viewer, event)
            .await
    }

    async fn render_all(&self, events: &[Arc<Event>]) -> Result<Vec<Box<RawValue>>> {
        let mut rendered = Vec::with_capacity(events.len());
        for event in events {
            rendered.push(self.render(event).await?);
        }
        Ok(rendered)
    }

    /// An event of this room by its id, if the reader may see it.
    pub(crate) async fn event(&self, event_id: &ruma::EventId) -> Result<Arc<Event>> {
        let found = timeline::find(self.room.snapshot, event_id).await?;
        let found = found.filter(|found| found.room == self.room.no);
        let number = found.ok_or(Error::NoSuchEvent)?.event;
        let event = self.room.event(number).await?.ok_or(Error::NoSuchEvent)?;
        if self.viewer.sees(&self.room, &event).await? {
            Ok(event)
        } else {
            Err(Error::NoSuchEvent)
        }
    }

    async fn wants(&self, filter: &EventFilter, event: &Arc<Event>) -> Result<bool> {
        Ok(filter.wants(&event.pdu)
            && visible(&self.room, &self.viewer, &self.facts, event).await?
            && (!filter.asks_relations()
                || has_wanted_relation(&self.room, &self.viewer, filter, event).await?))
    }
}

/// Whether something relates to an event as a filter wants it.
pub(crate) async fn has_wanted_relation(
    room: &RoomReader<'_>,
    viewer: &Viewer,
    filter: &EventFilter,
    event: &Event,
) -> Result<bool> {
    let places = Place::MIN..viewer.until;
    let number = event.row.event;
    let rows =
        relation_rows::backward(room.snapshot, room.no, number, places, FILTER_RELATIONS_MAX)
            .await?;
    let has = |list: &Option<Vec<String>>, value: &String| {
        list.as_ref().is_none_or(|list| list.contains(value))
    };
    Ok(rows.iter().any(|(_, row)| {
        has(&filter.related_by_rel_types, &row.rel_type)
            && has(&filter.related_by_senders, &row.sender)
    }))
}

/// Which events are looked through.
#[derive(Clone, Copy)]
struct Walk {
    /// `from <= place < to`.
    from: Place,
    to: Place,
    direction: Direction,
    limit: usize,
}

/// What a walk found.
struct Walked {
    /// In the direction of the walk.
    events: Vec<Arc<Event>>,
    /// The gap up to which all was looked through; `None` if nothing was found and nothing lies beyond.
    end: Option<Place>,
}

/// Looks through a room's history until there are as many events as wanted.
async fn walk(open: &Open<'_>, filter: &EventFilter, walk: Walk) -> Result<Walked> {
    let (snapshot, room) = (open.room.snapshot, open.room.no);
    let mut events = Vec::new();
    let (mut from, mut to) = (walk.from, walk.to.min(open.viewer.until));
    let mut scanned = 0;
    let page = walk.limit.clamp(1, LOADED_AT_ONCE);
    let mut may_go_on = false;
    'pages: while from < to {
        let rows = match walk.direction {
            Direction::Backward => timeline::backward(snapshot, room, from, to, page).await?,
            Direction::Forward => timeline::forward(snapshot, room, from, to, page).await?,
        };
        let is_last = rows.len() < page;
        for placed in rows {
            if events.len() >= walk.limit || scanned >= SCANNED_MAX {
                may_go_on = true;
                break 'pages;
            }
            scanned += 1;
            match walk.direction {
                Direction::Backward => to = placed.place,
                Direction::Forward => from = placed.place.next(),
            }
            if let Some(event) = open.room.placed(placed).await?
                && open.wants(filter, &event).await?
            {
                events.push(event);
            }
        }
        if is_last {
            break;
        }
        may_go_on = events.len() >= walk.limit || scanned >= SCANNED_MAX;
        if may_go_on {
            break;
        }
    }
    let end = match walk.direction {
        Direction::Backward => to,
        Direction::Forward => from,
    };
    Ok(Walked {
        end: Some(end).filter(|_| may_go_on || !events.is_empty()),
        events,
    })
}

/// The member events of the senders of events in a state, for lazy loading.
async fn senders(
    open: &Open<'_>,
    state: StateId,
    events: &[Arc<Event>],
) -> Result<Vec<Box<RawValue>>> {
    let mut found: BTreeMap<EventNo, Box<RawValue>> = BTreeMap::new();
    let mut users: Vec<&str> = events
        .iter()
        .map(|event| event.pdu.sender().as_str())
        .collect();
    users.sort_unstable();
    users.dedup();
    let keys: Vec<_> = users.iter().map(|user| ("m.room.member", *user)).collect();
    let numbers = open.room.view().lookup_many(state, &keys).await?;
    let numbers = numbers.into_iter().flatten();
    let known = open.viewer.known_of(&open.room, state, numbers);
    for number in known.await? {
        if let Some((_, _, pdu)) = open.room.stored(number).await? {
            found.insert(number, open.rendering().state(&pdu));
        }
    }
    Ok(found.into_values().collect())
}

/// A `RoomEventFilter` given as JSON text.
fn filter(json: Option<&str>) -> Result<EventFilter> {
    match json.filter(|json| !json.is_empty()) {
        Some(json) => EventFilter::parse(json),
        None => Ok(EventFilter::default()),
    }
}

/// A number of entries within bounds.
fn limit_within(limit: Option<u64>, default: usize, max: usize) -> usize {
    limit.map_or(default, |limit| {
        usize::try_from(limit).unwrap_or(max).min(max)
    })
}
