//! Guests, terms, third-party identifiers, calls.

use hearth_accounts::{Policy, Registration, Turn};
use serde_json::{Value, json};
use std::time::Duration;

use super::{Api, PASSWORD, login};

#[tokio::test]
async fn a_guest_becomes_a_user_and_keeps_her_name() {
    let api = Api::open();
    let guest = api
        .ask("POST register?kind=guest", None, json!({}))
        .await
        .ok();
    let token = guest["access_token"].as_str().unwrap();
    let user_id = guest["user_id"].as_str().unwrap();
    let localpart = user_id[1..].split_once(':').unwrap().0;
    assert_eq!(
        api.get("account/whoami", token).await.ok()["is_guest"],
        true
    );
    for path in ["pushrules/", "account/3pid", "voip/turnServer"] {
        let answer = api.get(path, token).await;
        assert_eq!(answer.error(), (403, "M_GUEST_ACCESS_FORBIDDEN"), "{path}");
    }
    let name = json!({ "displayname": "Guest" });
    let path = format!("PUT profile/{user_id}/displayname");
    api.ask(&path, Some(token), name).await.ok();
    let avatar = json!({ "avatar_url": "mxc://a/b" });
    let path = format!("PUT profile/{user_id}/avatar_url");
    let answer = api.ask(&path, Some(token), avatar).await;
    assert_eq!(answer.error(), (403, "M_GUEST_ACCESS_FORBIDDEN"));
    let upgrade = |username: &str| {
        json!({
            "username": username,
            "password": PASSWORD,
            "guest_access_token": token,
            "auth": { "type": "m.login.dummy" },
        })
    };
    let other = api.ask("POST register", None, upgrade("other")).await;
    assert_eq!(other.error(), (400, "M_USER_IN_USE"));
    let user = api
        .ask("POST register", None, upgrade(localpart))
        .await
        .ok();
    assert_eq!(user["user_id"], user_id);
    let token = user["access_token"].as_str().unwrap();
    let me = api.get("account/whoami", token).await.ok();
    assert_ne!(me["is_guest"], true);
    let mut body = login(localpart);
    body["type"] = "m.login.password".into();
    api.ask("POST login", None, body).await.ok();
    let again = api.ask("POST register", None, upgrade(localpart)).await;
    assert_eq!(again.error(), (401, "M_UNKNOWN_TOKEN"));
}

fn terms(settings: &mut hearth_accounts::Settings) {
    let policy = |language: &str, name: &str| Policy {
        id: "privacy".to_owned(),
        version: "1.2".to_owned(),
        language: language.to_owned(),
        name: name.to_owned(),
        url: format!("https://h.test/{language}"),
    };
    settings.terms = vec![policy("en", "Privacy"), policy("de", "<Datenschutz>")];
}

#[tokio::test]
async fn who_registers_agrees_to_the_terms() {
    let api = Api::with(terms);
    let body = json!({ "username": "anna", "password": PASSWORD });
    let asked = api.ask("POST register", None, body.clone()).await;
    assert_eq!(
        asked.body["flows"],
        json!([{ "stages": ["m.login.terms"] }])
    );
    let privacy = json!({
        "version": "1.2",
        "en": { "name": "Privacy", "url": "https://h.test/en" },
        "de": { "name": "<Datenschutz>", "url": "https://h.test/de" },
    });
    let expected = json!({ "m.login.terms": { "policies": { "privacy": privacy } } });
    assert_eq!(asked.body["params"], expected);
    let mut agreed = body;
    agreed["auth"] = json!({ "type": "m.login.terms", "session": asked.body["session"] });
    api.ask("POST register", None, agreed).await.ok();

    let api = Api::with(|settings| {
        terms(settings);
        settings.registration = Registration::Token;
    });
    let asked = api.ask("POST register", None, json!({})).await;
    let stages = json!(["m.login.registration_token", "m.login.terms"]);
    assert_eq!(asked.body["flows"], json!([{ "stages": stages }]));
}

#[tokio::test]
async fn no_address_is_added_and_none_is_said_to_be() {
    let api = Api::open();
    let token = api.user("anna", "PHONE").await;
    let mail = json!({ "client_secret": "s", "email": "a@b.c", "send_attempt": 1 });
    let phone = json!({
        "client_secret": "s", "country": "DE", "phone_number": "1", "send_attempt": 1,
    });
    let session = json!({ "client_secret": "s", "sid": "1" });
    let bound = json!({
        "client_secret": "s", "sid": "1", "id_server": "i.test", "id_access_token": "t",
    });
    let creds = json!({ "three_pid_creds": bound });
    let not_supported = (400, "M_THREEPID_MEDIUM_NOT_SUPPORTED");
    let denied = (403, "M_THREEPID_DENIED");
    let unproved = (403, "M_THREEPID_AUTH_FAILED");
    for (path, body, expected) in [
        ("account/3pid/email/requestToken", &mail, not_supported),
        ("account/3pid/msisdn/requestToken", &phone, not_supported),
        ("account/password/email/requestToken", &mail, denied),
        ("account/password/msisdn/requestToken", &phone, denied),
        ("register/email/requestToken", &mail, denied),
        ("register/msisdn/requestToken", &phone, denied),
        ("account/3pid/bind", &bound, unproved),
        ("account/3pid", &creds, unproved),
        (
            "account/3pid/email/requestToken",
            &json!({}),
            (400, "M_MISSING_PARAM"),
        ),
        ("account/3pid/bind", &session, (400, "M_MISSING_PARAM")),
    ] {
        let answer = api
            .ask(&format!("POST {path}"), Some(&token), body.clone())
            .await;
        assert_eq!(answer.error(), expected, "{path}");
    }
    let mut add = session;
    add["auth"] = login("anna");
    let added = api.ask("POST account/3pid/add", Some(&token), add).await;
    assert_eq!(added.error(), unproved);
    let mail = json!({ "medium": "email", "address": "a@b.c" });
    for path in ["delete", "unbind"] {
        let line = format!("POST account/3pid/{path}");
        let answer = api.ask(&line, Some(&token), mail.clone()).await.ok();
        assert_eq!(answer, json!({ "id_server_unbind_result": "no-support" }));
        let wrong = json!({ "medium": "pigeon", "address": "a" });
        let answer = api.ask(&line, Some(&token), wrong).await;
        assert_eq!(answer.error(), (400, "M_INVALID_PARAM"));
    }
    assert_eq!(
        api.get("account/3pid", &token).await.ok(),
        json!({ "threepids": [] })
    );
}

#[tokio::test]
async fn calls_get_credentials_that_coturn_can_check() {
    let api = Api::open();
    let token = api.user("anna", "PHONE").await;
    let none = api.get("voip/turnServer", &token).await;
    assert_eq!(none.error(), (404, "M_NOT_FOUND"));
    let api = Api::with(|settings| {
        settings.turn = Some(Turn {
            uris: vec!["turn:t.test".to_owned()],
            shared_secret: "north".to_owned(),
            lifetime: Duration::from_secs(3_600),
        });
    });
    let token = api.user("anna", "PHONE").await;
    let answer = api.get("voip/turnServer", &token).await.ok();
    // printf 4600:@anna:h.test | openssl dgst -sha1 -hmac north -binary | base64
    let expected: Value = json!({
        "username": "4600:@anna:h.test",
        "password": "Scr5KW/pwOUU28Jgcn6oe4nvU7M=",
        "uris": ["turn:t.test"],
        "ttl": 3600,
    });
    assert_eq!(answer, expected);
}
