use std::net::SocketAddr;

use axum::extract::FromRef;
use hearth_config::{Config, Rate};
use hearth_ports::{AuthFailure, Authenticate, BoxFuture};
use hearth_types::Caller;
use http::StatusCode;
use http_body_util::BodyExt;
use ruma::api::client::account::whoami;
use ruma::api::client::config::set_global_account_data;
use ruma::api::client::message::get_message_events;
use ruma::api::client::room::create_room;
use ruma::api::client::session::{login, logout};
use ruma::{owned_device_id, owned_user_id};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{Gate, Ruma, RumaEvenLocked, RumaResponse, route};

/// Knows the tokens `good`, `soft`, `locked` and `broken`.
struct Tokens;

impl Authenticate for Tokens {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, AuthFailure>> {
        let caller = Caller {
            user: owned_user_id!("@anna:localhost"),
            device: Some(owned_device_id!("PHONE")),
            is_guest: false,
            is_admin: false,
            is_suspended: false,
            service: None,
        };
        Box::pin(async move {
            match token {
                "good" => Ok(caller),
                "locked" => Err(AuthFailure::Locked {
                    caller: Box::new(caller),
                }),
                "broken" => Err(AuthFailure::Internal("the disk is gone".into())),
                _ => Err(AuthFailure::Unknown {
                    soft_logout: token == "soft",
                }),
            }
        })
    }
}

#[derive(Clone)]
struct Handles(Gate);

impl FromRef<Handles> for Gate {
    fn from_ref(handles: &Handles) -> Self {
        handles.0.clone()
    }
}

async fn whoami_handler(
    request: Ruma<whoami::v3::Request>,
) -> crate::Result<RumaResponse<whoami::v3::Response>> {
    let caller = request.caller()?;
    let mut answer = whoami::v3::Response::new(caller.user.clone(), false);
    answer.device_id = caller.device.clone();
    Ok(RumaResponse(answer))
}

async fn raw_body<T>(request: Ruma<T>) -> RawJson {
    RawJson(request.json)
}

async fn even_locked(
    request: RumaEvenLocked<logout::v3::Request>,
) -> crate::Result<RumaResponse<logout::v3::Response>> {
    request.caller()?;
    Ok(RumaResponse(logout::v3::Response::new()))
}

async fn empty<T>(_: Ruma<T>) -> RawJson {
    RawJson("{}".into())
}

async fn panicking() -> RawJson {
    panic!("no reason")
}

fn server(config: &Config) -> Router {
    let gate = Gate::with_limits(Arc::new(Tokens), config);
    let mut routes = Router::new().route("/panic", get(panicking));
    routes = route::<whoami::v3::Request, _, _, _>(routes, whoami_handler);
    routes = route::<login::v3::Request, _, _, _>(routes, empty::<login::v3::Request>);
    routes = route::<logout::v3::Request, _, _, _>(routes, even_locked);
    routes = route::<create_room::v3::Request, _, _, _>(routes, empty::<create_room::v3::Request>);
    routes = route::<get_message_events::v3::Request, _, _, _>(
        routes,
        empty::<get_message_events::v3::Request>,
    );
    routes = route::<set_global_account_data::v3::Request, _, _, _>(
        routes,
        raw_body::<set_global_account_data::v3::Request>,
    );
    Frame::new(Metrics::new(), &config.trusted_proxies).around(routes.with_state(Handles(gate)))
}

struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    json: Value,
    text: String,
}

impl Answer {
    fn brief(&self) -> (u16, &str) {
        let errcode = self.json.get("errcode").and_then(Value::as_str);
        (self.status.as_u16(), errcode.unwrap_or_default())
    }
}

async fn ask(router: &Router, request: http::Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("in memory").to_bytes();
    let text = String::from_utf8(body.to_vec()).expect("text");
    Answer {
        status: parts.status,
        headers: parts.headers,
        json: serde_json::from_str(&text).unwrap_or_default(),
        text,
    }
}

/// A request with a token, unless it is empty.
fn request(method: &str, path: &str, token: &str, body: impl Into<Body>) -> http::Request<Body> {
    let mut request = http::Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(body.into()).expect("valid")
}

fn from_peer(mut request: http::Request<Body>, peer: &str) -> http::Request<Body> {
    let peer: SocketAddr = peer.parse().expect(peer);
    request.extensions_mut().insert(Peer(peer));
    request
}

const WHOAMI: &str = "/_matrix/client/v3/account/whoami";
const CREATE_ROOM: &str = "/_matrix/client/v3/createRoom";
const ACCOUNT_DATA: &str = "/_matrix/client/v3/user/@anna:localhost/account_data/x";

#[tokio::test]
async fn the_caller_is_who_holds_the_token() {
    let server = server(&Config::default());
    for path in [WHOAMI, "/_matrix/client/r0/account/whoami"] {
        let answer = ask(&server, request("GET", path, "good", "")).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json["user_id"], json!("@anna:localhost"));
        assert_eq!(answer.headers["content-type"], "application/json");
    }
    let in_query = format!("{WHOAMI}?access_token=good");
    let answer = ask(&server, request("GET", &in_query, "", "")).await;
    assert_eq!(answer.brief(), (200, ""));
    let head = ask(&server, request("HEAD", WHOAMI, "good", "")).await;
    assert_eq!(head.status, StatusCode::OK);
}

#[tokio::test]
async fn tokens_that_are_not_good_are_told_apart() {
    let server = server(&Config::default());
    for (token, expected, soft_logout) in [
        ("", (401, "M_MISSING_TOKEN"), Value::Null),
        ("nonsense", (401, "M_UNKNOWN_TOKEN"), Value::Null),
        ("soft", (401, "M_UNKNOWN_TOKEN"), json!(true)),
        ("locked", (401, "M_USER_LOCKED"), json!(true)),
        ("broken", (500, "M_UNKNOWN"), Value::Null),
    ] {
        let answer = ask(&server, request("GET", WHOAMI, token, "")).await;
        assert_eq!(answer.brief(), expected, "{token}");
        let found = answer.json.get("soft_logout").cloned().unwrap_or_default();
        assert_eq!(found, soft_logout, "{token}");
        assert!(!answer.text.contains("disk"), "causes stay inside");
    }
    let mut basic = request("GET", WHOAMI, "", "");
    let header = HeaderValue::from_static("Basic Z29vZDo=");
    basic.headers_mut().insert("authorization", header);
    assert_eq!(ask(&server, basic).await.brief(), (401, "M_MISSING_TOKEN"));
    let logout = "/_matrix/client/v3/logout";
    let answer = ask(&server, request("POST", logout, "locked", "{}")).await;
    assert_eq!(answer.brief(), (200, ""), "locked users may log out");
    // A stale token does not keep anyone from logging in.
    let body = r#"{"type":"m.login.password"}"#;
    let answer = ask(
        &server,
        request("POST", "/_matrix/client/v3/login", "old", body),
    )
    .await;
    assert_ne!(answer.brief().1, "M_UNKNOWN_TOKEN");
}

/// Method, path and body, and the status and errcode that they get.
type Malformed<'a> = (&'a str, &'a str, Vec<u8>, (u16, &'a str));

#[tokio::test]
async fn malformed_requests_get_the_errcode_of_the_spec() {
    let server = server(&Config::default());
    let nested = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let cases: [Malformed; 12] = [
        ("POST", CREATE_ROOM, b"{".to_vec(), (400, "M_NOT_JSON")),
        (
            "POST",
            CREATE_ROOM,
            b"{\"name\":\"\xff\"}".to_vec(),
            (400, "M_NOT_JSON"),
        ),
        ("POST", CREATE_ROOM, b"[]".to_vec(), (400, "M_BAD_JSON")),
        (
            "POST",
            CREATE_ROOM,
            br#"{"name":1}"#.to_vec(),
            (400, "M_BAD_JSON"),
        ),
        ("POST", CREATE_ROOM, Vec::new(), (200, "")),
        // The content of account data is kept as raw text, which no parser goes into.
        (
            "PUT",
            ACCOUNT_DATA,
            nested.into_bytes(),
            (400, "M_BAD_JSON"),
        ),
        (
            "PUT",
            ACCOUNT_DATA,
            br#"{"a":"\ud800"}"#.to_vec(),
            (400, "M_NOT_JSON"),
        ),
        (
            "PUT",
            &ACCOUNT_DATA.replace("@anna", "anna"),
            b"{}".to_vec(),
            (400, "M_INVALID_PARAM"),
        ),
        (
            "PUT",
            &ACCOUNT_DATA.replace("@anna", "@%ff"),
            b"{}".to_vec(),
            (400, "M_INVALID_PARAM"),
        ),
        (
            "GET",
            "/_matrix/client/v3/rooms/!a:b/messages",
            Vec::new(),
            (400, "M_MISSING_PARAM"),
        ),
        (
            "GET",
            "/_matrix/client/v3/rooms/!a:b/messages?dir=b&limit=lots",
            Vec::new(),
            (400, "M_INVALID_PARAM"),
        ),
        (
            "GET",
            "/_matrix/client/v3/rooms/!a:b/messages?dir=b",
            Vec::new(),
            (200, ""),
        ),
    ];
    for (method, path, body, expected) in cases {
        let answer = ask(&server, request(method, path, "good", body)).await;
        assert_eq!(answer.brief(), expected, "{method} {path}: {}", answer.text);
    }
}

#[tokio::test]
async fn bodies_arrive_byte_by_byte_as_they_were_sent() {
    let server = server(&Config::default());
    let body = r#"{ "b" : 1.0 , "a":"\u0041" }"#;
    let answer = ask(&server, request("PUT", ACCOUNT_DATA, "good", body)).await;
    assert_eq!(answer.text, body);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_unrecognized() {
    let server = server(&Config::default());
    for path in [
        "/",
        "/_matrix/client/v3/nothing",
        "/_matrix/media/x",
        "/a//b/%ff",
    ] {
        let answer = ask(&server, request("GET", path, "", "")).await;
        assert_eq!(answer.brief(), (404, "M_UNRECOGNIZED"), "{path}");
    }
    for method in ["POST", "PATCH", "BREW"] {
        let answer = ask(&server, request(method, WHOAMI, "", "")).await;
        assert_eq!(answer.brief(), (405, "M_UNRECOGNIZED"), "{method}");
    }
}

#[tokio::test]
async fn too_large_a_body_is_refused_whether_its_length_is_told_or_not() {
    let server = server(&Config::default());
    let large = vec![b' '; Config::default().limits.body.as_usize() + 1];
    let answer = ask(&server, request("POST", CREATE_ROOM, "good", large)).await;
    assert_eq!(answer.brief(), (413, "M_TOO_LARGE"));
    let piece = bytes::Bytes::from_static(&[b' '; 65_536]);
    let endless = futures_util::stream::repeat(Ok::<_, std::convert::Infallible>(piece));
    let body = Body::from_stream(endless);
    let answer = ask(&server, request("POST", CREATE_ROOM, "good", body)).await;
    assert_eq!(answer.brief(), (413, "M_TOO_LARGE"));
}

#[tokio::test]
async fn cors_headers_are_on_every_answer() {
    let server = server(&Config::default());
    for (method, path) in [
        ("GET", WHOAMI),
        ("GET", "/_matrix/nothing"),
        ("PATCH", WHOAMI),
        ("GET", "/panic"),
        ("GET", "/.well-known/matrix/client"),
        ("OPTIONS", WHOAMI),
        ("OPTIONS", "/panic"),
        ("OPTIONS", "/_matrix/nothing"),
    ] {
        let answer = ask(&server, request(method, path, "", "")).await;
        assert_eq!(
            answer.headers["access-control-allow-origin"], "*",
            "{method} {path}"
        );
        if method == "OPTIONS" {
            assert_eq!(answer.status, StatusCode::OK, "{path}");
            let methods = &answer.headers["access-control-allow-methods"];
            assert_eq!(methods, "GET,POST,PUT,DELETE,OPTIONS");
            let headers = &answer.headers["access-control-allow-headers"];
            assert_eq!(headers, "x-requested-with,content-type,authorization");
        }
    }
}

#[tokio::test]
async fn s20_a_panic_becomes_a_500_and_says_nothing() {
    let server = server(&Config::default());
    let answer = ask(&server, request("GET", "/panic", "", "")).await;
    assert_eq!(answer.brief(), (500, "M_UNKNOWN"));
    assert!(!answer.text.contains("no reason"));
}

fn limited() -> Config {
    let mut config = Config::default();
    let rate = Rate {
        per_minute: 1,
        burst: 2,
    };
    config.rate_limits.login = rate;
    config.rate_limits.send = rate;
    config.rate_limits.read = rate;
    config.trusted_proxies = vec!["10.0.0.0/8".parse().expect("a network")];
    config
}

#[tokio::test]
async fn too_many_requests_of_a_user_are_told_when_to_come_back() {
    let server = server(&limited());
    for _ in 0..2 {
        let answer = ask(&server, request("GET", WHOAMI, "good", "")).await;
        assert_eq!(answer.brief(), (200, ""));
    }
    let answer = ask(&server, request("GET", WHOAMI, "good", "")).await;
    assert_eq!(answer.brief(), (429, "M_LIMIT_EXCEEDED"));
    let seconds: u64 = answer.headers["retry-after"]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    let millis = answer.json["retry_after_ms"].as_u64().expect("a number");
    assert!((1..=60).contains(&seconds) && millis <= seconds * 1_000);
    // Writing is counted apart.
    let answer = ask(&server, request("POST", CREATE_ROOM, "good", "{}")).await;
    assert_eq!(answer.brief(), (200, ""));
}

#[tokio::test]
async fn s25_the_address_that_is_limited_cannot_be_chosen() {
    let server = server(&limited());
    let guess = |peer: &str, forwarded: &'static str| {
        let mut request = from_peer(request("GET", WHOAMI, "guess", ""), peer);
        let forwarded = HeaderValue::from_static(forwarded);
        request.headers_mut().insert("x-forwarded-for", forwarded);
        request
    };
    let mut seen = Vec::new();
    for forwarded in ["198.51.100.1", "198.51.100.2", "198.51.100.3"] {
        seen.push(
            ask(&server, guess("192.0.2.1:1", forwarded))
                .await
                .status
                .as_u16(),
        );
    }
    assert_eq!(seen, [401, 401, 429], "an untrusted peer is itself");
    let mut seen = Vec::new();
    for forwarded in [
        "1.1.1.1, 198.51.100.9",
        "2.2.2.2, 198.51.100.9",
        "198.51.100.9",
    ] {
        seen.push(
            ask(&server, guess("10.0.0.1:1", forwarded))
                .await
                .status
                .as_u16(),
        );
    }
    assert_eq!(seen, [401, 401, 429], "the hop that the proxy saw counts");
    let other = ask(&server, guess("10.0.0.1:1", "198.51.100.10")).await;
    assert_eq!(other.status.as_u16(), 401, "others are not held up");
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let mut config = limited();
    config.rate_limits.enabled = false;
    let server = server(&config);
    for _ in 0..100 {
        let answer = ask(&server, request("GET", WHOAMI, "good", "")).await;
        assert_eq!(answer.brief(), (200, ""));
    }
}

#[tokio::test]
async fn metrics_are_for_this_machine_only() {
    let server = server(&Config::default());
    let get = |path| request("GET", path, "", "");
    assert_eq!(
        ask(&server, get("/health")).await.json["status"],
        json!("ok")
    );
    let secret = format!("{WHOAMI}?access_token=swordfish");
    ask(&server, get(&secret)).await;
    ask(&server, get("/made/up")).await;
    for peer in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let answer = ask(&server, from_peer(get("/metrics"), peer)).await;
        let whoami = format!("method=\"GET\",path=\"{WHOAMI}\",status=\"401\"");
        assert!(answer.text.contains(&whoami), "{}", answer.text);
        assert!(
            !answer.text.contains("made"),
            "paths of clients are no labels"
        );
        assert!(!answer.text.contains("swordfish"), "S22");
    }
    let outside = ask(&server, from_peer(get("/metrics"), "192.0.2.1:1")).await;
    assert_eq!(outside.brief(), (404, "M_UNRECOGNIZED"));
    let mut proxied = from_peer(get("/metrics"), "127.0.0.1:1");
    let client = HeaderValue::from_static("192.0.2.1");
    proxied.headers_mut().insert("x-forwarded-for", client);
    assert_eq!(ask(&server, proxied).await.brief(), (404, "M_UNRECOGNIZED"));
}
