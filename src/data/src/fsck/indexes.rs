//! Rows that point to events and rooms: relations, threads, transactions, aliases, receipts, the log.

use ruma::events::room::member::MembershipState;

use super::{Check, Invariant};
use crate::changes::Change;
use crate::members::UserRoomRow;
use crate::relations::{RelationRow, ThreadRow};
use crate::tables as t;
use crate::timeline::Whereabouts;
use crate::{EventNo, Place, Result, RoomNo};

/// The relation that makes a thread.
const THREAD: &str = "m.thread";

impl Check<'_> {
    pub(super) async fn indexes(&mut self) -> Result<()> {
        self.relations().await?;
        self.annotations().await?;
        self.early_redactions().await?;
        self.threads().await?;
        self.transactions().await?;
        self.user_rooms().await?;
        self.aliases().await?;
        self.receipts().await?;
        self.log().await
    }

    async fn event_at(&mut self, room: RoomNo, place: Place, event: EventNo) -> Result<bool> {
        let row = self.row(&t::TIMELINE, &(room, place)).await?;
        Ok(row.is_some_and(|row| row.event == event))
    }

    async fn relations(&mut self) -> Result<()> {
        let mut range = t::RELATIONS.prefix(&());
        while let Some(rows) = self.page(&t::RELATIONS, &mut range).await? {
            for ((room, target, place), RelationRow { event, .. }) in rows {
                let both = self.event(room, target).await?.is_some()
                    && self.event_at(room, place, event).await?;
                self.hold(both, Invariant::Relations, || {
                    format!(
                        "room {}: relation of {} to {}: one of them is missing",
                        room.0, event.0, target.0
                    )
                });
            }
        }
        Ok(())
    }

    async fn annotations(&mut self) -> Result<()> {
        let mut range = t::ANNOTATIONS.prefix(&());
        while let Some(rows) = self.page(&t::ANNOTATIONS, &mut range).await? {
            for ((room, target, _), event) in rows {
                let both = self.event(room, target).await?.is_some()
                    && self.event(room, event).await?.is_some();
                self.hold(both, Invariant::Relations, || {
                    format!(
                        "room {}: annotation {} of {}: one of them is missing",
                        room.0, event.0, target.0
                    )
                });
            }
        }
        Ok(())
    }

    async fn early_redactions(&mut self) -> Result<()> {
        let mut range = t::EARLY_REDACTIONS.prefix(&());
        while let Some(rows) = self.page(&t::EARLY_REDACTIONS, &mut range).await? {
            for ((room, target), event) in rows {
                let there = self.event(room, event).await?.is_some();
                self.hold(there, Invariant::Relations, || {
                    format!(
                        "room {}: redaction {} of {target} is missing",
                        room.0, event.0
                    )
                });
            }
        }
        Ok(())
    }

    async fn threads(&mut self) -> Result<()> {
        let mut range = t::THREADS.prefix(&());
        while let Some(rows) = self.page(&t::THREADS, &mut range).await? {
            for ((room, root), thread) in rows {
                self.thread(room, root, &thread).await?;
            }
        }
        let mut range = t::THREADS_AT.prefix(&());
        while let Some(rows) = self.page(&t::THREADS_AT, &mut range).await? {
            for ((room, place, root), ()) in rows {
                let thread = self.row(&t::THREADS, &(room, root)).await?;
                self.hold(
                    thread.is_some_and(|thread| thread.latest_place == place),
                    Invariant::Relations,
                    || {
                        format!(
                            "room {}: thread {} is not at place {}",
                            room.0, root.0, place.0
                        )
                    },
                );
            }
        }
        Ok(())
    }

    async fn thread(&mut self, room: RoomNo, root: EventNo, thread: &ThreadRow) -> Result<()> {
        let at = format!("room {}, thread {}", room.0, root.0);
        let mut count = 0;
        let mut range = t::RELATIONS.prefix(&(room, root));
        while let Some(rows) = self.page(&t::RELATIONS, &mut range).await? {
            count += rows
                .iter()
                .filter(|(_, row)| row.rel_type == THREAD)
                .count() as u64;
        }
        self.hold(count == thread.count, Invariant::Relations, || {
            format!("{at}: {count} events, not {}", thread.count)
        });
        let latest = self
            .event_at(room, thread.latest_place, thread.latest)
            .await?;
        self.hold(latest, Invariant::Relations, || {
            format!("{at}: its latest event is not at its place")
        });
        let indexed = self
            .row(&t::THREADS_AT, &(room, thread.latest_place, root))
            .await?;
        self.hold(indexed.is_some(), Invariant::Relations, || {
            format!("{at}: not in the index")
        });
        Ok(())
    }

    async fn transactions(&mut self) -> Result<()> {
        let mut range = t::TXNS.prefix(&());
        while let Some(rows) = self.page(&t::TXNS, &mut range).await? {
            for ((user, device, path), row) in rows {
                let Some(id) = row.event_id else { continue };
                let there = self.row(&t::EVENT_IDS, &id.to_string()).await?.is_some();
                self.hold(there, Invariant::Transactions, || {
                    format!("{path} of {user}, {device} led to {id}, which is missing")
                });
            }
        }
        Ok(())
    }

    async fn user_rooms(&mut self) -> Result<()> {
        let mut range = t::USER_ROOMS.prefix(&());
        while let Some(rows) = self.page(&t::USER_ROOMS, &mut range).await? {
            for ((user, room), row) in rows {
                self.user_room(&user, room, &row).await?;
            }
        }
        let mut range = t::USER_ROOMS_AT.prefix(&());
        while let Some(rows) = self.page(&t::USER_ROOMS_AT, &mut range).await? {
            for ((user, position, room), ()) in rows {
                let row = self.row(&t::USER_ROOMS, &(user.clone(), room)).await?;
                self.hold(
                    row.is_some_and(|row| row.position == position),
                    Invariant::UserRooms,
                    || format!("{user}: room {} did not change at {position}", room.0),
                );
            }
        }
        Ok(())
    }

    async fn user_room(&mut self, user: &str, room: RoomNo, row: &UserRoomRow) -> Result<()> {
        let at = format!("{user}, room {}", room.0);
        let key = (user.to_owned(), row.position, room);
        let indexed = self.row(&t::USER_ROOMS_AT, &key).await?.is_some();
        self.hold(indexed, Invariant::UserRooms, || {
            format!("{at}: not in the index at {}", row.position)
        });
        // Of a room in which nobody of this server is, only the invite or its end is known.
        let has_state = self
            .room_head(room)
            .await?
            .is_some_and(|head| head.joined_local > 0);
        if has_state {
            let member = self.row(&t::MEMBERS, &(room, user.to_owned())).await?;
            let same = match member {
                Some(member) => member.event == row.event && member.membership == row.membership,
                // Resolution took her out of the state; or whoever invited her has forgotten it, having got no answer.
                None => {
                    let whereabouts = self.row(&t::WHEREABOUTS, &(room, row.event)).await?;
                    let is_outlier = matches!(whereabouts, Some(Whereabouts::Outlier));
                    row.membership == MembershipState::Leave
                        || is_outlier && row.membership == MembershipState::Invite
                }
            };
            self.hold(same, Invariant::UserRooms, || {
                format!("{at}: the member row is missing or another")
            });
        }
        Ok(())
    }

    async fn aliases(&mut self) -> Result<()> {
        let mut range = t::ALIASES.prefix(&());
        while let Some(rows) = self.page(&t::ALIASES, &mut range).await? {
            for (alias, row) in rows {
                let room = self.row(&t::ROOM_NUMBERS, &row.room_id.to_string()).await?;
                let back = match room {
                    Some(room) => self.row(&t::ROOM_ALIASES, &(room, alias.clone())).await?,
                    None => None,
                };
                self.hold(back.is_some(), Invariant::Aliases, || {
                    format!("{alias} leads to {}, which does not know it", row.room_id)
                });
            }
        }
        let mut range = t::ROOM_ALIASES.prefix(&());
        while let Some(rows) = self.page(&t::ROOM_ALIASES, &mut range).await? {
            for ((room, alias), ()) in rows {
                let forth = self.row(&t::ALIASES, &alias).await?;
                let head = self.room_head(room).await?;
                let same = forth
                    .zip(head)
                    .is_some_and(|(row, head)| row.room_id == head.room_id);
                self.hold(same, Invariant::Aliases, || {
                    format!("{alias} does not lead to room {}", room.0)
                });
            }
        }
        let mut range = t::PUBLIC_ROOMS.prefix(&());
        while let Some(rows) = self.page(&t::PUBLIC_ROOMS, &mut range).await? {
            for (room, ()) in rows {
                let known = self.room_head(room).await?.is_some();
                self.hold(known, Invariant::Aliases, || {
                    format!("published room {} has no head", room.0)
                });
            }
        }
        Ok(())
    }

    async fn receipts(&mut self) -> Result<()> {
        let mut range = t::RECEIPTS.prefix(&());
        while let Some(rows) = self.page(&t::RECEIPTS, &mut range).await? {
            for ((room, user, kind, thread), row) in rows {
                let key = (room, row.position, (user.clone(), kind, thread));
                let indexed = self.row(&t::RECEIPTS_AT, &key).await?.is_some();
                self.hold(indexed, Invariant::Receipts, || {
                    format!(
                        "room {}: receipt of {user} is not in the index at {}",
                        room.0, row.position
                    )
                });
            }
        }
        let mut range = t::RECEIPTS_AT.prefix(&());
        while let Some(rows) = self.page(&t::RECEIPTS_AT, &mut range).await? {
            for ((room, position, (user, kind, thread)), ()) in rows {
                let row = self
                    .row(&t::RECEIPTS, &(room, user.clone(), kind, thread))
                    .await?;
                self.hold(
                    row.is_some_and(|row| row.position == position),
                    Invariant::Receipts,
                    || {
                        format!(
                            "room {}: no receipt of {user} of position {position}",
                            room.0
                        )
                    },
                );
            }
        }
        Ok(())
    }

    async fn log(&mut self) -> Result<()> {
        let mut range = t::CHANGES.prefix(&());
        while let Some(rows) = self.page(&t::CHANGES, &mut range).await? {
            for (((), position, ()), row) in rows {
                for change in row.0 {
                    let Change::Event { room, event } = change else {
                        continue;
                    };
                    let there =
                        self.event(room, event).await?.is_some() || self.dropped(room).await? > 0;
                    self.hold(there, Invariant::Changes, || {
                        format!(
                            "position {position}: event {} of room {} is missing",
                            event.0, room.0
                        )
                    });
                }
            }
        }
        Ok(())
    }
}
