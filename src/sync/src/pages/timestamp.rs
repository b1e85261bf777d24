//! GET `/rooms/{roomId}/timestamp_to_event`.

use bytes::Bytes;
use hearth_data::{Place, gaps, timeline};
use hearth_ports::remote::{self, At};
use ruma::{EventId, OwnedEventId};

use super::{Open, Walk, walk};
use crate::ask::{Direction, TimestampAsk};
use crate::filter::EventFilter;
use crate::json::JsonWriter;
use crate::render::visible;
use crate::service::Inner;
use crate::{Error, Result};

/// Halving the span of all places takes no more steps.
const STEPS_MAX: usize = 66;

/// How many of the newest events are looked through where the order of the history leads to none, and how many at once.
const SCANNED_MAX: usize = 2_000;
const SCANNED_AT_ONCE: usize = 200;

/// The event nearest to a time in a direction. Takes the room's history as ordered by time, which it is but for
/// clocks that are wrong and what application services have dated back.
pub(crate) async fn timestamp_to_event(inner: &Inner, ask: TimestampAsk) -> Result<Bytes> {
    let first = nearest(inner, &ask).await?;
    let found = match (first.may_be_nearer_elsewhere, inner.history()) {
        (true, Some(history)) => {
            let at = At {
                ts: ask.ts,
                direction: match ask.direction {
                    Direction::Forward => remote::Direction::Forward,
                    Direction::Backward => remote::Direction::Backward,
                },
            };
            match history.find(&ask.room_id, at).await {
                Some(found) => nearest_with(inner, &ask, &found).await?,
                None => first.event,
            }
        }
        _ => first.event,
    };
    let (event_id, ts) = found.ok_or(Error::NoSuchEvent)?;
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("event_id");
    json.text(event_id.as_str());
    json.key("origin_server_ts");
    json.number(ts);
    json.end_object();
    Ok(json.finish().into())
}

/// An event and its time.
type Timed = (OwnedEventId, u64);

/// The nearest event of the history that is here, or one that another server has named, if that is nearer: it is here now, and
/// its time need not be in the order of the history.
async fn nearest_with(inner: &Inner, ask: &TimestampAsk, named: &EventId) -> Result<Option<Timed>> {
    let own = nearest(inner, ask).await?.event;
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let named = match open.event(named).await {
        Ok(named) => named,
        Err(Error::NoSuchEvent) => return Ok(own),
        Err(error) => return Err(error),
    };
    let ts = named.pdu.origin_server_ts().0;
    let is_better = fits(ask, ts) && is_nearer(ask, ts, own.as_ref());
    if is_better && !open.facts.is_ignored(&named.pdu) {
        return Ok(Some((named.row.event_id.clone(), ts)));
    }
    Ok(own)
}

/// The nearest event of the history that is here.
struct Nearest {
    event: Option<Timed>,
    /// History is missing between it and the time that was asked for.
    may_be_nearer_elsewhere: bool,
}

async fn nearest(inner: &Inner, ask: &TimestampAsk) -> Result<Nearest> {
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let wanted = match ask.direction {
        Direction::Forward => Walk {
            from: first_from(&open, ask.ts).await?,
            to: Place::MAX,
            direction: Direction::Forward,
            limit: 1,
        },
        Direction::Backward => Walk {
            from: Place::MIN,
            // Of several at that very time the last one is the nearest.
            to: first_from(&open, ask.ts.saturating_add(1)).await?,
            direction: Direction::Backward,
            limit: 1,
        },
    };
    let (from, to) = (wanted.from, wanted.to);
    let walked = walk(&open, &EventFilter::default(), wanted).await?;
    let event = walked.events.first();
    let place = event.and_then(|event| event.place);
    // From the last event before the time, or the first after it, to what was found.
    let (low, high) = match ask.direction {
        Direction::Forward => {
            let before = timeline::backward(&*snapshot, open.room.no, Place::MIN, from, 1).await?;
            let before = before.first().map_or(Place::MIN, |placed| placed.place);
            (before, place.unwrap_or(Place::MAX))
        }
        Direction::Backward => {
            let after = timeline::forward(&*snapshot, open.room.no, to, Place::MAX, 1).await?;
            let after = after.first().map_or(Place::MAX, |placed| placed.place);
            (place.unwrap_or(Place::MIN), after)
        }
    };
    let gap = gaps::newest_between(&*snapshot, open.room.no, low, high).await?;
    let event = event.map(|event| {
        let ts = event.pdu.origin_server_ts().0;
        (event.row.event_id.clone(), ts)
    });
    Ok(Nearest {
        event: match event {
            None => scan(&open, ask).await?,
            event => event,
        },
        may_be_nearer_elsewhere: gap.is_some(),
    })
}

/// The nearest of the newest events, whatever their order.
async fn scan(open: &Open<'_>, ask: &TimestampAsk) -> Result<Option<Timed>> {
    let (mut nearest, mut before): (Option<Timed>, _) = (None, Place::MAX);
    for _ in 0..SCANNED_MAX / SCANNED_AT_ONCE {
        let (snapshot, room) = (open.room.snapshot, open.room.no);
        let page = timeline::backward(snapshot, room, Place::MIN, before, SCANNED_AT_ONCE).await?;
        let Some(last) = page.last() else { break };
        before = last.place;
        for placed in page {
            let ts = match open.room.pdu(&placed.row) {
                Some(pdu) => pdu.origin_server_ts().0,
                None => continue,
            };
            if !fits(ask, ts) || !is_nearer(ask, ts, nearest.as_ref()) {
                continue;
            }
            let Some(event) = open.room.placed(placed).await? else {
                continue;
            };
            if visible(&open.room, &open.viewer, &open.facts, &event).await? {
                nearest = Some((event.row.event_id.clone(), ts));
            }
        }
    }
    Ok(nearest)
}

/// Whether a time is on the side that was asked for.
fn fits(ask: &TimestampAsk, ts: u64) -> bool {
    match ask.direction {
        Direction::Forward => ts >= ask.ts,
        Direction::Backward => ts <= ask.ts,
    }
}

fn is_nearer(ask: &TimestampAsk, ts: u64, than: Option<&Timed>) -> bool {
    than.is_none_or(|(_, than)| ts.abs_diff(ask.ts) < than.abs_diff(ask.ts))
}

/// The place of the first event that is not older than a time.
async fn first_from(open: &Open<'_>, ts: u64) -> Result<Place> {
    let (snapshot, room) = (open.room.snapshot, open.room.no);
    let newest = timeline::backward(snapshot, room, Place::MIN, Place::MAX, 1).await?;
    let oldest = timeline::forward(snapshot, room, Place::MIN, Place::MAX, 1).await?;
    let (Some(oldest), Some(newest)) = (oldest.first(), newest.first()) else {
        return Ok(Place::MAX);
    };
    let (mut low, mut high) = (oldest.place.0, newest.place.0.saturating_add(1));
    for _ in 0..STEPS_MAX {
        if low >= high {
            break;
        }
        let middle = low.midpoint(high);
        let next = timeline::forward(snapshot, room, Place(middle), Place(high), 1).await?;
        let sent = next
            .first()
            .and_then(|placed| Some((placed.place, open.room.pdu(&placed.row)?)));
        match sent {
            Some((place, pdu)) if pdu.origin_server_ts().0 < ts => low = place.0.saturating_add(1),
            _ => high = middle,
        }
    }
    Ok(Place(low))
}
