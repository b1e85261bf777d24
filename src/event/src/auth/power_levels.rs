//! The rules for `m.room.power_levels` (rule 10 of version 12).

use std::collections::{BTreeSet, HashMap};

use ruma::UserId;

use crate::UserLevel;
use crate::auth::{AuthError, Room, reject};
use crate::canonical::{Object, Value};
use crate::power::{Field, creators, level};

pub(super) fn check(room: &Room<'_>) -> Result<(), AuthError> {
    let event = room.event;
    check_form(room, &event.content_object())?;
    let Some(current) = &room.power_levels else {
        return Ok(());
    };
    let (old, new) = (current.levels(), event.levels());
    for field in Field::ALL {
        check_change(room, field.name(), old.field(field), new.field(field))?;
    }
    check_entries(room, &old.events, &new.events)?;
    if event
        .version()
        .rules()
        .authorization
        .limit_notifications_power_levels
    {
        check_entries(room, &old.notifications, &new.notifications)?;
    }
    check_users(room, &old.users, &new.users)
}

/// 10.1 to 10.4
fn check_form(room: &Room<'_>, content: &Object) -> Result<(), AuthError> {
    let rules = &room.event.version().rules().authorization;
    let is_level = |value: &Value| {
        if rules.integer_power_levels {
            value.as_integer().is_some()
        } else {
            level(value).is_some()
        }
    };
    for field in Field::ALL {
        // Before version 10 no rule says so, but servers fail on such a level in one way or another; all reject it.
        if content
            .get(field.name())
            .is_some_and(|value| !is_level(value))
        {
            return reject(format!(
                "the power level `{}` is not an integer",
                field.name()
            ));
        }
    }
    for name in ["events", "notifications"] {
        let is_checked = rules.integer_power_levels || name == "events";
        if is_checked && content.get(name).is_some_and(|map| !is_map(map, is_level)) {
            return reject(format!("`{name}` is not an object of integers"));
        }
    }
    let Some(users) = content.get("users") else {
        return Ok(());
    };
    if !is_map(users, is_level) {
        return reject("`users` is not an object of integers");
    }
    let users = users
        .as_object()
        .into_iter()
        .flatten()
        .map(|(user, _)| user);
    for user in users {
        if UserId::parse(user).is_err() {
            return reject(format!("`{user}` in `users` is not a user id"));
        }
        if rules.explicitly_privilege_room_creators
            && creators(&room.create).iter().any(|creator| creator == user)
        {
            return reject(format!("`users` names the creator {user}"));
        }
    }
    Ok(())
}

fn is_map(value: &Value, is_level: impl Fn(&Value) -> bool) -> bool {
    value
        .as_object()
        .is_some_and(|map| map.values().all(is_level))
}

/// 10.6: neither the current nor the new value of an altered level may be above the sender's.
fn check_change(
    room: &Room<'_>,
    name: &str,
    old: Option<i64>,
    new: Option<i64>,
) -> Result<(), AuthError> {
    if old == new {
        return Ok(());
    }
    let is_above = |level: i64| UserLevel::Int(level) > room.sender_level();
    if old.is_some_and(is_above) {
        return reject(format!(
            "the sender may not change `{name}`, now above their level"
        ));
    }
    if new.is_some_and(is_above) {
        return reject(format!(
            "the sender may not raise `{name}` above their own level"
        ));
    }
    Ok(())
}

/// 10.7 and 10.8
fn check_entries(
    room: &Room<'_>,
    old: &HashMap<String, i64>,
    new: &HashMap<String, i64>,
) -> Result<(), AuthError> {
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        check_change(room, name, old.get(name).copied(), new.get(name).copied())?;
    }
    Ok(())
}

/// 10.9 and 10.10
fn check_users(
    room: &Room<'_>,
    old: &HashMap<String, i64>,
    new: &HashMap<String, i64>,
) -> Result<(), AuthError> {
    let sender_level = room.sender_level();
    for user in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (old.get(user).copied(), new.get(user).copied());
        if old == new {
            continue;
        }
        let is_sender = room.event.sender() == user.as_str();
        if !is_sender && old.is_some_and(|old| UserLevel::Int(old) >= sender_level) {
            return reject(format!(
                "the sender may not change the level of {user}, who is not below them"
            ));
        }
        if new.is_some_and(|new| UserLevel::Int(new) > sender_level) {
            return reject(format!(
                "the sender may not raise {user} above their own level"
            ));
        }
    }
    Ok(())
}
