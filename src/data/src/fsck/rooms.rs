//! Rooms as a whole: numbers, heads, current state, members.

use std::collections::BTreeMap;

use hearth_store::Error;
use ruma::events::room::member::MembershipState;
use serde::Deserialize;

use super::{Check, Invariant};
use crate::append::Standing;
use crate::rooms::RoomHead;
use crate::state::Entry;
use crate::tables::{
    GAPS, INBOX, MEMBERS, PARTIAL_ROOMS, PARTIAL_STAYS, ROOM_HEADS, ROOM_NUMBERS, ROOM_SERVERS,
    ROOM_STATES, SERVER_ROOMS, TIMELINE, USER_ROOMS,
};
use crate::{EventNo, Result, RoomNo, StateId};

#[derive(Deserialize)]
struct MemberContent {
    membership: MembershipState,
}

/// Members of the current state, counted.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    joined: u64,
    invited: u64,
    joined_local: u64,
    /// Joined members by server; not compared with the head.
    servers: BTreeMap<String, i64>,
}

impl Check<'_> {
    pub(super) async fn rooms(&mut self) -> Result<()> {
        let mut range = ROOM_NUMBERS.prefix(&());
        while let Some(rows) = self.page(&ROOM_NUMBERS, &mut range).await? {
            for (room_id, room) in rows {
                // A number may be given before the room's first event.
                let head = self.room_head(room).await?;
                let fits = head.is_none_or(|head| head.room_id == room_id);
                self.hold(fits, Invariant::RoomNumber, || {
                    format!(
                        "{room_id} has number {}, whose head names another room",
                        room.0
                    )
                });
            }
        }
        let mut range = ROOM_HEADS.prefix(&());
        while let Some(rows) = self.page(&ROOM_HEADS, &mut range).await? {
            for (room, head) in rows {
                self.room(room, &head).await?;
            }
        }
        self.inbox_has_rooms().await?;
        self.member_rows_have_rooms().await
    }

    async fn room(&mut self, room: RoomNo, head: &RoomHead) -> Result<()> {
        let number = self.row(&ROOM_NUMBERS, &head.room_id.to_string()).await?;
        self.hold(number == Some(room), Invariant::RoomNumber, || {
            format!(
                "room {} is {}, whose number is {number:?}",
                room.0, head.room_id
            )
        });
        self.extremities(room, head).await?;
        self.current_state(room, head).await?;
        self.gaps(room, head).await?;
        self.members(room, head).await
    }

    async fn extremities(&mut self, room: RoomNo, head: &RoomHead) -> Result<()> {
        let at = format!("room {}", room.0);
        let begun = head.next_place > 1;
        self.hold(
            begun != head.extremities.is_empty(),
            Invariant::Head,
            || {
                format!(
                    "{at}: {} extremities, next place {}",
                    head.extremities.len(),
                    head.next_place
                )
            },
        );
        for extremity in &head.extremities {
            let found = self.event(room, extremity.event).await?;
            let stands = found.is_some_and(|(place, row)| {
                place.is_some()
                    && row.standing == Standing::Accepted
                    && row.event_id == extremity.event_id
                    && row.state_after == extremity.state_after
            });
            self.hold(stands, Invariant::Head, || {
                format!(
                    "{at}: extremity {} is not an accepted event as the head says",
                    extremity.event_id
                )
            });
            let depth = self
                .pdu(room, extremity.event)
                .await?
                .map_or(0, |pdu| pdu.depth());
            self.hold(depth <= head.depth, Invariant::Head, || {
                format!(
                    "{at}: depth {} is less than {depth} of {}",
                    head.depth, extremity.event_id
                )
            });
        }
        Ok(())
    }

    /// Each gap lies below a placed event, and is filled from there downwards.
    async fn gaps(&mut self, room: RoomNo, head: &RoomHead) -> Result<()> {
        let mut range = GAPS.prefix(&room);
        while let Some(page) = self.page(&GAPS, &mut range).await? {
            for ((_, above), gap) in page {
                let placed = self.row(&TIMELINE, &(room, above)).await?.is_some();
                let fits = gap.floor <= gap.next && gap.next < above && above.0 < head.next_place;
                self.hold(placed && fits, Invariant::Gaps, || {
                    format!("room {}: no gap can be below place {}", room.0, above.0)
                });
            }
        }
        self.partial(room).await
    }

    /// Partial state is of an event that is here.
    async fn partial(&mut self, room: RoomNo) -> Result<()> {
        let mut rows: Vec<_> = self.row(&PARTIAL_ROOMS, &room).await?.into_iter().collect();
        let mut range = PARTIAL_STAYS.prefix(&room);
        while let Some(page) = self.page(&PARTIAL_STAYS, &mut range).await? {
            rows.extend(page.into_iter().map(|(_, row)| row));
        }
        for row in rows {
            let found = self.event(room, row.event).await?;
            let same = found.is_some_and(|(_, event)| event.event_id == row.join);
            self.hold(same, Invariant::Gaps, || {
                format!(
                    "room {}: its state is partial since {}, which is not here",
                    room.0, row.join
                )
            });
        }
        Ok(())
    }

    async fn current_state(&mut self, room: RoomNo, head: &RoomHead) -> Result<()> {
        let mut range = ROOM_STATES.prefix(&room);
        let mut last = StateId::EMPTY;
        while let Some(rows) = self.page(&ROOM_STATES, &mut range).await? {
            for ((_, position, ()), state) in rows {
                let there = self.state_exists(room, state).await?;
                self.hold(there, Invariant::CurrentState, || {
                    format!(
                        "room {}: state {} at position {position} is missing",
                        room.0, state.0
                    )
                });
                last = state;
            }
        }
        self.hold(last == head.state, Invariant::CurrentState, || {
            format!(
                "room {}: the head says state {}, the log {}",
                room.0, head.state.0, last.0
            )
        });
        Ok(())
    }

    pub(super) async fn state_exists(&mut self, room: RoomNo, state: StateId) -> Result<bool> {
        match self.states.view(room, self.snapshot).len(state).await {
            Ok(_) => Ok(true),
            Err(Error::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The member events of the current state against the member rows, and the head's counts.
    async fn members(&mut self, room: RoomNo, head: &RoomHead) -> Result<()> {
        let entries = self
            .states
            .view(room, self.snapshot)
            .entries_of_type(head.state, "m.room.member")
            .await;
        let entries: Vec<Entry> = self.read(entries, Invariant::StateNodes)?;
        let mut counts = Counts::default();
        for entry in &entries {
            self.member((room, head), entry.event, &mut counts).await?;
        }
        let said = Counts {
            joined: head.joined,
            invited: head.invited,
            joined_local: head.joined_local,
            servers: counts.servers.clone(),
        };
        self.hold(counts == said, Invariant::Members, || {
            format!(
                "room {}: the head says {said:?}, the state {counts:?}",
                room.0
            )
        });
        let mut range = MEMBERS.prefix(&room);
        let mut rows = 0;
        while let Some(page) = self.page(&MEMBERS, &mut range).await? {
            rows += page.len();
        }
        self.hold(rows == entries.len(), Invariant::Members, || {
            format!(
                "room {}: {rows} member rows, {} member events in the state",
                room.0,
                entries.len()
            )
        });
        self.servers(room, counts.servers).await
    }

    /// The servers of the joined members against the rows of both sides.
    async fn servers(&mut self, room: RoomNo, mut counted: BTreeMap<String, i64>) -> Result<()> {
        let mut range = ROOM_SERVERS.prefix(&room);
        while let Some(page) = self.page(&ROOM_SERVERS, &mut range).await? {
            for ((_, server), said) in page {
                let mirrored = self.row(&SERVER_ROOMS, &(server.clone(), room)).await?;
                let found = counted.remove(&server).unwrap_or(0);
                self.hold(
                    said == found && mirrored == Some(said),
                    Invariant::Servers,
                    || {
                        format!(
                            "room {}: {found} members of {server} are joined, the rows say {said} and {mirrored:?}",
                            room.0
                        )
                    },
                );
            }
        }
        self.hold(counted.is_empty(), Invariant::Servers, || {
            format!("room {}: no rows for the servers {counted:?}", room.0)
        });
        Ok(())
    }

    async fn member(
        &mut self,
        (room, head): (RoomNo, &RoomHead),
        event: EventNo,
        counts: &mut Counts,
    ) -> Result<()> {
        let at = format!("room {}, event {}", room.0, event.0);
        let pdu = self.pdu(room, event).await?;
        let content = pdu
            .as_ref()
            .and_then(|pdu| pdu.content_as::<MemberContent>().ok());
        let (Some(pdu), Some(content)) = (pdu, content) else {
            self.problem(
                Invariant::Members,
                format!("{at}: in the state, but not a member event"),
            );
            return Ok(());
        };
        let user = pdu.state_key().unwrap_or_default().to_owned();
        let local = self.is_local(&user);
        match content.membership {
            MembershipState::Join => {
                counts.joined += 1;
                let server = user.split_once(':').map_or("", |(_, server)| server);
                *counts.servers.entry(server.to_owned()).or_default() += 1;
                counts.joined_local += u64::from(local);
            }
            MembershipState::Invite => counts.invited += 1,
            _ => {}
        }
        let row = self.row(&MEMBERS, &(room, user.clone())).await?;
        let same =
            row.is_some_and(|row| row.event == event && row.membership == content.membership);
        self.hold(same, Invariant::Members, || {
            format!("{at}: no member row says so of {user}")
        });
        // Where nobody of this server is, the state is old, and only invites are known to users.
        if local && head.joined_local > 0 {
            let row = self.row(&USER_ROOMS, &(user.clone(), room)).await?;
            let same =
                row.is_some_and(|row| row.event == event && row.membership == content.membership);
            self.hold(same, Invariant::UserRooms, || {
                format!("{at}: the rooms of {user} do not say so")
            });
        }
        Ok(())
    }

    fn is_local(&self, user: &str) -> bool {
        let server = user.split_once(':').map(|(_, server)| server);
        server.is_some() && server == self.server_name.as_deref()
    }

    async fn inbox_has_rooms(&mut self) -> Result<()> {
        let mut range = INBOX.prefix(&());
        while let Some(rows) = self.page(&INBOX, &mut range).await? {
            for ((room, position, index), row) in rows {
                let known = self.room_head(room).await?.is_some();
                self.hold(
                    known && !row.origin.is_empty(),
                    Invariant::RoomNumber,
                    || {
                        format!(
                            "room {} has no head, but an inbox at {position}, {index}",
                            room.0
                        )
                    },
                );
            }
        }
        Ok(())
    }

    async fn member_rows_have_rooms(&mut self) -> Result<()> {
        let mut range = MEMBERS.prefix(&());
        while let Some(rows) = self.page(&MEMBERS, &mut range).await? {
            for ((room, user), _) in rows {
                let known = self.room_head(room).await?.is_some();
                self.hold(known, Invariant::Members, || {
                    format!("{user} is a member of room {}, which has no head", room.0)
                });
            }
        }
        Ok(())
    }
}
