//! Whom application services may be, and what they need not do (S23).

use std::sync::Arc;

use hearth_accounts::Registration as RegistrationSetting;
use hearth_appservice::{Registration, Registrations};
use ruma::server_name;
use serde_json::{Value, json};

use super::{Api, auth};

/// Two bridges. The first holds its users alone, the second shares them.
const SERVICES: [&str; 2] = [
    "
id: irc
url: null
as_token: irc-token
hs_token: irc-home
sender_localpart: ircbot
namespaces:
  users:
    - exclusive: true
      regex: '@irc_.*:h\\.test'
",
    "
id: mail
url: null
as_token: mail-token
hs_token: mail-home
sender_localpart: mailbot
namespaces:
  users:
    - exclusive: false
      regex: '@mail_'
",
];

fn registrations() -> Arc<Registrations> {
    let registrations = SERVICES.map(|yaml| Registration::from_yaml(yaml).unwrap());
    let registrations = Registrations::new(server_name!("h.test"), registrations.into());
    Arc::new(registrations.unwrap())
}

async fn api() -> Api {
    let registrations = registrations();
    let close = |settings: &mut hearth_accounts::Settings| {
        settings.registration = RegistrationSetting::Closed;
    };
    let api = Api::beside_services(close, registrations.clone());
    for (id, user_id) in registrations.senders() {
        api.accounts.ensure_service_user(id, user_id).await.unwrap();
        // A server that starts again finds her there.
        api.accounts.ensure_service_user(id, user_id).await.unwrap();
    }
    api
}

fn registration(name: &str) -> Value {
    json!({ "type": "m.login.application_service", "username": name })
}

#[tokio::test]
async fn a_service_registers_its_own_users_and_no_others() {
    let api = api().await;
    let cases = [
        (Some("irc-token"), "irc_ann", (200, "")),
        (Some("irc-token"), "irc_ann", (400, "M_USER_IN_USE")),
        (Some("irc-token"), "mail_ann", (400, "M_EXCLUSIVE")),
        (Some("irc-token"), "ann", (400, "M_EXCLUSIVE")),
        (Some("mail-token"), "mail_ann", (200, "")),
        (Some("mail-token"), "irc_bob", (400, "M_EXCLUSIVE")),
        (Some("mail-token"), "ircbot", (400, "M_EXCLUSIVE")),
        (Some("other-token"), "irc_bob", (401, "M_UNKNOWN_TOKEN")),
        (None, "irc_bob", (401, "M_UNKNOWN_TOKEN")),
    ];
    for (token, name, expected) in cases {
        let answer = api.ask("POST register", token, registration(name)).await;
        assert_eq!(answer.error(), expected, "{token:?} registers {name}");
    }
    let nameless = json!({ "type": "m.login.application_service" });
    let answer = api.ask("POST register", Some("irc-token"), nameless).await;
    assert_eq!(answer.error(), (400, "M_MISSING_PARAM"));
}

#[tokio::test]
async fn nobody_else_registers_users_of_a_service() {
    let api = Api::beside_services(|_| {}, registrations());
    for (name, expected) in [
        ("irc_ann", (400, "M_EXCLUSIVE")),
        ("IRC_Ann", (400, "M_EXCLUSIVE")),
        ("ircbot", (400, "M_EXCLUSIVE")),
        ("mailbot", (400, "M_EXCLUSIVE")),
        // Not exclusive.
        ("mail_ann", (200, "")),
        ("ann", (200, "")),
    ] {
        let body = json!({
            "username": name,
            "password": super::PASSWORD,
            "auth": { "type": "m.login.dummy" },
        });
        let answer = api.ask("POST register", None, body).await;
        assert_eq!(answer.error(), expected, "{name}");
    }
}

#[tokio::test]
async fn a_service_acts_as_its_users_and_their_devices_and_as_no_others() {
    let api = api().await;
    let body = json!({
        "type": "m.login.application_service", "username": "irc_ann", "device_id": "PHONE",
    });
    api.ask("POST register", Some("irc-token"), body).await.ok();
    api.ask(
        "POST register",
        Some("mail-token"),
        registration("mail_ann"),
    )
    .await
    .ok();
    let who = |query: &str| format!("account/whoami{query}");
    let cases = [
        ("", Ok(("@ircbot:h.test", None))),
        ("?user_id=@ircbot:h.test", Ok(("@ircbot:h.test", None))),
        ("?user_id=@irc_ann:h.test", Ok(("@irc_ann:h.test", None))),
        (
            "?user_id=%40irc_ann%3Ah.test&device_id=PHONE",
            Ok(("@irc_ann:h.test", Some("PHONE"))),
        ),
        (
            "?user_id=@irc_ann:h.test&device_id=OTHER",
            Err((400, "M_UNKNOWN_DEVICE")),
        ),
        ("?device_id=PHONE", Err((400, "M_UNKNOWN_DEVICE"))),
        ("?user_id=@mail_ann:h.test", Err((403, "M_FORBIDDEN"))),
        ("?user_id=@mailbot:h.test", Err((403, "M_FORBIDDEN"))),
        ("?user_id=@irc_ann:other.test", Err((403, "M_FORBIDDEN"))),
        // In the namespace, but not made yet.
        ("?user_id=@irc_bob:h.test", Err((403, "M_FORBIDDEN"))),
        ("?user_id=nonsense", Err((403, "M_FORBIDDEN"))),
    ];
    for (query, expected) in cases {
        let answer = api.get(&who(query), "irc-token").await;
        match expected {
            Ok((user, device)) => {
                let body = answer.ok();
                assert_eq!(body["user_id"], user, "{query}");
                assert_eq!(body["device_id"].as_str(), device, "{query}");
            }
            Err(error) => assert_eq!(answer.error(), error, "{query}"),
        }
    }
    // A user's own token masquerades as nobody.
    let session = api
        .ask("POST login", Some("irc-token"), login("irc_ann"))
        .await
        .ok();
    let token = session["access_token"].as_str().unwrap();
    let body = api.get(&who("?user_id=@ircbot:h.test"), token).await.ok();
    assert_eq!(body["user_id"], "@irc_ann:h.test");
}

fn login(name: &str) -> Value {
    json!({
        "type": "m.login.application_service",
        "identifier": { "type": "m.id.user", "user": name },
    })
}

#[tokio::test]
async fn a_service_logs_its_own_users_in() {
    let api = api().await;
    for (token, name) in [("irc-token", "irc_ann"), ("mail-token", "mail_ann")] {
        api.ask("POST register", Some(token), registration(name))
            .await
            .ok();
    }
    let cases = [
        (Some("irc-token"), "irc_ann", (200, "")),
        (Some("irc-token"), "@irc_ann:h.test", (200, "")),
        (Some("irc-token"), "mail_ann", (400, "M_EXCLUSIVE")),
        (Some("irc-token"), "irc_nobody", (403, "M_FORBIDDEN")),
        (Some("other-token"), "irc_ann", (401, "M_UNKNOWN_TOKEN")),
        (None, "irc_ann", (401, "M_UNKNOWN_TOKEN")),
    ];
    for (token, name, expected) in cases {
        let body = login(name);
        let answer = api.ask("POST login", token, body).await;
        assert_eq!(answer.error(), expected, "{token:?} {name}");
    }
    // She has no password.
    let answer = api.ask("POST login", None, auth("irc_ann", "")).await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
}

#[tokio::test]
async fn a_service_makes_and_removes_devices_without_a_password() {
    let api = api().await;
    let path = "devices/NEW?user_id=@ircbot:h.test";
    let body = json!({ "display_name": "bridge" });
    let put = format!("PUT {path}");
    let made = api.ask(&put, Some("irc-token"), body.clone()).await;
    assert_eq!(made.status, 201);
    let again = api.ask(&put, Some("irc-token"), body).await;
    assert_eq!(again.status, 200);
    let shown = api.get(path, "irc-token").await.ok();
    assert_eq!(shown["display_name"], "bridge");
    let removed = api
        .ask(&format!("DELETE {path}"), Some("irc-token"), json!({}))
        .await;
    removed.ok();
    assert_eq!(
        api.get(path, "irc-token").await.error(),
        (404, "M_NOT_FOUND")
    );
}
