//! User-interactive authentication.

use serde_json::{Value, json};

use super::*;
use crate::{
    Challenge, Error, Failure, Flows, NewRegistrationToken, Passed, Stage, UiaAnswer, UiaCall,
};

struct Asker<'a> {
    fixture: &'a Fixture,
    caller: Option<Caller>,
    path: &'static str,
    flows: Flows,
}

impl Asker<'_> {
    async fn ask(&self, body: Value) -> crate::Result<UiaAnswer> {
        let json = body.to_string();
        let call = UiaCall {
            method: "POST",
            path: self.path,
            caller: self.caller.as_ref(),
            json: json.as_bytes(),
            flows: self.flows,
        };
        self.fixture.accounts.uia(call).await
    }

    async fn challenge(&self, body: Value) -> Challenge {
        match self.ask(body).await.unwrap() {
            UiaAnswer::Challenged(challenge) => challenge,
            UiaAnswer::Passed(passed) => panic!("{passed:?}"),
        }
    }

    async fn pass(&self, body: Value) -> Passed {
        match self.ask(body).await.unwrap() {
            UiaAnswer::Passed(passed) => passed,
            UiaAnswer::Challenged(challenge) => panic!("{challenge:?}"),
        }
    }
}

async fn deleter<'a>(fixture: &'a Fixture, name: &str) -> Asker<'a> {
    let session = fixture.user(name).await;
    Asker {
        fixture,
        caller: Some(fixture.caller(&session.access_token).await.unwrap()),
        path: "/_matrix/client/v3/delete_devices",
        flows: Flows::PASSWORD,
    }
}

fn auth(session: Option<&str>, name: &str, password: &str) -> Value {
    let mut auth = json!({
        "type": "m.login.password",
        "identifier": { "type": "m.id.user", "user": name },
        "password": password,
    });
    if let Some(session) = session {
        auth["session"] = session.into();
    }
    auth
}

#[tokio::test]
async fn the_body_of_the_first_call_is_kept() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let challenge = alice.challenge(json!({ "devices": ["A"] })).await;
    assert_eq!(challenge.flows, Flows::PASSWORD);
    assert_eq!((challenge.completed, challenge.failure), (vec![], None));
    let session = Some(&*challenge.session);
    let passed = alice
        .pass(json!({ "auth": auth(session, "alice", PASSWORD) }))
        .await;
    assert_eq!(Value::Object(passed.body), json!({ "devices": ["A"] }));
}

#[tokio::test]
async fn a_later_body_replaces_the_empty_one_with_which_clients_ask() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let challenge = alice.challenge(json!({})).await;
    let auth = auth(Some(&challenge.session), "@ALICE:h.test", PASSWORD);
    let passed = alice.pass(json!({ "devices": ["B"], "auth": auth })).await;
    assert_eq!(Value::Object(passed.body), json!({ "devices": ["B"] }));
}

#[tokio::test]
async fn one_call_with_everything_is_enough() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    alice
        .pass(json!({ "auth": auth(None, "alice", PASSWORD) }))
        .await;
    let old = json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD });
    alice.pass(json!({ "auth": old })).await;
}

#[tokio::test]
async fn a_failed_stage_keeps_the_session_until_there_are_too_many() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let session = alice.challenge(json!({ "devices": [] })).await.session;
    let wrong = json!({ "auth": auth(Some(&session), "alice", "wrong") });
    for _ in 0..9 {
        let challenge = alice.challenge(wrong.clone()).await;
        assert_eq!(challenge.session, session);
        assert_eq!(challenge.failure, Some(Failure::Credentials));
    }
    alice.challenge(wrong.clone()).await;
    let right = json!({ "auth": auth(Some(&session), "alice", PASSWORD) });
    let challenge = alice.challenge(right).await;
    assert_eq!(challenge.failure, Some(Failure::UnknownSession));
    assert_ne!(challenge.session, session);
}

#[tokio::test]
async fn a_session_is_used_once() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let session = alice.challenge(json!({ "devices": [] })).await.session;
    let right = json!({ "auth": auth(Some(&session), "alice", PASSWORD) });
    alice.pass(right.clone()).await;
    let challenge = alice.challenge(right).await;
    assert_eq!(challenge.failure, Some(Failure::UnknownSession));
}

#[tokio::test]
async fn a_session_expires() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let session = alice.challenge(json!({})).await.session;
    fixture.clock.advance(Duration::from_secs(30 * 60));
    let right = json!({ "auth": auth(Some(&session), "alice", PASSWORD) });
    let challenge = alice.challenge(right).await;
    assert_eq!(challenge.failure, Some(Failure::UnknownSession));
}

#[tokio::test]
async fn s18_a_session_is_bound_to_path_method_and_user() {
    let fixture = Fixture::open();
    let mut alice = deleter(&fixture, "alice").await;
    let bob = deleter(&fixture, "bob").await;
    let session = alice.challenge(json!({ "devices": ["A"] })).await.session;
    let stolen = json!({ "auth": auth(Some(&session), "bob", PASSWORD) });
    assert!(matches!(bob.ask(stolen).await, Err(Error::UiaForeign(_))));
    let body = json!({ "auth": auth(Some(&session), "alice", PASSWORD) });
    let json = body.to_string();
    let call = UiaCall {
        method: "PUT",
        path: alice.path,
        caller: alice.caller.as_ref(),
        json: json.as_bytes(),
        flows: alice.flows,
    };
    let result = fixture.accounts.uia(call).await;
    assert!(matches!(result, Err(Error::UiaForeign(_))));
    alice.path = "/_matrix/client/v3/account/deactivate";
    assert!(matches!(
        alice.ask(body.clone()).await,
        Err(Error::UiaForeign(_))
    ));
    alice.path = "/_matrix/client/v3/delete_devices";
    alice.pass(body).await;
}

#[tokio::test]
async fn s18_only_the_callers_own_password_counts() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let bob = deleter(&fixture, "bob").await;
    let session = alice.challenge(json!({})).await.session;
    let as_bob = json!({ "auth": auth(Some(&session), "bob", PASSWORD) });
    assert!(matches!(alice.ask(as_bob).await, Err(Error::UiaForeign(_))));
    // The session is still good for herself.
    alice
        .pass(json!({ "auth": auth(Some(&session), "alice", PASSWORD) }))
        .await;
    drop(bob);
}

#[tokio::test]
async fn s18_stages_outside_the_flows_do_not_count() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let session = alice.challenge(json!({})).await.session;
    for kind in [
        "m.login.dummy",
        "m.login.registration_token",
        "m.login.sso",
        "",
    ] {
        let auth = json!({ "type": kind, "session": session, "token": "x" });
        let challenge = alice.challenge(json!({ "auth": auth })).await;
        assert_eq!(challenge.failure, Some(Failure::UnknownStage), "{kind}");
    }
    // Asking how far one is passes nothing.
    let challenge = alice
        .challenge(json!({ "auth": { "session": session } }))
        .await;
    assert_eq!((challenge.completed, challenge.failure), (vec![], None));
}

#[tokio::test]
async fn several_stages_are_passed_one_by_one() {
    const BOTH: Flows = Flows(&[&[Stage::Dummy, Stage::Password]]);
    let fixture = Fixture::open();
    let mut alice = deleter(&fixture, "alice").await;
    alice.flows = BOTH;
    let first = alice.challenge(json!({ "devices": ["A"] })).await;
    let dummy = json!({ "type": "m.login.dummy", "session": first.session });
    for _ in 0..2 {
        let challenge = alice.challenge(json!({ "auth": dummy })).await;
        assert_eq!(challenge.completed, [Stage::Dummy]);
    }
    let auth = auth(Some(&first.session), "alice", PASSWORD);
    let passed = alice.pass(json!({ "auth": auth })).await;
    assert_eq!(Value::Object(passed.body), json!({ "devices": ["A"] }));
}

#[tokio::test]
async fn malformed_auth_is_refused() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    for body in [
        json!({ "auth": "x" }),
        json!({ "auth": { "type": 1 } }),
        json!({ "auth": { "type": "m.login.password", "session": [] } }),
        json!({ "auth": { "type": "m.login.password", "password": {}, "user": "alice" } }),
        json!({ "auth": { "type": "m.login.password", "password": "x", "identifier": 1 } }),
    ] {
        let result = alice.ask(body).await;
        assert!(matches!(result, Err(Error::MalformedAuth(_))), "{result:?}");
    }
    for body in [
        json!({ "auth": { "type": "m.login.password" } }),
        json!({ "auth": { "type": "m.login.password", "password": "x" } }),
        json!({ "auth": { "type": "m.login.password", "password": "x", "identifier": {} } }),
    ] {
        let result = alice.ask(body).await;
        assert!(
            matches!(result, Err(Error::IncompleteAuth(_))),
            "{result:?}"
        );
    }
    let large = json!({ "x": "x".repeat(70_000) });
    assert!(matches!(
        alice.ask(large).await,
        Err(Error::UiaTooLarge { .. })
    ));
}

#[tokio::test]
async fn a_registration_token_is_pending_while_its_session_lasts() {
    let fixture = Fixture::with(|settings| settings.registration = Registration::Token);
    let new = NewRegistrationToken {
        token: Some("once".to_owned()),
        uses_allowed: Some(1),
        expires_at: None,
    };
    fixture
        .accounts
        .registration_token_create(new)
        .await
        .unwrap();
    // A flow with a further stage, so that the session stays open.
    const LONG: Flows = Flows(&[&[Stage::RegistrationToken, Stage::Dummy]]);
    let asker = Asker {
        fixture: &fixture,
        caller: None,
        path: "/_matrix/client/v3/register",
        flows: LONG,
    };
    let token = |session: &str| json!({ "type": "m.login.registration_token", "token": "once", "session": session });
    let first = asker.challenge(json!({ "username": "a" })).await.session;
    let second = asker.challenge(json!({ "username": "b" })).await.session;
    let challenge = asker.challenge(json!({ "auth": token(&first) })).await;
    assert_eq!(challenge.completed, [Stage::RegistrationToken]);
    let challenge = asker.challenge(json!({ "auth": token(&second) })).await;
    assert_eq!(challenge.failure, Some(Failure::RegistrationToken));
    assert!(
        !fixture
            .accounts
            .registration_token_valid("once")
            .await
            .unwrap()
    );
    let pending = fixture.accounts.registration_token_list().await.unwrap()[0].uses_pending;
    assert_eq!(pending, 1);
    fixture.clock.advance(Duration::from_secs(30 * 60));
    assert!(
        fixture
            .accounts
            .registration_token_valid("once")
            .await
            .unwrap()
    );
    let third = asker.challenge(json!({ "username": "c" })).await.session;
    asker.challenge(json!({ "auth": token(&third) })).await;
    let dummy = json!({ "type": "m.login.dummy", "session": third });
    let passed = asker.pass(json!({ "auth": dummy })).await;
    assert_eq!(passed.registration_token.as_deref(), Some("once"));
}

#[tokio::test]
async fn s21_sessions_are_bounded() {
    let fixture = Fixture::open();
    let alice = deleter(&fixture, "alice").await;
    let first = alice.challenge(json!({})).await.session;
    let large = json!({ "x": "x".repeat(60_000) });
    for _ in 0..300 {
        alice.challenge(large.clone()).await;
    }
    let auth = auth(Some(&first), "alice", PASSWORD);
    let challenge = alice.challenge(json!({ "auth": auth })).await;
    assert_eq!(
        challenge.failure,
        Some(Failure::UnknownSession),
        "the oldest goes first"
    );
}

#[tokio::test]
async fn s18_a_page_passes_its_own_stage_and_no_other() {
    let fixture = Fixture::open();
    let session = fixture.user("alice").await;
    let caller = fixture.caller(&session.access_token).await.unwrap();
    let accounts = &fixture.accounts;
    let call = |json: &'static [u8]| UiaCall {
        method: "POST",
        path: "/delete_devices",
        caller: Some(&caller),
        json,
        flows: Flows::PASSWORD,
    };
    let UiaAnswer::Challenged(challenge) = accounts.uia(call(b"{}")).await.unwrap() else {
        panic!("nothing was passed");
    };
    let id = &challenge.session;
    for stage in [Stage::Dummy, Stage::Terms, Stage::RegistrationToken] {
        let aside = accounts.uia_aside(id, stage, "").await.unwrap();
        assert_eq!(aside.is_ok(), stage != Stage::RegistrationToken);
    }
    let wrong = accounts.uia_aside(id, Stage::Password, "wrong").await;
    assert_eq!(wrong.unwrap(), Err(Failure::Credentials));
    let json = format!(r#"{{"auth":{{"session":"{id}"}}}}"#);
    let go_on = UiaCall {
        json: json.as_bytes(),
        ..call(b"")
    };
    let answer = accounts.uia(go_on).await.unwrap();
    assert!(matches!(answer, UiaAnswer::Challenged(_)), "{answer:?}");
    let right = accounts.uia_aside(id, Stage::Password, PASSWORD).await;
    assert_eq!(right.unwrap(), Ok(()));
    let answer = accounts.uia(go_on).await.unwrap();
    assert!(matches!(answer, UiaAnswer::Passed(_)), "{answer:?}");
}

#[tokio::test]
async fn s18_a_page_cannot_be_tried_for_ever_nor_for_nobody() {
    let fixture = Fixture::open();
    let accounts = &fixture.accounts;
    let call = UiaCall {
        method: "POST",
        path: "/register",
        caller: None,
        json: b"{}",
        flows: Flows::REGISTRATION_TOKEN,
    };
    let UiaAnswer::Challenged(challenge) = accounts.uia(call).await.unwrap() else {
        panic!("nothing was passed");
    };
    let id = &challenge.session;
    let nobody = accounts.uia_aside(id, Stage::Password, PASSWORD).await;
    assert_eq!(nobody.unwrap(), Err(Failure::UnknownStage));
    let mut tries = 0;
    while accounts.uia_session_user(id).is_ok() {
        let guess = accounts
            .uia_aside(id, Stage::RegistrationToken, "guess")
            .await;
        assert!(guess.unwrap().is_err());
        tries += 1;
        assert!(tries < 20);
    }
}
