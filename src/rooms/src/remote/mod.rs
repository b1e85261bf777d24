//! Rooms that other servers are in, too: their events come in, ours and our users' wishes go out.
//!
//! What comes is checked as far as it can be with the keys at hand, kept in a durable inbox per room (`receive.rs`),
//! completed by tasks that may wait for the network (`intake.rs`, `waiting.rs`, `fetch.rs`), and decided by the room's
//! worker, which may not. Joins and the like over other servers are in `enter.rs` and `import.rs`, those of other
//! servers' users through us in `accept.rs`, leaves that nobody hears of in `alone.rs`, invites in `invite.rs` and by
//! address in `third_party.rs`, history that we lack in `backfill.rs`.
//!
//! Knows other servers only through the ports `Remote` and `Keys`.

pub(crate) mod accept;
mod alone;
pub(crate) mod backfill;
pub(crate) mod check;
pub(crate) mod enter;
pub(crate) mod fetch;
mod gone;
pub(crate) mod import;
pub(crate) mod inboxes;
pub(crate) mod intake;
pub(crate) mod invite;
pub(crate) mod lift;
mod nobody;
pub(crate) mod outsiders;
pub(crate) mod partial;
mod pending;
pub(crate) mod receive;
mod third_party;
mod waiting;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use hearth_data::RoomNo;
use hearth_ports::{Keys, Remote};
use ruma::OwnedEventId;

use crate::queue::submit;
use crate::stage::Intent;
use crate::stage::admit::{Intake, Taken};
use crate::{Error, Result, Rider, Rooms};

pub use accept::Accepted;
pub use invite::InviteIn;
pub use nobody::NoRemote;
pub use receive::{Transaction, TxnAnswer};

/// How other servers are reached.
#[derive(Clone)]
pub struct Federation {
    /// Their endpoints.
    pub remote: Arc<dyn Remote>,
    /// Their keys.
    pub keys: Arc<dyn Keys>,
}

impl Default for Federation {
    fn default() -> Self {
        Self {
            remote: Arc::new(NoRemote),
            keys: Arc::new(NoRemote),
        }
    }
}

impl Rooms {
    /// Has the room's worker take something in.
    pub(crate) async fn take_in(&self, room: RoomNo, intake: Intake) -> Result<Taken> {
        let brought = brought_by(&intake);
        let intent = Intent::Intake(Box::new(intake));
        let outcome = submit(&self.0, room, intent, Rider::new()).await?;
        let taken = outcome.taken.ok_or(Error::Contended)?;
        if !matches!(taken, Taken::Missing(_)) {
            // Events that lack these can go on.
            let intakes = &self.0.intakes;
            let arrived = brought.iter().filter(|id| intakes.arrived(room, id));
            if arrived.count() > 0 {
                self.wake_intake(room);
            }
        }
        Ok(taken)
    }

    pub(crate) fn remote(&self) -> &dyn Remote {
        &*self.0.federation.remote
    }
}

/// The events that others may have been waiting for.
fn brought_by(intake: &Intake) -> Vec<OwnedEventId> {
    match intake {
        Intake::Live(live) | Intake::Ending(live) => vec![live.pdu.event_id().to_owned()],
        Intake::Outlier(pdu) => vec![pdu.event_id().to_owned()],
        Intake::Past(past) => {
            let ids = past.events.iter().map(|pdu| pdu.event_id().to_owned());
            ids.collect()
        }
        Intake::State(_) | Intake::Drop(_) | Intake::Import(_) => Vec::new(),
    }
}
