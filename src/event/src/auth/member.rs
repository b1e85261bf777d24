//! The rules for `m.room.member` (rule 5 of version 12).

use ruma::UserId;

use crate::auth::{AuthError, Room, object, reject, text};
use crate::canonical::{Object, Value};
use crate::keys::decode_base64;
use crate::{Pdu, UserLevel, verify_json};

pub(super) fn check(room: &Room<'_>) -> Result<(), AuthError> {
    let content = room.event.content_object();
    let Some(target) = room.event.state_key() else {
        return reject("m.room.member has no state key");
    };
    let Some(membership) = text(&content, "membership") else {
        return reject("m.room.member has no membership");
    };
    // The signature itself was checked on receipt; it must be somebody's.
    if room
        .event
        .version()
        .rules()
        .authorization
        .restricted_join_rule
        && let Some(authoriser) = content.get("join_authorised_via_users_server")
        && authoriser
            .as_str()
            .is_none_or(|user| UserId::parse(user).is_err())
    {
        return reject("the authorising user of a join is not a user id");
    }
    match membership {
        "join" => check_join(room, target, &content),
        "invite" => check_invite(room, target, &content),
        "leave" => check_leave(room, target),
        "ban" => check_ban(room, target),
        "knock" if room.event.version().rules().authorization.knocking => check_knock(room, target),
        _ => reject(format!("the membership `{membership}` is not known")),
    }
}

fn join_rule(room: &Room<'_>) -> String {
    (room.state)("m.room.join_rules", "")
        .and_then(|event| text(&event.content_object(), "join_rule").map(str::to_owned))
        // Without an event the room is closed, but who was invited may come in; so other servers take it.
        .unwrap_or_else(|| "invite".to_owned())
}

fn is_founder(room: &Room<'_>, user: &str) -> bool {
    if room
        .event
        .version()
        .rules()
        .authorization
        .use_room_create_sender
    {
        room.create.sender() == user
    } else {
        text(&room.create.content_object(), "creator") == Some(user)
    }
}

/// 5.3
fn check_join(room: &Room<'_>, target: &str, content: &Object) -> Result<(), AuthError> {
    let event = room.event;
    let rules = &event.version().rules().authorization;
    if let [only] = event.prev_events()
        && only == room.create.event_id()
        && is_founder(room, target)
    {
        return Ok(());
    }
    if event.sender() != target {
        return reject("the sender of a join is not the one who joins");
    }
    let membership = room.membership(target);
    if membership == "ban" {
        return reject("the sender is banned");
    }
    let is_welcome = matches!(membership.as_str(), "invite" | "join");
    match join_rule(room).as_str() {
        "public" => Ok(()),
        "invite" if is_welcome => Ok(()),
        "knock" if rules.knocking && is_welcome => Ok(()),
        "restricted" if rules.restricted_join_rule => {
            check_restricted_join(room, is_welcome, content)
        }
        "knock_restricted" if rules.knock_restricted_join_rule => {
            check_restricted_join(room, is_welcome, content)
        }
        _ => reject("the sender is not invited and the join rule does not let everybody in"),
    }
}

/// 5.3.5
fn check_restricted_join(
    room: &Room<'_>,
    is_welcome: bool,
    content: &Object,
) -> Result<(), AuthError> {
    if is_welcome {
        return Ok(());
    }
    let Some(authoriser) =
        text(content, "join_authorised_via_users_server").and_then(|user| UserId::parse(user).ok())
    else {
        return reject("a restricted join without an invite needs an authorising user");
    };
    if room.membership(authoriser.as_str()) != "join" {
        return reject("the authorising user of a restricted join is not joined");
    }
    if !room.power.can_invite(&authoriser) {
        return reject("the authorising user of a restricted join may not invite");
    }
    Ok(())
}

/// 5.4
fn check_invite(room: &Room<'_>, target: &str, content: &Object) -> Result<(), AuthError> {
    if let Some(invite) = content.get("third_party_invite") {
        return check_third_party_invite(room, target, invite);
    }
    if room.membership(room.event.sender().as_str()) != "join" {
        return reject("the inviting user is not joined");
    }
    if matches!(room.membership(target).as_str(), "join" | "ban") {
        return reject("the invited user is joined or banned");
    }
    if room.sender_has(room.power.invite()) {
        Ok(())
    } else {
        reject("the sender may not invite")
    }
}

/// 5.4.1
fn check_third_party_invite(
    room: &Room<'_>,
    target: &str,
    invite: &Value,
) -> Result<(), AuthError> {
    if room.membership(target) == "ban" {
        return reject("the invited user is banned");
    }
    let Some(signed) = invite
        .as_object()
        .and_then(|invite| object(invite, "signed"))
    else {
        return reject("the third party invite is not signed");
    };
    let (Some(mxid), Some(token)) = (text(signed, "mxid"), text(signed, "token")) else {
        return reject("the third party invite has no mxid or no token");
    };
    if mxid != target {
        return reject("the third party invite is for another user");
    }
    let Some(issued) = (room.state)("m.room.third_party_invite", token) else {
        return reject("there is no m.room.third_party_invite event with the token");
    };
    if issued.sender() != room.event.sender() {
        return reject("the third party invite was issued by another user");
    }
    if is_signed_by_any(signed, &public_keys(&issued)) {
        Ok(())
    } else {
        reject("no signature of the third party invite is by one of its public keys")
    }
}

fn public_keys(issued: &Pdu) -> Vec<[u8; 32]> {
    let content = issued.content_object();
    let listed = content.get("public_keys").and_then(Value::as_array);
    let listed = listed
        .into_iter()
        .flatten()
        .filter_map(|entry| text(entry.as_object()?, "public_key"));
    text(&content, "public_key")
        .into_iter()
        .chain(listed)
        .filter_map(|key| decode_base64(key)?.try_into().ok())
        .collect()
}

fn is_signed_by_any(signed: &Object, public_keys: &[[u8; 32]]) -> bool {
    let signatures = object(signed, "signatures").into_iter().flatten();
    signatures
        .filter_map(|(entity, keys)| Some((entity, keys.as_object()?)))
        .flat_map(|(entity, keys)| keys.keys().map(move |key_id| (entity, key_id)))
        .filter(|(_, key_id)| key_id.starts_with("ed25519:"))
        .any(|(entity, key_id)| {
            public_keys
                .iter()
                .any(|key| verify_json(signed, entity, key_id, key).is_ok())
        })
}

/// 5.5
fn check_leave(room: &Room<'_>, target: &str) -> Result<(), AuthError> {
    let event = room.event;
    let target_membership = room.membership(target);
    if event.sender() == target {
        return match target_membership.as_str() {
            "invite" | "join" => Ok(()),
            "knock" if event.version().rules().authorization.knocking => Ok(()),
            _ => reject("the sender cannot leave without being joined or invited"),
        };
    }
    if room.membership(event.sender().as_str()) != "join" {
        return reject("the sender is not joined");
    }
    if target_membership == "ban" && !room.sender_has(room.power.ban()) {
        return reject("the sender may not unban");
    }
    if !room.sender_has(room.power.kick()) {
        return reject("the sender may not kick");
    }
    check_is_below_sender(room, target)
}

/// 5.6
fn check_ban(room: &Room<'_>, target: &str) -> Result<(), AuthError> {
    if room.membership(room.event.sender().as_str()) != "join" {
        return reject("the sender is not joined");
    }
    if !room.sender_has(room.power.ban()) {
        return reject("the sender may not ban");
    }
    check_is_below_sender(room, target)
}

fn check_is_below_sender(room: &Room<'_>, target: &str) -> Result<(), AuthError> {
    let target_level = match <&UserId>::try_from(target) {
        Ok(user) => room.power.user_level(user),
        // Nobody; has the level of anybody who is not named.
        Err(_) => UserLevel::Int(room.power.users_default()),
    };
    if target_level < room.sender_level() {
        Ok(())
    } else {
        reject("the sender's power level is not above the target's")
    }
}

/// 5.7
fn check_knock(room: &Room<'_>, target: &str) -> Result<(), AuthError> {
    let rules = &room.event.version().rules().authorization;
    let join_rule = join_rule(room);
    let allows_knocks =
        join_rule == "knock" || join_rule == "knock_restricted" && rules.knock_restricted_join_rule;
    if !allows_knocks {
        return reject("the join rule does not allow to knock");
    }
    if room.event.sender() != target {
        return reject("the sender of a knock is not the one who knocks");
    }
    if matches!(room.membership(target).as_str(), "ban" | "invite" | "join") {
        return reject("the sender of a knock is banned, invited or joined");
    }
    Ok(())
}
