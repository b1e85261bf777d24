//! Pages for clients that cannot do everything by themselves.

use axum::body::Body;
use hearth_accounts::{Policy, Registration};
use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::{Api, PASSWORD};

async fn fetch(api: &Api, line: &str, form: &str) -> (Response<()>, String) {
    let (method, path) = line.split_once(' ').unwrap();
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from(form.to_owned())).unwrap();
    let response = api.router.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();
    (Response::from_parts(parts, ()), text)
}

fn is_strict(response: &Response<()>) {
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(response.headers()["cache-control"], "no-store");
}

#[tokio::test]
async fn a_stage_is_passed_in_a_page_and_the_client_goes_on() {
    let api = Api::with(|settings| {
        settings.terms = vec![Policy {
            id: "p".to_owned(),
            version: "1".to_owned(),
            language: "en".to_owned(),
            name: "A & <B>".to_owned(),
            url: "https://h.test/\"".to_owned(),
        }];
    });
    let body = json!({ "username": "anna", "password": PASSWORD });
    let asked = api.ask("POST register", None, body.clone()).await;
    let session = asked.body["session"].as_str().unwrap();
    let path = format!("/_matrix/client/v3/auth/m.login.terms/fallback/web?session={session}");
    let (response, text) = fetch(&api, &format!("GET {path}"), "").await;
    assert_eq!(response.status(), 200);
    is_strict(&response);
    assert!(
        text.contains("A &amp; &lt;B&gt;") && text.contains("https://h.test/&quot;"),
        "{text}"
    );
    let not_yet = json!({ "auth": { "session": session } });
    let answer = api.ask("POST register", None, not_yet.clone()).await;
    assert_eq!(answer.status, 401);
    let form = format!("session={session}");
    let (response, text) = fetch(&api, &format!("POST {path}"), &form).await;
    assert_eq!(response.status(), 200, "{text}");
    assert!(text.contains("/_matrix/static/hearth/done.js"));
    assert!(!text.contains("<script>"), "no script in the page itself");
    let user = api.ask("POST register", None, not_yet).await.ok();
    assert_eq!(user["user_id"], "@anna:h.test");
}

#[tokio::test]
async fn a_page_asks_for_the_token_or_the_password_and_says_what_is_wrong() {
    let api = Api::with(|settings| settings.registration = Registration::Token);
    let asked = api.ask("POST register", None, json!({})).await;
    let session = asked.body["session"].as_str().unwrap();
    let path = "/_matrix/client/v3/auth/m.login.registration_token/fallback/web";
    let form = format!("session={session}&answer=wrong");
    let (response, text) = fetch(&api, &format!("POST {path}"), &form).await;
    assert_eq!(response.status(), 401);
    assert!(text.contains("Invalid registration token"), "{text}");

    let api = Api::open();
    let token = api.user("anna", "PHONE").await;
    let asked = api
        .ask(
            "POST delete_devices",
            Some(&token),
            json!({ "devices": ["X"] }),
        )
        .await;
    let session = asked.body["session"].as_str().unwrap();
    let path = "/_matrix/client/v3/auth/m.login.password/fallback/web";
    for (password, expected) in [("wrong", 401), ("correct+horse", 200)] {
        let form = format!("session={session}&answer={password}");
        let (response, text) = fetch(&api, &format!("POST {path}"), &form).await;
        assert_eq!(response.status(), expected, "{text}");
    }
    let on = json!({ "auth": { "session": session } });
    api.ask("POST delete_devices", Some(&token), on).await.ok();
}

#[tokio::test]
async fn pages_for_unknown_sessions_and_stages_are_no_pages() {
    let api = Api::open();
    for (line, form, expected) in [
        (
            "GET /_matrix/client/v3/auth/m.login.dummy/fallback/web?session=x",
            "",
            400,
        ),
        (
            "GET /_matrix/client/v3/auth/m.login.dummy/fallback/web",
            "",
            400,
        ),
        (
            "GET /_matrix/client/v3/auth/m.login.sso/fallback/web?session=x",
            "",
            404,
        ),
        (
            "POST /_matrix/client/v3/auth/m.login.dummy/fallback/web",
            "session=<x>",
            400,
        ),
        (
            "POST /_matrix/client/v3/auth/m.login.dummy/fallback/web",
            "session=x",
            400,
        ),
    ] {
        let (response, text) = fetch(&api, line, form).await;
        assert_eq!(response.status(), expected, "{line} {text}");
        assert!(!text.contains("<x>"), "{text}");
    }
    let line = "GET /_matrix/client/v3/auth/%FF/fallback/web?session=x";
    let (response, text) = fetch(&api, line, "").await;
    assert_eq!(response.status(), 400);
    assert!(text.contains("M_INVALID_PARAM"), "{text}");
}

#[tokio::test]
async fn the_login_page_has_nothing_from_elsewhere() {
    let api = Api::open();
    let (response, text) = fetch(&api, "GET /_matrix/static/client/login/", "").await;
    is_strict(&response);
    assert!(
        !text.contains("http:") && !text.contains("https:"),
        "{text}"
    );
    for file in ["page.css", "login.js", "done.js"] {
        let path = format!("GET /_matrix/static/hearth/{file}");
        assert_eq!(fetch(&api, &path, "").await.0.status(), 200);
    }
}
