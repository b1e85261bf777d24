//! GET `/rooms/{roomId}/initialSync`: a room at once, for previews.

use bytes::Bytes;
use hearth_data::accounts::account_data;
use hearth_data::{Place, StateId, members, rooms, timeline};
use serde_json::value::RawValue;

use super::{Open, Walk, limit_within, walk};
use crate::ask::{Direction, RoomInitialAsk};
use crate::filter::EventFilter;
use crate::json::{JsonWriter, typed};
use crate::service::Inner;
use crate::{Result, SyncToken, Token};

/// How many messages there are when the client does not say.
const LIMIT_DEFAULT: usize = 20;
/// How many there are at most.
const LIMIT_MAX: usize = 100;
/// How many state events are loaded at once.
const STATE_AT_ONCE: usize = 512;

/// The newest messages and the state of a room, as far as the reader may see them.
pub(crate) async fn room_initial(inner: &Inner, ask: RoomInitialAsk) -> Result<Bytes> {
    let typing = inner.parts.typing.version();
    let snapshot = inner.parts.store.snapshot().await?;
    let open = Open::new(inner, &*snapshot, &ask.reader, &ask.room_id).await?;
    let newest = Walk {
        from: Place::MIN,
        to: Place::MAX,
        direction: Direction::Backward,
        limit: limit_within(ask.limit, LIMIT_DEFAULT, LIMIT_MAX),
    };
    let mut walked = walk(&open, &EventFilter::default(), newest).await?;
    walked.events.reverse();
    let user = ask.reader.user.as_str();
    let membership = members::user_room(&*snapshot, user, open.room.no).await?;
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("room_id");
    json.text(ask.room_id.as_str());
    if let Some(row) = membership {
        json.key("membership");
        json.text(row.membership.as_str());
    }
    json.key("messages");
    json.begin_object();
    json.array_field("chunk", &open.render_all(&walked.events).await?);
    if let Some(start) = walked.end {
        json.key("start");
        json.text(&Token::History(start).to_string());
    }
    json.key("end");
    let end = SyncToken {
        position: snapshot.position(),
        typing,
        presence: inner.notifier.presences_seen(),
        to_device: None,
        misled_since: None,
    };
    json.text(&end.to_string());
    json.end_object();
    json.array_field("state", &state(&open).await?);
    json.key("visibility");
    let is_published = rooms::is_published(&*snapshot, open.room.no).await?;
    json.text(if is_published { "public" } else { "private" });
    let data = account_data::of_room(&*snapshot, user, ask.room_id.as_str()).await?;
    let data: Vec<_> = data
        .iter()
        .filter_map(|datum| typed(&datum.kind, datum.content.text()))
        .collect();
    json.array_field("account_data", &data);
    json.end_object();
    Ok(json.finish().into())
}

/// The state of now, or of when the reader left.
async fn state(open: &Open<'_>) -> Result<Vec<Box<RawValue>>> {
    let head = rooms::head(open.room.snapshot, open.room.no).await?;
    let current = head.map_or(StateId::EMPTY, |head| head.state);
    let state = open.viewer.last_state.unwrap_or(current);
    let entries = open.room.view().entries(state).await?;
    let numbers: Vec<_> = entries.into_iter().map(|entry| entry.event).collect();
    let mut shown = Vec::with_capacity(numbers.len());
    for page in numbers.chunks(STATE_AT_ONCE) {
        for row in timeline::events(open.room.snapshot, open.room.no, page).await? {
            shown.extend(open.room.pdu(&row).map(|pdu| open.rendering().state(&pdu)));
        }
    }
    Ok(shown)
}
