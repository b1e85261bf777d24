//! Registration: names, races, tokens, the shared secret.

use futures_util::future::join_all;
use hearth_types::UnixMs;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::*;
use crate::{Error, NewRegistrationToken, RegistrationKind, SharedSecretRequest};

#[tokio::test]
async fn a_new_user_has_a_session_a_profile_and_push_rules() {
    let fixture = Fixture::open();
    let session = fixture.user("Alice").await;
    assert_eq!(session.user_id, "@alice:h.test");
    let caller = fixture.caller(&session.access_token).await.unwrap();
    assert_eq!(caller.user, session.user_id);
    assert_eq!(caller.device.as_deref(), Some(&*session.device_id));
    assert!(!caller.is_guest && !caller.is_admin && !caller.is_suspended);
    let profile = fixture.accounts.profile(&session.user_id).await.unwrap();
    assert_eq!(profile.unwrap()["displayname"], "alice");
    let rules = fixture.accounts.push_rules(&session.user_id).await.unwrap();
    assert!(rules.iter().count() > 5);
    assert_eq!(fixture.store.commits(), 2, "the registration and last seen");
}

#[tokio::test]
async fn names_that_cannot_be_users_are_refused() {
    let fixture = Fixture::open();
    let long = "a".repeat(249);
    for name in ["", "a b", "a,b", "a:b", "@a", "é", "a\n", "Ä", &long] {
        let result = fixture.accounts.register(new_user(name), None).await;
        assert!(matches!(result, Err(Error::InvalidUsername(_))), "{name}");
        let result = fixture.accounts.username_available(name).await;
        assert!(matches!(result, Err(Error::InvalidUsername(_))), "{name}");
    }
    for name in ["3", "q", "a.b_c=d-e/f+g", &"a".repeat(247)] {
        fixture
            .accounts
            .register(new_user(name), None)
            .await
            .unwrap();
        let result = fixture.accounts.username_available(name).await;
        assert!(matches!(result, Err(Error::UserInUse)), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_registrations_of_one_name_one_gets_it() {
    let fixture = Fixture::open();
    let tries = (0..12).map(|number| {
        let name = if number % 2 == 0 { "bob" } else { "BOB" };
        fixture.accounts.register(new_user(name), None)
    });
    let results = join_all(tries).await;
    let won = results.iter().filter(|result| result.is_ok()).count();
    let lost = results
        .iter()
        .filter(|result| matches!(result, Err(Error::UserInUse)))
        .count();
    assert_eq!((won, lost), (1, 11));
}

#[tokio::test]
async fn closed_registration_is_closed_but_to_the_administrator() {
    let fixture = Fixture::with(|settings| {
        settings.registration = Registration::Closed;
        settings.guests = GuestAccess::Forbidden;
    });
    let result = fixture.accounts.register(new_user("a"), None).await;
    assert!(matches!(result, Err(Error::RegistrationClosed)));
    let guest = NewUser {
        kind: RegistrationKind::Guest,
        ..NewUser::default()
    };
    let result = fixture.accounts.register(guest, None).await;
    assert!(matches!(result, Err(Error::GuestsForbidden)));
    let by_administrator = NewUser {
        kind: RegistrationKind::ByAdministrator,
        admin: true,
        ..new_user("a")
    };
    let registered = fixture
        .accounts
        .register(by_administrator, Some(&NewDevice::default()))
        .await
        .unwrap();
    let token = registered.session.unwrap().access_token;
    assert!(fixture.caller(&token).await.unwrap().is_admin);
}

#[tokio::test]
async fn guests_get_a_name_and_no_password() {
    let fixture = Fixture::open();
    let guest = NewUser {
        kind: RegistrationKind::Guest,
        ..NewUser::default()
    };
    let registered = fixture
        .accounts
        .register(guest, Some(&NewDevice::default()))
        .await
        .unwrap();
    let session = registered.session.unwrap();
    assert!(
        fixture
            .caller(&session.access_token)
            .await
            .unwrap()
            .is_guest
    );
    let result = fixture
        .login(session.user_id.as_str(), &NewDevice::default())
        .await;
    assert!(matches!(result, Err(Error::BadCredentials)));
}

#[tokio::test]
async fn weak_passwords_are_refused() {
    let fixture = Fixture::open();
    for weak in ["", "1234567", &"x".repeat(513)] {
        let new = NewUser {
            password: Some(weak.to_owned()),
            ..new_user("a")
        };
        let result = fixture.accounts.register(new, None).await;
        assert!(matches!(result, Err(Error::WeakPassword { .. })));
    }
    let new = NewUser {
        password: Some("übersüßß".to_owned()),
        ..new_user("a")
    };
    fixture.accounts.register(new, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_token_is_used_as_often_as_it_allows() {
    let fixture = Fixture::with(|settings| settings.registration = Registration::Token);
    let new = NewRegistrationToken {
        token: Some("three".to_owned()),
        uses_allowed: Some(3),
        expires_at: None,
    };
    fixture
        .accounts
        .registration_token_create(new.clone())
        .await
        .unwrap();
    let again = fixture.accounts.registration_token_create(new).await;
    assert!(matches!(again, Err(Error::RegistrationTokenInUse)));
    let tries = (0..8).map(|number| {
        let new = NewUser {
            registration_token: Some("three".to_owned()),
            ..new_user(&format!("user{number}"))
        };
        fixture.accounts.register(new, None)
    });
    let results = join_all(tries).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    assert!(
        !fixture
            .accounts
            .registration_token_valid("three")
            .await
            .unwrap()
    );
    let shown = fixture.accounts.registration_token_list().await.unwrap();
    assert_eq!(shown[0].uses_completed, 3);
    let removed = fixture
        .accounts
        .registration_token_delete("three")
        .await
        .unwrap();
    assert_eq!(removed.unwrap().uses_allowed, Some(3));
    assert!(
        fixture
            .accounts
            .registration_token_list()
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_registration_token_expires() {
    let fixture = Fixture::with(|settings| settings.registration = Registration::Token);
    let new = NewRegistrationToken {
        expires_at: Some(UnixMs(1_060_000)),
        ..NewRegistrationToken::default()
    };
    let token = fixture
        .accounts
        .registration_token_create(new)
        .await
        .unwrap()
        .token;
    assert!(
        fixture
            .accounts
            .registration_token_valid(&token)
            .await
            .unwrap()
    );
    fixture.clock.advance(Duration::from_secs(60));
    assert!(
        !fixture
            .accounts
            .registration_token_valid(&token)
            .await
            .unwrap()
    );
    let new = NewUser {
        registration_token: Some(token),
        ..new_user("late")
    };
    let result = fixture.accounts.register(new, None).await;
    assert!(matches!(result, Err(Error::BadRegistrationToken)));
}

fn signed(nonce: String, name: &str, admin: bool) -> SharedSecretRequest {
    let mut mac = Hmac::<Sha1>::new_from_slice(b"shh").unwrap();
    let role = if admin { "admin" } else { "notadmin" };
    mac.update(format!("{nonce}\0{name}\0{PASSWORD}\0{role}").as_bytes());
    let mac = mac.finalize().into_bytes();
    SharedSecretRequest {
        nonce,
        username: name.to_owned(),
        password: PASSWORD.to_owned(),
        displayname: None,
        admin,
        user_type: None,
        mac: mac.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

#[tokio::test]
async fn the_shared_secret_registers_once_per_nonce() {
    let fixture = Fixture::with(|settings| settings.registration = Registration::Closed);
    let accounts = &fixture.accounts;
    let request = signed(accounts.shared_secret_nonce().unwrap(), "Root", true);
    let session = accounts
        .register_by_shared_secret(request.clone())
        .await
        .unwrap();
    assert_eq!(session.user_id, "@root:h.test");
    assert!(
        fixture
            .caller(&session.access_token)
            .await
            .unwrap()
            .is_admin
    );
    let again = accounts.register_by_shared_secret(request).await;
    assert!(matches!(again, Err(Error::UnknownNonce)));

    let mut lifted = signed(accounts.shared_secret_nonce().unwrap(), "eve", false);
    lifted.admin = true;
    let result = accounts.register_by_shared_secret(lifted).await;
    assert!(matches!(result, Err(Error::BadMac)));

    let late = signed(accounts.shared_secret_nonce().unwrap(), "late", false);
    fixture.clock.advance(Duration::from_secs(60));
    let result = accounts.register_by_shared_secret(late).await;
    assert!(matches!(result, Err(Error::UnknownNonce)));

    let mut odd = signed(accounts.shared_secret_nonce().unwrap(), "odd", false);
    odd.mac = "é0".to_owned();
    let result = accounts.register_by_shared_secret(odd).await;
    assert!(matches!(result, Err(Error::BadMac)));
}
