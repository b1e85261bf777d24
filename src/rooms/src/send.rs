//! Sending: message events, state events, redactions.

use std::borrow::Cow;

use hearth_data::timeline;
use hearth_data::txns::TxnKey;
use hearth_event::canonical::{Object, Value};
use hearth_event::power::creators;
use hearth_event::{Draft, RoomVersion};
use ruma::events::room::member::MembershipState;
use ruma::{EventId, OwnedEventId, RoomAliasId, RoomId};
use serde_json::value::RawValue;

use crate::queue::submit;
use crate::stage::{EventAsk, Intent, Stage, Txn};
use crate::{Error, Result, Rider, Rooms, Sender, content, relate};

/// A message event to be sent.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event type.
    pub kind: String,
    /// The content, a JSON object as the client wrote it.
    pub content: Box<RawValue>,
    /// The client's transaction id.
    pub txn_id: Option<String>,
}

/// A state event to be set.
#[derive(Clone, Debug)]
pub struct NewState {
    /// The event type.
    pub kind: String,
    /// The state key.
    pub state_key: String,
    /// The content, a JSON object as the client wrote it.
    pub content: Box<RawValue>,
}

impl Rooms {
    /// Sends a message event. A transaction id that was used before answers the first event.
    pub async fn send(
        &self,
        sender: &Sender,
        room_id: &RoomId,
        event: NewEvent,
    ) -> Result<OwnedEventId> {
        self.send_with(sender, room_id, event, Rider::new()).await
    }

    /// [`Rooms::send`] with rows of the caller's own in the same commit.
    pub async fn send_with(
        &self,
        sender: &Sender,
        room_id: &RoomId,
        event: NewEvent,
        rider: Rider,
    ) -> Result<OwnedEventId> {
        let path = |txn_id: &str| format!("send/{room_id}/{}/{txn_id}", event.kind);
        let txn = event
            .txn_id
            .as_deref()
            .map(|txn_id| txn(sender, txn_id, path(txn_id)));
        let draft = Draft {
            sender: sender.user.clone(),
            kind: event.kind,
            state_key: None,
            content: event.content,
            redacts: None,
        };
        let at = sender.at;
        self.write_event(room_id, EventAsk { draft, txn, at }, rider)
            .await
    }

    /// Sets a state event. What stands there already is answered with the event that it is.
    pub async fn put_state(
        &self,
        sender: &Sender,
        room_id: &RoomId,
        state: NewState,
    ) -> Result<OwnedEventId> {
        let draft = Draft {
            sender: sender.user.clone(),
            kind: state.kind,
            state_key: Some(state.state_key),
            content: state.content,
            redacts: None,
        };
        let ask = EventAsk {
            draft,
            txn: None,
            at: sender.at,
        };
        self.write_event(room_id, ask, Rider::new()).await
    }

    /// Redacts an event.
    pub async fn redact(
        &self,
        sender: &Sender,
        room_id: &RoomId,
        target: &EventId,
        request: RedactRequest<'_>,
    ) -> Result<OwnedEventId> {
        let RedactRequest { reason, txn_id, of } = request;
        if of == RedactOf::Herself && !self.is_by(target, &sender.user).await? {
            return Err(Error::Suspended);
        }
        let path = format!("redact/{room_id}/{target}/{txn_id}");
        let reason = reason.map(|reason| ("reason".to_owned(), reason.into()));
        let draft = Draft {
            sender: sender.user.clone(),
            kind: "m.room.redaction".to_owned(),
            state_key: None,
            content: content::raw(&reason.into_iter().collect())?,
            redacts: Some(target.to_owned()),
        };
        let ask = EventAsk {
            draft,
            txn: Some(txn(sender, txn_id, path)),
            at: None,
        };
        self.write_event(room_id, ask, Rider::new()).await
    }

    /// Whether an event is here and somebody's own.
    async fn is_by(&self, event_id: &EventId, user: &ruma::UserId) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let Some(found) = timeline::find(&*snapshot, event_id).await? else {
            return Ok(false);
        };
        let Some((_, row)) = timeline::event(&*snapshot, found.room, found.event).await? else {
            return Ok(false);
        };
        let look = self.look(snapshot, found.room).await?;
        let event = look.ok_or(Error::NoSuchRoom)?.pdu(&row)?;
        Ok(event.sender() == user)
    }

    async fn write_event(
        &self,
        room_id: &RoomId,
        ask: EventAsk,
        rider: Rider,
    ) -> Result<OwnedEventId> {
        let room = self.number(room_id).await?;
        self.0.presences.active(&ask.draft.sender);
        let intent = Intent::Event(Box::new(ask));
        submit(&self.0, room, intent, rider).await?.event()
    }
}

/// What a redaction says besides its target.
#[derive(Clone, Copy, Debug)]
pub struct RedactRequest<'a> {
    /// Why.
    pub reason: Option<&'a str>,
    /// The client's transaction id.
    pub txn_id: &'a str,
    /// Whose events may be redacted.
    pub of: RedactOf,
}

/// Whose events somebody may redact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RedactOf {
    /// As the room allows.
    #[default]
    Anybody,
    /// Only her own: she is suspended.
    Herself,
}

fn txn(sender: &Sender, txn_id: &str, path: String) -> Txn {
    let device = sender.device.as_ref().map(ToString::to_string);
    Txn {
        key: TxnKey {
            user: sender.user.to_string(),
            device: device.unwrap_or_default(),
            path,
        },
        txn_id: txn_id.to_owned(),
    }
}

/// A room has one create event, which comes with it.
pub(crate) fn check_kind(draft: &Draft) -> Result<()> {
    match draft.kind.as_str() {
        "m.room.create" => Err(Error::Invalid("the create event cannot be sent")),
        _ => Ok(()),
    }
}

/// A draft as it is to be judged: a joined user who writes her own member event needs nobody to let her in, so that what
/// the client says of it is left out.
pub(crate) async fn without_authoriser<'a>(
    stage: &mut Stage<'_>,
    draft: &'a Draft,
) -> Result<Cow<'a, Draft>> {
    const FIELD: &str = "join_authorised_via_users_server";
    let user = draft.sender.as_str();
    if draft.kind != "m.room.member" || draft.state_key.as_deref() != Some(user) {
        return Ok(Cow::Borrowed(draft));
    }
    let mut content = content::object(&draft.content)?;
    let is_join = content.get("membership").and_then(Value::as_str) == Some("join");
    if !is_join || content.remove(FIELD).is_none() {
        return Ok(Cow::Borrowed(draft));
    }
    stage.load(&[("m.room.member", user)]).await?;
    if stage.view.membership(&draft.sender) != Some(MembershipState::Join) {
        return Ok(Cow::Borrowed(draft));
    }
    Ok(Cow::Owned(Draft {
        content: content::raw(&content)?,
        ..draft.clone()
    }))
}

/// What a client may not send although the room's rules would allow it.
pub(crate) async fn check(stage: &mut Stage<'_>, draft: &Draft) -> Result<()> {
    match (draft.kind.as_str(), draft.state_key.as_deref()) {
        ("m.room.canonical_alias", Some("")) => check_aliases(stage, draft).await,
        ("m.room.power_levels", Some("")) => check_creators(stage, draft).await,
        ("m.room.redaction", None) => check_redaction(stage, draft).await,
        ("m.room.member", Some(user)) => check_member(stage, draft, user).await,
        _ => relate::check(stage, draft).await,
    }
}

/// Who wants no invites gets none this way either.
async fn check_member(stage: &mut Stage<'_>, draft: &Draft, user: &str) -> Result<()> {
    let content = content::object(&draft.content)?;
    let is_invite = content.get("membership").and_then(Value::as_str) == Some("invite");
    match ruma::UserId::parse(user) {
        Ok(user) if is_invite => crate::membership::check_invitable(stage, &user).await,
        _ => Ok(()),
    }
}

/// From version 12 on, creators have no entry in the power levels.
async fn check_creators(stage: &mut Stage<'_>, draft: &Draft) -> Result<()> {
    if stage.view.version < RoomVersion::V12 {
        return Ok(());
    }
    stage.load(&[("m.room.create", "")]).await?;
    let content = content::object(&draft.content)?;
    let users = content.get("users").and_then(Value::as_object);
    let creators = stage.view.create().map(creators).unwrap_or_default();
    let names_creator = users.is_some_and(|users| {
        creators
            .iter()
            .any(|creator| users.contains_key(creator.as_str()))
    });
    match names_creator {
        true => Err(Error::BadContent("creators cannot have a power level")),
        false => Ok(()),
    }
}

/// Aliases that are new in the event must lead to this room.
async fn check_aliases(stage: &mut Stage<'_>, draft: &Draft) -> Result<()> {
    stage.load(&[("m.room.canonical_alias", "")]).await?;
    let known = stage
        .view
        .pdu("m.room.canonical_alias", "")
        .and_then(|event| alias_names(&event.content_object()).ok())
        .unwrap_or_default();
    for alias in alias_names(&content::object(&draft.content)?)? {
        if known.contains(&alias) {
            continue;
        }
        RoomAliasId::parse(alias.as_str())
            .map_err(|_| Error::Invalid("an alias is not well-formed"))?;
        let row = hearth_data::rooms::alias(stage.snapshot, &alias).await?;
        if row.is_none_or(|row| row.room_id != stage.room_id()) {
            return Err(Error::BadAlias(alias));
        }
    }
    Ok(())
}

fn alias_names(content: &Object) -> Result<Vec<String>> {
    const NO_TEXT: Error = Error::Invalid("an alias is not a string");
    let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
    let mut names = Vec::new();
    match content.get("alias") {
        None | Some(Value::Null) => {}
        Some(alias) => names.push(text(alias).ok_or(NO_TEXT)?),
    }
    match content.get("alt_aliases") {
        None | Some(Value::Null) => {}
        Some(Value::Array(aliases)) => {
            for alias in aliases {
                names.push(text(alias).ok_or(NO_TEXT)?);
            }
        }
        Some(_) => return Err(Error::Invalid("`alt_aliases` is not a list")),
    }
    names.retain(|name| !name.is_empty());
    Ok(names)
}

/// One's own events, or with the power to redact others'. The room's rules would let all users of a server redact
/// each other's events: they trust the server with this check.
async fn check_redaction(stage: &mut Stage<'_>, draft: &Draft) -> Result<()> {
    stage
        .load(&[("m.room.create", ""), ("m.room.power_levels", "")])
        .await?;
    let may_redact = stage
        .view
        .power()
        .is_some_and(|power| power.can_redact(&draft.sender));
    if may_redact {
        return Ok(());
    }
    let in_content = || {
        let content = content::object(&draft.content).ok()?;
        let target = content.get("redacts")?.as_str()?;
        EventId::parse(target).ok()
    };
    let Some(target) = draft.redacts.clone().or_else(in_content) else {
        return Err(Error::BadContent("`redacts` is missing"));
    };
    match stage.event(&target).await? {
        Some((_, _, event)) if event.sender() == draft.sender => Ok(()),
        Some(_) => Err(Error::Refused("you may not redact others' events")),
        None => Err(Error::NoSuchEvent),
    }
}
