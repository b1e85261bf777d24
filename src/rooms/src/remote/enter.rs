//! Joining, knocking and leaving over other servers: make, complete, send, check, import.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use hearth_data::partial::PartialRow;
use hearth_data::rooms::RoomHead;
use hearth_data::{EventNo, RoomNo, rooms, timeline};
use hearth_event::canonical::Object;
use hearth_event::join::{Wish, check_import, complete};
use hearth_event::{Pdu, RoomVersion, Verdict};
use hearth_ports::remote::{
    JoinAnswer, MakeMember, MemberKind, Members, Refusal, RemoteError, SendMember,
};
use hearth_store::{Batch, Durability};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedEventId, OwnedServerName, OwnedUserId, RoomAliasId, RoomId, ServerName, UserId};
use serde_json::value::RawValue;

use super::fetch::Difference;
use super::import::Step;
use super::intake::Site;
use crate::membership::{Action, MemberAsk};
use crate::stage::admit::{Intake, Taken};
use crate::{Error, Result, Rooms};

/// Most servers that are tried for one join.
const SERVERS_MAX: usize = 10;
/// How many events of a state one commit makes current: each may be a member with rows on both sides.
const ADVANCE_CHUNK: usize = 60;

/// Rooms that somebody is entering: one at a time.
#[derive(Default)]
pub(crate) struct Entering(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Entering {
    async fn claim(&self, room_id: &RoomId) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut rooms = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.retain(|_, lock| Arc::strong_count(lock) > 1);
            rooms.entry(room_id.to_string()).or_default().clone()
        };
        lock.lock_owned().await
    }
}

/// Servers that may be in a room.
pub(crate) struct Candidates {
    /// Those that were named, and that of the one who invited.
    pub(crate) named: Vec<OwnedServerName>,
    /// Those that were in it as far as is known here; if there are none of either kind, that of the room id, which need
    /// not be in it.
    pub(crate) known: Vec<OwnedServerName>,
}

impl Candidates {
    pub(crate) fn all(self) -> Vec<OwnedServerName> {
        let mut all = self.named;
        all.extend(self.known);
        all
    }
}

/// An event accepted by a resident server.
struct Sent {
    version: RoomVersion,
    event: Pdu,
}

impl Rooms {
    /// Whether users of this server are in a room, or nobody is anywhere: then it is decided here.
    pub(crate) async fn is_here(&self, room: RoomNo) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let Some(head) = rooms::head(&*snapshot, room).await? else {
            return Ok(false);
        };
        Ok(head.joined_local > 0 || head.joined == 0 && !head.extremities.is_empty())
    }

    /// Where an alias leads, asked of its server if that is another.
    pub(crate) async fn resolve_anywhere(
        &self,
        alias: &RoomAliasId,
    ) -> Result<(ruma::OwnedRoomId, Vec<OwnedServerName>)> {
        if alias.server_name() == self.server_name() {
            let target = self.resolve_alias(alias).await?;
            return Ok((target.room_id, Vec::new()));
        }
        match self.remote().alias(alias.server_name(), alias).await {
            Ok(answer) => {
                let mut servers = vec![alias.server_name().to_owned()];
                servers.extend(answer.servers);
                Ok((answer.room_id, servers))
            }
            Err(RemoteError::Refused { .. }) => Err(Error::NoSuchAlias),
            Err(error) => Err(error.into()),
        }
    }

    /// Has a change of a user's own membership done by a server that is in the room.
    pub(crate) async fn enter_over(
        &self,
        room_id: &RoomId,
        ask: &MemberAsk,
        via: &[OwnedServerName],
    ) -> Result<()> {
        let _entering = self.0.entering.claim(room_id).await;
        if let Ok(room) = self.number(room_id).await
            && matches!(ask.action, Action::Join(_))
            && self.is_here(room).await?
        {
            // Somebody else's join was first; now it is a join like any other, unless only others can let the user in.
            match self.change_here(room, ask.clone()).await {
                Err(Error::CannotAuthoriseJoin | Error::Refused(_)) => {}
                other => return other,
            }
        }
        let candidates = self.candidates(room_id, &ask.target, via).await?;
        let mut failure = Error::NoServerInRoom;
        for servers in [candidates.named, candidates.known] {
            // Who was named and refuses is not gone around: the user may want to know.
            if ask.action != Action::Leave && rank(&failure) >= REFUSED {
                break;
            }
            for server in servers.into_iter().take(SERVERS_MAX) {
                match self.enter_by(&server, room_id, ask).await {
                    Ok(()) => return Ok(()),
                    Err(error @ (Error::Stopping | Error::Store(_))) => return Err(error),
                    Err(error) => {
                        tracing::debug!(%server, room.id = %room_id, error = error.chain(), "not entered");
                        failure = graver(failure, error);
                    }
                }
            }
        }
        if ask.action == Action::Leave {
            return self.leave_alone(room_id, ask).await;
        }
        Err(failure)
    }

    /// Servers that may be in a room.
    pub(crate) async fn candidates(
        &self,
        room_id: &RoomId,
        user: &UserId,
        via: &[OwnedServerName],
    ) -> Result<Candidates> {
        let (mut named, mut known) = (via.to_vec(), Vec::new());
        if let Ok(room) = self.number(room_id).await {
            named.extend(self.inviter(room, user).await?);
            known = self.servers_of(room, SERVERS_MAX).await?;
        }
        if named.is_empty() && known.is_empty() {
            known.extend(room_id.server_name().map(ToOwned::to_owned));
        }
        let mut seen = HashSet::new();
        for servers in [&mut named, &mut known] {
            servers.retain(|server| server != self.server_name() && seen.insert(server.clone()));
        }
        Ok(Candidates { named, known })
    }

    /// The server of whoever sent the user's last member event.
    async fn inviter(&self, room: RoomNo, user: &UserId) -> Result<Option<OwnedServerName>> {
        let event = self.last_member_event(room, user).await?;
        Ok(event.map(|pdu| pdu.sender().server_name().to_owned()))
    }

    async fn enter_by(&self, server: &ServerName, room_id: &RoomId, ask: &MemberAsk) -> Result<()> {
        match ask.action {
            Action::Join(_) => {
                let sent = self.made(server, room_id, (ask, MemberKind::Join)).await?;
                self.join_by(server, sent).await
            }
            Action::Knock => {
                let sent = self.made(server, room_id, (ask, MemberKind::Knock)).await?;
                self.knock_by(server, sent).await
            }
            _ => {
                let sent = self.made(server, room_id, (ask, MemberKind::Leave)).await?;
                self.leave_by(server, sent).await
            }
        }
    }

    /// Our event, made where the resident server says.
    async fn made(
        &self,
        server: &ServerName,
        room_id: &RoomId,
        (ask, kind): (&MemberAsk, MemberKind),
    ) -> Result<Sent> {
        let versions: Vec<&str> = crate::supported_versions().collect();
        let make = MakeMember {
            kind,
            room_id,
            user: &ask.target,
            versions: &versions,
        };
        let template = match self.remote().make_member(server, make).await {
            Ok(template) => template,
            Err(RemoteError::Refused {
                reason: Refusal::IncompatibleVersion(version),
                ..
            }) => return Err(Error::UnsupportedVersion(version)),
            Err(error) => return Err(error.into()),
        };
        let version = template.room_version.as_deref().unwrap_or("1");
        let version = RoomVersion::parse(version)
            .ok_or_else(|| Error::UnsupportedVersion(version.to_owned()))?;
        let wish = Wish {
            room_id,
            user: &ask.target,
            membership: kind.as_str(),
            content: self.own_content(ask, kind).await?,
            now: self.0.clock.now(),
            key: &self.0.settings.key,
            server_name: self.server_name(),
        };
        let event = complete(version, template.event.get(), &wish)
            .map_err(|error| RemoteError::Malformed(error.to_string()))?;
        Ok(Sent { version, event })
    }

    async fn own_content(&self, ask: &MemberAsk, kind: MemberKind) -> Result<Object> {
        let mut content = ask.further.clone();
        if kind != MemberKind::Leave {
            let snapshot = self.snapshot().await?;
            crate::membership::add_profile(&*snapshot, &ask.target, &mut content).await?;
        }
        if let Some(reason) = &ask.reason {
            content.insert("reason".to_owned(), reason.as_str().into());
        }
        Ok(content)
    }

    async fn join_by(&self, server: &ServerName, sent: Sent) -> Result<()> {
        let room_id = sent.event.room_id().to_owned();
        let json = hearth_event::client::federation(&sent.event);
        let send = SendMember {
            room_id: &room_id,
            event_id: sent.event.event_id(),
            event: &json,
        };
        let answer = self.remote().send_join(server, send, Members::Omit).await?;
        let place = (sent.version, &*room_id);
        let join = self.signed_join(place, &sent.event, &answer).await?;
        if let Some(site) = self.site_within(&room_id).await? {
            // We are in it, and its state is known here. Only the join is new.
            self.accept(&site, server, (&join, None)).await?;
            return Ok(());
        }
        let mut events = answer.state;
        let state_count = events.len();
        events.extend(answer.auth_chain);
        let (state, chain) = self.answered(place, (events, state_count)).await;
        check_import(place, &join, &state, &chain)
            .map_err(|error| RemoteError::Malformed(error.to_string()))?;
        let room = self.known_room(&room_id, sent.version).await?;
        let site = Site {
            room,
            room_id: room_id.clone(),
            version: sent.version,
        };
        let mut ids: Vec<OwnedEventId> =
            state.iter().map(|pdu| pdu.event_id().to_owned()).collect();
        if answer.members_omitted {
            ids.extend(self.members_named(&join, (&state, &chain)).await?);
        }
        let mut all = chain;
        all.extend(state);
        self.keep_outliers(&site, all).await?;
        let mut gone = self
            .advance_to(&site, (ids, answer.members_omitted))
            .await?;
        gone.retain(|user| user != join.sender());
        let partial = answer
            .members_omitted
            .then(|| partial_row(&join, server, &answer.servers_in_room));
        let is_partial = partial.is_some();
        let step = Step::Enter {
            join,
            partial: partial.map(Box::new),
        };
        match self.take_in(room, Intake::Import(Box::new(step))).await? {
            Taken::Decided {
                verdict: Verdict::Accepted,
                ..
            } => {}
            Taken::Decided {
                verdict: Verdict::Rejected(error) | Verdict::SoftFailed(error),
                ..
            } => return Err(Error::Forbidden(error)),
            other => {
                let why = format!("the join cannot be placed: {other:?}");
                return Err(RemoteError::Malformed(why).into());
            }
        }
        self.leave_again(room, gone).await;
        if is_partial {
            self.complete_later(room);
        }
        Ok(())
    }

    /// A room in which users of this server are.
    async fn site_within(&self, room_id: &RoomId) -> Result<Option<Site>> {
        let room = match self.number(room_id).await {
            Ok(room) => room,
            Err(Error::NoSuchRoom) => return Ok(None),
            Err(error) => return Err(error),
        };
        let site = self.site(room).await?;
        Ok(site
            .filter(|(_, is_within)| *is_within)
            .map(|(site, _)| site))
    }

    /// Members of the state before a join that were left out of what came of it, and that the join names: the user's own
    /// invite, whoever let her in.
    async fn members_named(
        &self,
        join: &Pdu,
        (state, chain): (&[Pdu], &[Pdu]),
    ) -> Result<Vec<OwnedEventId>> {
        let snapshot = self.snapshot().await?;
        let mut named = Vec::new();
        for id in join.auth_events() {
            let in_chain = chain.iter().find(|pdu| pdu.event_id() == id).cloned();
            let pdu = match in_chain {
                Some(pdu) => Some(pdu),
                None => match timeline::find(&*snapshot, id).await? {
                    Some(found) => timeline::event(&*snapshot, found.room, found.event)
                        .await?
                        .map(|(_, row)| timeline::pdu(join.version(), join.room_id(), &row))
                        .transpose()?,
                    None => None,
                },
            };
            let Some(("m.room.member", user)) = pdu.as_ref().and_then(Pdu::state_key_pair) else {
                continue;
            };
            if !state.iter().any(|pdu| pdu.is("m.room.member", user)) {
                named.push(id.clone());
            }
        }
        Ok(named)
    }

    /// The join as it is to be kept: with the resident's signature where it has to let us in.
    async fn signed_join(
        &self,
        place: (RoomVersion, &RoomId),
        own: &Pdu,
        answer: &JoinAnswer,
    ) -> Result<Pdu> {
        let events = answer.event.as_slice();
        let checked = self.verified(place, events).await;
        let signed = checked
            .into_iter()
            .find(|pdu| pdu.event_id() == own.event_id() && pdu.is_intact());
        if let Some(signed) = signed {
            return Ok(signed);
        }
        let field = "join_authorised_via_users_server";
        let is_restricted = place.0.rules().authorization.restricted_join_rule;
        if is_restricted && own.content_object().contains_key(field) {
            let why = "the join is not signed by the server that lets the user in";
            return Err(RemoteError::Malformed(why.to_owned()).into());
        }
        Ok(own.clone())
    }

    /// The checked events of a state and of its auth chain.
    async fn answered(
        &self,
        place: (RoomVersion, &RoomId),
        (events, state_count): (Vec<Box<RawValue>>, usize),
    ) -> (Vec<Pdu>, Vec<Pdu>) {
        let (state, chain) = events.split_at(state_count);
        let state = self.verified(place, state).await;
        let chain = self.verified(place, chain).await;
        (state, chain)
    }

    /// The room's number. A room that is new here gets one, and a head without events.
    pub(crate) async fn known_room(
        &self,
        room_id: &RoomId,
        version: RoomVersion,
    ) -> Result<RoomNo> {
        match self.number(room_id).await {
            Err(Error::NoSuchRoom) => {}
            other => return other,
        }
        let room = RoomNo(self.0.numbers.next(&*self.0.store).await?);
        let head = RoomHead::new(room_id.to_owned(), version.id());
        // Nobody is in it yet; the commit that lets somebody in takes this one along.
        let mut batch = Batch::new();
        rooms::put_number(&mut batch, room_id, room);
        let (rows, _) = hearth_data::append::RoomBatch::new(room, None, head).finish();
        batch.append(rows);
        let batch = batch.with_durability(Durability::Buffered);
        match self.0.store.commit(batch).await {
            Ok(_) => Ok(room),
            Err(hearth_store::Error::Conflict) => self.number(room_id).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a state of known events the current one, in as many commits as it takes. Answers which users of this server it
    /// takes for joined who have left.
    async fn advance_to(
        &self,
        site: &Site,
        (ids, members_omitted): (Vec<OwnedEventId>, bool),
    ) -> Result<Vec<OwnedUserId>> {
        let snapshot = self.snapshot().await?;
        let look = self.look(snapshot, site.room).await?;
        let look = look.ok_or(Error::NoSuchRoom)?;
        let mut difference = self
            .difference_to(&look, (ids, None), look.head.state)
            .await?;
        if members_omitted {
            self.keep_ours(&look, &mut difference).await?;
        }
        let gone = self.gone(&look, &difference).await?;
        drop(look);
        self.advance_by((site.room, None), &difference).await?;
        Ok(gone)
    }

    pub(crate) async fn advance_by(
        &self,
        (room, unless_changed_from): (RoomNo, Option<hearth_data::StateId>),
        Difference { set, unset, .. }: &Difference,
    ) -> Result<()> {
        let mut steps: Vec<Step> = set
            .chunks(ADVANCE_CHUNK)
            .map(|set| Step::Advance {
                set: set.to_vec(),
                unset: Vec::new(),
                unless_changed_from,
            })
            .collect();
        steps.extend(unset.chunks(ADVANCE_CHUNK).map(|unset| Step::Advance {
            set: Vec::new(),
            unset: unset.to_vec(),
            unless_changed_from,
        }));
        for step in steps {
            self.take_in(room, Intake::Import(Box::new(step))).await?;
        }
        Ok(())
    }

    async fn knock_by(&self, server: &ServerName, sent: Sent) -> Result<()> {
        let json = hearth_event::client::federation(&sent.event);
        let room_id = sent.event.room_id().to_owned();
        let send = SendMember {
            room_id: &room_id,
            event_id: sent.event.event_id(),
            event: &json,
        };
        let stripped = self.remote().send_knock(server, send).await?;
        let state =
            super::invite::stripped_for_client((sent.version, &room_id), &stripped, &sent.event);
        self.outside(sent, MembershipState::Knock, Some(state))
            .await
    }

    async fn leave_by(&self, server: &ServerName, sent: Sent) -> Result<()> {
        let json = hearth_event::client::federation(&sent.event);
        let room_id = sent.event.room_id().to_owned();
        let send = SendMember {
            room_id: &room_id,
            event_id: sent.event.event_id(),
            event: &json,
        };
        self.remote().send_leave(server, send).await?;
        self.outside(sent, MembershipState::Leave, None).await
    }

    async fn outside(
        &self,
        sent: Sent,
        membership: MembershipState,
        stripped_state: Option<String>,
    ) -> Result<()> {
        let room = self.known_room(sent.event.room_id(), sent.version).await?;
        let step = Step::Outside {
            user: sent.event.sender().to_owned(),
            membership,
            event: Some(sent.event),
            stripped_state,
            ended: None,
        };
        self.take_in(room, Intake::Import(Box::new(step))).await?;
        Ok(())
    }
}

/// What is noted of a room most of whose members are still to come.
fn partial_row(join: &Pdu, resident: &ServerName, servers: &[OwnedServerName]) -> PartialRow {
    PartialRow {
        join: join.event_id().to_owned(),
        event: EventNo(0),
        state: hearth_data::StateId::EMPTY,
        resident: resident.to_string(),
        servers: servers.iter().map(ToString::to_string).collect(),
    }
}

/// From this rank on a failure is a refusal by a server that knows the room.
const REFUSED: u8 = 4;

fn rank(error: &Error) -> u8 {
    match error {
        Error::NoServerInRoom => 0,
        Error::Remote(RemoteError::Unreachable(_)) => 1,
        Error::Remote(RemoteError::Refused {
            reason: Refusal::NotFound | Refusal::NoEndpoint,
            ..
        }) => 2,
        Error::Remote(RemoteError::Malformed(_)) => 3,
        Error::Remote(RemoteError::Refused {
            reason: Refusal::CannotGrant | Refusal::CannotAuthorise,
            ..
        }) => REFUSED,
        Error::UnsupportedVersion(_) => 5,
        _ => 6,
    }
}

/// The one of two failures that says more: a refusal more than a server that is not there.
fn graver(one: Error, other: Error) -> Error {
    if rank(&other) >= rank(&one) {
        other
    } else {
        one
    }
}
