//! Which services an event concerns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hearth_data::changes::Change;
use hearth_data::{RoomNo, members, rooms};
use hearth_event::Pdu;
use hearth_store::{Position, Snapshot};
use ruma::events::room::member::MembershipState;

use crate::registrations::Service;
use crate::{Registrations, Result};

/// How many rooms are remembered; beyond that all are forgotten, and looked at anew.
const ROOMS_MAX: usize = 10_000;
/// How many members are read at once.
const MEMBERS_AT_ONCE: usize = 1_000;
/// How many aliases of a room are looked at.
const ALIASES_MAX: usize = 1_000;

/// The services whose users are in a room.
type Present = HashSet<Arc<str>>;

/// Remembers which services have users in which rooms.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    present: HashMap<RoomNo, Present>,
    /// Services whose users left a room in the part of the log that is being read, and when.
    left: Vec<(Position, RoomNo, Arc<str>)>,
}

impl Interest {
    /// Takes in who came and went in a part of the log.
    pub(crate) fn read_log(
        &mut self,
        registrations: &Registrations,
        rows: &[(Position, Vec<Change>)],
    ) {
        self.left.clear();
        for (position, changes) in rows {
            for change in changes {
                let Change::Member { room, user, joined } = change else {
                    continue;
                };
                if !registrations.is_local(user) {
                    continue;
                }
                for service in registrations.iter().filter(|service| service.is_user(user)) {
                    if !*joined {
                        self.left.push((*position, *room, service.id.clone()));
                        self.present.remove(room);
                    } else if let Some(present) = self.present.get_mut(room) {
                        present.insert(service.id.clone());
                    }
                }
            }
        }
    }

    /// The services that an event of a commit concerns (application service API, "Registration"): by its room, by who
    /// sent it or whose membership it is, by who is in the room.
    pub(crate) async fn concerned<'a>(
        &mut self,
        snapshot: &dyn Snapshot,
        registrations: &'a Registrations,
        (at, room, pdu): (Position, RoomNo, &Pdu),
    ) -> Result<Vec<&'a Service>> {
        let present = self.present(snapshot, registrations, room).await?.clone();
        let mut aliases = None;
        let mut concerned = Vec::new();
        for service in registrations.iter().filter(|service| service.url.is_some()) {
            let was_present = self
                .left
                .iter()
                .any(|(when, of, who)| *when >= at && *of == room && *who == service.id);
            let mut is_concerned = was_present
                || present.contains(&service.id)
                || service.is_room(pdu.room_id())
                || is_about(registrations, service, pdu);
            if !is_concerned && service.has_aliases() {
                let aliases = match &mut aliases {
                    Some(aliases) => aliases,
                    none => none.insert(rooms::aliases(snapshot, room, ALIASES_MAX).await?),
                };
                is_concerned = aliases.iter().any(|alias| service.is_alias(alias));
            }
            if is_concerned {
                concerned.push(service);
            }
        }
        Ok(concerned)
    }

    async fn present(
        &mut self,
        snapshot: &dyn Snapshot,
        registrations: &Registrations,
        room: RoomNo,
    ) -> Result<&Present> {
        if !self.present.contains_key(&room) {
            if self.present.len() >= ROOMS_MAX {
                self.present.clear();
            }
            let found = look(snapshot, registrations, room).await?;
            self.present.insert(room, found);
        }
        Ok(self.present.entry(room).or_default())
    }
}

/// Whether a service's user sent an event, or it is about one's membership.
fn is_about(registrations: &Registrations, service: &Service, pdu: &Pdu) -> bool {
    let is_one = |user: &str| registrations.is_local(user) && service.is_user(user);
    let member = pdu.state_key().filter(|_| pdu.kind() == "m.room.member");
    is_one(pdu.sender().as_str()) || member.is_some_and(is_one)
}

/// Which services have users in a room.
async fn look(
    snapshot: &dyn Snapshot,
    registrations: &Registrations,
    room: RoomNo,
) -> Result<Present> {
    let mut present = Present::new();
    let mut after = String::new();
    loop {
        let page = members::members_after(snapshot, room, &after, MEMBERS_AT_ONCE).await?;
        for (user, row) in &page {
            if row.membership != MembershipState::Join || !registrations.is_local(user) {
                continue;
            }
            let services = registrations.iter().filter(|service| service.is_user(user));
            present.extend(services.map(|service| service.id.clone()));
        }
        match page.last() {
            Some((last, _))
                if page.len() == MEMBERS_AT_ONCE
                    && present.len() < registrations.iter().count() =>
            {
                after.clone_from(last);
            }
            _ => return Ok(present),
        }
    }
}
