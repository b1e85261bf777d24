//! GET `/events` of one room: what happens in it, also for those who are not in it but may read it.

use std::time::Duration;

use bytes::Bytes;
use hearth_data::timeline;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Open;
use crate::ask::PeekAsk;
use crate::json::JsonWriter;
use crate::render::visible;
use crate::service::Inner;
use crate::{Error, Result, SyncToken, Token};

/// Most events of one answer.
const EVENTS_MAX: usize = 100;
/// Nobody wakes those who only look in, so they look again this often at most.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What happened in a room since a token, waiting for it if nothing did.
pub(crate) async fn peek(inner: &Inner, ask: PeekAsk) -> Result<Bytes> {
    let timeout = ask.timeout.min(inner.parts.settings.timeout_max);
    let deadline = Instant::now() + timeout;
    let mut from = match ask.from {
        Some(Token::Sync(token)) => Some(token.position),
        Some(token @ (Token::History(_) | Token::Gap { .. })) => {
            return Err(Error::BadToken(token.to_string()));
        }
        None => None,
    };
    loop {
        let snapshot = inner.parts.store.snapshot().await?;
        let to = snapshot.position();
        let start = (*from.get_or_insert(to)).min(to);
        let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
        let rows = timeline::visible_since(&*snapshot, open.room.no, start, to, EVENTS_MAX).await?;
        let mut chunk = Vec::new();
        for (_, placed) in rows.into_iter().rev() {
            if let Some(event) = open.room.placed(placed).await?
                && visible(&open.room, &open.viewer, &open.facts, &event).await?
            {
                chunk.push(open.render(&event).await?);
            }
        }
        if !chunk.is_empty() || Instant::now() >= deadline {
            return Ok(answer((start, to), &chunk));
        }
        drop(open);
        drop(snapshot);
        let next_look = (Instant::now() + LOOK_EVERY).min(deadline);
        if let Ok(moved) = timeout_at(deadline, inner.parts.store.wait_past(to)).await {
            moved?;
            sleep_until(next_look).await;
        }
    }
}

fn answer(
    (start, end): (hearth_store::Position, hearth_store::Position),
    chunk: &[Box<RawValue>],
) -> Bytes {
    let token = |position| {
        let token = SyncToken {
            position,
            ..SyncToken::default()
        };
        token.to_string()
    };
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("start");
    json.text(&token(start));
    json.key("end");
    json.text(&token(end));
    json.array_field("chunk", chunk);
    json.end_object();
    json.finish().into()
}
