//! Policy servers: which one a room names, and whether it recommends an event (server-server API, "Policy Servers").

use std::collections::BTreeMap;

use ruma::{OwnedServerName, ServerName};

use crate::canonical::{self, Value};
use crate::keys::{add_signature, decode_base64, verify_json};
use crate::redact::redacted;
use crate::{FormatError, Pdu};

/// The id of the key with which a policy server recommends events. No server publishes it.
pub const POLICY_KEY_ID: &str = "ed25519:policy_server";

const POLICY: &str = "m.room.policy";

/// The policy server that a room names. It counts only while it has a joined user in the room, which is for the caller to
/// find out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyServer {
    via: OwnedServerName,
    key: [u8; 32],
}

impl PolicyServer {
    /// That of the room's `m.room.policy` event with empty state key; `None` if it is not valid.
    pub fn of(event: &Pdu) -> Option<Self> {
        let content = event.content_object();
        let via = content.get("via")?.as_str()?;
        let keys = content.get("public_keys")?.as_object()?;
        let key = decode_base64(keys.get("ed25519")?.as_str()?)?;
        Some(Self {
            via: OwnedServerName::try_from(via).ok()?,
            key: key.try_into().ok()?,
        })
    }

    /// The server to be asked.
    pub fn server(&self) -> &ServerName {
        &self.via
    }

    /// Whether an event needs its recommendation: all but the one that names it.
    pub fn judges(event: &Pdu) -> bool {
        event.state_key_pair() != Some((POLICY, ""))
    }

    /// Whether an event has its valid signature.
    pub fn has_signed(&self, event: &Pdu) -> bool {
        let event_in_short = redacted(event.version(), &event.to_object());
        let via = self.via.as_str();
        verify_json(&event_in_short, via, POLICY_KEY_ID, &self.key).is_ok()
    }

    /// An event with the signature that the server answered: a JSON object of its name, the key's id and the signature.
    /// `None` if that is not in it, or is not valid. All other signatures stay.
    pub fn add_answer(&self, event: &Pdu, answer: &str) -> Option<Pdu> {
        type Answer = BTreeMap<String, BTreeMap<String, String>>;
        let answer: Answer = serde_json::from_str(answer).ok()?;
        let signature = answer.get(self.via.as_str())?.get(POLICY_KEY_ID)?;
        let signed = self.with(event, signature).ok()?;
        self.has_signed(&signed).then_some(signed)
    }

    fn with(&self, event: &Pdu, signature: &str) -> Result<Pdu, FormatError> {
        let mut object = event.to_object();
        add_signature(&mut object, &self.via, POLICY_KEY_ID, signature.to_owned());
        Pdu::from_stored(
            event.version(),
            event.event_id().to_owned(),
            event.room_id().to_owned(),
            canonical::to_string(&object).into(),
        )
    }
}

/// Whether two events say the same at the same place of a room's history; only their times and signatures may differ.
pub fn is_same_but_for_time(one: &Pdu, other: &Pdu) -> bool {
    // The id is among them in the first versions, where it is made up.
    const FREE: [&str; 5] = [
        "event_id",
        "hashes",
        "origin_server_ts",
        "signatures",
        "unsigned",
    ];
    let rest = |event: &Pdu| {
        let mut object = event.to_object();
        object.retain(|key, _: &mut Value| !FREE.contains(&key.as_str()));
        object
    };
    rest(one) == rest(other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixture::stored;
    use crate::{RoomVersion, SigningKey};

    fn key() -> SigningKey {
        SigningKey::generate([7; 32], "policy_server").unwrap()
    }

    fn event(kind: &str, state_key: Option<&str>, content: &serde_json::Value) -> Pdu {
        let mut event = json!({
            "type": kind, "room_id": "!r:a", "sender": "@u:a", "content": content, "depth": 3,
            "origin_server_ts": 5, "prev_events": ["$p"], "auth_events": ["$a"], "hashes": {},
            "signatures": { "a": { "ed25519:1": "c2ln" }, "policy.example": { "ed25519:1": "c2ln" } },
        });
        if let Some(state_key) = state_key {
            event["state_key"] = state_key.into();
        }
        stored(RoomVersion::V11, &event)
    }

    fn policy(content: &serde_json::Value) -> Option<PolicyServer> {
        PolicyServer::of(&event(POLICY, Some(""), content))
    }

    fn of_room() -> PolicyServer {
        let keys = json!({ "ed25519": key().public_key() });
        policy(&json!({ "via": "policy.example", "public_keys": keys })).unwrap()
    }

    /// What the policy server answers.
    fn answer(event: &Pdu, key: &SigningKey) -> String {
        let mut object = redacted(event.version(), &event.to_object());
        let via = <&ServerName>::try_from("policy.example").unwrap();
        key.sign_json(via, &mut object);
        let signatures = object["signatures"].as_object().unwrap();
        let of_server = signatures["policy.example"].as_object().unwrap();
        let signature = of_server[POLICY_KEY_ID].as_str().unwrap();
        json!({ "policy.example": { POLICY_KEY_ID: signature } }).to_string()
    }

    #[test]
    fn a_policy_names_a_server_and_a_key() {
        assert_eq!(of_room().server(), "policy.example");
        let keys = json!({ "ed25519": key().public_key() });
        for content in [
            json!({}),
            json!({ "via": "policy.example" }),
            json!({ "via": 1, "public_keys": keys }),
            json!({ "via": "no server", "public_keys": keys }),
            json!({ "via": "policy.example", "public_keys": { "ed25519": "c2hvcnQ" } }),
            json!({ "via": "policy.example", "public_keys": { "other": key().public_key() } }),
        ] {
            assert_eq!(policy(&content), None, "{content}");
        }
    }

    #[test]
    fn all_events_but_the_policy_itself_are_judged() {
        for (kind, state_key, expected) in [
            (POLICY, Some(""), false),
            (POLICY, Some("other"), true),
            (POLICY, None, true),
            ("m.room.member", Some("@u:a"), true),
            ("m.room.message", None, true),
        ] {
            let event = event(kind, state_key, &json!({}));
            assert_eq!(
                PolicyServer::judges(&event),
                expected,
                "{kind} {state_key:?}"
            );
        }
    }

    #[test]
    fn an_answer_is_added_to_the_signatures_if_it_is_valid() {
        let message = event("m.room.message", None, &json!({ "body": "hello" }));
        let policy = of_room();
        assert!(!policy.has_signed(&message));
        let signed = policy
            .add_answer(&message, &answer(&message, &key()))
            .unwrap();
        assert!(policy.has_signed(&signed));
        assert_eq!(signed.event_id(), message.event_id());
        let signatures = signed.to_object()["signatures"].clone();
        let signatures = signatures.as_object().unwrap();
        assert!(
            signatures["a"]
                .as_object()
                .unwrap()
                .contains_key("ed25519:1")
        );
        let of_server = signatures["policy.example"].as_object().unwrap();
        assert!(of_server.contains_key("ed25519:1"));
        // A redaction takes nothing away that was signed.
        assert!(policy.has_signed(&crate::redact(&signed)));
        let other = event("m.room.message", None, &json!({ "body": "hello" }));
        let foreign = SigningKey::generate([8; 32], "policy_server").unwrap();
        for bad in [
            "{}".to_owned(),
            "[]".to_owned(),
            json!({ "other.example": { POLICY_KEY_ID: "c2ln" } }).to_string(),
            json!({ "policy.example": { "ed25519:1": "c2ln" } }).to_string(),
            answer(&other, &foreign),
        ] {
            assert!(policy.add_answer(&message, &bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_same_at_another_time_is_the_same() {
        let one = event("m.room.message", None, &json!({ "body": "hello" }));
        let mut later = one.to_object();
        later.insert("origin_server_ts".to_owned(), Value::Integer(6));
        let later: serde_json::Value = serde_json::from_str(&canonical::to_string(&later)).unwrap();
        assert!(is_same_but_for_time(
            &one,
            &stored(RoomVersion::V11, &later)
        ));
        let other = event("m.room.message", None, &json!({ "body": "goodbye" }));
        assert!(!is_same_but_for_time(&one, &other));
    }
}
