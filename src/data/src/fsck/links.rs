//! Auth links against the events.

use super::{Check, Invariant};
use crate::reach::{AuthLinks, Reach};
use crate::state::RoomItem;
use crate::tables::{AUTH_LINKS, EVENT_IDS};
use crate::{EventNo, Result, RoomNo};

/// The key of an event's auth links.
pub(super) fn key(room: RoomNo, event: EventNo) -> RoomItem {
    RoomItem {
        room,
        number: event.0,
    }
}

impl Check<'_> {
    pub(super) async fn auth_links(&mut self) -> Result<()> {
        let mut range = AUTH_LINKS.prefix(&());
        while let Some(rows) = self.page(&AUTH_LINKS, &mut range).await? {
            for (key, links) in rows {
                self.event_links(key.room, EventNo(key.number), &links)
                    .await?;
            }
        }
        Ok(())
    }

    async fn event_links(&mut self, room: RoomNo, event: EventNo, links: &AuthLinks) -> Result<()> {
        let at = format!("room {}, event {}", room.0, event.0);
        let Some(pdu) = self.pdu(room, event).await? else {
            self.problem(
                Invariant::AuthLinks,
                format!("{at}: auth links of no event"),
            );
            return Ok(());
        };
        let mut numbers = Vec::new();
        for id in pdu.auth_events() {
            let found = self.row(&EVENT_IDS, &id.to_string()).await?;
            numbers.extend(
                found
                    .filter(|found| found.room == room)
                    .map(|found| found.event),
            );
        }
        numbers.sort_unstable();
        numbers.dedup();
        self.hold(numbers == links.auth_events(), Invariant::AuthLinks, || {
            format!(
                "{at}: links to {:?}, but refers to {numbers:?}",
                links.auth_events()
            )
        });
        let mut generation = 0;
        for auth in links.auth_events() {
            let row = Reach::new(room, self.snapshot, &self.reach)
                .links(*auth)
                .await;
            let row = self.read(row, Invariant::AuthLinks)?;
            self.hold(row.is_some(), Invariant::AuthLinks, || {
                format!("{at}: no links of its auth event {}", auth.0)
            });
            generation = generation.max(row.map_or(0, |row| row.generation() + 1));
        }
        self.hold(
            generation == links.generation(),
            Invariant::AuthLinks,
            || format!("{at}: generation {}, not {generation}", links.generation()),
        );
        Ok(())
    }
}
