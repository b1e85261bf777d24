//! Invites across servers: ours to users elsewhere, theirs to users here.

use hearth_data::accounts::account_data::blocks_invites;
use hearth_data::accounts::users;
use hearth_event::canonical::{self, Object, Strictness, Value};
use hearth_event::join::check_create;
use hearth_event::{Pdu, RoomVersion, Verdict, client, cosign};
use hearth_ports::remote::Invite;
use ruma::events::room::member::MembershipState;
use ruma::{EventId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use super::check::{KeySource, Refused};
use super::fetch::Gap;
use super::import::Step;
use super::intake::Site;
use crate::membership::MemberAsk;
use crate::queue::submit;
use crate::read::list;
use crate::stage::Intent;
use crate::stage::admit::{Intake, Live, Taken};
use crate::{Error, Result, Rider, Rooms};

/// Most events that are shown to an invited user.
const STRIPPED_MAX: usize = 100;

/// An invite as another server sends it.
#[derive(Clone, Debug)]
pub struct InviteIn<'a> {
    /// The room's version.
    pub version: &'a str,
    /// The event, signed by the inviting server.
    pub event: &'a RawValue,
    /// State for the invited user: events in federation format, from old servers stripped ones.
    pub state: Vec<Box<RawValue>>,
}

impl Rooms {
    /// An invite of one of our users by another server. Answers the event with our signature.
    pub async fn accept_invite(
        &self,
        origin: &ServerName,
        room_id: &RoomId,
        event_id: &EventId,
        invite: InviteIn<'_>,
    ) -> Result<Box<RawValue>> {
        let version = RoomVersion::parse(invite.version)
            .ok_or_else(|| Error::IncompatibleVersion(invite.version.to_owned()))?;
        let place = (version, room_id);
        let pdu = self
            .checked_invite(place, origin, event_id, invite.event)
            .await?;
        check_invite_state(place, &invite.state)?;
        let signed = cosign(&pdu, &self.0.settings.key, self.server_name())
            .map_err(|error| Error::BadEvent(error.to_string()))?;
        let room = self.known_room(room_id, version).await?;
        if self.is_here(room).await? {
            let site = Site {
                room,
                room_id: room_id.to_owned(),
                version,
            };
            self.take_invite(&site, origin, &signed).await?;
        } else {
            let user = UserId::parse(pdu.state_key().unwrap_or_default())
                .map_err(|_| Error::BadEvent("nobody is invited".to_owned()))?;
            let step = Step::Outside {
                user,
                membership: MembershipState::Invite,
                stripped_state: Some(stripped_for_client(place, &invite.state, &signed)),
                event: Some(signed.clone()),
                ended: None,
            };
            self.take_in(room, Intake::Import(Box::new(step))).await?;
        }
        Ok(client::federation(&signed))
    }

    /// An invite into a room in which we are: an event like any other, which the inviting server sends to the others.
    async fn take_invite(&self, site: &Site, origin: &ServerName, pdu: &Pdu) -> Result<()> {
        let mut live = Live {
            pdu: self.ask_policy(site, pdu.clone()).await?,
            after_gap: None,
            inbox: None,
            relay_from: None,
            is_judged: true,
        };
        let mut taken = self.take_in(site.room, Intake::Live(live.clone())).await?;
        if let Taken::Missing(_) = taken {
            live.after_gap = self
                .fetch_references(site, origin, (pdu, Gap::Allowed))
                .await?;
            taken = self.take_in(site.room, Intake::Live(live)).await?;
        }
        match taken {
            Taken::Decided {
                verdict: Verdict::Rejected(error) | Verdict::SoftFailed(error),
                ..
            } => Err(Error::Forbidden(error)),
            _ => Ok(()),
        }
    }

    async fn checked_invite(
        &self,
        place: (RoomVersion, &RoomId),
        origin: &ServerName,
        event_id: &EventId,
        event: &RawValue,
    ) -> Result<Pdu> {
        let bad = |why: &str| Error::BadEvent(why.to_owned());
        let texts = [event.get().as_bytes()];
        let pdu = match self.check(place, &texts, KeySource::Network).await.pop() {
            Some(Ok(pdu)) => pdu,
            Some(Err(Refused::Bad(error))) => return Err(Error::BadEvent(error.to_string())),
            Some(Err(Refused::OtherRoom)) | None => {
                return Err(bad("the event is of another room"));
            }
        };
        if pdu.event_id() != event_id {
            return Err(bad("the event has another id"));
        }
        if !pdu.is_intact() {
            return Err(bad("the event's content is not what was hashed"));
        }
        if crate::content::membership(&pdu) != Some(MembershipState::Invite) {
            return Err(bad("the event is no invite"));
        }
        if pdu.sender().server_name() != origin {
            return Err(Error::Denied);
        }
        let Some(("m.room.member", user)) = pdu.state_key_pair() else {
            return Err(bad("the event is no invite"));
        };
        let is_local = UserId::parse(user).is_ok_and(|user| self.0.is_local(&user));
        let snapshot = self.snapshot().await?;
        if !is_local || users::user(&*snapshot, user).await?.is_none() {
            return Err(Error::Refused("there is no such user here"));
        }
        if blocks_invites(&*snapshot, user).await? {
            return Err(Error::InviteBlocked);
        }
        Ok(pdu)
    }

    /// Invites a user of another server: her server signs the event before it is part of the room.
    pub(crate) async fn invite_over(
        &self,
        room: hearth_data::RoomNo,
        ask: &MemberAsk,
        rider: Rider,
    ) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let mut stage = self.scratch(&*snapshot, room).await?;
        let mut decided = crate::membership::decide(&mut stage, ask).await;
        if let Err(Error::Unsigned(unsigned)) = &decided {
            stage.signed = Some(crate::policy::signed(&self.0, unsigned).await?);
            decided = crate::membership::decide(&mut stage, ask).await;
        }
        let Some(event_id) = decided? else {
            return Ok(());
        };
        let Some(found) = stage.found(&event_id).await? else {
            return Err(Error::NoSuchEvent);
        };
        let state = super::outsiders::invite_state(&mut stage, &found.pdu).await?;
        let version = stage.view.version;
        drop(stage);
        let pdu = found.pdu;
        let event = client::federation(&pdu);
        let invite = Invite {
            room_id: pdu.room_id(),
            event_id: pdu.event_id(),
            room_version: version.as_str(),
            event: &event,
            state: &state,
        };
        let answer = self
            .remote()
            .invite(ask.target.server_name(), invite)
            .await?;
        let signed = with_signatures_of(&pdu, &answer);
        let live = Live {
            pdu: signed,
            after_gap: None,
            inbox: None,
            relay_from: None,
            is_judged: true,
        };
        let intent = Intent::Intake(Box::new(Intake::Live(live)));
        let outcome = submit(&self.0, room, intent, rider).await?;
        match outcome.taken {
            Some(Taken::Decided {
                verdict: Verdict::Rejected(error) | Verdict::SoftFailed(error),
                ..
            }) => Err(Error::Forbidden(error)),
            _ => Ok(()),
        }
    }
}

/// Our event with the signatures that came back; nothing else of the answer is taken.
fn with_signatures_of(own: &Pdu, answer: &RawValue) -> Pdu {
    let theirs = canonical::parse_object(answer.get().as_bytes(), Strictness::Lenient);
    let signatures = |event: &Object| match event.get("signatures") {
        Some(Value::Object(signatures)) => signatures.clone(),
        _ => Object::new(),
    };
    let mut event = own.to_object();
    let mut merged = theirs.as_ref().map(signatures).unwrap_or_default();
    merged.extend(signatures(&event));
    event.insert("signatures".to_owned(), Value::Object(merged));
    let text = canonical::to_string(&event);
    match Pdu::parse(own.version(), text.as_bytes()) {
        Ok(pdu) if pdu.event_id() == own.event_id() => pdu,
        _ => own.clone(),
    }
}

/// The create event among the state must be the room's; from version 12 on it has to be there, in full.
fn check_invite_state(place: (RoomVersion, &RoomId), state: &[Box<RawValue>]) -> Result<()> {
    let (version, _) = place;
    let is_needed = version
        .rules()
        .authorization
        .room_create_event_id_as_room_id;
    for event in state.iter().take(STRIPPED_MAX) {
        let object = canonical::parse_object(event.get().as_bytes(), Strictness::Lenient);
        let Ok(object) = object else {
            return Err(Error::BadEvent("the state is malformed".to_owned()));
        };
        if object.get("type").and_then(Value::as_str) != Some("m.room.create") {
            continue;
        }
        let is_full = object.contains_key("auth_events") && object.contains_key("signatures");
        if !is_full && !is_needed {
            return Ok(());
        }
        let create = Pdu::parse(version, event.get().as_bytes())
            .map_err(|error| Error::BadEvent(error.to_string()))?;
        return check_create(version, place.1, &create)
            .map_err(|error| Error::BadEvent(error.to_string()));
    }
    match is_needed {
        true => Err(Error::MissingCreate),
        false => Ok(()),
    }
}

/// What a client is shown of a room with an invite or knock: of each event the four fields that stripped state has, of
/// the create event all, and the member event itself. A JSON array.
pub(crate) fn stripped_for_client(
    (version, room_id): (RoomVersion, &RoomId),
    state: &[Box<RawValue>],
    member: &Pdu,
) -> String {
    let events = state.iter().take(STRIPPED_MAX).filter_map(|event| {
        if let Ok(pdu) = Pdu::parse(version, event.get().as_bytes())
            && pdu.is_state()
            && (pdu.room_id() == room_id)
        {
            return Some(client::stripped(&pdu));
        }
        stripped_fields(event)
    });
    list(events.chain([client::stripped(member)]))
}

fn stripped_fields(event: &RawValue) -> Option<Box<RawValue>> {
    let object = canonical::parse_object(event.get().as_bytes(), Strictness::Lenient).ok()?;
    let mut kept = Object::new();
    for field in ["content", "sender", "state_key", "type"] {
        kept.insert(field.to_owned(), object.get(field)?.clone());
    }
    let is_event = kept["content"].as_object().is_some()
        && kept["sender"].as_str().is_some()
        && kept["state_key"].as_str().is_some()
        && kept["type"].as_str().is_some();
    if let Some(ts) = object.get("origin_server_ts") {
        kept.insert("origin_server_ts".to_owned(), ts.clone());
    }
    RawValue::from_string(canonical::to_string(&kept))
        .ok()
        .filter(|_| is_event)
}
