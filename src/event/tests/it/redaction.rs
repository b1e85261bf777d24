//! Redaction in each room version.

use hearth_event::canonical::{self, Strictness};
use hearth_event::{PowerLevels, RoomVersion, redact, redact_json, redaction_applies};
use proptest::prelude::*;
use ruma::canonical_json::redact as ruma_redact;
use serde_json::{Value, json};

use crate::support::{event_json, stored};

fn redacted(version: RoomVersion, event: &Value) -> Value {
    let text = event.to_string();
    let mut object = canonical::parse_object(text.as_bytes(), Strictness::Strict).unwrap();
    redact_json(version, &mut object);
    serde_json::from_str(&canonical::to_string(&object)).unwrap()
}

/// The content after redaction, with the first version from which it holds.
type Afters = Vec<(usize, Value)>;

/// Type, content before and contents after.
type Case = (&'static str, Value, Afters);

fn member() -> Case {
    let before = json!({"membership": "join", "displayname": "D", "join_authorised_via_users_server": "@a:x",
        "third_party_invite": {"display_name": "x", "signed": {"token": "t"}}});
    let in_9 = json!({"membership": "join", "join_authorised_via_users_server": "@a:x"});
    let in_11 = json!({"membership": "join", "join_authorised_via_users_server": "@a:x",
        "third_party_invite": {"signed": {"token": "t"}}});
    let afters = vec![(1, json!({"membership": "join"})), (9, in_9), (11, in_11)];
    ("m.room.member", before, afters)
}

fn power_levels() -> Case {
    let levels = json!({"ban": 1, "events": {"a": 1}, "events_default": 2, "kick": 3, "redact": 4, "state_default": 5,
        "users": {"@a:x": 6}, "users_default": 7, "invite": 8, "notifications": {"room": 9}, "x": 1});
    let mut kept = levels.clone();
    for key in ["invite", "notifications", "x"] {
        kept.as_object_mut().unwrap().remove(key);
    }
    let mut kept_11 = kept.clone();
    kept_11["invite"] = json!(8);
    (
        "m.room.power_levels",
        levels,
        vec![(1, kept), (11, kept_11)],
    )
}

fn contents() -> Vec<Case> {
    vec![
        member(),
        power_levels(),
        (
            "m.room.message",
            json!({"body": "b", "membership": "join"}),
            vec![(1, json!({}))],
        ),
        (
            "m.room.create",
            json!({"creator": "@a:x", "m.federate": false}),
            vec![
                (1, json!({"creator": "@a:x"})),
                (11, json!({"creator": "@a:x", "m.federate": false})),
            ],
        ),
        (
            "m.room.join_rules",
            json!({"join_rule": "restricted", "allow": [], "x": 1}),
            vec![
                (1, json!({"join_rule": "restricted"})),
                (8, json!({"join_rule": "restricted", "allow": []})),
            ],
        ),
        (
            "m.room.aliases",
            json!({"aliases": ["#a:x"], "x": 1}),
            vec![(1, json!({"aliases": ["#a:x"]})), (6, json!({}))],
        ),
        (
            "m.room.history_visibility",
            json!({"history_visibility": "shared", "x": 1}),
            vec![(1, json!({"history_visibility": "shared"}))],
        ),
        (
            "m.room.redaction",
            json!({"redacts": "$a", "reason": "r"}),
            vec![(1, json!({})), (11, json!({"redacts": "$a"}))],
        ),
        ("m.room.name", json!({"name": "n"}), vec![(1, json!({}))]),
    ]
}

#[test]
fn contents_keep_what_the_version_keeps() {
    for (kind, before, afters) in contents() {
        for (index, version) in RoomVersion::SUPPORTED.into_iter().enumerate() {
            let mut event = event_json(version);
            event["type"] = json!(kind);
            event["content"] = before.clone();
            let after = afters
                .iter()
                .rev()
                .find(|(since, _)| *since <= index + 1)
                .unwrap();
            assert_eq!(
                redacted(version, &event)["content"],
                after.1,
                "{kind} in {version}"
            );
        }
    }
}

#[test]
fn top_level_keys_are_kept_by_version() {
    for version in RoomVersion::SUPPORTED {
        let mut event = event_json(version);
        let extra = [
            "origin",
            "membership",
            "prev_state",
            "redacts",
            "unsigned",
            "replaces_state",
            "x",
        ];
        for key in extra {
            event[key] = json!("v");
        }
        event["state_key"] = json!("s");
        event["event_id"] = json!("$abc:x");
        let redacted = redacted(version, &event);
        let mut keys: Vec<&str> = redacted
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        keys.sort_unstable();
        let mut expected = vec![
            "auth_events",
            "content",
            "depth",
            "event_id",
            "hashes",
            "origin_server_ts",
            "prev_events",
            "room_id",
            "sender",
            "signatures",
            "state_key",
            "type",
        ];
        if version < RoomVersion::V11 {
            expected.extend(["origin", "membership", "prev_state"]);
        }
        expected.sort_unstable();
        assert_eq!(keys, expected, "version {version}");
    }
}

#[test]
fn a_redaction_takes_effect_by_power_or_by_server() {
    let version = RoomVersion::V11;
    let make = |id: &str, sender: &str, kind: &str, content: Value| {
        stored(
            version,
            &json!({"event_id": id, "room_id": "!r:x", "type": kind, "sender": sender,
            "content": content, "state_key": ""}),
        )
    };
    let create = make("$c", "@a:x", "m.room.create", json!({}));
    let levels = make(
        "$p",
        "@a:x",
        "m.room.power_levels",
        json!({"users": {"@m:z": 50}}),
    );
    let power = PowerLevels::of(&create, Some(&levels));
    let target = make("$t", "@u:y", "m.room.name", json!({}));
    let by = |sender: &str, id: &str| {
        let redaction = make("$r", sender, "m.room.redaction", json!({"redacts": id}));
        redaction_applies(&redaction, &target, &power)
    };
    assert!(by("@u:y", "$t"));
    assert!(by("@other:y", "$t"));
    assert!(by("@m:z", "$t"));
    assert!(!by("@other:z", "$t"));
    assert!(!by("@m:z", "$another"));
}

fn any_content() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|value| json!(value)),
        (-1000..1000_i64).prop_map(|value| json!(value)),
        ".{0,8}".prop_map(|value| json!(value)),
    ];
    let value = leaf.prop_recursive(3, 16, 4, |inner| {
        let keys = "membership|signed|users|ban|[a-z]{1,3}";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4).prop_map(|map| json!(map)),
        ]
    });
    let keys =
        "creator|membership|join_rule|allow|ban|users|invite|aliases|history_visibility|redacts|x";
    prop::collection::btree_map(keys, value, 0..6).prop_map(|map| json!(map))
}

proptest! {
    #[test]
    fn redaction_is_idempotent_and_keeps_the_event_id(
        version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()),
        kind in prop::sample::select(vec!["m.room.member", "m.room.create", "m.room.join_rules",
            "m.room.power_levels", "m.room.aliases", "m.room.redaction", "m.room.message"]),
        content in any_content(),
    ) {
        let mut event = event_json(version);
        event["type"] = json!(kind);
        event["content"] = content;
        if kind == "m.room.create" && version == RoomVersion::V12 {
            event.as_object_mut().unwrap().remove("room_id");
        }
        let pdu = hearth_event::Pdu::parse(version, event.to_string().as_bytes()).unwrap();
        let once = redact(&pdu);
        let twice = redact(&once);
        prop_assert_eq!(twice.json(), once.json());
        let again = hearth_event::Pdu::parse(version, once.json()).unwrap();
        prop_assert_eq!(again.event_id(), pdu.event_id());

        // The same as the other implementation, unless it refuses an odd shape.
        let object = serde_json::from_slice(pdu.json()).unwrap();
        if let Ok(theirs) = ruma_redact(object, &version.rules().redaction, None) {
            let theirs = serde_json::to_string(&theirs).unwrap();
            prop_assert_eq!(theirs.as_bytes(), &once.json()[..]);
        }
    }
}
