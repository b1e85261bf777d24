//! Sending and redacting events.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{NewEvent, RedactOf, RedactRequest, Rooms, Sender};
use ruma::api::client::message::send_message_event;
use ruma::api::client::redact::redact_event;

use super::error::rooms_error;
use super::{content, event_id, sender_at};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = route::<send_message_event::v3::Request, _, _, _>(Router::new(), send);
    route::<redact_event::v3::Request, _, _, _>(router, redact)
}

/// PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}
async fn send(
    State(rooms): State<Rooms>,
    request: Ruma<send_message_event::v3::Request>,
) -> Result<RawJson, ApiError> {
    let event = NewEvent {
        kind: request.body.event_type.to_string(),
        content: content(&request.json)?,
        txn_id: Some(request.body.txn_id.to_string()),
    };
    let sender = sender_at(&request, request.body.timestamp)?;
    let sent = rooms.send(&sender, &request.body.room_id, event).await;
    Ok(event_id(&sent.map_err(rooms_error)?))
}

/// PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}. A suspended user may redact her own events.
async fn redact(
    State(rooms): State<Rooms>,
    request: Ruma<redact_event::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let sender = Sender::from(caller);
    let body = &request.body;
    let redaction = RedactRequest {
        reason: body.reason.as_deref(),
        txn_id: body.txn_id.as_str(),
        of: match caller.is_suspended {
            true => RedactOf::Herself,
            false => RedactOf::Anybody,
        },
    };
    let redacted = rooms
        .redact(&sender, &body.room_id, &body.event_id, redaction)
        .await;
    Ok(event_id(&redacted.map_err(rooms_error)?))
}
