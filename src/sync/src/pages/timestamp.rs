//! GET `/rooms/{roomId}/timestamp_to_event`.

use bytes::Bytes;
use hearth_data::{Place, timeline};

use super::{Open, Walk, walk};
use crate::ask::{Direction, TimestampAsk};
use crate::filter::EventFilter;
use crate::json::JsonWriter;
use crate::service::Inner;
use crate::{Error, Result};

/// Halving the span of all places takes no more steps.
const STEPS_MAX: usize = 66;

/// The event nearest to a time in a direction. Takes the room's history as ordered by time, which it is but for
/// clocks that are wrong.
pub(crate) async fn timestamp_to_event(inner: &Inner, ask: TimestampAsk) -> Result<Bytes> {
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let edge = first_from(&open, ask.ts).await?;
    let wanted = match ask.direction {
        Direction::Forward => Walk {
            from: edge,
            to: Place::MAX,
            direction: Direction::Forward,
            limit: 1,
        },
        Direction::Backward => Walk {
            from: Place::MIN,
            to: after_equals(&open, edge, ask.ts).await?,
            direction: Direction::Backward,
            limit: 1,
        },
    };
    let walked = walk(&open, &EventFilter::default(), wanted).await?;
    let event = walked.events.first().ok_or(Error::NoSuchEvent)?;
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("event_id");
    json.text(event.row.event_id.as_str());
    json.key("origin_server_ts");
    json.number(event.pdu.origin_server_ts().0);
    json.end_object();
    Ok(json.finish().into())
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

/// The gap after the events of exactly that time: the nearest one backward may be one of them.
async fn after_equals(open: &Open<'_>, from: Place, ts: u64) -> Result<Place> {
    let (snapshot, room) = (open.room.snapshot, open.room.no);
    let next = timeline::forward(snapshot, room, from, Place::MAX, 1).await?;
    let equal = next.first().filter(|placed| {
        let pdu = open.room.pdu(&placed.row);
        pdu.is_some_and(|pdu| pdu.origin_server_ts().0 == ts)
    });
    Ok(equal.map_or(from, |placed| placed.place.next()))
}
