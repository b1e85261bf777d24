use ruma::push::{
    ConditionalPushRule, ConditionalPushRuleInit, NewPatternedPushRule, NewPushRule,
    NewSimplePushRule, RuleKind,
};
use serde_json::{Value, json};

use super::*;
use crate::RoomVersion;
use crate::fixture::stored;

fn me() -> OwnedUserId {
    UserId::parse("@me:x").unwrap()
}

fn context(joined_members: u64) -> PushContext {
    let create = stored(
        RoomVersion::V11,
        &json!({"type": "m.room.create", "state_key": "", "sender": "@admin:x", "content": {}}),
    );
    PushContext {
        user_id: me(),
        display_name: Some("Me".to_owned()),
        joined_members,
        power_levels: Some(PowerLevels::of(&create, None)),
    }
}

fn from(sender: &str, kind: &str, content: &Value) -> Pdu {
    stored(
        RoomVersion::V11,
        &json!({"type": kind, "sender": sender, "content": content}),
    )
}

fn state(kind: &str, state_key: &str, content: &Value) -> Pdu {
    let event =
        json!({"type": kind, "sender": "@you:x", "state_key": state_key, "content": content});
    stored(RoomVersion::V11, &event)
}

#[test]
fn the_default_rules_are_those_of_the_specification_in_order() {
    let rules = default_ruleset(&me());
    let ids: Vec<String> = rules.iter().map(|rule| rule.rule_id().to_owned()).collect();
    let expected = [
        "master",
        "suppress_notices",
        "invite_for_me",
        "member_event",
        "is_user_mention",
        "is_room_mention",
        "tombstone",
        "reaction",
        "room.server_acl",
        "suppress_edits",
        "call",
        "encrypted_room_one_to_one",
        "room_one_to_one",
        "message",
        "encrypted",
    ];
    assert_eq!(ids, expected.map(|id| format!(".m.rule.{id}")));
    for rule in rules.iter() {
        assert_eq!(rule.enabled(), rule.rule_id() != ".m.rule.master");
    }
}

/// Notify, highlight, sound, rule.
type Expected = (bool, bool, Option<&'static str>, &'static str);

/// An event, joined members, and what is expected.
type Case = (Pdu, u64, Expected);

fn messages() -> Vec<Case> {
    let mention = json!({"body": "hi", "m.mentions": {"user_ids": ["@me:x"]}});
    let room = json!({"body": "hi", "m.mentions": {"room": true}});
    let edit = json!({"body": "*", "m.mentions": {}, "m.relates_to": {"rel_type": "m.replace", "event_id": "$a"}});
    let text = json!({"body": "hi", "msgtype": "m.text"});
    vec![
        (
            from("@you:x", "m.room.message", &text),
            3,
            (true, false, None, "message"),
        ),
        (
            from("@you:x", "m.room.message", &text),
            2,
            (true, false, Some("default"), "room_one_to_one"),
        ),
        (
            from("@you:x", "m.room.encrypted", &json!({})),
            3,
            (true, false, None, "encrypted"),
        ),
        (
            from("@you:x", "m.room.encrypted", &json!({})),
            2,
            (true, false, Some("default"), "encrypted_room_one_to_one"),
        ),
        (
            from("@you:x", "m.room.message", &json!({"msgtype": "m.notice"})),
            2,
            (false, false, None, "suppress_notices"),
        ),
        (
            from("@you:x", "m.room.message", &mention),
            3,
            (true, true, Some("default"), "is_user_mention"),
        ),
        (
            from("@you:x", "m.room.message", &room),
            3,
            (true, false, None, "message"),
        ),
        (
            from("@admin:x", "m.room.message", &room),
            3,
            (true, true, None, "is_room_mention"),
        ),
        (
            from("@you:x", "m.room.message", &edit),
            3,
            (false, false, None, "suppress_edits"),
        ),
    ]
}

fn other_events() -> Vec<Case> {
    vec![
        (
            from("@you:x", "m.reaction", &json!({})),
            3,
            (false, false, None, "reaction"),
        ),
        (
            from("@you:x", "m.call.invite", &json!({})),
            3,
            (true, false, Some("ring"), "call"),
        ),
        (
            state("m.room.member", "@me:x", &json!({"membership": "invite"})),
            3,
            (true, false, Some("default"), "invite_for_me"),
        ),
        (
            state("m.room.member", "@else:x", &json!({"membership": "invite"})),
            3,
            (false, false, None, "member_event"),
        ),
        (
            state("m.room.tombstone", "", &json!({})),
            3,
            (true, true, None, "tombstone"),
        ),
        (
            state("m.room.server_acl", "", &json!({})),
            3,
            (false, false, None, "room.server_acl"),
        ),
    ]
}

#[test]
fn the_default_rules_decide() {
    for (event, members, (notify, highlight, sound, rule)) in
        messages().into_iter().chain(other_events())
    {
        let outcome = evaluate(&default_ruleset(&me()), &event, &context(members));
        let expected = PushOutcome {
            notify,
            highlight,
            sound: sound.map(str::to_owned),
            rule_id: Some(format!(".m.rule.{rule}")),
        };
        assert_eq!(outcome, expected);
    }
    let topic = state("m.room.topic", "", &json!({}));
    assert_eq!(
        evaluate(&default_ruleset(&me()), &topic, &context(2)),
        PushOutcome::default()
    );
}

#[test]
fn own_events_never_notify() {
    let event = from(
        "@me:x",
        "m.room.message",
        &json!({"body": "Me", "m.mentions": {"user_ids": ["@me:x"]}}),
    );
    assert_eq!(
        evaluate(&default_ruleset(&me()), &event, &context(2)),
        PushOutcome::default()
    );
}

#[test]
fn a_body_that_holds_the_name_is_no_mention() {
    let event = from(
        "@you:x",
        "m.room.message",
        &json!({"body": "Me: @me:x @room"}),
    );
    assert!(!evaluate(&default_ruleset(&me()), &event, &context(3)).highlight);
}

#[test]
fn the_master_rule_beats_all() {
    let mut rules = default_ruleset(&me());
    rules
        .set_enabled(RuleKind::Override, ".m.rule.master", true)
        .unwrap();
    let event = from(
        "@you:x",
        "m.room.message",
        &json!({"m.mentions": {"user_ids": ["@me:x"]}}),
    );
    let outcome = evaluate(&rules, &event, &context(2));
    assert_eq!(
        (outcome.notify, outcome.rule_id.as_deref()),
        (false, Some(".m.rule.master"))
    );
}

#[test]
fn own_rules_by_kind() {
    let mut rules = default_ruleset(&me());
    let pattern =
        NewPatternedPushRule::new("cake".to_owned(), "ca?e".to_owned(), vec![Action::Notify]);
    rules
        .insert(NewPushRule::Content(pattern), None, None)
        .unwrap();
    let room = NewSimplePushRule::new(ruma::RoomId::parse("!r:x").unwrap(), vec![]);
    rules.insert(NewPushRule::Room(room), None, None).unwrap();
    let matched = |body: &str| {
        let event = from("@you:x", "m.room.message", &json!({"body": body}));
        evaluate(&rules, &event, &context(3)).rule_id.unwrap()
    };
    assert_eq!(matched("have a CAKE!"), "cake");
    // Content comes before room, room before underride.
    assert_eq!(matched("no pancakes"), "!r:x");
}

#[test]
fn unknown_conditions_never_match_and_paths_may_be_escaped() {
    let rule = |conditions: Value| -> ConditionalPushRule {
        ConditionalPushRuleInit {
            actions: vec![Action::Notify],
            default: false,
            enabled: true,
            rule_id: "mine".to_owned(),
            conditions: serde_json::from_value(conditions).unwrap(),
        }
        .into()
    };
    let event = from(
        "@you:x",
        "x",
        &json!({"a.b": {"c\\d": "V"}, "n": 3, "l": ["p", null]}),
    );
    let matches = |conditions: Value| {
        let mut rules = Ruleset::new();
        rules.override_.insert(rule(conditions));
        evaluate(&rules, &event, &context(3)).rule_id.is_some()
    };
    assert!(!matches(json!([{"kind": "org.example.new"}])));
    assert!(matches(
        json!([{"kind": "event_match", "key": r"content.a\.b.c\\d", "pattern": "v"}])
    ));
    assert!(!matches(
        json!([{"kind": "event_match", "key": "content.a.b", "pattern": "*"}])
    ));
    assert!(matches(
        json!([{"kind": "event_property_is", "key": "content.n", "value": 3}])
    ));
    assert!(!matches(
        json!([{"kind": "event_match", "key": "content.n", "pattern": "3"}])
    ));
    assert!(matches(
        json!([{"kind": "event_property_contains", "key": "content.l", "value": null}])
    ));
    assert!(!matches(
        json!([{"kind": "event_property_contains", "key": "content.l", "value": "P"}])
    ));
    assert!(matches(json!([{"kind": "room_member_count", "is": ">2"}])));
    assert!(!matches(json!([{"kind": "room_member_count", "is": "<3"}])));
    assert!(!matches(
        json!([{"kind": "sender_notification_permission", "key": "room"}])
    ));
}
