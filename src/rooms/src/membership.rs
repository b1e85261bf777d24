//! Joining, leaving, inviting and the like: what stands before the room's own rules.

use hearth_data::RoomNo;
use hearth_data::accounts::account_data::blocks_invites;
use hearth_data::accounts::profiles;
use hearth_data::members::UserRoomRow;
use hearth_data::row::Json;
use hearth_event::canonical::{Object, Value};
use hearth_event::{Draft, Pdu, client};
use ruma::events::room::member::MembershipState;
use ruma::{
    OwnedEventId, OwnedRoomId, OwnedServerName, OwnedUserId, RoomId, RoomOrAliasId, UserId,
};
use serde_json::value::RawValue;

use crate::queue::submit;
use crate::read::list;
use crate::remote::outsiders::pending;
use crate::restricted::{authoriser, fulfils_condition};
use crate::stage::{Intent, Stage};
use crate::{Error, Result, Rider, Rooms, content};

/// State that helps somebody who is not in the room to decide whether to join.
pub(crate) const STRIPPED: [(&str, &str); 7] = [
    ("m.room.create", ""),
    ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""),
    ("m.room.avatar", ""),
    ("m.room.name", ""),
    ("m.room.topic", ""),
    ("m.room.encryption", ""),
];

/// Fields of a member event, or of a request to join, that are not the client's to set.
const SET_BY_SERVER: [&str; 7] = [
    "avatar_url",
    "displayname",
    "is_direct",
    "join_authorised_via_users_server",
    "membership",
    "third_party_invite",
    "third_party_signed",
];

/// What somebody wants to become of a membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Join(Guest),
    Leave,
    Knock,
    Invite {
        is_direct: bool,
    },
    Kick,
    Ban,
    Unban,
    /// The member event is to say what the profile says now.
    Renew,
}

/// Whether a user who joins is a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guest {
    Yes,
    No,
}

/// A change of membership that somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct MemberAsk {
    pub(crate) action: Action,
    pub(crate) sender: OwnedUserId,
    pub(crate) target: OwnedUserId,
    pub(crate) reason: Option<String>,
    /// Further content of the member event; what the server writes itself wins.
    pub(crate) further: Object,
    /// What an identity server signed for somebody who was invited by an address and joins.
    pub(crate) third_party: Option<Object>,
}

impl MemberAsk {
    /// Of one's own membership.
    pub(crate) fn of_self(action: Action, user: &UserId, reason: Option<String>) -> Self {
        Self {
            action,
            sender: user.to_owned(),
            target: user.to_owned(),
            reason,
            further: Object::new(),
            third_party: None,
        }
    }
}

/// A change of somebody else's membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetChange {
    /// Invite.
    Invite,
    /// Remove a member, or take back an invite.
    Kick,
    /// Ban.
    Ban,
    /// Lift a ban.
    Unban,
}

impl Rooms {
    /// Joins a room by id or alias. Who is in it already stays so, without a new event.
    pub async fn join(
        &self,
        caller: &hearth_types::Caller,
        room: &RoomOrAliasId,
        reason: Option<String>,
    ) -> Result<OwnedRoomId> {
        self.join_with(caller, room, (reason, None)).await
    }

    /// [`Rooms::join`] with further content for the member event, a JSON object.
    pub async fn join_with(
        &self,
        caller: &hearth_types::Caller,
        room: &RoomOrAliasId,
        (reason, further): (Option<String>, Option<&RawValue>),
    ) -> Result<OwnedRoomId> {
        self.join_via(caller, room, &[], (reason, further)).await
    }

    /// [`Rooms::join_with`] of a room that may be on other servers only: `via` are some that may be in it.
    pub async fn join_via(
        &self,
        caller: &hearth_types::Caller,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        (reason, further): (Option<String>, Option<&RawValue>),
    ) -> Result<OwnedRoomId> {
        let guest = if caller.is_guest {
            Guest::Yes
        } else {
            Guest::No
        };
        let mut further = further
            .map(content::object)
            .transpose()?
            .unwrap_or_default();
        let third_party = match further.get("third_party_signed") {
            Some(Value::Object(signed)) => Some(signed.clone()),
            None | Some(Value::Null) => None,
            Some(_) => return Err(Error::BadContent("`third_party_signed` is not an object")),
        };
        for field in SET_BY_SERVER {
            further.remove(field);
        }
        let ask = MemberAsk {
            further,
            third_party,
            ..MemberAsk::of_self(Action::Join(guest), &caller.user, reason)
        };
        self.enter(room, via, ask).await
    }

    /// Knocks at a room.
    pub async fn knock(
        &self,
        user: &UserId,
        room: &RoomOrAliasId,
        reason: Option<String>,
    ) -> Result<OwnedRoomId> {
        self.knock_via(user, room, &[], reason).await
    }

    /// [`Rooms::knock`] at a room that may be on other servers only.
    pub async fn knock_via(
        &self,
        user: &UserId,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        reason: Option<String>,
    ) -> Result<OwnedRoomId> {
        self.enter(room, via, MemberAsk::of_self(Action::Knock, user, reason))
            .await
    }

    async fn enter(
        &self,
        room: &RoomOrAliasId,
        via: &[OwnedServerName],
        ask: MemberAsk,
    ) -> Result<OwnedRoomId> {
        let mut via = via.to_vec();
        let room_id = match <&ruma::RoomAliasId>::try_from(room) {
            Ok(alias) => {
                let (room_id, servers) = self.resolve_anywhere(alias).await?;
                via.extend(servers);
                room_id
            }
            Err(_) => RoomId::parse(room.as_str()).map_err(|_| Error::Invalid("not a room id"))?,
        };
        let here = match self.number(&room_id).await {
            Ok(room) => Some(room),
            Err(Error::NoSuchRoom) => None,
            Err(error) => return Err(error),
        };
        let is_here = match here {
            Some(room) => self.is_here(room).await?,
            None => false,
        };
        let mut ask = ask;
        if let Some(signed) = ask.third_party.take_if(|_| !is_here) {
            self.exchange_over(&room_id, &ask.target, &signed).await;
        }
        if let Some(room) = here.filter(|_| is_here) {
            match self.change_here(room, ask.clone()).await {
                // The one who invited the address is elsewhere: her server writes the invite, and sends it here.
                Err(Error::RemoteUnavailable) if ask.third_party.is_some() => {
                    if let Some(signed) = ask.third_party.take() {
                        self.exchange_over(&room_id, &ask.target, &signed).await;
                    }
                    return self.change_here(room, ask).await.map(|()| room_id);
                }
                // Nobody here can let the user in; others may.
                Err(Error::CannotAuthoriseJoin) => {
                    let servers = self.servers_of(room, 1).await?;
                    if servers.is_empty() && via.is_empty() {
                        return Err(Error::CannotAuthoriseJoin);
                    }
                }
                other => return other.map(|()| room_id),
            }
        }
        self.enter_over(&room_id, &ask, &via).await?;
        Ok(room_id)
    }

    /// Leaves a room, declines an invite or takes back a knock.
    pub async fn leave(
        &self,
        user: &UserId,
        room_id: &RoomId,
        reason: Option<String>,
    ) -> Result<()> {
        self.leave_with(user, room_id, reason, Rider::new()).await
    }

    /// Invites, kicks, bans or unbans somebody.
    pub async fn change_other(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        (change, target): (TargetChange, &UserId),
        reason: Option<String>,
    ) -> Result<()> {
        let change = (change, target, reason);
        self.change_other_with(sender, room_id, change, Rider::new())
            .await
    }

    /// [`Rooms::change_other`] with rows of the caller's own in the same commit.
    pub async fn change_other_with(
        &self,
        sender: &UserId,
        room_id: &RoomId,
        (change, target, reason): (TargetChange, &UserId, Option<String>),
        rider: Rider,
    ) -> Result<()> {
        let room = self.number(room_id).await?;
        let ask = MemberAsk {
            action: match change {
                TargetChange::Invite => Action::Invite { is_direct: false },
                TargetChange::Kick => Action::Kick,
                TargetChange::Ban => Action::Ban,
                TargetChange::Unban => Action::Unban,
            },
            sender: sender.to_owned(),
            target: target.to_owned(),
            reason,
            further: Object::new(),
            third_party: None,
        };
        self.change_member(room, ask, rider).await
    }

    /// Forgets a room that was left: it is never shown to the user again, until the next invite or join.
    pub async fn forget(&self, user: &UserId, room_id: &RoomId) -> Result<()> {
        let room = self.number(room_id).await?;
        submit(&self.0, room, Intent::Forget(user.to_owned()), Rider::new()).await?;
        Ok(())
    }

    /// Whether the current state says anything of a user's membership. The server of whoever invited her may have got no
    /// answer, and have forgotten the invite that is shown to her here.
    async fn is_mentioned(&self, room: RoomNo, user: &UserId) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let Some(look) = self.look(snapshot, room).await? else {
            return Ok(false);
        };
        let states = look.states();
        let found = states.lookup(look.head.state, "m.room.member", user.as_str());
        Ok(found.await?.is_some())
    }

    /// A change that is decided here.
    pub(crate) async fn change_here(&self, room: RoomNo, ask: MemberAsk) -> Result<()> {
        submit(&self.0, room, Intent::Member(Box::new(ask)), Rider::new()).await?;
        Ok(())
    }

    pub(crate) async fn change_member(
        &self,
        room: RoomNo,
        ask: MemberAsk,
        rider: Rider,
    ) -> Result<()> {
        match ask.action {
            Action::Invite { .. } if !self.0.is_local(&ask.target) => {
                return self.invite_over(room, &ask, rider).await;
            }
            Action::Leave => {
                let snapshot = self.snapshot().await?;
                let pending = pending(&*snapshot, room, &ask.target).await?;
                drop(snapshot);
                if let Some(room_id) = pending {
                    if !self.is_here(room).await? {
                        return self.enter_over(&room_id, &ask, &[]).await;
                    }
                    if !self.is_mentioned(room, &ask.target).await? {
                        return self.leave_alone(&room_id, &ask).await;
                    }
                }
            }
            _ => {}
        }
        submit(&self.0, room, Intent::Member(Box::new(ask)), rider).await?;
        Ok(())
    }
}

/// Decides a change of membership. `None` if there is nothing to do.
pub(crate) async fn decide(stage: &mut Stage<'_>, ask: &MemberAsk) -> Result<Option<OwnedEventId>> {
    stage
        .load(&[
            ("m.room.create", ""),
            ("m.room.member", ask.target.as_str()),
            ("m.room.member", ask.sender.as_str()),
        ])
        .await?;
    if let Some(signed) = &ask.third_party {
        crate::third_party::invite(stage, &ask.target, signed).await?;
    }
    let current = stage
        .view
        .pdu("m.room.member", ask.target.as_str())
        .cloned();
    let membership = current.as_ref().and_then(content::membership);
    if let Some(done) = check(ask, membership.as_ref())? {
        return Ok(match done {
            Checked::AsItIs => current.map(|event| event.event_id().to_owned()),
            Checked::Nothing => None,
        });
    }
    let content = match ask.action {
        Action::Join(guest) => join_content(stage, ask, (guest, membership)).await?,
        Action::Renew => match renewed(stage, &ask.target, current.as_ref()).await? {
            Some(content) => content,
            None => return Ok(None),
        },
        Action::Knock => with_profile(stage, &ask.target, member(MembershipState::Knock)).await?,
        Action::Invite { is_direct } => {
            check_invitable(stage, &ask.target).await?;
            let mut content = member(MembershipState::Invite);
            if is_direct {
                content.insert("is_direct".to_owned(), Value::Bool(true));
            }
            with_profile(stage, &ask.target, content).await?
        }
        Action::Ban => member(MembershipState::Ban),
        Action::Leave | Action::Kick | Action::Unban => member(MembershipState::Leave),
    };
    let mut content = with_reason(content, ask);
    for (field, value) in &ask.further {
        content
            .entry(field.clone())
            .or_insert_with(|| value.clone());
    }
    if let Some(current) = current
        && current.sender() == ask.sender
        && current.content_object() == content
    {
        return Ok(Some(current.event_id().to_owned()));
    }
    let draft = Draft {
        sender: ask.sender.clone(),
        kind: "m.room.member".to_owned(),
        state_key: Some(ask.target.to_string()),
        content: content::raw(&content)?,
        redacts: None,
    };
    stage.write(&draft, None).await.map(Some)
}

/// Refuses to invite a local user who wants no invites.
pub(crate) async fn check_invitable(stage: &Stage<'_>, user: &UserId) -> Result<()> {
    match stage.inner.is_local(user) && blocks_invites(stage.snapshot, user.as_str()).await? {
        true => Err(Error::InviteBlocked),
        false => Ok(()),
    }
}

enum Checked {
    /// It is so already; the event that says so is the answer.
    AsItIs,
    /// There is nothing to do.
    Nothing,
}

/// What the room's rules do not say. `Ok(None)` to go on.
fn check(ask: &MemberAsk, membership: Option<&MembershipState>) -> Result<Option<Checked>> {
    use MembershipState::{Ban, Invite, Join, Knock, Leave};
    let is_pending_or_in = matches!(membership, Some(Join | Invite | Knock));
    match (ask.action, membership) {
        (Action::Join(_), Some(Join)) => Ok(Some(Checked::AsItIs)),
        (Action::Leave, Some(Leave)) => Ok(Some(Checked::AsItIs)),
        (Action::Leave, None) => Err(Error::NotInRoom),
        (Action::Renew, membership) if membership != Some(&Join) => Ok(Some(Checked::Nothing)),
        (Action::Invite { .. }, Some(Join)) => Err(Error::AlreadyJoined),
        (Action::Kick, _) if !is_pending_or_in => Err(Error::TargetNotInRoom),
        (Action::Unban, membership) if membership != Some(&Ban) => {
            Err(Error::Refused("the user is not banned"))
        }
        _ => Ok(None),
    }
}

pub(crate) fn member(membership: MembershipState) -> Object {
    Object::from([("membership".to_owned(), membership.as_str().into())])
}

fn with_reason(mut content: Object, ask: &MemberAsk) -> Object {
    if let Some(reason) = &ask.reason {
        content.insert("reason".to_owned(), reason.as_str().into());
    }
    content
}

/// Adds what a local user's profile says.
pub(crate) async fn with_profile(
    stage: &Stage<'_>,
    user: &UserId,
    mut content: Object,
) -> Result<Object> {
    if stage.inner.is_local(user) {
        add_profile(stage.snapshot, user, &mut content).await?;
    }
    Ok(content)
}

/// Puts what a user's profile says into the content of a member event.
pub(crate) async fn add_profile(
    snapshot: &dyn hearth_store::Snapshot,
    user: &UserId,
    content: &mut Object,
) -> Result<()> {
    if let Some(profile) = profiles::profile(snapshot, user.as_str()).await? {
        let fields = [
            ("displayname", profile.displayname()),
            ("avatar_url", profile.avatar_url()),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                content.insert(field.to_owned(), value.into());
            }
        }
    }
    Ok(())
}

/// The content of a member event with the profile of now; `None` if it says so already.
async fn renewed(
    stage: &Stage<'_>,
    user: &UserId,
    current: Option<&Pdu>,
) -> Result<Option<Object>> {
    let Some(current) = current else {
        return Ok(None);
    };
    let before = current.content_object();
    let mut content = before.clone();
    for field in ["displayname", "avatar_url", "reason", "is_direct"] {
        content.remove(field);
    }
    let content = with_profile(stage, user, content).await?;
    let says =
        |content: &Object| ["displayname", "avatar_url"].map(|field| content.get(field).cloned());
    Ok((says(&content) != says(&before)).then_some(content))
}

async fn join_content(
    stage: &mut Stage<'_>,
    ask: &MemberAsk,
    (guest, membership): (Guest, Option<MembershipState>),
) -> Result<Object> {
    stage
        .load(&[
            ("m.room.join_rules", ""),
            ("m.room.power_levels", ""),
            ("m.room.guest_access", ""),
        ])
        .await?;
    let guest_access = stage
        .view
        .pdu("m.room.guest_access", "")
        .and_then(|event| content::text(event, "guest_access"));
    if guest == Guest::Yes && guest_access.as_deref() != Some("can_join") {
        return Err(Error::Refused("guests cannot join this room"));
    }
    let mut content = with_profile(stage, &ask.target, member(MembershipState::Join)).await?;
    let rule = stage.view.pdu("m.room.join_rules", "").cloned();
    let is_restricted = rule
        .as_ref()
        .and_then(|event| content::text(event, "join_rule"))
        .is_some_and(|rule| rule == "restricted" || rule == "knock_restricted");
    if let Some(rule) = rule.filter(|_| is_restricted)
        && membership != Some(MembershipState::Invite)
    {
        if !fulfils_condition(stage.snapshot, &ask.target, &rule).await? {
            return Err(Error::Refused(
                "you are in none of the rooms that let you in",
            ));
        }
        let authoriser = authoriser(stage).await?.ok_or(Error::CannotAuthoriseJoin)?;
        let field = "join_authorised_via_users_server".to_owned();
        content.insert(field, authoriser.into());
    }
    Ok(content)
}

/// The content of the first join of a room.
pub(crate) async fn creator_join(stage: &Stage<'_>, creator: &UserId) -> Result<Box<RawValue>> {
    content::raw(&with_profile(stage, creator, member(MembershipState::Join)).await?)
}

/// What an invited or knocking user is shown of the room, with the member event itself.
pub(crate) async fn stripped_state(stage: &mut Stage<'_>, member: &Pdu) -> Result<Json> {
    let sender = member.sender().to_owned();
    let mut keys = STRIPPED.to_vec();
    keys.push(("m.room.member", sender.as_str()));
    stage.load(&keys).await?;
    let events = keys
        .iter()
        .filter(|(_, key)| Some(*key) != member.state_key())
        .filter_map(|(kind, key)| stage.view.pdu(kind, key))
        .chain([member]);
    Ok(Json::from_text(list(events.map(client::stripped))))
}

/// Marks a room as forgotten.
pub(crate) async fn forget(stage: &mut Stage<'_>, user: &UserId) -> Result<()> {
    let Some(row) = stage.user_room(user.as_str()).await? else {
        return Ok(());
    };
    if !matches!(
        row.membership,
        MembershipState::Leave | MembershipState::Ban
    ) {
        return Err(Error::StillInRoom);
    }
    if !row.forgotten {
        let forgotten = UserRoomRow {
            forgotten: true,
            ..row.clone()
        };
        stage.put_user_room(user.as_str(), &row, forgotten);
    }
    Ok(())
}
