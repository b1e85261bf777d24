//! Registration, login, tokens, devices.

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

use super::*;

#[tokio::test]
async fn registration_asks_for_a_flow_and_then_registers() {
    let api = Api::open();
    let first = api.ask("POST register", None, json!({})).await;
    assert_eq!(first.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        first.body["flows"],
        json!([{ "stages": ["m.login.dummy"] }])
    );
    assert_eq!(first.body["params"], json!({}));
    let auth = json!({ "type": "m.login.dummy", "session": first.body["session"] });
    let body = json!({
        "username": "user-UPPER", "password": "übers3kr1t", "device_id": "xyzzy", "auth": auth,
    });
    let answer = api.ask("POST register", None, body).await.ok();
    assert_eq!(answer["user_id"], "@user-upper:h.test");
    assert_eq!(answer["device_id"], "xyzzy");
    assert!(answer.get("refresh_token").is_none() && answer.get("expires_in_ms").is_none());
    let whoami = api
        .get("account/whoami", answer["access_token"].as_str().unwrap())
        .await
        .ok();
    assert_eq!(
        whoami,
        json!({ "user_id": "@user-upper:h.test", "device_id": "xyzzy" })
    );
}

#[tokio::test]
async fn registration_says_what_is_wrong_with_a_name_before_the_flow() {
    let api = Api::open();
    api.user("taken", "A").await;
    for name in ["!", "a\"", "a:b", "é", "a\n", "'", ""] {
        let answer = api
            .ask("POST register", None, json!({ "username": name }))
            .await;
        assert_eq!(answer.error(), (400, "M_INVALID_USERNAME"), "{name}");
    }
    let answer = api
        .ask("POST register", None, json!({ "username": "TAKEN" }))
        .await;
    assert_eq!(answer.error(), (400, "M_USER_IN_USE"));
    for (name, status, errcode) in [
        ("free", 200, ""),
        ("taken", 400, "M_USER_IN_USE"),
        ("a%2Cb", 400, "M_INVALID_USERNAME"),
    ] {
        let line = format!("GET register/available?username={name}");
        let answer = api.raw(&line, None, vec![]).await;
        assert_eq!(answer.error(), (status, errcode), "{name}");
    }
}

#[tokio::test]
async fn inhibit_login_refresh_tokens_and_guests() {
    let api = Api::open();
    let dummy = json!({ "type": "m.login.dummy" });
    let body =
        json!({ "username": "a", "password": PASSWORD, "inhibit_login": true, "auth": dummy });
    let answer = api.ask("POST register", None, body).await.ok();
    assert_eq!(answer, json!({ "user_id": "@a:h.test" }));
    let body =
        json!({ "username": "b", "password": PASSWORD, "refresh_token": true, "auth": dummy });
    let answer = api.ask("POST register", None, body).await.ok();
    assert_eq!(answer["expires_in_ms"], 300_000);
    let body = json!({ "refresh_token": answer["refresh_token"] });
    let refreshed = api.ask("POST refresh", None, body).await.ok();
    assert_eq!(refreshed["expires_in_ms"], 300_000);
    assert!(refreshed["refresh_token"].is_string());
    api.get(
        "account/whoami",
        refreshed["access_token"].as_str().unwrap(),
    )
    .await
    .ok();
    let old = api
        .get("account/whoami", answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(old.error(), (401, "M_UNKNOWN_TOKEN"));
    let answer = api
        .ask("POST refresh", None, json!({ "refresh_token": "x" }))
        .await;
    assert_eq!(answer.error(), (401, "M_UNKNOWN_TOKEN"));
    let guest = api
        .ask("POST register?kind=guest", None, json!({}))
        .await
        .ok();
    let whoami = api
        .get("account/whoami", guest["access_token"].as_str().unwrap())
        .await
        .ok();
    assert_eq!(whoami["is_guest"], true);
    let odd = api.ask("POST register?kind=odd", None, json!({})).await;
    assert_eq!(odd.error(), (400, "M_INVALID_PARAM"));
}

#[tokio::test]
async fn closed_registration_and_registration_tokens() {
    let closed = Api::with(|settings| {
        settings.registration = Registration::Closed;
        settings.guests = GuestAccess::Forbidden;
    });
    let answer = closed.ask("POST register", None, json!({})).await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    let answer = closed
        .ask("POST register?kind=guest", None, json!({}))
        .await;
    assert_eq!(answer.error(), (403, "M_GUEST_ACCESS_FORBIDDEN"));

    let api = Api::with(|settings| settings.registration = Registration::Token);
    let new = hearth_accounts::NewRegistrationToken {
        token: Some("friend".to_owned()),
        uses_allowed: Some(1),
        expires_at: None,
    };
    api.accounts.registration_token_create(new).await.unwrap();
    let validity = "GET /_matrix/client/v1/register/m.login.registration_token/validity?token=";
    let valid = async |token: &str| {
        let answer = api.raw(&format!("{validity}{token}"), None, vec![]).await;
        answer.ok()["valid"].as_bool().unwrap()
    };
    assert!(valid("friend").await && !valid("foe").await);
    let auth = |token: &str| json!({ "type": "m.login.registration_token", "token": token });
    let body = |token| json!({ "username": "a", "password": PASSWORD, "auth": auth(token) });
    let refused = api.ask("POST register", None, body("foe")).await;
    assert_eq!(refused.error(), (401, "M_UNAUTHORIZED"));
    let flows = json!([{ "stages": ["m.login.registration_token"] }]);
    assert_eq!(refused.body["flows"], flows);
    api.ask("POST register", None, body("friend")).await.ok();
    assert!(!valid("friend").await);
}

#[tokio::test]
async fn the_shared_secret_registers_administrators() {
    let api = Api::with(|settings| settings.registration = Registration::Closed);
    let nonce = api
        .raw("GET /_synapse/admin/v1/register", None, vec![])
        .await
        .ok();
    let nonce = nonce["nonce"].as_str().unwrap();
    let mut mac = Hmac::<Sha1>::new_from_slice(b"shh").unwrap();
    mac.update(format!("{nonce}\0Root\0{PASSWORD}\0admin").as_bytes());
    let mac = mac.finalize().into_bytes();
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({
        "nonce": nonce, "username": "Root", "password": PASSWORD, "admin": true, "mac": mac,
    });
    let answer = api
        .ask("POST /_synapse/admin/v1/register", None, body.clone())
        .await
        .ok();
    assert_eq!(answer["user_id"], "@root:h.test");
    assert!(answer["access_token"].is_string());
    let again = api
        .ask("POST /_synapse/admin/v1/register", None, body)
        .await;
    assert_eq!(again.error(), (403, "M_FORBIDDEN"));
    let off = Api::with(|settings| settings.shared_secret = None);
    let answer = off
        .raw("GET /_synapse/admin/v1/register", None, vec![])
        .await;
    assert_eq!(answer.error(), (400, "M_UNKNOWN"));
}

#[tokio::test]
async fn login_in_all_its_forms() {
    let api = Api::open();
    api.user("alice", "A").await;
    let flows = api.raw("GET login", None, vec![]).await.ok();
    assert_eq!(flows["flows"][0]["type"], "m.login.password");
    for body in [
        login("alice"),
        login("@ALICE:h.test"),
        json!({ "type": "m.login.password", "user": "alice", "password": PASSWORD }),
    ] {
        let answer = api.ask("POST login", None, body).await.ok();
        assert_eq!(answer["user_id"], "@alice:h.test");
        assert!(answer["device_id"].is_string() && answer.get("refresh_token").is_none());
    }
    for (body, status, errcode) in [
        (json!({}), 400, "M_MISSING_PARAM"),
        (json!({ "type": 1 }), 400, "M_BAD_JSON"),
        (json!({ "type": "m.login.odd" }), 400, "M_UNKNOWN"),
        (
            json!({ "type": "m.login.password" }),
            400,
            "M_MISSING_PARAM",
        ),
        (json!({ "type": "m.login.token" }), 400, "M_MISSING_PARAM"),
        (
            json!({ "type": "m.login.token", "token": "x" }),
            403,
            "M_FORBIDDEN",
        ),
        (login("bob"), 403, "M_FORBIDDEN"),
        (auth("alice", "wrong"), 403, "M_FORBIDDEN"),
    ] {
        let answer = api.ask("POST login", None, body).await;
        assert_eq!(answer.error(), (status, errcode));
    }
}

#[tokio::test]
async fn a_login_token_after_authentication() {
    let api = Api::open();
    let token = api.user("alice", "A").await;
    let line = "POST /_matrix/client/v1/login/get_token";
    let asked = api.ask(line, Some(&token), json!({})).await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
    let given = api
        .ask(line, Some(&token), json!({ "auth": login("alice") }))
        .await
        .ok();
    assert_eq!(given["expires_in_ms"], 120_000);
    let body = json!({ "type": "m.login.token", "token": given["login_token"] });
    let answer = api.ask("POST login", None, body.clone()).await.ok();
    assert_eq!(answer["user_id"], "@alice:h.test");
    assert_eq!(
        api.ask("POST login", None, body).await.error(),
        (403, "M_FORBIDDEN")
    );
}

#[tokio::test]
async fn logout_ends_one_session_or_all() {
    let api = Api::open();
    let one = api.user("alice", "A").await;
    let two = api.ask("POST login", None, login("alice")).await.ok();
    let two = two["access_token"].as_str().unwrap();
    api.raw("POST logout", Some(&one), vec![]).await.ok();
    assert_eq!(
        api.get("devices", &one).await.error(),
        (401, "M_UNKNOWN_TOKEN")
    );
    assert!(
        api.get("devices", &one)
            .await
            .body
            .get("soft_logout")
            .is_none()
    );
    let devices = api.get("devices", two).await.ok();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
    api.raw("POST logout/all", Some(two), vec![]).await.ok();
    assert_eq!(
        api.get("devices", two).await.error(),
        (401, "M_UNKNOWN_TOKEN")
    );
    let answer = api.raw("POST logout", None, vec![]).await;
    assert_eq!(answer.error(), (401, "M_MISSING_TOKEN"));
}

#[tokio::test]
async fn devices_are_managed_with_authentication() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    api.user("bob", "B").await;
    let mut second = login("alice");
    second["device_id"] = json!("PHONE");
    second["initial_device_display_name"] = json!("phone");
    api.ask("POST login", None, second).await.ok();
    let shown = api.get("devices/PHONE", token).await.ok();
    assert_eq!(
        shown,
        json!({ "device_id": "PHONE", "display_name": "phone" })
    );
    assert_eq!(
        api.get("devices/NONE", token).await.error(),
        (404, "M_NOT_FOUND")
    );
    let name = json!({ "display_name": "mobile" });
    api.ask("PUT devices/PHONE", Some(token), name.clone())
        .await
        .ok();
    let answer = api.ask("PUT devices/NONE", Some(token), name).await;
    assert_eq!(answer.error(), (404, "M_NOT_FOUND"));

    let asked = api.raw("DELETE devices/PHONE", Some(token), vec![]).await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
    let with_auth = |name: &str, password: &str| {
        let mut auth = auth(name, password);
        auth["session"] = asked.body["session"].clone();
        json!({ "auth": auth })
    };
    let wrong = with_auth("alice", "wrong");
    let answer = api.ask("DELETE devices/PHONE", Some(token), wrong).await;
    assert_eq!(answer.error(), (401, "M_FORBIDDEN"));
    assert_eq!(answer.body["session"], asked.body["session"]);
    assert!(answer.body["flows"].is_array() && answer.body["params"].is_object());
    let other = with_auth("bob", PASSWORD);
    let answer = api.ask("DELETE devices/PHONE", Some(token), other).await;
    assert_eq!(answer.error(), (403, "M_FORBIDDEN"));
    let right = with_auth("@alice:h.test", PASSWORD);
    api.ask("DELETE devices/PHONE", Some(token), right)
        .await
        .ok();
    assert_eq!(
        api.get("devices/PHONE", token).await.error(),
        (404, "M_NOT_FOUND")
    );
}

#[tokio::test]
async fn several_devices_go_with_a_call_that_holds_only_auth() {
    let api = Api::open();
    let token = &api.user("alice", "A").await;
    for id in ["B", "C"] {
        let mut body = login("alice");
        body["device_id"] = json!(id);
        api.ask("POST login", None, body).await.ok();
    }
    let doomed = json!({ "devices": ["B", "C", "unknown", "B"] });
    let asked = api.ask("POST delete_devices", Some(token), doomed).await;
    assert_eq!(asked.status, StatusCode::UNAUTHORIZED);
    let mut auth = login("alice");
    auth["session"] = asked.body["session"].clone();
    api.ask("POST delete_devices", Some(token), json!({ "auth": auth }))
        .await
        .ok();
    let devices = api.get("devices", token).await.ok();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 1);
}
