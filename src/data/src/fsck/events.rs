//! Events: numbers, ids, places, positions, JSON, states.

use hearth_event::{Pdu, RoomVersion, redact};
use hearth_store::Error;

use super::{Check, Invariant};
use crate::append::{EventRow, Standing};
use crate::rooms::RoomHead;
use crate::tables::{EVENT_IDS, OUTLIERS, ROOM_POSITIONS, TIMELINE, WHEREABOUTS};
use crate::timeline::{EventRef, Whereabouts};
use crate::{EventNo, Place, Result, RoomNo};

impl Check<'_> {
    pub(super) async fn events(&mut self) -> Result<()> {
        self.numbers().await?;
        self.ids().await?;
        let mut range = TIMELINE.prefix(&());
        while let Some(rows) = self.page(&TIMELINE, &mut range).await? {
            for ((room, place), row) in rows {
                self.event_row(room, &row, Whereabouts::Placed(place))
                    .await?;
            }
        }
        let mut range = OUTLIERS.prefix(&());
        while let Some(rows) = self.page(&OUTLIERS, &mut range).await? {
            for ((room, number), row) in rows {
                self.hold(row.event == number, Invariant::EventNumber, || {
                    format!(
                        "room {}: outlier {} stands under {}",
                        room.0, row.event.0, number.0
                    )
                });
                self.event_row(room, &row, Whereabouts::Outlier).await?;
            }
        }
        self.positions().await
    }

    /// Numbers without gaps below the head's counter, but for those of events that were dropped, each with a row.
    async fn numbers(&mut self) -> Result<()> {
        let mut range = WHEREABOUTS.prefix(&());
        let mut last: Option<(RoomNo, EventNo, u64)> = None;
        while let Some(rows) = self.page(&WHEREABOUTS, &mut range).await? {
            for ((room, number), _) in rows {
                let (before, count) = match last {
                    Some((same, before, count)) if same == room => (before.0, count),
                    ended => {
                        self.numbers_end(ended).await?;
                        (0, 0)
                    }
                };
                let has_dropped = self.dropped(room).await? > 0;
                self.hold(
                    number.0 == before + 1 || has_dropped,
                    Invariant::EventNumber,
                    || format!("room {}: event {} follows {before}", room.0, number.0),
                );
                let row = self.event(room, number).await?;
                self.hold(
                    row.is_some_and(|(_, row)| row.event == number),
                    Invariant::EventNumber,
                    || {
                        format!(
                            "room {}: event {} is not where it should be",
                            room.0, number.0
                        )
                    },
                );
                last = Some((room, number, count + 1));
            }
        }
        self.numbers_end(last).await
    }

    async fn numbers_end(&mut self, last: Option<(RoomNo, EventNo, u64)>) -> Result<()> {
        let Some((room, number, count)) = last else {
            return Ok(());
        };
        let next = self.room_head(room).await?.map(|head| head.next_event);
        let dropped = self.dropped(room).await?;
        let is_counted = next == Some(count + dropped + 1) && next > Some(number.0);
        self.hold(is_counted, Invariant::EventNumber, || {
            format!(
                "room {}: the last event is {}, there are {count} and {dropped} were dropped, the head's next {next:?}",
                room.0, number.0
            )
        });
        Ok(())
    }

    /// How many events of a room were taken out.
    pub(super) async fn dropped(&mut self, room: RoomNo) -> Result<u64> {
        Ok(self.retention(room).await?.dropped)
    }

    async fn ids(&mut self) -> Result<()> {
        let mut range = EVENT_IDS.prefix(&());
        while let Some(rows) = self.page(&EVENT_IDS, &mut range).await? {
            for (id, EventRef { room, event }) in rows {
                let row = self.event(room, event).await?;
                self.hold(
                    row.is_some_and(|(_, row)| row.event_id == id),
                    Invariant::EventId,
                    || {
                        format!(
                            "{id} leads to room {}, event {}, which is another or none",
                            room.0, event.0
                        )
                    },
                );
            }
        }
        Ok(())
    }

    async fn event_row(&mut self, room: RoomNo, row: &EventRow, stands: Whereabouts) -> Result<()> {
        let at = format!("room {}, event {} ({})", room.0, row.event.0, row.event_id);
        let found = self.row(&WHEREABOUTS, &(room, row.event)).await?;
        self.hold(found == Some(stands), Invariant::EventNumber, || {
            format!("{at}: stands at {stands:?}, but its number leads to {found:?}")
        });
        let id = self.row(&EVENT_IDS, &row.event_id.to_string()).await?;
        let own = EventRef {
            room,
            event: row.event,
        };
        self.hold(id == Some(own), Invariant::EventId, || {
            format!("{at}: its id leads to {id:?}")
        });
        let Some(head) = self.room_head(room).await? else {
            self.problem(Invariant::RoomNumber, format!("{at}: the room has no head"));
            return Ok(());
        };
        if let Whereabouts::Placed(place) = stands {
            self.hold(place.0 < head.next_place, Invariant::Head, || {
                format!(
                    "{at}: place {} is not below the head's next {}",
                    place.0, head.next_place
                )
            });
            self.position_of(room, place, row).await?;
            self.below_floor(room, place, row).await?;
        }
        if let Some(by) = row.redacted_by {
            let there = self.event(room, by).await?.is_some();
            self.hold(there, Invariant::EventJson, || {
                format!("{at}: redacted by {}, which is missing", by.0)
            });
        }
        match self.event_json(&head, row) {
            Ok(pdu) => self.event_state(room, row, &pdu, stands).await,
            Err(reason) => {
                self.problem(Invariant::EventJson, format!("{at}: {reason}"));
                Ok(())
            }
        }
    }

    /// The event, if its JSON makes its id and is as its sender hashed it, or redacted.
    fn event_json(&self, head: &RoomHead, row: &EventRow) -> Result<Pdu, String> {
        let version = RoomVersion::new(&head.version).ok_or("its room version is not known")?;
        let pdu = Pdu::parse(version, &row.json).map_err(|error| error.to_string())?;
        if pdu.event_id() != row.event_id {
            return Err(format!("its JSON is that of {}", pdu.event_id()));
        }
        if pdu.room_id() != head.room_id {
            return Err(format!("it belongs to {}", pdu.room_id()));
        }
        let is_redacted = || redact(&pdu).json() == pdu.json();
        match (
            row.redacted_by.is_some() || pdu.is_intact(),
            row.redacted_by,
        ) {
            (_, Some(_)) if !is_redacted() => Err("it should be redacted".to_owned()),
            (false, None) if !is_redacted() => Err("its content is not what was hashed".to_owned()),
            _ => Ok(pdu),
        }
    }

    async fn event_state(
        &mut self,
        room: RoomNo,
        row: &EventRow,
        pdu: &Pdu,
        stands: Whereabouts,
    ) -> Result<()> {
        let at = format!("room {}, event {}", room.0, row.event.0);
        if stands == Whereabouts::Outlier {
            return Ok(());
        }
        for state in [row.state_before, row.state_after] {
            let there = self.state_exists(room, state).await?;
            self.hold(there, Invariant::EventState, || {
                format!("{at}: state {} is missing", state.0)
            });
        }
        let key = pdu
            .state_key_pair()
            .filter(|_| row.standing == Standing::Accepted);
        let Some((kind, state_key)) = key else {
            self.hold(
                row.state_after == row.state_before || row.standing == Standing::SoftFailed,
                Invariant::EventState,
                || format!("{at}: changes the state, but is not an accepted state event"),
            );
            return Ok(());
        };
        let view = self.states.view(room, self.snapshot);
        let after = match view.lookup(row.state_after, kind, state_key).await {
            Err(Error::Corrupt { .. }) => None,
            other => other?,
        };
        self.hold(after == Some(row.event), Invariant::EventState, || {
            format!("{at}: the state after it has {after:?} in its place")
        });
        let linked = self
            .row(
                &crate::tables::AUTH_LINKS,
                &super::links::key(room, row.event),
            )
            .await?;
        self.hold(linked.is_some(), Invariant::AuthLinks, || {
            format!("{at}: has no auth links")
        });
        Ok(())
    }

    /// Live accepted events stand once among the positions. (Places of events that were fetched later lie below 1,
    /// or below the end of a gap; these have none.)
    async fn position_of(&mut self, room: RoomNo, place: Place, row: &EventRow) -> Result<()> {
        let mut range = ROOM_POSITIONS.prefix(&(room, row.position));
        let mut times = 0;
        while let Some(rows) = self.page(&ROOM_POSITIONS, &mut range).await? {
            times += rows.iter().filter(|(_, indexed)| *indexed == place).count();
        }
        let expected = usize::from(row.standing == Standing::Accepted && place.is_live());
        self.hold(times == expected, Invariant::Position, || {
            format!(
                "room {}, event {}: {times} rows among the positions, not {expected}",
                room.0, row.event.0
            )
        });
        Ok(())
    }

    async fn positions(&mut self) -> Result<()> {
        let mut range = ROOM_POSITIONS.prefix(&());
        while let Some(rows) = self.page(&ROOM_POSITIONS, &mut range).await? {
            for ((room, position, _), place) in rows {
                let row = self.row(&TIMELINE, &(room, place)).await?;
                let fits = row.is_some_and(|row| {
                    row.position == position && row.standing == Standing::Accepted
                });
                self.hold(fits, Invariant::Position, || {
                    format!(
                        "room {}, position {position}: no accepted event of it at place {}",
                        room.0, place.0
                    )
                });
            }
        }
        Ok(())
    }
}
