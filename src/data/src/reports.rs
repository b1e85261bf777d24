//! What users reported: rooms, events, users. Kept until an administrator removes it.

use hearth_store::{Batch, Position, Snapshot};
use hearth_types::UnixMs;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{REPORT_COUNTS, REPORTS};

/// What is reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reported {
    /// A room.
    Room(String),
    /// An event.
    Event {
        /// Its room.
        room: String,
        /// Its id.
        event: String,
        /// Who sent it.
        sender: String,
    },
    /// A user.
    User(String),
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportRow {
    /// Who reports.
    pub reporter: String,
    /// When.
    pub at: UnixMs,
    /// What.
    pub reported: Reported,
    /// Why, in the reporter's words.
    pub reason: String,
}
rows!(ReportRow = 1);

/// How many reports of a user are kept.
pub async fn count(snapshot: &dyn Snapshot, reporter: &str) -> Result<i64> {
    let count = REPORT_COUNTS.get(snapshot, &reporter.to_owned()).await?;
    Ok(count.unwrap_or(0))
}

/// Writes a report; its number is the position of the commit.
pub fn put(batch: &mut Batch, row: &ReportRow) {
    REPORTS.put_at_position(batch, &(), &(), row);
    REPORT_COUNTS.add(batch, &row.reporter, 1);
}

/// Reports after a number (exclusive), oldest first, at most `limit`.
pub async fn after(
    snapshot: &dyn Snapshot,
    after: Position,
    limit: usize,
) -> Result<Vec<(Position, ReportRow)>> {
    let range = REPORTS.between(&((), after.next()), &((), Position::MAX));
    let rows = REPORTS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|(((), position, ()), row)| (position, row))
        .collect())
}

/// A report.
pub async fn report(snapshot: &dyn Snapshot, number: Position) -> Result<Option<ReportRow>> {
    REPORTS.get(snapshot, &((), number, ())).await
}

/// Removes a report as loaded; fails with `Conflict` if it is not there any more.
pub fn remove(batch: &mut Batch, number: Position, row: &ReportRow) {
    let key = ((), number, ());
    REPORTS.expect(batch, &key, Some(row));
    REPORTS.delete(batch, &key);
    REPORT_COUNTS.add(batch, &row.reporter, -1);
}
