//! Key backups.

use serde_json::{Value, json};

use super::house::{ALICE, BOB, Device, House, user_id};
use crate::{BackupPlace, Error, NewBackup};

fn new_backup(algorithm: &str) -> NewBackup {
    let body = json!({ "algorithm": algorithm, "auth_data": { "public_key": "x" } });
    NewBackup::parse(body.to_string().as_bytes()).unwrap()
}

fn key(first_message_index: u64) -> Value {
    json!({
        "first_message_index": first_message_index,
        "forwarded_count": 0,
        "is_verified": true,
        "session_data": { "ciphertext": "x" },
    })
}

fn session(room: &str, session: &str) -> BackupPlace {
    BackupPlace::Session(room.to_owned(), session.to_owned())
}

async fn put(
    house: &House,
    device: &Device,
    (version, place): (&str, &BackupPlace),
    body: &Value,
) -> crate::Result<Value> {
    let json = body.to_string();
    let state = house
        .e2ee
        .backup_keys_put(&device.caller(), version, place, json.as_bytes())
        .await?;
    Ok(serde_json::from_str(&state.to_json()).unwrap())
}

async fn get(house: &House, version: &str, place: &BackupPlace) -> crate::Result<Value> {
    let json = house
        .e2ee
        .backup_keys(&user_id(ALICE), version, place)
        .await?;
    Ok(serde_json::from_str(&json).unwrap())
}

async fn info(house: &House, version: Option<&str>) -> crate::Result<Value> {
    let backup = house.e2ee.backup(&user_id(ALICE), version).await?;
    Ok(serde_json::from_str(&backup.to_json()).unwrap())
}

#[tokio::test]
async fn keys_are_kept_by_room_and_session_and_counted() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let version = house
        .e2ee
        .backup_create(&alice.caller(), &new_backup("a"))
        .await
        .unwrap();
    assert_eq!(version, 1);
    let everything = BackupPlace::Everything;
    let rooms = json!({ "rooms": {
        "!a:h": { "sessions": { "s1": key(5), "s2": key(5) } },
        "!b:h": { "sessions": { "s1": key(5) } },
    } });
    let state = put(&house, &alice, ("1", &everything), &rooms)
        .await
        .unwrap();
    assert_eq!(state, json!({ "count": 3, "etag": "1" }));
    assert_eq!(get(&house, "1", &everything).await.unwrap(), rooms);
    let worse = put(&house, &alice, ("1", &session("!a:h", "s1")), &key(6))
        .await
        .unwrap();
    assert_eq!(worse, state);
    let better = put(&house, &alice, ("1", &session("!a:h", "s1")), &key(4))
        .await
        .unwrap();
    assert_eq!(better, json!({ "count": 3, "etag": "2" }));
    let found = get(&house, "1", &session("!a:h", "s1")).await.unwrap();
    assert_eq!(found, key(4));
    let room = BackupPlace::Room("!c:h".to_owned());
    assert_eq!(
        get(&house, "1", &room).await.unwrap(),
        json!({ "sessions": {} })
    );
    let none = get(&house, "1", &session("!c:h", "s")).await;
    assert!(matches!(none, Err(Error::NotFound(_))), "{none:?}");
    let shown = info(&house, None).await.unwrap();
    assert_eq!((&shown["count"], &shown["etag"]), (&json!(3), &json!("2")));
    house.assert_sound().await;
}

#[tokio::test]
async fn keys_are_removed_by_session_by_room_and_all() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    house
        .e2ee
        .backup_create(&alice.caller(), &new_backup("a"))
        .await
        .unwrap();
    let sessions = json!({ "s1": key(1), "s2": key(1), "s3": key(1) });
    let rooms = json!({ "rooms": {
        "!a:h": { "sessions": sessions }, "!b:h": { "sessions": sessions },
    } });
    put(&house, &alice, ("1", &BackupPlace::Everything), &rooms)
        .await
        .unwrap();
    let places = [
        (session("!a:h", "s1"), 5, "2"),
        (session("!a:h", "s1"), 5, "2"),
        (BackupPlace::Room("!a:h".to_owned()), 3, "3"),
        (BackupPlace::Everything, 0, "4"),
        (BackupPlace::Everything, 0, "4"),
    ];
    for (place, count, etag) in places {
        let state = house
            .e2ee
            .backup_keys_delete(&alice.caller(), "1", &place)
            .await
            .unwrap();
        assert_eq!(
            state.to_json(),
            format!(r#"{{"count":{count},"etag":"{etag}"}}"#)
        );
        house.assert_sound().await;
    }
}

#[tokio::test]
async fn only_the_newest_version_takes_keys_and_deleted_ones_are_gone() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    let caller = alice.caller();
    assert!(matches!(info(&house, None).await, Err(Error::NotFound(_))));
    for version in 1..=2 {
        let made = house
            .e2ee
            .backup_create(&caller, &new_backup("a"))
            .await
            .unwrap();
        assert_eq!(made, version);
    }
    let place = session("!a:h", "s");
    let old = put(&house, &alice, ("1", &place), &key(1)).await;
    assert!(
        matches!(old, Err(Error::WrongBackupVersion { current: 2 })),
        "{old:?}"
    );
    for unknown in ["3", "x", "-1", ""] {
        let refused = put(&house, &alice, (unknown, &place), &key(1)).await;
        assert!(
            matches!(refused, Err(Error::NotFound(_))),
            "{unknown}: {refused:?}"
        );
    }
    put(&house, &alice, ("2", &place), &key(1)).await.unwrap();
    for _ in 0..2 {
        house.e2ee.backup_delete(&caller, "2").await.unwrap();
    }
    assert!(matches!(
        get(&house, "2", &place).await,
        Err(Error::NotFound(_))
    ));
    assert!(matches!(
        info(&house, Some("2")).await,
        Err(Error::NotFound(_))
    ));
    assert_eq!(info(&house, None).await.unwrap()["version"], "1");
    put(&house, &alice, ("1", &place), &key(1)).await.unwrap();
    let made = house
        .e2ee
        .backup_create(&caller, &new_backup("a"))
        .await
        .unwrap();
    assert_eq!(made, 3);
    let bob = house.device(BOB, "B").await;
    let foreign = house.e2ee.backup_keys(&user_id(BOB), "3", &place).await;
    assert!(matches!(foreign, Err(Error::NotFound(_))), "{foreign:?}");
    assert_eq!(
        house
            .e2ee
            .backup_create(&bob.caller(), &new_backup("a"))
            .await
            .unwrap(),
        1
    );
    house.assert_sound().await;
}

#[tokio::test]
async fn auth_data_can_change_and_the_algorithm_cannot() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    house
        .e2ee
        .backup_create(&alice.caller(), &new_backup("a"))
        .await
        .unwrap();
    let body = json!({ "algorithm": "a", "auth_data": { "y": 1 }, "version": "1" });
    let update = |body: Value| {
        let (e2ee, caller) = (house.e2ee.clone(), alice.caller());
        async move {
            e2ee.backup_update(&caller, "1", body.to_string().as_bytes())
                .await
        }
    };
    update(body.clone()).await.unwrap();
    assert_eq!(
        info(&house, Some("1")).await.unwrap()["auth_data"],
        json!({ "y": 1 })
    );
    for (field, value) in [("algorithm", json!("b")), ("version", json!("2"))] {
        let mut other = body.clone();
        other[field] = value;
        let refused = update(other).await;
        assert!(matches!(refused, Err(Error::Param(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn s07_malformed_backups_are_refused_whole() {
    let house = House::new();
    let alice = house.device(ALICE, "A").await;
    house
        .e2ee
        .backup_create(&alice.caller(), &new_backup("a"))
        .await
        .unwrap();
    let bad_keys = [
        json!({}),
        json!({ "first_message_index": -1, "forwarded_count": 0, "is_verified": true, "session_data": {} }),
        json!({ "first_message_index": 1.5, "forwarded_count": 0, "is_verified": true, "session_data": {} }),
        json!({ "first_message_index": 1, "forwarded_count": "0", "is_verified": true, "session_data": {} }),
        json!({ "first_message_index": 1, "forwarded_count": 0, "is_verified": 1, "session_data": {} }),
        json!({ "first_message_index": 1, "forwarded_count": 0, "is_verified": true, "session_data": "x" }),
        json!({ "first_message_index": 1, "forwarded_count": 0, "is_verified": true }),
        json!("x"),
    ];
    for bad in &bad_keys {
        let body = json!({ "rooms": { "!a:h": { "sessions": { "good": key(1), "bad": bad } } } });
        let refused = put(&house, &alice, ("1", &BackupPlace::Everything), &body).await;
        assert!(refused.is_err(), "{bad}");
    }
    let bad_places = [
        json!({ "rooms": { "no room": { "sessions": { "s": key(1) } } } }),
        json!({ "rooms": { "!a:h": { "sessions": { "": key(1) } } } }),
        json!({ "rooms": { "!a:h": {} } }),
        json!({ "rooms": [] }),
    ];
    for body in &bad_places {
        let refused = put(&house, &alice, ("1", &BackupPlace::Everything), body).await;
        assert!(refused.is_err(), "{body}");
    }
    assert_eq!(info(&house, None).await.unwrap()["count"], 0);
    for body in [
        json!({}),
        json!({ "algorithm": "" , "auth_data": {} }),
        json!({ "algorithm": "a", "auth_data": "x" }),
    ] {
        assert!(
            NewBackup::parse(body.to_string().as_bytes()).is_err(),
            "{body}"
        );
    }
}
