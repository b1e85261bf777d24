//! GET `/rooms/{roomId}/relations/{eventId}…` and `/rooms/{roomId}/threads`.

use std::collections::HashSet;

use bytes::Bytes;
use hearth_data::relations::{self as rows, RelationRow};
use hearth_data::{EventNo, Place};

use super::{Open, limit_within};
use crate::ask::{Direction, RelationDepth, RelationsAsk, ThreadsAsk, ThreadsIncluded};
use crate::json::JsonWriter;
use crate::render::visible;
use crate::service::Inner;
use crate::{Result, Token};

/// How many entries a page has when the client does not say.
const LIMIT_DEFAULT: usize = 50;
/// How many it has at most.
const LIMIT_MAX: usize = 100;
/// How many relations are looked through for one page.
const SCANNED_MAX: usize = 1_000;
/// How far relations of relations are followed.
const DEPTH_MAX: usize = 3;
/// How many relations are gathered when they are followed.
const GATHERED_MAX: usize = 2_000;
/// How many threads a page has when the client does not say.
const THREADS_DEFAULT: usize = 10;

/// A relating event: its place and its row.
type Related = (Place, RelationRow);

/// A page of what relates to an event.
pub(crate) async fn relations(inner: &Inner, ask: RelationsAsk) -> Result<Bytes> {
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let target = open.event(&ask.event_id).await?.row.event;
    let limit = limit_within(ask.page.limit, LIMIT_DEFAULT, LIMIT_MAX).max(1);
    let places = places(&open, &ask).await?;
    let candidates = match ask.depth {
        RelationDepth::Direct => direct(&open, target, &places, ask.page.direction).await?,
        RelationDepth::Recursive => recursive(&open, target, &places, ask.page.direction).await?,
    };
    // As many as one look takes: behind the last there may be more.
    let mut has_more = candidates.len() >= SCANNED_MAX;
    let mut last = candidates.last().map(|(place, _)| *place);
    let mut chunk = Vec::new();
    for (place, row) in candidates {
        let is_wanted = ask
            .rel_type
            .as_ref()
            .is_none_or(|wanted| *wanted == row.rel_type)
            && ask
                .event_type
                .as_ref()
                .is_none_or(|wanted| *wanted == row.kind);
        if !is_wanted {
            continue;
        }
        if chunk.len() == limit {
            has_more = true;
            break;
        }
        if let Some(event) = open.room.event(row.event).await?
            && visible(&open.room, &open.viewer, &open.facts, &event).await?
        {
            chunk.push(open.render(&event).await?);
            if chunk.len() == limit {
                last = Some(place);
            }
        }
    }
    let mut json = JsonWriter::new();
    json.begin_object();
    json.array_field("chunk", &chunk);
    if let (true, Some(last)) = (has_more, last) {
        let next = match ask.page.direction {
            Direction::Backward => last,
            Direction::Forward => last.next(),
        };
        json.key("next_batch");
        json.text(&Token::History(next).to_string());
    }
    if let Some(from) = ask.page.from {
        json.key("prev_batch");
        json.text(&from.to_string());
    }
    if ask.depth == RelationDepth::Recursive {
        json.key("recursion_depth");
        json.number(DEPTH_MAX as u64);
    }
    json.end_object();
    Ok(json.finish().into())
}

/// The places between the tokens, as far as the reader may see.
async fn places(open: &Open<'_>, ask: &RelationsAsk) -> Result<std::ops::Range<Place>> {
    let place = async |token: Option<Token>, default| match token {
        Some(token) => token.place(open.room.snapshot, open.room.no).await,
        None => Ok(default),
    };
    let range = match ask.page.direction {
        Direction::Backward => {
            place(ask.page.to, Place::MIN).await?..place(ask.page.from, Place::MAX).await?
        }
        Direction::Forward => {
            place(ask.page.from, Place::MIN).await?..place(ask.page.to, Place::MAX).await?
        }
    };
    let end = range.end.min(open.viewer.until);
    Ok(range.start.min(end)..end)
}

async fn direct(
    open: &Open<'_>,
    target: EventNo,
    places: &std::ops::Range<Place>,
    direction: Direction,
) -> Result<Vec<Related>> {
    let (snapshot, room, places) = (open.room.snapshot, open.room.no, places.clone());
    Ok(match direction {
        Direction::Backward => rows::backward(snapshot, room, target, places, SCANNED_MAX).await?,
        Direction::Forward => rows::forward(snapshot, room, target, places, SCANNED_MAX).await?,
    })
}

async fn recursive(
    open: &Open<'_>,
    target: EventNo,
    places: &std::ops::Range<Place>,
    direction: Direction,
) -> Result<Vec<Related>> {
    let mut found: Vec<Related> = Vec::new();
    let mut seen = HashSet::from([target]);
    let mut level = vec![target];
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        for target in level {
            if found.len() >= GATHERED_MAX {
                break;
            }
            // All of them, wherever they are: what relates to them may lie between the tokens.
            let all = Place::MIN..open.viewer.until;
            for (place, row) in direct(open, target, &all, direction).await? {
                if seen.insert(row.event) {
                    next.push(row.event);
                    found.push((place, row));
                }
            }
        }
        level = next;
    }
    found.retain(|(place, _)| places.contains(place));
    match direction {
        Direction::Backward => found.sort_unstable_by_key(|(place, _)| std::cmp::Reverse(*place)),
        Direction::Forward => found.sort_unstable_by_key(|(place, _)| *place),
    }
    found.truncate(SCANNED_MAX);
    Ok(found)
}

/// A page of a room's threads, those with the newest activity first.
pub(crate) async fn threads(inner: &Inner, ask: ThreadsAsk) -> Result<Bytes> {
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let limit = limit_within(ask.limit, THREADS_DEFAULT, LIMIT_MAX).max(1);
    let from = match ask.from {
        Some(token) => token.place(&*snapshot, open.room.no).await?,
        None => Place::MAX,
    };
    let threads = rows::threads_before(&*snapshot, open.room.no, from, SCANNED_MAX).await?;
    let mut has_more = threads.len() == SCANNED_MAX;
    let mut last = threads.last().map(|(place, _)| *place);
    let mut chunk = Vec::new();
    let mut previous = None;
    for (place, root) in threads {
        if chunk.len() == limit {
            has_more = true;
            last = previous;
            break;
        }
        previous = Some(place);
        let Some(event) = open.room.event(root).await? else {
            continue;
        };
        if visible(&open.room, &open.viewer, &open.facts, &event).await?
            && !open.facts.ignored.contains(event.pdu.sender().as_str())
            && is_included(&open, &ask, root, event.pdu.sender().as_str()).await?
        {
            chunk.push(open.render(&event).await?);
        }
    }
    let mut json = JsonWriter::new();
    json.begin_object();
    json.array_field("chunk", &chunk);
    if let (true, Some(last)) = (has_more, last) {
        json.key("next_batch");
        json.text(&Token::History(last).to_string());
    }
    json.end_object();
    Ok(json.finish().into())
}

async fn is_included(
    open: &Open<'_>,
    ask: &ThreadsAsk,
    root: EventNo,
    sender: &str,
) -> Result<bool> {
    let user = ask.reader.user.as_str();
    if ask.include == ThreadsIncluded::All || sender == user {
        return Ok(true);
    }
    let all = Place::MIN..open.viewer.until;
    let replies = direct(open, root, &all, Direction::Backward).await?;
    Ok(replies
        .iter()
        .any(|(_, row)| row.rel_type == "m.thread" && row.sender == user))
}
