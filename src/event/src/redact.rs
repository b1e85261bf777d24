//! The redaction algorithm of each room version.

use bytes::Bytes;
use ruma::room_version_rules::RedactionRules;

use crate::canonical::{self, Object, Strictness, Value};
use crate::{Pdu, PowerLevels, RoomVersion, UserLevel};

/// Top-level keys that every version keeps.
const KEPT: [&str; 12] = [
    "event_id",
    "type",
    "room_id",
    "sender",
    "state_key",
    "content",
    "hashes",
    "signatures",
    "depth",
    "prev_events",
    "auth_events",
    "origin_server_ts",
];

/// Top-level keys that versions 1 to 10 keep, too.
const KEPT_TO_V10: [&str; 3] = ["origin", "membership", "prev_state"];

/// The event without what redaction takes away. Its event id stays the same; redacting twice changes nothing more.
pub fn redact(pdu: &Pdu) -> Pdu {
    let version = pdu.version();
    let redacted = canonical::parse_object(pdu.json(), Strictness::Lenient)
        .map_err(|error| error.to_string())
        .and_then(|object| {
            let json = canonical::to_string(&redacted(version, &object));
            Pdu::from_stored(
                version,
                pdu.event_id().to_owned(),
                pdu.room_id().to_owned(),
                Bytes::from(json),
            )
            .map_err(|error| error.to_string())
        });
    redacted.expect("a parsed event is JSON, and redaction keeps all that parsing needs")
}

/// Redacts an event in federation format.
pub fn redact_json(version: RoomVersion, event: &mut Object) {
    *event = redacted(version, event);
}

/// A redacted copy; what is dropped is not copied.
pub(crate) fn redacted(version: RoomVersion, event: &Object) -> Object {
    let rules = &version.rules().redaction;
    let kind = event.get("type").and_then(Value::as_str).unwrap_or("");
    event
        .iter()
        .filter(|(key, _)| {
            KEPT.contains(&key.as_str())
                || rules.keep_origin_membership_prev_state && KEPT_TO_V10.contains(&key.as_str())
        })
        .map(|(key, value)| {
            let value = match value {
                Value::Object(content) if key == "content" => {
                    Value::Object(redacted_content(rules, kind, content))
                }
                other => other.clone(),
            };
            (key.clone(), value)
        })
        .collect()
}

fn redacted_content(rules: &RedactionRules, kind: &str, content: &Object) -> Object {
    let kept: &[&str] = match kind {
        "m.room.create" if rules.keep_room_create_content => return content.clone(),
        "m.room.create" => &["creator"],
        "m.room.member" if rules.keep_room_member_join_authorised_via_users_server => {
            &["membership", "join_authorised_via_users_server"]
        }
        "m.room.member" => &["membership"],
        "m.room.join_rules" if rules.keep_room_join_rules_allow => &["join_rule", "allow"],
        "m.room.join_rules" => &["join_rule"],
        "m.room.power_levels" => &[
            "ban",
            "events",
            "events_default",
            "kick",
            "redact",
            "state_default",
            "users",
            "users_default",
        ],
        "m.room.aliases" if rules.keep_room_aliases_aliases => &["aliases"],
        "m.room.history_visibility" => &["history_visibility"],
        "m.room.redaction" if rules.keep_room_redaction_redacts => &["redacts"],
        _ => &[],
    };
    let mut out: Object = kept
        .iter()
        .filter_map(|key| content.get_key_value(*key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    if kind == "m.room.power_levels" && rules.keep_room_power_levels_invite {
        copy_key(content, &mut out, "invite");
    }
    if kind == "m.room.member"
        && rules.keep_room_member_third_party_invite_signed
        && let Some(Value::Object(invite)) = content.get("third_party_invite")
    {
        // Kept even when nothing is left in it: servers agree on that, and the event id depends on it.
        let mut kept = Object::new();
        copy_key(invite, &mut kept, "signed");
        out.insert("third_party_invite".to_owned(), Value::Object(kept));
    }
    out
}

fn copy_key(from: &Object, to: &mut Object, key: &str) {
    if let Some(value) = from.get(key) {
        to.insert(key.to_owned(), value.clone());
    }
}

/// Whether an accepted redaction takes effect on its target, given the power levels at the redaction
/// ("Handling redactions"; from room version 3 on, before that it is an auth rule, checked by [`crate::authorize`]).
pub fn redaction_applies(redaction: &Pdu, target: &Pdu, power: &PowerLevels) -> bool {
    if redaction.room_id() != target.room_id() || redaction.redacts() != Some(target.event_id()) {
        return false;
    }
    if redaction.version() < RoomVersion::V3 {
        return true;
    }
    power.user_level(redaction.sender()) >= UserLevel::Int(power.redact())
        || redaction.sender().server_name() == target.sender().server_name()
}
