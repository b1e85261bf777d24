//! Messages to devices.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_e2ee::{E2ee, ToDevice};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use ruma::api::client::to_device::send_event_to_device::v3::Request;

use super::{api_error, done};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    E2ee: FromRef<S>,
{
    route::<Request, _, _, _>(Router::new(), send)
}

/// PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}
async fn send(State(e2ee): State<E2ee>, request: Ruma<Request>) -> Result<RawJson, ApiError> {
    let caller = request.caller()?.clone();
    let messages = request.body.messages.into_iter();
    let message = ToDevice {
        event_type: request.body.event_type.to_string(),
        txn_id: request.body.txn_id.to_string(),
        messages: messages
            .map(|(user, contents)| {
                let contents = contents.into_iter();
                let contents = contents
                    .map(|(device, content)| (device.to_string(), content.json().get().to_owned()));
                (user, contents.collect())
            })
            .collect(),
    };
    e2ee.send_to_device(&caller, message)
        .await
        .map(|()| done())
        .map_err(api_error)
}
