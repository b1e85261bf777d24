//! GET `/rooms/{roomId}/timestamp_to_event`.

use bytes::Bytes;
use hearth_data::{Place, gaps, timeline};
use hearth_ports::remote::{self, At};
use ruma::OwnedEventId;

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
                // What others say is only a hint: the event is here now, and looked for like any other.
                Some(_) => nearest(inner, &ask).await?.event,
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

/// The nearest event of the history that is here.
struct Nearest {
    event: Option<(OwnedEventId, u64)>,
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
    Ok(Nearest {
        event: event.map(|event| {
            let ts = event.pdu.origin_server_ts().0;
            (event.row.event_id.clone(), ts)
        }),
        may_be_nearer_elsewhere: gap.is_some(),
    })
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
