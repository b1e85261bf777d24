//! Transactions: events and passing news of another server.

use axum::Router;
use axum::extract::State;
use bytes::Bytes;
use hearth_http::{ApiError, RawJson, route};
use hearth_ports::BoxFuture;
use hearth_rooms::remote::{Transaction, TxnAnswer};
use hearth_rooms::{Rider, Rooms};
use ruma::ServerName;
use ruma::api::federation::transactions::send_transaction_message;
use ruma::serde::Raw;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::edus::Edus;
use crate::error::rooms_error;
use crate::{Parts, Signed};

/// Most PDUs and EDUs of a transaction (server-server API, "Transactions").
const PDUS_MAX: usize = 50;
const EDUS_MAX: usize = 100;

pub(crate) fn router() -> Router<Parts> {
    route::<send_transaction_message::v1::Request, _, _, _>(Router::new(), send)
}

/// PUT /_matrix/federation/v1/send/{txnId}
async fn send(
    State(rooms): State<Rooms>,
    State(edus): State<Edus>,
    request: Signed<send_transaction_message::v1::Request>,
) -> Result<RawJson, ApiError> {
    let body = request.body;
    if body.pdus.len() > PDUS_MAX || body.edus.len() > EDUS_MAX {
        return Err(ApiError::bad_json("The transaction has too many items"));
    }
    let txn = Transaction {
        txn_id: body.transaction_id.to_string(),
        pdus: body.pdus,
        rider: Rider::new(),
    };
    let answered = received(&rooms, &request.origin, txn).await;
    let answered = answered.map_err(rooms_error)?;
    let passing: Vec<Box<RawValue>> = body.edus.into_iter().map(Raw::into_json).collect();
    let kept = edus.receive(&request.origin, &passing).await;
    kept.map_err(crate::users::e2ee_error)?;
    Ok(answer(answered))
}

/// Boxed: the compiler cannot see of the future itself that it may change threads, whatever it borrows.
fn received<'a>(
    rooms: &'a Rooms,
    origin: &'a ServerName,
    txn: Transaction,
) -> BoxFuture<'a, hearth_rooms::Result<TxnAnswer>> {
    Box::pin(rooms.receive(origin, txn))
}

fn answer(answered: TxnAnswer) -> RawJson {
    let results = answered.0.into_iter().map(|(event_id, refused)| {
        let result = refused.map_or_else(|| json!({}), |error| json!({ "error": error }));
        (event_id.to_string(), result)
    });
    let results: Map<String, Value> = results.collect();
    RawJson(Bytes::from(json!({ "pdus": results }).to_string()))
}
