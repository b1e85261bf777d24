//! Push rules: places, defaults, history.

use hearth_data::accounts::push_rules::{VERSIONS_MAX, at, history};
use hearth_store::{Backend, Position};
use ruma::push::{
    Action, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule, RuleKind,
};
use serde_json::Value;

use super::*;
use crate::{Error, PushRuleError, RuleChange, RulePlace};

fn pattern(id: &str) -> NewPushRule {
    NewPushRule::Content(NewPatternedPushRule::new(
        id.to_owned(),
        "x".to_owned(),
        vec![Action::Notify],
    ))
}

fn put(rule: NewPushRule, before: Option<&str>, after: Option<&str>) -> RuleChange {
    RuleChange::Put {
        rule,
        place: RulePlace {
            before: before.map(str::to_owned),
            after: after.map(str::to_owned),
        },
    }
}

async fn user_rules(fixture: &Fixture, user: &UserId) -> Vec<String> {
    let rules = fixture.accounts.push_rules(user).await.unwrap();
    rules.content.into_iter().map(|rule| rule.rule_id).collect()
}

#[tokio::test]
async fn rules_are_put_where_they_are_asked_for() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    for (id, before, after, order) in [
        ("a", None, None, vec!["a"]),
        ("b", None, None, vec!["b", "a"]),
        ("c", None, Some("a"), vec!["b", "a", "c"]),
        ("d", Some("b"), None, vec!["d", "b", "a", "c"]),
        // An old rule stays where it is, or moves, also behind the last one.
        ("b", None, None, vec!["d", "b", "a", "c"]),
        ("d", None, Some("c"), vec!["b", "a", "c", "d"]),
        ("d", Some("a"), Some("b"), vec!["b", "d", "a", "c"]),
    ] {
        let change = put(pattern(id), before, after);
        fixture
            .accounts
            .push_rules_change(user, &change)
            .await
            .unwrap();
        assert_eq!(user_rules(&fixture, user).await, order);
    }
    for (id, before, after, error) in [
        ("e", Some("x"), None, PushRuleError::UnknownNeighbour),
        ("a", Some("a"), None, PushRuleError::UnknownNeighbour),
        ("e", Some("b"), Some("c"), PushRuleError::ImpossiblePlace),
        (
            "e",
            Some(".m.rule.x"),
            None,
            PushRuleError::BesideServerDefault,
        ),
        (".e", None, None, PushRuleError::ServerDefaultId),
        ("e/f", None, None, PushRuleError::InvalidId),
        ("", None, None, PushRuleError::InvalidId),
    ] {
        let change = put(pattern(id), before, after);
        let result = fixture.accounts.push_rules_change(user, &change).await;
        assert!(
            matches!(result, Err(Error::PushRule(found)) if found == error),
            "{id}"
        );
    }
    assert_eq!(user_rules(&fixture, user).await, ["b", "d", "a", "c"]);
}

#[tokio::test]
async fn own_overrides_come_after_the_master_switch() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let rule = NewPushRule::Override(NewConditionalPushRule::new(
        "mine".to_owned(),
        vec![],
        vec![],
    ));
    fixture
        .accounts
        .push_rules_change(user, &put(rule, None, None))
        .await
        .unwrap();
    let rules = fixture.accounts.push_rules(user).await.unwrap();
    let ids: Vec<&str> = rules.override_.iter().map(|rule| &*rule.rule_id).collect();
    assert_eq!(ids[..2], [".m.rule.master", "mine"]);
    assert!(ids.len() > 2);
}

#[tokio::test]
async fn rules_are_switched_and_changed_and_removed() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    let room = ruma::owned_room_id!("!r:h.test");
    let rule = NewPushRule::Room(NewSimplePushRule::new(room, vec![Action::Notify]));
    accounts
        .push_rules_change(user, &put(rule.clone(), None, None))
        .await
        .unwrap();
    let off = RuleChange::Enabled {
        kind: RuleKind::Room,
        rule_id: "!r:h.test".to_owned(),
        enabled: false,
    };
    accounts.push_rules_change(user, &off).await.unwrap();
    // Replacing a rule does not switch it on again.
    accounts
        .push_rules_change(user, &put(rule, None, None))
        .await
        .unwrap();
    let rules = accounts.push_rules(user).await.unwrap();
    assert!(!rules.get(RuleKind::Room, "!r:h.test").unwrap().enabled());
    let actions = RuleChange::Actions {
        kind: RuleKind::Underride,
        rule_id: ".m.rule.message".to_owned(),
        actions: vec![],
    };
    accounts.push_rules_change(user, &actions).await.unwrap();
    let rules = accounts.push_rules(user).await.unwrap();
    let message = rules.get(RuleKind::Underride, ".m.rule.message").unwrap();
    assert!(message.actions().is_empty() && message.is_server_default());
    for (kind, rule_id, error) in [
        (RuleKind::Room, "!x:h.test", PushRuleError::NotFound),
        (RuleKind::from("odd"), "x", PushRuleError::NotFound),
        (
            RuleKind::Underride,
            ".m.rule.message",
            PushRuleError::ServerDefault,
        ),
    ] {
        let rule_id = rule_id.to_owned();
        let result = accounts
            .push_rules_change(user, &RuleChange::Delete { kind, rule_id })
            .await;
        assert!(matches!(result, Err(Error::PushRule(found)) if found == error));
    }
    let delete = RuleChange::Delete {
        kind: RuleKind::Room,
        rule_id: "!r:h.test".to_owned(),
    };
    accounts.push_rules_change(user, &delete).await.unwrap();
    assert!(accounts.push_rules(user).await.unwrap().room.is_empty());
}

#[tokio::test]
async fn all_kinds_are_shown_and_old_actions_are_kept() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let sender = ruma::owned_user_id!("@bob:h.test");
    let dont_notify: Action = serde_json::from_str("\"dont_notify\"").unwrap();
    let rule = NewPushRule::Sender(NewSimplePushRule::new(sender, vec![dont_notify]));
    fixture
        .accounts
        .push_rules_change(user, &put(rule, None, None))
        .await
        .unwrap();
    let json = fixture.accounts.push_rules_json(user).await.unwrap();
    let json: Value = serde_json::from_str(json.text()).unwrap();
    for kind in ["override", "content", "room", "sender", "underride"] {
        assert!(json["global"][kind].is_array(), "{kind}");
    }
    assert_eq!(json["global"]["sender"][0]["actions"][0], "dont_notify");
    let stored = fixture
        .accounts
        .account_data(user, None, "m.push_rules")
        .await
        .unwrap();
    let stored: Value = serde_json::from_str(stored.unwrap().text()).unwrap();
    assert_eq!(stored, json);
}

#[tokio::test]
async fn the_rules_of_the_past_can_be_found() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let position = async || fixture.store.snapshot().await.unwrap().position();
    let start = position().await;
    let mut marks = vec![];
    for number in 0..VERSIONS_MAX + 5 {
        let change = put(pattern(&number.to_string()), None, None);
        fixture
            .accounts
            .push_rules_change(user, &change)
            .await
            .unwrap();
        marks.push(position().await);
    }
    let snapshot = fixture.store.snapshot().await.unwrap();
    let versions = history(&*snapshot, user.as_str()).await.unwrap();
    assert_eq!(versions.len(), VERSIONS_MAX);
    let rules_at = async |position: Position| -> usize {
        let json = at(&*snapshot, user.as_str(), position)
            .await
            .unwrap()
            .unwrap();
        let json: Value = serde_json::from_str(json.text()).unwrap();
        json["global"]["content"].as_array().unwrap().len()
    };
    assert_eq!(rules_at(*marks.last().unwrap()).await, VERSIONS_MAX + 5);
    assert_eq!(rules_at(Position::MAX).await, VERSIONS_MAX + 5);
    assert_eq!(rules_at(marks[20]).await, 21);
    // Before what is kept, the oldest version kept counts.
    assert_eq!(rules_at(start).await, 6);
    assert!(
        at(&*snapshot, "@nobody:h.test", start)
            .await
            .unwrap()
            .is_none()
    );
}
