//! GET `/rooms/{roomId}/event/{eventId}`, and `/events/{eventId}` of old.

use bytes::Bytes;
use hearth_data::{rooms, timeline};

use super::Open;
use crate::ask::EventAsk;
use crate::service::Inner;
use crate::{Error, Result};

/// One event with what relates to it. In a room into which the reader may not look there is none.
pub(crate) async fn event(inner: &Inner, ask: EventAsk) -> Result<Bytes> {
    let snapshot = inner.parts.store.snapshot().await?;
    let room_id = match ask.room_id {
        Some(room_id) => room_id,
        None => {
            let found = timeline::find(&*snapshot, &ask.event_id).await?;
            let room = found.ok_or(Error::NoSuchEvent)?.room;
            let head = rooms::head(&*snapshot, room).await?;
            head.ok_or(Error::NoSuchEvent)?.room_id
        }
    };
    let open = Open::new(inner, &*snapshot, &ask.reader, &room_id).await;
    let open = open.map_err(hidden)?;
    let event = open.event(&ask.event_id).await?;
    let rendered = open.render(&event).await?;
    Ok(Box::<str>::from(rendered).into_string().into())
}

fn hidden(error: Error) -> Error {
    match error {
        Error::NotInRoom => Error::NoSuchEvent,
        error => error,
    }
}
