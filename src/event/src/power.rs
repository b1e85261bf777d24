//! Power levels of a room at a state.

use ruma::UserId;

use crate::Pdu;

/// A user's power.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserLevel {
    /// A number.
    Int(i64),
    /// More than any number: the creators of a room of version 12 or later.
    Infinite,
}

/// The power levels in force: of the `m.room.power_levels` event if there is one, else the defaults.
#[derive(Clone, Debug)]
pub struct PowerLevels {}

#[expect(unused_variables, reason = "skeleton")]
impl PowerLevels {
    /// The levels given the room's create event and its power levels event, if there is one.
    pub fn of(create: &Pdu, power_levels: Option<&Pdu>) -> Self {
        unimplemented!()
    }

    /// A user's level.
    pub fn user_level(&self, user: &UserId) -> UserLevel {
        unimplemented!()
    }

    /// Whether the user is a privileged creator (version 12 and later).
    pub fn is_creator(&self, user: &UserId) -> bool {
        unimplemented!()
    }

    /// The level needed to send a state event of this type.
    pub fn state_level(&self, kind: &str) -> i64 {
        unimplemented!()
    }

    /// The level needed to send a message event of this type.
    pub fn message_level(&self, kind: &str) -> i64 {
        unimplemented!()
    }

    /// The level needed to invite.
    pub fn invite(&self) -> i64 {
        unimplemented!()
    }

    /// The level needed to kick.
    pub fn kick(&self) -> i64 {
        unimplemented!()
    }

    /// The level needed to ban.
    pub fn ban(&self) -> i64 {
        unimplemented!()
    }

    /// The level needed to redact others' events.
    pub fn redact(&self) -> i64 {
        unimplemented!()
    }

    /// The level needed for a notification such as `room`.
    pub fn notification(&self, key: &str) -> i64 {
        unimplemented!()
    }

    /// Whether the user may send state events of this type.
    pub fn can_send_state(&self, user: &UserId, kind: &str) -> bool {
        unimplemented!()
    }

    /// Whether the user may send message events of this type.
    pub fn can_send_message(&self, user: &UserId, kind: &str) -> bool {
        unimplemented!()
    }

    /// Whether the user may invite.
    pub fn can_invite(&self, user: &UserId) -> bool {
        unimplemented!()
    }

    /// Whether the user may kick the target.
    pub fn can_kick(&self, user: &UserId, target: &UserId) -> bool {
        unimplemented!()
    }

    /// Whether the user may ban the target.
    pub fn can_ban(&self, user: &UserId, target: &UserId) -> bool {
        unimplemented!()
    }

    /// Whether the user may redact others' events.
    pub fn can_redact(&self, user: &UserId) -> bool {
        unimplemented!()
    }
}
