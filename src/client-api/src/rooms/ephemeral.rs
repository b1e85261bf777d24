//! Receipts, read markers, typing.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::Rooms;
use hearth_rooms::ephemeral::{MarkersUpdate, ReceiptKind, ReceiptThread};
use ruma::api::client::read_marker::set_read_marker;
use ruma::api::client::receipt::create_receipt;
use ruma::api::client::receipt::create_receipt::v3::ReceiptType;
use ruma::api::client::typing::create_typing_event;
use ruma::api::client::typing::create_typing_event::v3::Typing;
use ruma::events::receipt;

use super::error::rooms_error;
use super::{active, done};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = route::<create_receipt::v3::Request, _, _, _>(Router::new(), create_receipt);
    let router = route::<set_read_marker::v3::Request, _, _, _>(router, set_read_marker);
    route::<create_typing_event::v3::Request, _, _, _>(router, typing)
}

/// POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}
async fn create_receipt(
    State(rooms): State<Rooms>,
    request: Ruma<create_receipt::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let body = &request.body;
    let event_id = body.event_id.clone();
    let thread = thread(&body.thread)?;
    let mut update = MarkersUpdate::default();
    match &body.receipt_type {
        ReceiptType::Read => update.receipts.push((ReceiptKind::Read, thread, event_id)),
        ReceiptType::ReadPrivate => {
            update
                .receipts
                .push((ReceiptKind::ReadPrivate, thread, event_id));
        }
        ReceiptType::FullyRead if thread == ReceiptThread::Unthreaded => {
            update.fully_read = Some(event_id);
        }
        ReceiptType::FullyRead => {
            return Err(ApiError::invalid_param("`m.fully_read` has no thread"));
        }
        _ => return Err(ApiError::invalid_param("unknown receipt type")),
    }
    let marked = rooms.mark_read(user, &body.room_id, &update).await;
    marked.map_err(rooms_error)?;
    Ok(done())
}

fn thread(thread: &receipt::ReceiptThread) -> Result<ReceiptThread, ApiError> {
    match thread {
        receipt::ReceiptThread::Unthreaded => Ok(ReceiptThread::Unthreaded),
        receipt::ReceiptThread::Main => Ok(ReceiptThread::Main),
        receipt::ReceiptThread::Thread(root) => Ok(ReceiptThread::Thread(root.clone())),
        _ => Err(ApiError::invalid_param("`thread_id` is not a thread")),
    }
}

/// POST /_matrix/client/v3/rooms/{roomId}/read_markers
async fn set_read_marker(
    State(rooms): State<Rooms>,
    request: Ruma<set_read_marker::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let body = &request.body;
    let receipts = [
        (ReceiptKind::Read, &body.read_receipt),
        (ReceiptKind::ReadPrivate, &body.private_read_receipt),
    ];
    let receipts = receipts.into_iter().filter_map(|(kind, event_id)| {
        let event_id = event_id.clone()?;
        Some((kind, ReceiptThread::Unthreaded, event_id))
    });
    let update = MarkersUpdate {
        fully_read: body.fully_read.clone(),
        receipts: receipts.collect(),
    };
    let marked = rooms.mark_read(user, &body.room_id, &update).await;
    marked.map_err(rooms_error)?;
    Ok(done())
}

/// PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}
async fn typing(
    State(rooms): State<Rooms>,
    request: Ruma<create_typing_event::v3::Request>,
) -> Result<RawJson, ApiError> {
    let user = &active(&request)?.user;
    if *user != request.body.user_id {
        return Err(ApiError::forbidden("One types for oneself"));
    }
    let timeout = match request.body.state {
        Typing::Yes(info) => Some(info.timeout),
        Typing::No => None,
    };
    let set = rooms.set_typing(user, &request.body.room_id, timeout).await;
    set.map_err(rooms_error)?;
    Ok(done())
}
