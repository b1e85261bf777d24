//! GET `/rooms/{roomId}/context/{eventId}`.

use bytes::Bytes;
use hearth_data::{Place, timeline};
use serde_json::value::RawValue;

use super::{Open, Walk, filter, limit_within, senders, walk};
use crate::ask::{ContextAsk, Direction};
use crate::filter::EventFilter;
use crate::json::JsonWriter;
use crate::room::Event;
use crate::service::Inner;
use crate::{Error, Result, Token};

/// How many events around it there are when the client does not say.
const LIMIT_DEFAULT: usize = 10;
/// How many there are at most.
const LIMIT_MAX: usize = 100;
/// How many state events are loaded at once.
const STATE_AT_ONCE: usize = 512;

/// An event and what happened around it.
pub(crate) async fn context(inner: &Inner, ask: ContextAsk) -> Result<Bytes> {
    let filter = filter(ask.filter.as_deref())?;
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let event = open.event(&ask.event_id).await?;
    if open.facts.is_ignored(&event.pdu) {
        return Err(Error::NoSuchEvent);
    }
    let place = event.place.ok_or(Error::NoSuchEvent)?;
    let limit = limit_within(ask.limit.or(filter.limit), LIMIT_DEFAULT, LIMIT_MAX);
    let (before, after) = (limit / 2, limit - limit / 2);
    let backward = Walk {
        from: Place::MIN,
        to: place,
        direction: Direction::Backward,
        limit: before,
    };
    let forward = Walk {
        from: place.next(),
        to: Place::MAX,
        direction: Direction::Forward,
        limit: after,
    };
    let before = walk(&open, &filter, backward).await?;
    let after = walk(&open, &filter, forward).await?;
    let start = before
        .end
        .or(before.events.last().and_then(|event| event.place));
    let last = after.events.last().unwrap_or(&event);
    let end = after.end.or(last.place.map(Place::next));
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("event");
    json.raw(open.render(&event).await?.get());
    json.array_field("events_before", &open.render_all(&before.events).await?);
    json.array_field("events_after", &open.render_all(&after.events).await?);
    json.key("start");
    json.text(&Token::History(start.unwrap_or(place)).to_string());
    json.key("end");
    json.text(&Token::History(end.unwrap_or(place.next())).to_string());
    let mut shown = before.events;
    shown.push(event.clone());
    shown.extend(after.events.iter().cloned());
    let mut state = state(&open, &filter, last).await?;
    if filter.lazy_load_members {
        state.extend(senders(&open, open.viewer.state_after(last), &shown).await?);
    }
    json.array_field("state", &state);
    json.end_object();
    Ok(json.finish().into())
}

/// The state at the last event shown; with lazy loading without members.
async fn state(open: &Open<'_>, filter: &EventFilter, last: &Event) -> Result<Vec<Box<RawValue>>> {
    let view = open.room.view();
    let at = open.viewer.state_after(last);
    let entries = if filter.lazy_load_members {
        view.entries_without_type(at, "m.room.member").await?
    } else {
        view.entries(at).await?
    };
    let numbers = entries.into_iter().map(|entry| entry.event);
    let known = open.viewer.known_of(&open.room, at, numbers).await?;
    let mut numbers: Vec<_> = known.into_iter().collect();
    numbers.sort_unstable();
    let mut state = Vec::with_capacity(numbers.len());
    for page in numbers.chunks(STATE_AT_ONCE) {
        for row in timeline::events(open.room.snapshot, open.room.no, page).await? {
            if let Some(pdu) = open.room.pdu(&row)
                && filter.wants(&pdu)
            {
                state.push(open.rendering().state(&pdu));
            }
        }
    }
    Ok(state)
}
