//! GET `/rooms/{roomId}/messages`.

use bytes::Bytes;
use hearth_data::Place;
use hearth_ports::{Filled, PageBack};

use super::{Open, Walk, filter, limit_within, senders, walk};
use crate::ask::{Direction, MessagesAsk};
use crate::json::JsonWriter;
use crate::service::Inner;
use crate::{Result, Token};

/// How many events a page has when the client does not say.
const LIMIT_DEFAULT: usize = 10;
/// How many it has at most.
const LIMIT_MAX: usize = 1_000;

/// How often is asked for more of a gap before a page is answered.
const FILLS_MAX: usize = 5;

/// Has missing history fetched that a page going back would come upon. Holds no snapshot while others are asked.
async fn fill(inner: &Inner, ask: &MessagesAsk, limit: usize) -> Result<()> {
    let Some(history) = inner.history() else {
        return Ok(());
    };
    let before = {
        let snapshot = inner.parts.store.snapshot().await?;
        let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
        match ask.page.from {
            Some(token) => token.place(&*snapshot, open.room.no).await?,
            None => Place::MAX,
        }
    };
    let page = PageBack {
        before: before.0,
        limit,
    };
    for _ in 0..FILLS_MAX {
        if history.fill(&ask.room_id, page).await != Filled::More {
            break;
        }
    }
    Ok(())
}

/// A page of history. It has an `end` if it has events or if more may lie beyond: only an empty page is the last one
/// (client-server API, "GET /messages").
pub(crate) async fn messages(inner: &Inner, ask: MessagesAsk) -> Result<Bytes> {
    let filter = filter(ask.filter.as_deref())?;
    let limit = limit_within(ask.page.limit.or(filter.limit), LIMIT_DEFAULT, LIMIT_MAX);
    if ask.page.direction == Direction::Backward {
        fill(inner, &ask, limit).await?;
    }
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let place = async |token: Option<Token>, default| match token {
        Some(token) => token.place(&*snapshot, open.room.no).await,
        None => Ok(default),
    };
    let direction = ask.page.direction;
    let (first, last) = match direction {
        Direction::Backward => (Place::MAX, Place::MIN),
        Direction::Forward => (Place::MIN, Place::MAX),
    };
    let start = place(ask.page.from, first).await?;
    let stop = place(ask.page.to, last).await?;
    let (from, to) = match direction {
        Direction::Backward => (stop, start),
        Direction::Forward => (start, stop),
    };
    let wanted = Walk {
        from,
        to,
        direction,
        limit,
    };
    let walked = if filter.wants_room(ask.room_id.as_str()) {
        walk(&open, &filter, wanted).await?
    } else {
        super::Walked {
            events: Vec::new(),
            end: None,
        }
    };
    let start = match ask.page.from {
        Some(token) => token,
        // The newest end moves on; the client shall come back to where this page began.
        None if direction == Direction::Backward => {
            let newest = walked.events.first().and_then(|event| event.place);
            Token::History(newest.map_or(start, Place::next))
        }
        None => Token::History(start),
    };
    let mut json = JsonWriter::new();
    json.begin_object();
    json.array_field("chunk", &open.render_all(&walked.events).await?);
    json.key("start");
    json.text(&start.to_string());
    if let Some(end) = walked.end {
        json.key("end");
        json.text(&Token::History(end).to_string());
    }
    if filter.lazy_load_members
        && let Some(first) = walked.events.first()
    {
        let members = senders(&open, open.viewer.state_after(first), &walked.events).await?;
        json.array_field("state", &members);
    }
    json.end_object();
    Ok(json.finish().into())
}
