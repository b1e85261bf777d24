//! What application services have to be told: a queue of events for each, and how far it has come.

use hearth_store::{Batch, Position, Snapshot};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{SERVICE_QUEUE, SERVICES};
use crate::timeline::EventRef;

/// Where an event stands in a service's queue.
pub type QueueKey = (String, Position, u32);

/// How far an application service has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// The number of its last transaction, acknowledged or not.
    pub txn: u64,
    /// The last event of that transaction, position and index, if it is not acknowledged: it is sent again with the same
    /// events.
    pub sending: Option<(u64, u32)>,
}

rows!(ServiceRow = 1);

/// How far a service has come.
pub async fn service(snapshot: &dyn Snapshot, id: &str) -> Result<ServiceRow> {
    let row = SERVICES.get(snapshot, &id.to_owned()).await?;
    Ok(row.unwrap_or_default())
}

/// Writes how far a service has come.
pub fn put_service(batch: &mut Batch, id: &str, row: &ServiceRow) {
    SERVICES.put(batch, &id.to_owned(), row);
}

/// Puts an event at the end of a service's queue.
pub fn enqueue(batch: &mut Batch, key: &QueueKey, event: EventRef) {
    SERVICE_QUEUE.put(batch, key, &event);
}

/// The oldest events of a service's queue, at most `limit`.
pub async fn queue(
    snapshot: &dyn Snapshot,
    id: &str,
    limit: usize,
) -> Result<Vec<(QueueKey, EventRef)>> {
    let range = SERVICE_QUEUE.prefix(&id.to_owned());
    SERVICE_QUEUE.range(snapshot, range, limit).await
}

/// Removes the events up to and including a place of a service's queue.
pub fn dequeue(batch: &mut Batch, id: &str, upto: (Position, u32)) {
    let from = (id.to_owned(), Position::ZERO, 0_u32);
    let next = match upto.1.checked_add(1) {
        Some(next) => (id.to_owned(), upto.0, next),
        None => (id.to_owned(), upto.0.next(), 0_u32),
    };
    SERVICE_QUEUE.delete_range(batch, SERVICE_QUEUE.between(&from, &next));
}
