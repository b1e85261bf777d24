//! Other servers' users who join, leave and knock through us: their events are checked, decided like any other, and sent
//! on to the rest of the room.

use hearth_data::{EventNo, RoomNo, StateId, timeline};
use hearth_event::canonical::Value;
use hearth_event::{Pdu, Verdict, client, cosign};
use ruma::events::room::member::MembershipState;
use ruma::{EventId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use super::check::{KeySource, Refused};
use super::fetch::Gap;
use super::intake::Site;
use crate::stage::Stage;
use crate::stage::admit::{Intake, Live, Taken};
use crate::view::RoomView;
use crate::{Error, Result, Rooms};

/// A join that was let in.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The room.
    pub room: RoomNo,
    /// The join as it is kept, with our signature where we let the user in by a restricted rule.
    pub event: Box<RawValue>,
    /// The state before it.
    pub before: StateId,
}

impl Rooms {
    /// A join of another server's user (`send_join`).
    pub async fn accept_join(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<Accepted> {
        let site = self.resident_site(room_id, origin).await?;
        let claim = (event_id, MembershipState::Join);
        let pdu = self.checked_member(&site, origin, claim, event).await?;
        let number = self.accept(&site, origin, (&pdu, Some(origin))).await?;
        let snapshot = self.snapshot().await?;
        let row = timeline::event(&*snapshot, site.room, number).await?;
        let (_, row) = row.ok_or(Error::NoSuchEvent)?;
        Ok(Accepted {
            room: site.room,
            event: client::federation(&pdu),
            before: row.state_before,
        })
    }

    /// A leave of another server's user, also of an invite or a knock (`send_leave`).
    pub async fn accept_leave(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<()> {
        let site = self.resident_site(room_id, origin).await?;
        let claim = (event_id, MembershipState::Leave);
        let pdu = self.checked_member(&site, origin, claim, event).await?;
        self.accept(&site, origin, (&pdu, Some(origin))).await?;
        Ok(())
    }

    /// A knock of another server's user (`send_knock`). Answers stripped state, a JSON array.
    pub async fn accept_knock(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<String> {
        let site = self.resident_site(room_id, origin).await?;
        let claim = (event_id, MembershipState::Knock);
        let pdu = self.checked_member(&site, origin, claim, event).await?;
        self.accept(&site, origin, (&pdu, Some(origin))).await?;
        let snapshot = self.snapshot().await?;
        let mut stage = self.scratch(&*snapshot, site.room).await?;
        let state = crate::membership::stripped_state(&mut stage, &pdu).await?;
        Ok(state.text().to_owned())
    }

    /// A room that users of this server are in and whose state is known, if its access list permits a server that has
    /// something for it.
    pub(crate) async fn resident_site(
        &self,
        room_id: &RoomId,
        origin: &ServerName,
    ) -> Result<Site> {
        let room = self.number(room_id).await?;
        let snapshot = self.snapshot().await?;
        let is_partial = hearth_data::partial::partial(&*snapshot, room)
            .await?
            .is_some();
        let look = self.look(snapshot, room).await?.ok_or(Error::NoSuchRoom)?;
        if look.head.joined_local == 0 {
            return Err(Error::NoSuchRoom);
        }
        if is_partial {
            return Err(Error::NotYet);
        }
        if !look.permits(origin).await? {
            return Err(Error::Denied);
        }
        Ok(Site {
            room,
            room_id: room_id.to_owned(),
            version: look.version,
        })
    }

    /// A stage on the room as it is, to read from and try on; nothing of it is committed.
    pub(crate) async fn scratch<'a>(
        &'a self,
        snapshot: &'a dyn hearth_store::Snapshot,
        room: RoomNo,
    ) -> Result<Stage<'a>> {
        let head = hearth_data::rooms::head(snapshot, room)
            .await?
            .ok_or(Error::NoSuchRoom)?;
        let view = RoomView::new(room, head)?;
        Ok(Stage::new(&self.0, snapshot, view))
    }

    /// A member event of the calling server's own user, with all signatures.
    async fn checked_member(
        &self,
        site: &Site,
        origin: &ServerName,
        (event_id, membership): (&EventId, MembershipState),
        event: &RawValue,
    ) -> Result<Pdu> {
        let bad = |why: &str| Error::BadEvent(why.to_owned());
        let mut pdu = Pdu::parse(site.version, event.get().as_bytes())
            .map_err(|error| Error::BadEvent(error.to_string()))?;
        if pdu.event_id() != event_id {
            return Err(bad("the event has another id"));
        }
        if pdu.room_id() != site.room_id {
            return Err(bad("the event is of another room"));
        }
        if pdu.state_key_pair() != Some(("m.room.member", pdu.sender().as_str())) {
            return Err(bad("the event is not a user's own member event"));
        }
        if crate::content::membership(&pdu) != Some(membership.clone()) {
            return Err(bad("the event is of another membership"));
        }
        if pdu.sender().server_name() != origin {
            return Err(Error::Denied);
        }
        if membership == MembershipState::Join {
            pdu = self.let_in(site, pdu).await?;
        }
        let place = (site.version, &*site.room_id);
        let texts = [&pdu.json()[..]];
        match self.check(place, &texts, KeySource::Network).await.pop() {
            Some(Ok(pdu)) if pdu.is_intact() => Ok(pdu),
            Some(Ok(_)) => Err(bad("the event's content is not what was hashed")),
            Some(Err(Refused::Bad(error))) => Err(Error::BadEvent(error.to_string())),
            Some(Err(Refused::OtherRoom)) | None => Err(bad("the event is of another room")),
        }
    }

    /// Adds our signature to a join that one of our users shall let in, after a look at whether that is so.
    async fn let_in(&self, site: &Site, pdu: Pdu) -> Result<Pdu> {
        let content = pdu.content_object();
        let authoriser = content
            .get("join_authorised_via_users_server")
            .and_then(Value::as_str)
            .and_then(|user| UserId::parse(user).ok());
        let Some(_) = authoriser.filter(|user| self.0.is_local(user)) else {
            return Ok(pdu);
        };
        if !site.version.rules().authorization.restricted_join_rule {
            return Ok(pdu);
        }
        let snapshot = self.snapshot().await?;
        let mut stage = self.scratch(&*snapshot, site.room).await?;
        if !super::outsiders::may_enter_restricted(&mut stage, pdu.sender()).await? {
            return Err(Error::Refused(
                "the user is in none of the rooms that let in",
            ));
        }
        let signed = cosign(&pdu, &self.0.settings.key, self.server_name())
            .map_err(|error| Error::BadEvent(error.to_string()))?;
        Ok(signed)
    }

    /// Has an event decided that `origin` has; what it refers to is fetched from there. It is sent on in the name of
    /// `relay_from`, if there is one.
    pub(crate) async fn accept(
        &self,
        site: &Site,
        origin: &ServerName,
        (pdu, relay_from): (&Pdu, Option<&ServerName>),
    ) -> Result<EventNo> {
        let live = Live {
            pdu: self.ask_policy(site, pdu.clone()).await?,
            after_gap: None,
            inbox: None,
            relay_from: relay_from.map(ToOwned::to_owned),
            is_judged: true,
        };
        let mut taken = self.take_in(site.room, Intake::Live(live.clone())).await?;
        if let Taken::Missing(_) = taken {
            let after_gap = self
                .fetch_references(site, origin, (pdu, Gap::Allowed))
                .await?;
            let live = Live { after_gap, ..live };
            taken = self.take_in(site.room, Intake::Live(live)).await?;
        }
        match taken {
            Taken::Decided {
                verdict: Verdict::Accepted,
                event,
            } => Ok(event),
            Taken::Decided {
                verdict: Verdict::Rejected(error) | Verdict::SoftFailed(error),
                ..
            } => Err(Error::Forbidden(error)),
            _ => Err(Error::BadEvent(
                "the event refers to events that nobody has".to_owned(),
            )),
        }
    }
}
