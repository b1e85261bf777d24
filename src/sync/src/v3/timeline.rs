//! The timeline section: the newest events that a reader may see and wants.

use std::sync::Arc;

use hearth_data::{EventNo, Place, timeline};
use hearth_store::Position;
use serde_json::value::RawValue;

use super::Round;
use crate::json::JsonWriter;
use crate::notifier::Tail;
use crate::pages::has_wanted_relation;
use crate::render::visible;
use crate::room::{Event, RoomReader};
use crate::viewer::Viewer;
use crate::{Result, SyncToken, Token};

/// How many events a timeline holds when the filter does not say.
const LIMIT_DEFAULT: usize = 10;
/// How many it holds at most.
const LIMIT_MAX: usize = 100;
/// How many events are looked through for those wanted; the rest is left to `/messages`.
pub(super) const SCANNED_MAX: usize = 1_000;

/// A stretch of a room's history.
pub(super) struct Timeline {
    /// Oldest first.
    pub(super) events: Vec<Arc<Event>>,
    /// Something older than `events` and newer than `since` was left out.
    pub(super) is_limited: bool,
    pub(super) prev_batch: Token,
    pub(super) rendered: Vec<Box<RawValue>>,
}

/// Which stretch.
#[derive(Clone, Copy)]
pub(super) struct Stretch {
    /// Events that became visible after this; `None` for all.
    pub(super) after: Option<Position>,
    /// Up to and with this.
    pub(super) upto: Position,
}

impl Timeline {
    /// Leaves out the first events, for the client to page back to.
    pub(super) fn begin_after(&mut self, count: usize, position: Position) {
        let place = self.events.get(count).and_then(|event| event.place);
        let last_cut = self.events.get(count.saturating_sub(1));
        let place = place.or(last_cut.and_then(|event| Some(event.place?.next())));
        if let Some(place) = place {
            self.prev_batch = Token::Gap { place, position };
        }
        self.events.drain(..count);
        self.rendered.drain(..count);
        self.is_limited = true;
    }

    pub(super) fn write(&self, json: &mut JsonWriter) {
        json.key("timeline");
        json.begin_object();
        json.array_field("events", &self.rendered);
        json.key("limited");
        json.boolean(self.is_limited);
        json.key("prev_batch");
        json.text(&self.prev_batch.to_string());
        json.end_object();
    }
}

/// The newest events of a stretch, of which the tail is what is at hand.
pub(super) async fn section(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    viewer: &Viewer,
    (stretch, tail): (Stretch, Option<&Tail>),
) -> Result<Timeline> {
    let filter = &round.filter.room.timeline;
    let limit = filter.limit_within(LIMIT_DEFAULT, LIMIT_MAX);
    let mut found = Found {
        newest_first: Vec::new(),
        has_more: false,
        oldest_seen: None,
    };
    if filter.wants_room(reader.name.id.as_str()) {
        match tail.and_then(|tail| tail.events.as_ref()) {
            Some(events) => {
                let newest_first = events.iter().rev().map(|(_, event)| event.clone());
                found
                    .take(round, reader, viewer, (newest_first, limit))
                    .await?;
            }
            None => found.scan(round, reader, viewer, (stretch, limit)).await?,
        }
    }
    let newest = tail.and_then(|tail| Some(tail.events.as_ref()?.last()?.1.row.event));
    finish(round, reader, viewer, (found, stretch, newest)).await
}

async fn finish(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    viewer: &Viewer,
    (found, stretch, newest): (Found, Stretch, Option<EventNo>),
) -> Result<Timeline> {
    let mut events = found.newest_first;
    events.reverse();
    let oldest = events.first().and_then(|event| event.place);
    let position = stretch.upto;
    let prev_batch = match oldest.or(found.oldest_seen.filter(|_| found.has_more)) {
        Some(place) => Token::Gap { place, position },
        None => Token::Sync(SyncToken {
            position,
            ..SyncToken::default()
        }),
    };
    let rendering = round.rendering();
    let mut rendered = Vec::with_capacity(events.len());
    for (index, event) in events.iter().enumerate() {
        // What relates to an event comes after it: the newest one of the room cannot have any.
        let is_last = index + 1 == events.len();
        let is_newest = is_last && newest == Some(event.row.event);
        rendered.push(if is_newest {
            rendering
                .with_relations(reader, viewer, event, None)
                .await?
        } else {
            rendering.event(reader, viewer, event).await?
        });
    }
    Ok(Timeline {
        events,
        is_limited: found.has_more,
        prev_batch,
        rendered,
    })
}

struct Found {
    newest_first: Vec<Arc<Event>>,
    has_more: bool,
    oldest_seen: Option<Place>,
}

impl Found {
    /// Takes what is wanted out of events at hand, down to the newest gap in what was live: what fills it comes by
    /// `/messages`. Answers whether there is enough.
    async fn take(
        &mut self,
        round: &Round<'_>,
        reader: &RoomReader<'_>,
        viewer: &Viewer,
        (newest_first, limit): (impl Iterator<Item = Arc<Event>>, usize),
    ) -> Result<bool> {
        for event in newest_first {
            self.oldest_seen = event.place;
            let filter = &round.filter.room.timeline;
            let is_wanted = filter.wants(&event.pdu)
                && visible(reader, viewer, &round.facts, &event).await?
                && (!filter.asks_relations()
                    || has_wanted_relation(reader, viewer, filter, &event).await?);
            if is_wanted && self.newest_first.len() == limit {
                self.has_more = true;
                self.oldest_seen = event.place.map(Place::next);
                return Ok(true);
            }
            let is_beyond_gap = event.place.is_some_and(Place::is_beyond_gap);
            if is_wanted {
                self.newest_first.push(event);
            }
            if is_beyond_gap {
                self.has_more = true;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the stretch from its end until there is enough.
    async fn scan(
        &mut self,
        round: &Round<'_>,
        reader: &RoomReader<'_>,
        viewer: &Viewer,
        (stretch, limit): (Stretch, usize),
    ) -> Result<()> {
        let from = stretch.after.unwrap_or(Position::ZERO);
        let index =
            timeline::positions_since(reader.snapshot, reader.no, from, stretch.upto, SCANNED_MAX)
                .await?;
        for page in index.chunks(limit + 1) {
            let mut events = Vec::with_capacity(page.len());
            for (_, placed) in timeline::placed(reader.snapshot, reader.no, page).await? {
                events.extend(reader.placed(placed).await?);
            }
            let page = (events.into_iter(), limit);
            if self.take(round, reader, viewer, page).await? {
                return Ok(());
            }
        }
        self.has_more = index.len() == SCANNED_MAX;
        Ok(())
    }
}
