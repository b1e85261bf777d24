//! Power levels of a room at a state.

use std::collections::HashMap;

use ruma::{OwnedUserId, UserId};

use crate::Pdu;
use crate::canonical::{Object, Value};

/// What the creator has without an `m.room.power_levels` event, up to room version 11.
const CREATOR_LEVEL: i64 = 100;
/// What a notification needs unless the event says otherwise.
const NOTIFICATION_LEVEL: i64 = 50;

/// A user's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserLevel {
    /// A number.
    Int(i64),
    /// More than any number: the creators of a room of version 12 or later.
    Infinite,
}

/// The levels of an `m.room.power_levels` event that stand directly in its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    UsersDefault,
    EventsDefault,
    StateDefault,
    Ban,
    Redact,
    Kick,
    Invite,
}

impl Field {
    pub(crate) const ALL: [Self; 7] = [
        Self::UsersDefault,
        Self::EventsDefault,
        Self::StateDefault,
        Self::Ban,
        Self::Redact,
        Self::Kick,
        Self::Invite,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::UsersDefault => "users_default",
            Self::EventsDefault => "events_default",
            Self::StateDefault => "state_default",
            Self::Ban => "ban",
            Self::Redact => "redact",
            Self::Kick => "kick",
            Self::Invite => "invite",
        }
    }

    fn default_level(self) -> i64 {
        match self {
            Self::UsersDefault | Self::EventsDefault | Self::Invite => 0,
            Self::StateDefault | Self::Ban | Self::Redact | Self::Kick => 50,
        }
    }
}

/// The content of an `m.room.power_levels` event, read once. What cannot be read is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Levels {
    fields: [Option<i64>; 7],
    pub(crate) users: HashMap<String, i64>,
    pub(crate) events: HashMap<String, i64>,
    pub(crate) notifications: HashMap<String, i64>,
}

impl Levels {
    pub(crate) fn read(content: &Object) -> Self {
        Self {
            fields: Field::ALL.map(|field| content.get(field.name()).and_then(level)),
            users: level_map(content, "users"),
            events: level_map(content, "events"),
            notifications: level_map(content, "notifications"),
        }
    }

    /// The level as written, if it is.
    pub(crate) fn field(&self, field: Field) -> Option<i64> {
        self.fields[field as usize]
    }
}

fn level_map(content: &Object, key: &str) -> HashMap<String, i64> {
    content
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), level(value)?)))
        .collect()
}

/// A level in any of the forms that some version accepts: integer, integer as string (to version 9), float (to 5).
///
/// No distinction of versions is needed here: what a version forbids does not get past its auth rules (from version
/// 10 on) or its JSON (from 6 on).
pub(crate) fn level(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        Value::Number(text) => text.parse().ok().or_else(|| truncate(text)),
        Value::String(text) => stringy_level(text),
        _ => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "truncation is what the specification asks for; outside of 64 bits the cast saturates"
)]
fn truncate(text: &str) -> Option<i64> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then_some(number.trunc() as i64)
}

/// `" +0100 "`: whitespace around, at most one sign, digits.
fn stringy_level(text: &str) -> Option<i64> {
    text.trim_matches(|character: char| character.is_whitespace())
        .parse()
        .ok()
}

/// The power levels in force: of the `m.room.power_levels` event if there is one, else the defaults.
#[derive(Clone, Debug)]
pub struct PowerLevels {
    /// The privileged creators from version 12 on.
    creators: Vec<OwnedUserId>,
    /// The one with level 100 if there is no event, up to version 11.
    founder: Option<OwnedUserId>,
    event: Option<Pdu>,
}

impl PowerLevels {
    /// The levels given the room's create event and its power levels event, if there is one.
    pub fn of(create: &Pdu, power_levels: Option<&Pdu>) -> Self {
        let rules = &create.version().rules().authorization;
        let (creators, founder) = if rules.explicitly_privilege_room_creators {
            (creators(create), None)
        } else {
            (Vec::new(), creators(create).into_iter().next())
        };
        Self {
            creators,
            founder,
            event: power_levels.cloned(),
        }
    }

    fn field(&self, field: Field) -> i64 {
        self.event
            .as_ref()
            .and_then(|event| event.levels().field(field))
            .unwrap_or_else(|| field.default_level())
    }

    /// A user's level.
    pub fn user_level(&self, user: &UserId) -> UserLevel {
        if self.is_creator(user) {
            return UserLevel::Infinite;
        }
        let level = match &self.event {
            Some(event) => event.levels().users.get(user.as_str()).copied(),
            None => (self.founder.as_deref() == Some(user)).then_some(CREATOR_LEVEL),
        };
        UserLevel::Int(level.unwrap_or_else(|| self.field(Field::UsersDefault)))
    }

    /// Whether the user is a privileged creator (version 12 and later).
    pub fn is_creator(&self, user: &UserId) -> bool {
        self.creators.iter().any(|creator| creator == user)
    }

    /// The privileged creators (version 12 and later).
    pub fn creators(&self) -> &[OwnedUserId] {
        &self.creators
    }

    fn event_level(&self, kind: &str) -> Option<i64> {
        self.event.as_ref()?.levels().events.get(kind).copied()
    }

    /// The level needed to send a state event of this type.
    pub fn state_level(&self, kind: &str) -> i64 {
        self.event_level(kind)
            .unwrap_or_else(|| self.field(Field::StateDefault))
    }

    /// The level needed to send a message event of this type.
    pub fn message_level(&self, kind: &str) -> i64 {
        self.event_level(kind)
            .unwrap_or_else(|| self.field(Field::EventsDefault))
    }

    /// The level needed to invite.
    pub fn invite(&self) -> i64 {
        self.field(Field::Invite)
    }

    /// The level needed to kick.
    pub fn kick(&self) -> i64 {
        self.field(Field::Kick)
    }

    /// The level needed to ban.
    pub fn ban(&self) -> i64 {
        self.field(Field::Ban)
    }

    /// The level needed to redact others' events.
    pub fn redact(&self) -> i64 {
        self.field(Field::Redact)
    }

    /// The level needed for a notification such as `room`.
    pub fn notification(&self, key: &str) -> i64 {
        self.event
            .as_ref()
            .and_then(|event| event.levels().notifications.get(key).copied())
            .unwrap_or(NOTIFICATION_LEVEL)
    }

    /// The level of users who are not named.
    pub fn users_default(&self) -> i64 {
        self.field(Field::UsersDefault)
    }

    fn has(&self, user: &UserId, level: i64) -> bool {
        self.user_level(user) >= UserLevel::Int(level)
    }

    /// Whether the user may send state events of this type.
    pub fn can_send_state(&self, user: &UserId, kind: &str) -> bool {
        self.has(user, self.state_level(kind))
    }

    /// Whether the user may send message events of this type.
    pub fn can_send_message(&self, user: &UserId, kind: &str) -> bool {
        self.has(user, self.message_level(kind))
    }

    /// Whether the user may invite.
    pub fn can_invite(&self, user: &UserId) -> bool {
        self.has(user, self.invite())
    }

    /// Whether the user may kick the target.
    pub fn can_kick(&self, user: &UserId, target: &UserId) -> bool {
        self.has(user, self.kick()) && self.user_level(target) < self.user_level(user)
    }

    /// Whether the user may ban the target.
    pub fn can_ban(&self, user: &UserId, target: &UserId) -> bool {
        self.has(user, self.ban()) && self.user_level(target) < self.user_level(user)
    }

    /// Whether the user may redact others' events.
    pub fn can_redact(&self, user: &UserId) -> bool {
        self.has(user, self.redact())
    }
}

/// The room's creators: `content.creator` up to version 10, the sender from 11 on, with `additional_creators` from 12.
pub fn creators(create: &Pdu) -> Vec<OwnedUserId> {
    let rules = &create.version().rules().authorization;
    let content = create.content_object();
    let mut creators = Vec::new();
    if rules.use_room_create_sender {
        creators.push(create.sender().to_owned());
    } else {
        let creator = content.get("creator").and_then(Value::as_str);
        creators.extend(creator.and_then(|user| UserId::parse(user).ok()));
    }
    if rules.additional_room_creators {
        let additional = content.get("additional_creators").and_then(Value::as_array);
        creators.extend(
            additional
                .into_iter()
                .flatten()
                .filter_map(|user| UserId::parse(user.as_str()?).ok()),
        );
    }
    creators
}
