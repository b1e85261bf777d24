//! Login, tokens, refresh, logout, devices.

use super::*;
use crate::{Error, Logout};

#[tokio::test]
async fn every_form_of_the_name_logs_in() {
    let fixture = Fixture::open();
    fixture.user("alice").await;
    for name in ["alice", "ALICE", "@alice:h.test", "@Alice:H.TEST"] {
        let session = fixture.login(name, &NewDevice::default()).await.unwrap();
        assert_eq!(session.user_id, "@alice:h.test");
        assert_eq!((session.refresh_token, session.expires_in), (None, None));
    }
    for name in [
        "bob",
        "@alice:other.test",
        "@alice",
        "",
        "@:h.test",
        "alice\0",
    ] {
        let result = fixture.login(name, &NewDevice::default()).await;
        assert!(matches!(result, Err(Error::BadCredentials)), "{name}");
    }
    for wrong in ["", "correct hors", &"x".repeat(100_000)] {
        let result = fixture.enter(password("alice", wrong));
        assert!(matches!(result.await, Err(Error::BadCredentials)));
    }
}

#[tokio::test]
async fn login_with_a_known_device_replaces_its_token_and_keeps_its_name() {
    let fixture = Fixture::open();
    let mut phone = device("PHONE");
    phone.display_name = Some("phone".to_owned());
    let first = fixture.user_with("alice", &phone).await;
    phone.display_name = Some("other".to_owned());
    let second = fixture.login("alice", &phone).await.unwrap();
    assert_eq!(second.device_id, "PHONE");
    assert!(!fixture.lives(&first.access_token).await);
    assert!(fixture.lives(&second.access_token).await);
    let devices = fixture.accounts.device_list(&first.user_id).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].display_name.as_deref(), Some("phone"));
}

#[tokio::test]
async fn a_logged_out_token_is_dead_at_once() {
    let fixture = Fixture::open();
    let one = fixture.user("alice").await;
    let two = fixture.login("alice", &NewDevice::default()).await.unwrap();
    let caller = fixture.caller(&one.access_token).await.unwrap();
    fixture.accounts.logout(&caller).await.unwrap();
    let failure = fixture.caller(&one.access_token).await.unwrap_err();
    assert!(matches!(
        failure,
        AuthFailure::Unknown { soft_logout: false }
    ));
    assert!(fixture.lives(&two.access_token).await);
    fixture.accounts.logout_all(&two.user_id).await.unwrap();
    assert!(!fixture.lives(&two.access_token).await);
    let devices = fixture.accounts.device_list(&two.user_id).await.unwrap();
    assert!(devices.is_empty());
    // The tokens' rows are gone, too.
    assert_eq!(fixture.store.table_bytes(0x43), 0);
}

#[tokio::test]
async fn logout_all_takes_more_devices_than_one_commit() {
    let fixture = Fixture::open();
    let first = fixture.user("alice").await;
    for number in 0..250 {
        fixture
            .login("alice", &device(&format!("D{number}")))
            .await
            .unwrap();
    }
    fixture.accounts.logout_all(&first.user_id).await.unwrap();
    assert!(!fixture.lives(&first.access_token).await);
    assert_eq!(fixture.store.table_bytes(0x41), 0);
    assert_eq!(fixture.store.table_bytes(0x43), 0);
}

#[tokio::test]
async fn an_access_token_expires_only_for_clients_that_refresh() {
    let fixture = Fixture::open();
    let plain = fixture.user("alice").await;
    let session = fixture.login("alice", &refreshable()).await.unwrap();
    assert_eq!(session.expires_in, Some(Duration::from_secs(300)));
    fixture.clock.advance(Duration::from_secs(299));
    assert!(fixture.lives(&session.access_token).await);
    fixture.clock.advance(Duration::from_secs(1));
    let failure = fixture.caller(&session.access_token).await.unwrap_err();
    assert!(matches!(
        failure,
        AuthFailure::Unknown { soft_logout: true }
    ));
    assert!(fixture.lives(&plain.access_token).await);
    let refreshed = fixture
        .accounts
        .refresh(&session.refresh_token.unwrap())
        .await
        .unwrap();
    assert!(fixture.lives(&refreshed.access_token).await);
}

#[tokio::test]
async fn the_old_refresh_token_is_good_until_the_new_access_token_is_used() {
    let fixture = Fixture::open();
    let session = fixture.user_with("alice", &refreshable()).await;
    let old = session.refresh_token.unwrap();
    let lost = fixture.accounts.refresh(&old).await.unwrap();
    assert!(
        fixture.lives(&session.access_token).await,
        "nothing is used yet"
    );
    let got = fixture.accounts.refresh(&old).await.unwrap();
    assert!(
        !fixture.lives(&lost.access_token).await,
        "replaced by the repetition"
    );
    assert!(fixture.lives(&got.access_token).await);
    assert!(!fixture.lives(&session.access_token).await);
    let result = fixture.accounts.refresh(&old).await;
    assert!(matches!(result, Err(Error::UnknownToken)));
    let result = fixture.accounts.refresh(&lost.refresh_token).await;
    assert!(matches!(result, Err(Error::UnknownToken)));
    assert!(
        fixture.lives(&got.access_token).await,
        "the second use as well"
    );
}

#[tokio::test]
async fn the_old_refresh_token_is_good_until_the_new_refresh_token_is_used() {
    let fixture = Fixture::open();
    let session = fixture.user_with("alice", &refreshable()).await;
    let old = session.refresh_token.unwrap();
    let second = fixture.accounts.refresh(&old).await.unwrap();
    let third = fixture
        .accounts
        .refresh(&second.refresh_token)
        .await
        .unwrap();
    let result = fixture.accounts.refresh(&old).await;
    assert!(matches!(result, Err(Error::UnknownToken)));
    assert!(!fixture.lives(&session.access_token).await);
    assert!(fixture.lives(&second.access_token).await, "the pair in use");
    assert!(fixture.lives(&third.access_token).await);
    assert!(!fixture.lives(&second.access_token).await);
    // One pair of tokens is left: access and refresh.
    let devices = fixture
        .accounts
        .device_list(&session.user_id)
        .await
        .unwrap();
    assert_eq!(devices.len(), 1);
}

#[tokio::test]
async fn refresh_tokens_die_with_their_device() {
    let fixture = Fixture::open();
    let session = fixture.user_with("alice", &refreshable()).await;
    let refreshed = fixture
        .accounts
        .refresh(&session.refresh_token.clone().unwrap())
        .await;
    let refreshed = refreshed.unwrap();
    let devices = [session.device_id.clone()];
    fixture
        .accounts
        .device_delete(&session.user_id, &devices)
        .await
        .unwrap();
    for token in [session.refresh_token.unwrap(), refreshed.refresh_token] {
        let result = fixture.accounts.refresh(&token).await;
        assert!(matches!(result, Err(Error::UnknownToken)));
    }
    assert!(!fixture.lives(&session.access_token).await);
    assert!(!fixture.lives(&refreshed.access_token).await);
    assert_eq!(
        fixture.store.table_bytes(0x43) + fixture.store.table_bytes(0x44),
        0
    );
}

#[tokio::test]
async fn a_login_token_is_good_once_and_briefly() {
    let fixture = Fixture::open();
    let session = fixture.user("alice").await;
    let caller = fixture.caller(&session.access_token).await.unwrap();
    let (token, _) = fixture.accounts.login_token(&caller).await.unwrap();
    let login = || {
        fixture
            .accounts
            .login(Login::Token(token.clone()), refreshable_ref())
    };
    assert_eq!(login().await.unwrap().user_id, session.user_id);
    assert!(matches!(login().await, Err(Error::UnknownToken)));

    let (token, lifetime) = fixture.accounts.login_token(&caller).await.unwrap();
    fixture.clock.advance(lifetime);
    let late = fixture.enter(Login::Token(token.clone()));
    assert!(matches!(late.await, Err(Error::UnknownToken)));
    // A token whose expiry was rewritten is another token.
    let (prefix, rest) = token.split_once('_').unwrap();
    let (_, secret) = rest.split_once('_').unwrap();
    let forged = format!("{prefix}_ffffffffffff_{secret}");
    let forged = fixture.enter(Login::Token(forged));
    assert!(matches!(forged.await, Err(Error::UnknownToken)));
    // The expired row goes with the next token.
    fixture.clock.advance(Duration::from_secs(1));
    fixture.accounts.login_token(&caller).await.unwrap();
    let one_row = fixture.store.table_bytes(0x45);
    assert!(one_row < 100, "{one_row}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_logins_with_one_login_token_one_gets_in() {
    let fixture = Fixture::open();
    let session = fixture.user("alice").await;
    let caller = fixture.caller(&session.access_token).await.unwrap();
    let (token, _) = fixture.accounts.login_token(&caller).await.unwrap();
    let device = NewDevice::default();
    let logins = (0..6).map(|_| fixture.accounts.login(Login::Token(token.clone()), &device));
    let results = futures_util::future::join_all(logins).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions_unless_told_not_to() {
    let fixture = Fixture::open();
    let one = fixture.user("alice").await;
    let two = fixture.login("alice", &NewDevice::default()).await.unwrap();
    let set = |password, logout| {
        fixture
            .accounts
            .password_set(&one.user_id, password, logout)
    };
    set("second password", Logout::Nobody).await.unwrap();
    assert!(fixture.lives(&one.access_token).await && fixture.lives(&two.access_token).await);
    assert!(matches!(
        fixture.login("alice", &NewDevice::default()).await,
        Err(Error::BadCredentials)
    ));
    set("third password", Logout::AllBut(&one.device_id))
        .await
        .unwrap();
    assert!(fixture.lives(&one.access_token).await);
    assert!(!fixture.lives(&two.access_token).await);
    set("fourth password", Logout::All).await.unwrap();
    assert!(!fixture.lives(&one.access_token).await);
    let login = password("alice", "fourth password");
    fixture
        .accounts
        .login(login, &NewDevice::default())
        .await
        .unwrap();
}

#[tokio::test]
async fn devices_are_renamed_and_seen() {
    let fixture = Fixture::open();
    let session = fixture.user_with("alice", &device("A")).await;
    let user = &session.user_id;
    fixture.caller(&session.access_token).await.unwrap();
    let commits = fixture.store.commits();
    for _ in 0..5 {
        fixture.caller(&session.access_token).await.unwrap();
    }
    assert_eq!(fixture.store.commits(), commits, "once a minute is enough");
    fixture.clock.advance(Duration::from_secs(60));
    fixture.caller(&session.access_token).await.unwrap();
    let found = fixture
        .accounts
        .device(user, "A".into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.last_seen, Some(UnixMs(1_060_000)));
    fixture
        .accounts
        .device_rename(user, "A".into(), "desk")
        .await
        .unwrap();
    let found = fixture
        .accounts
        .device(user, "A".into())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.display_name.as_deref(), Some("desk"));
    let result = fixture
        .accounts
        .device_rename(user, "B".into(), "desk")
        .await;
    assert!(matches!(result, Err(Error::NoSuchDevice)));
    let result = fixture
        .accounts
        .device_rename(user, "A".into(), &"x".repeat(256))
        .await;
    assert!(matches!(result, Err(Error::InvalidDevice { .. })));
    for id in ["", &"x".repeat(256)] {
        let result = fixture.login("alice", &device(id)).await;
        assert!(matches!(result, Err(Error::InvalidDevice { .. })));
    }
}

#[tokio::test]
async fn what_was_answered_survives_a_crash() {
    let fixture = Fixture::open();
    let session = fixture.user("alice").await;
    fixture.caller(&session.access_token).await.unwrap();
    let after = fixture.store.crash();
    let accounts = Accounts::new(
        Arc::new(after),
        fixture.clock.clone(),
        Arc::new(Ids::seeded(8)),
        fixture.accounts.settings().clone(),
    );
    let caller = accounts.authenticate(&session.access_token).await.unwrap();
    assert_eq!(caller.user, session.user_id);
}

#[tokio::test]
async fn garbage_is_no_token() {
    let fixture = Fixture::open();
    fixture.user("alice").await;
    for token in ["", "x", "hat_", "\0", &"é".repeat(10_000)] {
        assert!(!fixture.lives(token).await);
        assert!(fixture.accounts.refresh(token).await.is_err());
        let login = Login::Token(token.to_owned());
        assert!(
            fixture
                .accounts
                .login(login, &NewDevice::default())
                .await
                .is_err()
        );
    }
}

fn refreshable_ref() -> &'static NewDevice {
    const DEVICE: &NewDevice = &NewDevice {
        device_id: None,
        display_name: None,
        refresh: RefreshTokens::Supported,
    };
    DEVICE
}
