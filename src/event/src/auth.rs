//! Auth event selection and the authorization rules of room versions 1 to 12.
//!
//! Own code rather than `ruma-state-res`, which is "best effort" for versions 1 to 5 and reads each content anew for
//! every rule; it serves as the second implementation in the tests. The rules are those under "Authorization rules" of
//! each room version; comments give the numbers of version 12.

mod member;
mod power_levels;

use std::collections::HashSet;

use ruma::{EventId, OwnedEventId, UserId};

use crate::build::Draft;
use crate::canonical::{self, Object, Strictness, Value};
use crate::{Pdu, PowerLevels, RoomVersion, UserLevel};

/// The authorization rule that an event breaks, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AuthError(String);

impl AuthError {
    /// A rule in words.
    pub fn new(rule: impl Into<String>) -> Self {
        Self(rule.into())
    }
}

fn reject<T>(rule: impl Into<String>) -> Result<T, AuthError> {
    Err(AuthError::new(rule))
}

/// What selection of auth events looks at.
#[derive(Clone, Copy, Debug)]
pub struct EventFields<'a> {
    /// Who sends it.
    pub sender: &'a UserId,
    /// The event type.
    pub kind: &'a str,
    /// The state key of a state event.
    pub state_key: Option<&'a str>,
    /// The content as JSON text.
    pub content: &'a str,
}

impl<'a> From<&'a Pdu> for EventFields<'a> {
    fn from(event: &'a Pdu) -> Self {
        Self {
            sender: event.sender(),
            kind: event.kind(),
            state_key: event.state_key(),
            content: event.content_json(),
        }
    }
}

impl<'a> From<&'a Draft> for EventFields<'a> {
    fn from(draft: &'a Draft) -> Self {
        Self {
            sender: &draft.sender,
            kind: &draft.kind,
            state_key: draft.state_key.as_deref(),
            content: draft.content.get(),
        }
    }
}

/// One of an event's auth events, with its standing.
#[derive(Clone, Debug)]
pub struct AuthEvent {
    /// The event.
    pub pdu: Pdu,
    /// Whether it was rejected.
    pub rejected: bool,
}

/// The state that must be in an event's `auth_events`, if the room has it: pairs of type and state key.
///
/// To check an event of version 12 with [`authorize`], the create event is needed besides; it is found by the room id.
pub fn auth_keys(version: RoomVersion, event: EventFields<'_>) -> Vec<(String, String)> {
    let rules = &version.rules().authorization;
    if event.kind == "m.room.create" {
        return Vec::new();
    }
    let mut keys = Vec::with_capacity(6);
    if !rules.room_create_event_id_as_room_id {
        keys.push(key("m.room.create", ""));
    }
    keys.push(key("m.room.power_levels", ""));
    keys.push(key("m.room.member", event.sender.as_str()));
    if event.kind == "m.room.member"
        && let Some(target) = event.state_key
    {
        let content = canonical::parse_object(event.content.as_bytes(), Strictness::Lenient)
            .unwrap_or_default();
        add_member_keys(version, target, &content, &mut keys);
    }
    keys
}

/// [`auth_keys`] of a draft.
pub fn auth_keys_of_draft(version: RoomVersion, draft: &Draft) -> Vec<(String, String)> {
    auth_keys(version, draft.into())
}

fn key(kind: &str, state_key: &str) -> (String, String) {
    (kind.to_owned(), state_key.to_owned())
}

fn add_member_keys(
    version: RoomVersion,
    target: &str,
    content: &Object,
    keys: &mut Vec<(String, String)>,
) {
    let membership = text(content, "membership").unwrap_or("");
    if keys.iter().all(|(_, state_key)| state_key != target) {
        keys.push(key("m.room.member", target));
    }
    if matches!(membership, "join" | "invite" | "knock") {
        keys.push(key("m.room.join_rules", ""));
    }
    if membership == "invite"
        && let Some(token) = object(content, "third_party_invite")
            .and_then(|invite| object(invite, "signed"))
            .and_then(|signed| text(signed, "token"))
    {
        keys.push(key("m.room.third_party_invite", token));
    }
    if membership == "join"
        && version.rules().authorization.restricted_join_rule
        && let Some(authoriser) = text(content, "join_authorised_via_users_server")
    {
        let authoriser = key("m.room.member", authoriser);
        if !keys.contains(&authoriser) {
            keys.push(authoriser);
        }
    }
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn object<'a>(object: &'a Object, key: &str) -> Option<&'a Object> {
    object.get(key).and_then(Value::as_object)
}

/// The rules that need no room state: those of the create event and those about the list of auth events.
///
/// `lookup` gives each of the event's auth events, and in version 12 the room's create event; `None` for one that is
/// unknown, in which case the event is rejected.
pub fn check_auth_events(
    event: &Pdu,
    lookup: &dyn Fn(&EventId) -> Option<AuthEvent>,
) -> Result<(), AuthError> {
    if event.kind() == "m.room.create" {
        return check_create(event);
    }
    let version = event.version();
    if version
        .rules()
        .authorization
        .room_create_event_id_as_room_id
    {
        check_room_id(event, lookup)?;
    }
    let expected = auth_keys(version, event.into());
    let mut seen = HashSet::new();
    for id in event.auth_events() {
        let Some(auth_event) = lookup(id) else {
            return reject(format!("auth event {id} is not known"));
        };
        check_auth_event(event, &auth_event, &expected)?;
        // 3.1
        if !seen.insert(auth_event.pdu.state_key_pair().map(owned)) {
            return reject(format!(
                "auth event {id} has the same type and state key as another"
            ));
        }
    }
    // Versions 1 to 11.
    let create = Some(key("m.room.create", ""));
    if expected.contains(&key("m.room.create", "")) && !seen.contains(&create) {
        return reject("there is no m.room.create event among the auth events");
    }
    Ok(())
}

fn owned((kind, state_key): (&str, &str)) -> (String, String) {
    key(kind, state_key)
}

/// 3.2, 3.3 and 3.5
fn check_auth_event(
    event: &Pdu,
    auth_event: &AuthEvent,
    expected: &[(String, String)],
) -> Result<(), AuthError> {
    let pdu = &auth_event.pdu;
    let id = pdu.event_id();
    let is_expected = pdu.state_key_pair().is_some_and(|(kind, state_key)| {
        expected
            .iter()
            .any(|(wanted_kind, wanted_key)| wanted_kind == kind && wanted_key == state_key)
    });
    if !is_expected {
        return reject(format!(
            "auth event {id} ({}) is not of the event's auth state",
            pdu.kind()
        ));
    }
    if auth_event.rejected {
        return reject(format!("auth event {id} was rejected"));
    }
    if pdu.room_id() != event.room_id() {
        return reject(format!("auth event {id} is of another room"));
    }
    Ok(())
}

/// 2: the room id is that of an accepted create event.
fn check_room_id(
    event: &Pdu,
    lookup: &dyn Fn(&EventId) -> Option<AuthEvent>,
) -> Result<(), AuthError> {
    let create = create_event_id(event).and_then(|id| lookup(&id));
    match create {
        Some(create) if !create.rejected && create.pdu.is("m.room.create", "") => Ok(()),
        Some(_) => reject("the room id is not that of an accepted m.room.create event"),
        None => reject("the m.room.create event of the room id is not known"),
    }
}

/// The id of the create event that a room id of version 12 names.
pub fn create_event_id(event: &Pdu) -> Option<OwnedEventId> {
    EventId::parse(event.room_id().as_str().replacen('!', "$", 1)).ok()
}

/// 1
fn check_create(event: &Pdu) -> Result<(), AuthError> {
    let rules = &event.version().rules().authorization;
    if !event.prev_events().is_empty() {
        return reject("m.room.create has previous events");
    }
    if rules.room_create_event_id_as_room_id {
        if event.to_object().contains_key("room_id") {
            return reject("m.room.create has a room id");
        }
    } else if event.room_id().server_name() != Some(event.sender().server_name()) {
        return reject("the server of the room id is not that of the sender of m.room.create");
    }
    let content = event.content_object();
    if let Some(version) = content.get("room_version")
        && version.as_str().and_then(RoomVersion::parse).is_none()
    {
        return reject("the room version is not known");
    }
    if !rules.use_room_create_sender && !content.contains_key("creator") {
        return reject("m.room.create has no creator");
    }
    if rules.additional_room_creators
        && let Some(additional) = content.get("additional_creators")
    {
        let is_user = |user: &Value| {
            user.as_str()
                .is_some_and(|user| UserId::parse(user).is_ok())
        };
        if !additional
            .as_array()
            .is_some_and(|users| users.iter().all(is_user))
        {
            return reject("additional_creators is not an array of user ids");
        }
    }
    Ok(())
}

/// What the rules of one event look at.
pub(crate) struct Room<'a> {
    event: &'a Pdu,
    state: &'a dyn Fn(&str, &str) -> Option<Pdu>,
    create: Pdu,
    power: PowerLevels,
    power_levels: Option<Pdu>,
}

impl<'a> Room<'a> {
    fn new(
        event: &'a Pdu,
        state: &'a dyn Fn(&str, &str) -> Option<Pdu>,
    ) -> Result<Self, AuthError> {
        let create = state("m.room.create", "")
            .ok_or_else(|| AuthError::new("the room has no m.room.create event"))?;
        let power_levels = state("m.room.power_levels", "");
        Ok(Self {
            event,
            state,
            power: PowerLevels::of(&create, power_levels.as_ref()),
            create,
            power_levels,
        })
    }

    fn sender_level(&self) -> UserLevel {
        self.power.user_level(self.event.sender())
    }

    fn sender_has(&self, level: i64) -> bool {
        self.sender_level() >= UserLevel::Int(level)
    }

    /// The membership of a user; `leave` if there is no event.
    fn membership(&self, user: &str) -> String {
        (self.state)("m.room.member", user)
            .and_then(|event| membership_of(&event))
            .unwrap_or_else(|| "leave".to_owned())
    }
}

fn membership_of(event: &Pdu) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Content {
        membership: String,
    }
    // A content without a membership is of nobody's membership.
    let content: Content = event.content_as().ok()?;
    Some(content.membership)
}

/// The rules that need room state. `state` gives the state event at a type and state key.
///
/// To be called on an event whose signatures were verified ([`crate::received`]), which covers the rule about the
/// signature of `join_authorised_via_users_server`. Of a create event all rules are checked here. In version 12 the
/// create event must be among what `state` gives, also when that is an event's `auth_events`.
pub fn authorize(event: &Pdu, state: &dyn Fn(&str, &str) -> Option<Pdu>) -> Result<(), AuthError> {
    if event.kind() == "m.room.create" {
        return check_create(event);
    }
    let rules = &event.version().rules().authorization;
    let room = Room::new(event, state)?;
    // 4
    let federate = room.create.content_object().get("m.federate").cloned();
    if federate == Some(Value::Bool(false))
        && event.sender().server_name() != room.create.sender().server_name()
    {
        return reject("the room is not federated and the sender is of another server");
    }
    if rules.special_case_room_aliases && event.kind() == "m.room.aliases" {
        return check_aliases(event);
    }
    // 5
    if event.kind() == "m.room.member" {
        return member::check(&room);
    }
    // 6
    if room.membership(event.sender().as_str()) != "join" {
        return reject("the sender is not joined");
    }
    // 7
    if event.kind() == "m.room.third_party_invite" {
        return if room.sender_has(room.power.invite()) {
            Ok(())
        } else {
            reject("the sender may not invite")
        };
    }
    check_required_level(&room)?;
    // 10
    if event.kind() == "m.room.power_levels" {
        return power_levels::check(&room);
    }
    if rules.special_case_room_redaction && event.kind() == "m.room.redaction" {
        return check_redaction(&room);
    }
    Ok(())
}

/// 8 and 9
fn check_required_level(room: &Room<'_>) -> Result<(), AuthError> {
    let event = room.event;
    let required = if event.is_state() {
        room.power.state_level(event.kind())
    } else {
        room.power.message_level(event.kind())
    };
    if !room.sender_has(required) {
        return reject(format!(
            "the sender needs power level {required} to send {}",
            event.kind()
        ));
    }
    if let Some(state_key) = event.state_key()
        && state_key.starts_with('@')
        && state_key != event.sender()
    {
        return reject("the state key is the id of a user who is not the sender");
    }
    Ok(())
}

/// Versions 1 to 5, rule 4.
fn check_aliases(event: &Pdu) -> Result<(), AuthError> {
    if event.state_key() == Some(event.sender().server_name().as_str()) {
        Ok(())
    } else {
        reject("the state key of m.room.aliases is not the sender's server")
    }
}

/// Versions 1 and 2, rule 11.
fn check_redaction(room: &Room<'_>) -> Result<(), AuthError> {
    let event = room.event;
    let same_server = event
        .redacts()
        .and_then(EventId::server_name)
        .is_some_and(|server| event.event_id().server_name() == Some(server));
    if same_server || room.sender_has(room.power.redact()) {
        Ok(())
    } else {
        reject("the sender may not redact an event of another server")
    }
}
