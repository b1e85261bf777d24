//! Profiles, account data, tags, filters, OpenID.

use hearth_data::accounts::account_data::{AccountDatum, all, changed_since};
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_store::{Backend, Position};
use ruma::{RoomId, room_id};
use serde_json::{Map, Value, json};

use super::*;
use crate::{AccountDataError, Error, Json, ProfileError};

fn room() -> &'static RoomId {
    room_id!("!r:h.test")
}

fn content(text: &str) -> Json {
    Json::from_text(text)
}

async fn since(fixture: &Fixture, user: &UserId, from: Position) -> (Position, Vec<AccountDatum>) {
    let snapshot = fixture.store.snapshot().await.unwrap();
    let to = snapshot.position();
    let changed = changed_since(&*snapshot, user.as_str(), from, to)
        .await
        .unwrap();
    (to, changed)
}

#[tokio::test]
async fn a_profile_is_changed_field_by_field() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    for (field, value) in [
        ("displayname", json!("Alice")),
        ("avatar_url", json!("mxc://h.test/a")),
        ("m.tz", json!("Europe/Berlin")),
        ("org.example.pronouns", json!([{ "summary": "she/her" }])),
    ] {
        accounts
            .profile_set(user, field, Some(&value))
            .await
            .unwrap();
        assert_eq!(accounts.profile(user).await.unwrap().unwrap()[field], value);
    }
    accounts
        .profile_set(user, "avatar_url", Some(&json!("")))
        .await
        .unwrap();
    accounts.profile_set(user, "m.tz", None).await.unwrap();
    let profile = accounts.profile(user).await.unwrap().unwrap();
    assert_eq!(
        profile.keys().collect::<Vec<_>>(),
        ["displayname", "org.example.pronouns"]
    );
    assert!(
        accounts
            .profile(&user_id("@nobody:h.test"))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn only_names_and_avatars_are_spread_to_rooms() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    for (field, value) in [
        ("m.tz", json!("UTC")),
        ("displayname", json!("A")),
        ("displayname", json!("A")),
        ("avatar_url", json!("mxc://h.test/a")),
    ] {
        accounts
            .profile_set(user, field, Some(&value))
            .await
            .unwrap();
    }
    let snapshot = fixture.store.snapshot().await.unwrap();
    let jobs = jobs::after(&*snapshot, Owner::Rooms, (Position::ZERO, 0), 10)
        .await
        .unwrap();
    let spread = JobRow::SpreadProfile {
        user: user.to_string(),
    };
    let jobs: Vec<JobRow> = jobs.into_iter().map(|(_, job)| job).collect();
    assert_eq!(jobs, [spread.clone(), spread]);
}

#[tokio::test]
async fn s07_what_is_no_profile_field_is_refused() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let long = format!("a.{}", "b".repeat(254));
    for (field, value, error) in [
        ("", json!(1), ProfileError::FieldName),
        ("custom", json!(1), ProfileError::FieldName),
        ("Org.example", json!(1), ProfileError::FieldName),
        ("org.exämple", json!(1), ProfileError::FieldName),
        (&*long, json!(1), ProfileError::FieldLong),
        ("displayname", json!(1), ProfileError::Value),
        ("displayname", json!(null), ProfileError::Value),
        ("displayname", json!("x".repeat(1_025)), ProfileError::Value),
        ("avatar_url", json!(7), ProfileError::Value),
        ("m.tz", json!({}), ProfileError::Value),
        ("a.b", json!("x".repeat(65_536)), ProfileError::Large),
    ] {
        let result = fixture
            .accounts
            .profile_set(user, field, Some(&value))
            .await;
        assert!(
            matches!(result, Err(Error::Profile(found)) if found == error),
            "{field}"
        );
    }
}

#[tokio::test]
async fn account_data_moves_to_its_newest_position() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    let (start, first) = since(&fixture, user, Position::ZERO).await;
    assert_eq!(first.len(), 1, "the push rules");
    accounts
        .account_data_set(user, None, "m.direct", content("{}"))
        .await
        .unwrap();
    let (between, _) = since(&fixture, user, start).await;
    accounts
        .account_data_set(user, Some(room()), "a.b", content("{\"x\": 1.5}"))
        .await
        .unwrap();
    accounts
        .account_data_set(user, None, "m.direct", content("{\"@b:x\":[]}"))
        .await
        .unwrap();
    let (end, changed) = since(&fixture, user, start).await;
    let shown: Vec<_> = changed
        .iter()
        .map(|datum| (datum.room.as_deref(), &*datum.kind, datum.content.text()))
        .collect();
    let of_room = (Some("!r:h.test"), "a.b", "{\"x\": 1.5}");
    let global = (None, "m.direct", "{\"@b:x\":[]}");
    assert_eq!(shown, [of_room, global]);
    assert!(since(&fixture, user, end).await.1.is_empty());
    // What has moved on is not shown at its old place.
    let snapshot = fixture.store.snapshot().await.unwrap();
    let window = changed_since(&*snapshot, user.as_str(), start, between)
        .await
        .unwrap();
    assert!(window.is_empty());
    assert_eq!(all(&*snapshot, user.as_str()).await.unwrap().len(), 3);
    let stored = accounts
        .account_data(user, Some(room()), "a.b")
        .await
        .unwrap();
    assert_eq!(stored.unwrap().text(), "{\"x\": 1.5}");
    let others = changed_since(&*snapshot, "@alice:h.tes", Position::ZERO, end)
        .await
        .unwrap();
    assert!(others.is_empty());
}

#[tokio::test]
async fn some_account_data_is_the_servers() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    for kind in ["m.push_rules", "m.fully_read"] {
        for in_room in [None, Some(room())] {
            let result = accounts
                .account_data_set(user, in_room, kind, content("{}"))
                .await;
            assert!(matches!(
                result,
                Err(Error::AccountData(AccountDataError::ServerOnly))
            ));
        }
    }
    accounts
        .account_data_put(user, Some(room()), "m.fully_read", content("{}"))
        .await
        .unwrap();
    let large = content(&format!("{{\"x\":\"{}\"}}", "x".repeat(512 << 10)));
    let result = accounts.account_data_set(user, None, "a.b", large).await;
    assert!(matches!(
        result,
        Err(Error::AccountData(AccountDataError::Large))
    ));
    for kind in ["", &"x".repeat(256)] {
        let result = accounts
            .account_data_set(user, None, kind, content("{}"))
            .await;
        assert!(matches!(
            result,
            Err(Error::AccountData(AccountDataError::Name))
        ));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_set_at_the_same_time_are_all_kept() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let accounts = &fixture.accounts;
    let content: Map<String, Value> = Map::from_iter([("order".to_owned(), json!(0.25))]);
    let names: Vec<String> = (0..20).map(|number| format!("u.{number}")).collect();
    let writes = names
        .iter()
        .map(|tag| accounts.tag_set(user, room(), tag, &content));
    for result in futures_util::future::join_all(writes).await {
        result.unwrap();
    }
    let tags = accounts.tags(user, room()).await.unwrap();
    assert_eq!(tags.len(), 20);
    assert_eq!(tags["u.3"], json!({ "order": 0.25 }));
    accounts.tag_delete(user, room(), "u.3").await.unwrap();
    let commits = fixture.store.commits();
    accounts.tag_delete(user, room(), "u.3").await.unwrap();
    assert_eq!(fixture.store.commits(), commits);
    assert_eq!(accounts.tags(user, room()).await.unwrap().len(), 19);
    // A client may write anything into m.tag.
    for odd in ["{}", "{\"tags\":[]}", "{\"tags\":{\"x\":1}}"] {
        accounts
            .account_data_set(user, Some(room()), "m.tag", Json::from_text(odd))
            .await
            .unwrap();
        accounts
            .tag_set(user, room(), "u.x", &content)
            .await
            .unwrap();
        assert!(
            accounts
                .tags(user, room())
                .await
                .unwrap()
                .contains_key("u.x")
        );
    }
}

#[tokio::test]
async fn the_same_filter_has_the_same_id() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    let filter: Map<String, Value> =
        serde_json::from_value(json!({ "room": { "timeline": { "limit": 5 } }, "x": 1 })).unwrap();
    let id = fixture.accounts.filter_put(user, &filter).await.unwrap();
    assert_eq!(
        fixture.accounts.filter_put(user, &filter).await.unwrap(),
        id
    );
    let stored = fixture.accounts.filter(user, &id).await.unwrap().unwrap();
    let stored: Map<String, Value> = serde_json::from_str(stored.text()).unwrap();
    assert_eq!(stored, filter);
    assert!(
        fixture
            .accounts
            .filter(user, "nothing")
            .await
            .unwrap()
            .is_none()
    );
    let other = user_id("@bob:h.test");
    assert!(
        fixture
            .accounts
            .filter(&other, &id)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn s21_filters_are_bounded() {
    let fixture = Fixture::open();
    let user = &fixture.user("alice").await.user_id;
    for number in 0..500 {
        let filter = Map::from_iter([("x".to_owned(), json!(number))]);
        fixture.accounts.filter_put(user, &filter).await.unwrap();
    }
    let filter = Map::from_iter([("x".to_owned(), json!(500))]);
    let result = fixture.accounts.filter_put(user, &filter).await;
    assert!(matches!(result, Err(Error::TooMany { .. })));
    let known = Map::from_iter([("x".to_owned(), json!(499))]);
    fixture.accounts.filter_put(user, &known).await.unwrap();
}

#[tokio::test]
async fn an_openid_token_says_who_it_is_for_an_hour() {
    let fixture = Fixture::open();
    let session = fixture.user("alice").await;
    let token = fixture
        .accounts
        .openid_token(&session.user_id)
        .await
        .unwrap();
    let found = fixture.accounts.openid_user(&token.token).await.unwrap();
    assert_eq!(found.as_ref(), Some(&session.user_id));
    assert!(!fixture.lives(&token.token).await, "no access token");
    assert!(
        fixture
            .accounts
            .openid_user(&session.access_token)
            .await
            .unwrap()
            .is_none()
    );
    fixture.clock.advance(token.expires_in);
    assert!(
        fixture
            .accounts
            .openid_user(&token.token)
            .await
            .unwrap()
            .is_none()
    );
}
