//! What was emptied is empty, and nothing else is missing.

use super::{Check, Invariant};
use crate::append::EventRow;
use crate::retention::RetentionRow;
use crate::rooms::RoomHead;
use crate::tables::{GAPS, RETENTION};
use crate::{Place, Result, RoomNo};

impl Check<'_> {
    /// How far a room was emptied.
    pub(super) async fn retention(&mut self, room: RoomNo) -> Result<RetentionRow> {
        if self
            .emptied
            .as_ref()
            .is_none_or(|(cached, _)| *cached != room)
        {
            let row = self.row(&RETENTION, &room).await?.unwrap_or_default();
            self.emptied = Some((room, row));
        }
        Ok(self
            .emptied
            .as_ref()
            .map(|(_, row)| row.clone())
            .unwrap_or_default())
    }

    /// Below the floor only what has to stay is left.
    pub(super) async fn below_floor(
        &mut self,
        room: RoomNo,
        place: Place,
        row: &EventRow,
    ) -> Result<()> {
        if place >= self.retention(room).await?.floor {
            return Ok(());
        }
        let Some(pdu) = self.pdu(room, row.event).await? else {
            return Ok(());
        };
        let stays = pdu.is_state() || self.explains(room, row, &pdu).await?;
        self.hold(stays, Invariant::Retention, || {
            format!(
                "room {}, event {}: a message at place {}, which was emptied",
                room.0, row.event.0, place.0
            )
        });
        Ok(())
    }

    /// Whether it is the redaction of an event that is here.
    async fn explains(
        &mut self,
        room: RoomNo,
        row: &EventRow,
        pdu: &hearth_event::Pdu,
    ) -> Result<bool> {
        let Some(target) = pdu.redacts() else {
            return Ok(false);
        };
        let found = self
            .row(&crate::tables::EVENT_IDS, &target.to_string())
            .await?;
        let Some(found) = found.filter(|found| found.room == room) else {
            return Ok(false);
        };
        let target = self.event(room, found.event).await?;
        Ok(target.is_some_and(|(_, target)| target.redacted_by == Some(row.event)))
    }

    /// The floor is where a chunk begins, not above the history, and no gap is filled below it.
    pub(super) async fn emptied_rooms(&mut self) -> Result<()> {
        let mut range = RETENTION.prefix(&());
        while let Some(rows) = self.page(&RETENTION, &mut range).await? {
            for (room, row) in rows {
                let head = self.room_head(room).await?;
                self.emptied_room(room, head, &row).await?;
            }
        }
        Ok(())
    }

    async fn emptied_room(
        &mut self,
        room: RoomNo,
        head: Option<RoomHead>,
        row: &RetentionRow,
    ) -> Result<()> {
        let at = format!("room {}", room.0);
        let fits = head.is_some_and(|head| {
            row.floor == Place::of_chunk(row.floor.chunk())
                && row.floor.0 <= head.next_place
                && row.seen_upto.0 <= head.next_place
                && row.dropped < head.next_event
        });
        self.hold(fits, Invariant::Retention, || {
            format!("{at}: cannot have been emptied as {row:?} says")
        });
        let mut range = GAPS.prefix(&room);
        while let Some(page) = self.page(&GAPS, &mut range).await? {
            for ((_, above), gap) in page {
                self.hold(gap.next >= row.floor, Invariant::Retention, || {
                    format!(
                        "{at}: the gap below place {} would be filled below the floor",
                        above.0
                    )
                });
            }
        }
        Ok(())
    }
}
