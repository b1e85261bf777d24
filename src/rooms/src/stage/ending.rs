//! Ends of stays that the server of the user does not hear of in the usual way: of a user of this server, where nobody
//! tells us the events before any more, and of one of another server, by somebody here.

use hearth_data::changes::Change;
use hearth_event::visibility::Membership;
use hearth_event::{Pdu, Verdict};

use super::Stage;
use crate::Result;
use crate::stage::admit::{Live, Taken};

impl Stage<'_> {
    /// Takes such an event upon the state as it is here, with a gap before it. One that this state does not allow is not
    /// decided: what allows it may still come.
    pub(crate) async fn take_ending(&mut self, live: &Live) -> Result<Taken> {
        let pdu = &live.pdu;
        let Err(missing) = self.state_before(pdu).await? else {
            return self.take_live(live).await;
        };
        let auth = match self.auth_events_of(pdu).await? {
            Ok(auth) => auth,
            Err(missing) => return Ok(Taken::Missing(missing)),
        };
        let now = self.state();
        if self.decide_live(pdu, &auth, (now, None)).await? != Verdict::Accepted {
            return Ok(Taken::Missing(missing));
        }
        let live = Live {
            after_gap: Some(now),
            ..live.clone()
        };
        self.take_live(&live).await
    }

    /// Has another server told that somebody here has made its user leave, if the user has joined all the same, by a
    /// server that had not heard of it. Nobody else would: for all who know, that server is not in the room.
    pub(super) async fn tell_expelled(&mut self, pdu: &Pdu) -> Result<()> {
        let Some((kind @ "m.room.member", user)) = pdu.state_key_pair() else {
            return Ok(());
        };
        if Membership::of(pdu) != Some(Membership::Join) {
            return Ok(());
        }
        self.load(&[(kind, user)]).await?;
        let Some(now) = self.view.known(kind, user).flatten() else {
            return Ok(());
        };
        let by = now.pdu.sender();
        let is_expelled = matches!(
            Membership::of(&now.pdu),
            Some(Membership::Leave | Membership::Ban)
        );
        if is_expelled && by != user && self.inner.is_local(by) {
            let (room, event) = (self.room(), now.event);
            self.batch.record(Change::Expelled { room, event });
        }
        Ok(())
    }
}
