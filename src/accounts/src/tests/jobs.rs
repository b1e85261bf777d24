//! Settings that follow a room's upgrade.

use hearth_data::jobs::{self, JobRow, Owner};
use hearth_store::{Backend, Batch, Position};
use ruma::push::{NewConditionalPushRule, NewPushRule, NewSimplePushRule, PushCondition, RuleKind};
use ruma::{RoomId, room_id};
use serde_json::json;

use super::*;
use crate::{Json, RuleChange, RulePlace};

fn rooms() -> (&'static RoomId, &'static RoomId) {
    (room_id!("!old:h.test"), room_id!("!new:h.test"))
}

async fn carry_over(fixture: &Fixture, user: &UserId) {
    let (from, to) = rooms();
    let job = JobRow::CarryOver {
        user: user.to_string(),
        from: from.to_string(),
        to: to.to_string(),
    };
    let mut batch = Batch::new();
    jobs::put(&mut batch, Owner::Accounts, 0, &job);
    fixture.store.commit(batch).await.unwrap();
    fixture.accounts.do_jobs().await.unwrap();
    let snapshot = fixture.store.snapshot().await.unwrap();
    let open = jobs::after(&*snapshot, Owner::Accounts, (Position::ZERO, 0), 1).await;
    assert_eq!(open.unwrap(), []);
}

async fn put(fixture: &Fixture, user: &UserId, rule: NewPushRule) {
    let place = RulePlace::default();
    let change = RuleChange::Put { rule, place };
    let accounts = &fixture.accounts;
    accounts.push_rules_change(user, &change).await.unwrap();
}

#[tokio::test]
async fn tags_direct_chats_and_push_rules_follow_to_the_new_room() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    let (from, to) = rooms();
    let tag = json!({ "order": 0.5 }).as_object().unwrap().clone();
    accounts.tag_set(user, from, "u.work", &tag).await.unwrap();
    let direct = json!({ "@bob:h.test": [from], "@carol:h.test": ["!x:h.test"], "@d:h.test": 1 });
    accounts
        .account_data_put(user, None, "m.direct", Json::from_text(direct.to_string()))
        .await
        .unwrap();
    let quiet = NewSimplePushRule::new(from.to_owned(), vec![]);
    put(&fixture, user, NewPushRule::Room(quiet)).await;
    let here = serde_json::from_value::<PushCondition>(json!({
        "kind": "event_match", "key": "room_id", "pattern": from,
    }));
    let mute = NewConditionalPushRule::new(from.to_string(), vec![here.unwrap()], vec![]);
    put(&fixture, user, NewPushRule::Override(mute)).await;
    let off = RuleChange::Enabled {
        kind: RuleKind::Override,
        rule_id: from.to_string(),
        enabled: false,
    };
    accounts.push_rules_change(user, &off).await.unwrap();
    // Twice is as once.
    carry_over(&fixture, user).await;
    carry_over(&fixture, user).await;
    assert_eq!(accounts.tags(user, to).await.unwrap()["u.work"], json!(tag));
    let direct = accounts.account_data(user, None, "m.direct").await.unwrap();
    let direct: serde_json::Value = serde_json::from_str(direct.unwrap().text()).unwrap();
    let expected = json!({
        "@bob:h.test": [from, to], "@carol:h.test": ["!x:h.test"], "@d:h.test": 1,
    });
    assert_eq!(direct, expected);
    let rules = accounts.push_rules(user).await.unwrap();
    assert!(rules.room.contains(to.as_str()) && rules.room.contains(from.as_str()));
    let mute = rules.override_.get(to.as_str()).unwrap();
    assert!(!mute.enabled);
    let conditions = serde_json::to_value(&mute.conditions).unwrap();
    assert_eq!(conditions[0]["pattern"], to.as_str());
}

#[tokio::test]
async fn what_the_new_room_has_already_is_left_alone() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    let (from, to) = rooms();
    let none = serde_json::Map::new();
    accounts.tag_set(user, from, "u.old", &none).await.unwrap();
    accounts.tag_set(user, to, "u.new", &none).await.unwrap();
    carry_over(&fixture, user).await;
    let tags = accounts.tags(user, to).await.unwrap();
    assert_eq!(tags.keys().collect::<Vec<_>>(), ["u.new"]);
}
