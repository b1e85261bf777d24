//! Reports of what should not be: rooms, events, users. Kept for the administrators.

use hearth_data::accounts::users;
use hearth_data::reports::{self as data, ReportRow};
use hearth_data::{rooms, timeline};
use hearth_store::{Batch, Position};
use ruma::{EventId, RoomId, UserId};

use crate::{Error, Result, Rooms};

pub use hearth_data::reports::Reported;

/// Longest reason, in bytes.
const REASON_BYTES_MAX: usize = 4_096;
/// Most reports of one user that are kept.
const REPORTS_MAX: i64 = 1_000;

/// A report that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its number.
    pub number: u64,
    /// Who reports.
    pub reporter: String,
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// What.
    pub reported: Reported,
    /// Why.
    pub reason: String,
}

impl Rooms {
    /// Reports an event of a room in which the reporter is, and which she can see.
    pub async fn report_event(
        &self,
        reporter: &UserId,
        (room_id, event_id): (&RoomId, &EventId),
        reason: &str,
    ) -> Result<()> {
        let reader = self.reader(reporter, room_id).await;
        let reader = reader.map_err(|_| Error::NoSuchEvent)?;
        if !reader.is_joined() {
            return Err(Error::NoSuchEvent);
        }
        let found = timeline::find(&*reader.snapshot, event_id).await?;
        let found = found.filter(|found| found.room == reader.room);
        let number = found.ok_or(Error::NoSuchEvent)?.event;
        let found = timeline::event(&*reader.snapshot, reader.room, number).await?;
        let Some((Some(place), row)) = found else {
            return Err(Error::NoSuchEvent);
        };
        let pdu = reader.pdu(&row)?;
        if !reader.sees(place, &row, &pdu).await? {
            return Err(Error::NoSuchEvent);
        }
        let reported = Reported::Event {
            room: room_id.to_string(),
            event: event_id.to_string(),
            sender: pdu.sender().to_string(),
        };
        self.report(reporter, reported, reason).await
    }

    /// Reports a room, whether the reporter is in it or not.
    pub async fn report_room(
        &self,
        reporter: &UserId,
        room_id: &RoomId,
        reason: &str,
    ) -> Result<()> {
        let snapshot = self.snapshot().await?;
        if rooms::number(&*snapshot, room_id).await?.is_none() {
            return Err(Error::NoSuchRoom);
        }
        drop(snapshot);
        self.report(reporter, Reported::Room(room_id.to_string()), reason)
            .await
    }

    /// Reports a user. Of other servers' users it is not known here whether they exist.
    pub async fn report_user(&self, reporter: &UserId, user: &UserId, reason: &str) -> Result<()> {
        if self.0.is_local(user) {
            let snapshot = self.snapshot().await?;
            let account = users::user(&*snapshot, user.as_str()).await?;
            account.ok_or(Error::NoSuchUser)?;
        }
        self.report(reporter, Reported::User(user.to_string()), reason)
            .await
    }

    async fn report(&self, reporter: &UserId, reported: Reported, reason: &str) -> Result<()> {
        if reason.len() > REASON_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let snapshot = self.snapshot().await?;
        if data::count(&*snapshot, reporter.as_str()).await? >= REPORTS_MAX {
            return Err(Error::Refused("too many of your reports are open"));
        }
        drop(snapshot);
        let row = ReportRow {
            reporter: reporter.to_string(),
            at: self.0.clock.now(),
            reported,
            reason: reason.to_owned(),
        };
        let mut batch = Batch::new();
        data::put(&mut batch, &row);
        self.0.store.commit(batch).await?;
        Ok(())
    }

    /// Reports after a number (start with 0), oldest first, at most `limit`.
    pub async fn report_list(&self, after: u64, limit: usize) -> Result<Vec<Report>> {
        let snapshot = self.snapshot().await?;
        let rows = data::after(&*snapshot, Position(after), limit).await?;
        let shown = rows.into_iter().map(|(number, row)| Report {
            number: number.0,
            reporter: row.reporter,
            at: row.at.0,
            reported: row.reported,
            reason: row.reason,
        });
        Ok(shown.collect())
    }

    /// Removes a report that was dealt with; whether it was there.
    pub async fn report_remove(&self, number: u64) -> Result<bool> {
        let number = Position(number);
        let snapshot = self.snapshot().await?;
        let Some(row) = data::report(&*snapshot, number).await? else {
            return Ok(false);
        };
        let mut batch = Batch::new();
        data::remove(&mut batch, number, &row);
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(true),
            Err(hearth_store::Error::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
