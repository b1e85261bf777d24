//! Rooms whose events a policy server has to recommend: ours are signed by it before they are written, those of others
//! that lack its signature are shown to it, and soft-fail without (server-server API, "Policy Servers").
//!
//! A room's worker does not wait for the network. It gives an event of ours back unsigned; who submitted the request has
//! the event signed and submits it again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use hearth_data::{RoomNo, federation};
use hearth_event::{AuthError, Pdu, PolicyServer, Verdict, client, is_same_but_for_time};
use hearth_ports::remote::RemoteError;
use hearth_store::Snapshot;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::queue::{Outcome, enqueue};
use crate::read::Look;
use crate::remote::intake::Site;
use crate::stage::{Intent, Stage};
use crate::{Error, Inner, Result, Rider, Rooms};

/// How often an event is made anew because others were written while it was being signed.
const TRIES_MAX: usize = 8;
/// Most requests that wait for the events of one room to be signed.
const WAITING_MAX: usize = 64;

/// An event that is not written because the room's policy server has not signed it, and the request for it.
#[derive(Clone, Debug)]
pub struct Unsigned {
    pub(crate) event: Pdu,
    pub(crate) by: PolicyServer,
    pub(crate) ask: Option<(Intent, Rider)>,
}

/// In each room one event of ours is signed at a time: each stands on the one before.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<RoomNo, Weak<Turn<()>>>>);

impl Turns {
    fn of(&self, room: RoomNo) -> Result<Arc<Turn<()>>> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&room).and_then(Weak::upgrade) {
            return match Arc::strong_count(&turn) > WAITING_MAX {
                true => Err(Error::Busy),
                false => Ok(turn),
            };
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Turn::new(()));
        turns.insert(room, Arc::downgrade(&turn));
        Ok(turn)
    }

    /// Waits until no other event of the room is being signed. Answers whether it had to wait.
    async fn next(&self, room: RoomNo) -> Result<(OwnedMutexGuard<()>, bool)> {
        let turn = self.of(room)?;
        match turn.clone().try_lock_owned() {
            Ok(now) => Ok((now, false)),
            Err(_) => Ok((turn.lock_owned().await, true)),
        }
    }
}

/// Has an event signed and submits its request again, as often as others come in between.
pub(crate) async fn submit_signed(
    inner: &Arc<Inner>,
    room: RoomNo,
    unsigned: Unsigned,
) -> Result<Outcome> {
    let (_turn, has_waited) = inner.turns.next(room).await?;
    let (mut unsigned, mut is_old) = (unsigned, has_waited);
    for _ in 0..TRIES_MAX {
        let Some((intent, rider)) = unsigned.ask.take() else {
            break;
        };
        let signed = match std::mem::take(&mut is_old) {
            true => None,
            false => Some(signed(inner, &unsigned).await?),
        };
        match enqueue(inner, room, (intent, rider), signed).await {
            Err(Error::Unsigned(next)) => unsigned = *next,
            outcome => return outcome,
        }
    }
    Err(Error::Busy)
}

/// An event of ours with the policy server's signature.
pub(crate) async fn signed(inner: &Inner, unsigned: &Unsigned) -> Result<Pdu> {
    let Unsigned { event, by, .. } = unsigned;
    let json = client::federation(event);
    match inner
        .federation
        .remote
        .policy_sign(by.server(), &json)
        .await
    {
        Ok(answer) => by.add_answer(event, answer.get()).ok_or_else(|| {
            let what = "the room's policy server gave no valid signature";
            Error::NotRecommended(what.to_owned())
        }),
        Err(RemoteError::Refused { message, .. }) => Err(Error::NotRecommended(message)),
        Err(error) => Err(error.into()),
    }
}

impl Stage<'_> {
    /// An event of ours as it is to be written. [`Error::Unsigned`] if the room's policy server has not signed it.
    pub(crate) async fn recommended(&mut self, event: Pdu) -> Result<Pdu> {
        let policy = self.policy_server().await?;
        let Some(by) = policy.filter(|_| PolicyServer::judges(&event)) else {
            return Ok(event);
        };
        let signed = self.signed.take();
        match signed.filter(|signed| is_same_but_for_time(signed, &event)) {
            Some(signed) if by.has_signed(&signed) => Ok(signed),
            _ => Err(Error::Unsigned(Box::new(Unsigned {
                event,
                by,
                ask: None,
            }))),
        }
    }

    /// Whether the room's policy server, if it has one, recommends an event. What fills a gap was judged, if at all, when
    /// it was new.
    pub(crate) async fn is_recommended(&mut self, event: &Pdu) -> Result<bool> {
        let policy = self.policy_server().await?;
        let is_signed =
            policy.is_none_or(|by| !PolicyServer::judges(event) || by.has_signed(event));
        Ok(is_signed || self.is_awaited(event.event_id()).await?)
    }

    async fn policy_server(&mut self) -> Result<Option<PolicyServer>> {
        self.load(&[("m.room.policy", "")]).await?;
        let named = self.view.pdu("m.room.policy", "");
        let Some(policy) = named.and_then(PolicyServer::of) else {
            return Ok(None);
        };
        in_room(self.snapshot, self.room(), policy).await
    }
}

/// A verdict on an event that may not be recommended.
pub(crate) fn judged(verdict: Verdict, is_recommended: bool) -> Verdict {
    match verdict {
        Verdict::Accepted if !is_recommended => {
            let why = "the room's policy server does not recommend it";
            Verdict::SoftFailed(AuthError::new(why))
        }
        verdict => verdict,
    }
}

impl Rooms {
    /// An event of another server, with the signature of the room's policy server if that gives one now.
    pub(crate) async fn ask_policy(&self, site: &Site, event: Pdu) -> Result<Pdu> {
        let snapshot = self.snapshot().await?;
        let Some(look) = self.look(snapshot, site.room).await? else {
            return Ok(event);
        };
        let Some(by) = policy_of(&look).await? else {
            return Ok(event);
        };
        drop(look);
        if !PolicyServer::judges(&event) || by.has_signed(&event) {
            return Ok(event);
        }
        let json = client::federation(&event);
        match self.remote().policy_sign(by.server(), &json).await {
            Ok(answer) => Ok(by.add_answer(&event, answer.get()).unwrap_or(event)),
            Err(error) => {
                tracing::debug!(event.id = %event.event_id(), %error, "not recommended");
                Ok(event)
            }
        }
    }
}

async fn policy_of(look: &Look) -> Result<Option<PolicyServer>> {
    let event = look
        .state_event(look.head.state, "m.room.policy", "")
        .await?;
    let Some(policy) = event.and_then(|(event, _)| PolicyServer::of(&event)) else {
        return Ok(None);
    };
    in_room(&*look.snapshot, look.room, policy).await
}

/// A policy server, if it has a joined user in the room: otherwise it did not agree to be one.
async fn in_room(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    policy: PolicyServer,
) -> Result<Option<PolicyServer>> {
    let server = policy.server().as_str();
    let is_in = federation::is_server_in(snapshot, room, server).await?;
    Ok(is_in.then_some(policy))
}
