//! Every route with what no client should send: never a 5xx, never a panic.

use super::*;

const ROUTES: &[&str] = &[
    "POST register",
    "GET register/available",
    "POST /_synapse/admin/v1/register",
    "GET /_matrix/client/v1/register/m.login.registration_token/validity",
    "POST login",
    "POST /_matrix/client/v1/login/get_token",
    "POST refresh",
    "POST account/password",
    "POST account/deactivate",
    "GET account/3pid",
    "GET devices",
    "GET devices/{}",
    "PUT devices/{}",
    "DELETE devices/{}",
    "POST delete_devices",
    "GET profile/{}",
    "GET profile/@alice:h.test/{}",
    "PUT profile/@alice:h.test/{}",
    "DELETE profile/@alice:h.test/{}",
    "GET user/{}/account_data/x",
    "GET user/@alice:h.test/account_data/{}",
    "PUT user/@alice:h.test/account_data/{}",
    "GET user/@alice:h.test/rooms/{}/account_data/x",
    "PUT user/@alice:h.test/rooms/!r:h.test/account_data/{}",
    "GET user/@alice:h.test/rooms/{}/tags",
    "PUT user/@alice:h.test/rooms/!r:h.test/tags/{}",
    "DELETE user/@alice:h.test/rooms/!r:h.test/tags/{}",
    "POST user/@alice:h.test/filter",
    "GET user/@alice:h.test/filter/{}",
    "POST user/@alice:h.test/openid/request_token",
    "GET pushrules/",
    "GET pushrules/global/",
    "GET pushrules/global/{}/x",
    "GET pushrules/global/override/{}",
    "PUT pushrules/global/{}/x",
    "PUT pushrules/global/override/{}",
    "PUT pushrules/global/content/{}?before={}&after={}",
    "PUT pushrules/global/room/{}",
    "PUT pushrules/global/sender/{}",
    "DELETE pushrules/global/content/{}",
    "GET pushrules/global/content/{}/enabled",
    "PUT pushrules/global/content/{}/enabled",
    "PUT pushrules/global/content/{}/actions",
    "GET /_matrix/client/v1/admin/lock/{}",
    "PUT /_matrix/client/v1/admin/lock/{}",
    "PUT /_matrix/client/v1/admin/suspend/{}",
    "GET admin/whois/{}",
];

const PARTS: &[&str] = &[
    "x",
    "%00",
    "%FF",
    "%2F",
    "%2e%2e",
    "@",
    "@a:",
    "%F0%9F%98%80",
    "{}",
    ".m.rule.master",
];

const FIELDS: &[&str] = &[
    "auth",
    "type",
    "identifier",
    "user",
    "username",
    "password",
    "new_password",
    "token",
    "refresh_token",
    "device_id",
    "devices",
    "display_name",
    "displayname",
    "x",
    "%00",
    "actions",
    "conditions",
    "pattern",
    "enabled",
    "order",
    "nonce",
    "mac",
    "admin",
    "locked",
    "suspended",
    "initial_device_display_name",
    "inhibit_login",
    "room",
    "event_fields",
    "logout_devices",
    "erase",
];

fn bodies() -> Vec<Vec<u8>> {
    let field = |value: &str| {
        let fields: Vec<String> = FIELDS
            .iter()
            .map(|name| format!("\"{name}\":{value}"))
            .collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    };
    let deep = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let values = [
        "null",
        "true",
        "0",
        "-1",
        "1e400",
        "\"\"",
        "\"x\"",
        "\"m.login.password\"",
        "[]",
        "{}",
        "[{}]",
        "{\"type\":\"m.login.password\"}",
        "{\"type\":\"m.login.dummy\",\"session\":\"x\"}",
        &deep,
        "\"\\u0000\"",
        "\"\\ud800\"",
        "18446744073709551616",
    ];
    let mut bodies: Vec<Vec<u8>> = values.iter().map(|value| field(value)).collect();
    bodies.extend([
        vec![],
        b"{".to_vec(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"\xff\xfe".to_vec(),
        b"{\"a\":1,\"a\":2}".to_vec(),
        field(&format!("\"{}\"", "x".repeat(20_000))),
    ]);
    bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s20_nothing_that_a_client_sends_breaks_the_server() {
    let api = Api::open();
    let token = api.user("alice", "A").await;
    let bodies = bodies();
    let mut seen = [0_u32; 6];
    for route in ROUTES {
        for (index, body) in bodies.iter().enumerate() {
            let part = PARTS[index % PARTS.len()];
            let line = route.replace("{}", &part.replace(['{', '}'], "%7B"));
            let answer = api.raw(&line, Some(&token), body.clone()).await;
            let class = usize::from(answer.status.as_u16() / 100);
            assert!(class < 5, "{line} with body {index}: {answer:?}");
            assert!(answer.body.is_object(), "{line} with body {index}: no JSON");
            seen[class] += 1;
        }
    }
    assert!(seen[2] > 50 && seen[4] > 50, "{seen:?}");
    for token in ["", "x", "%00", "hat_", &"y".repeat(5_000)] {
        let answer = api.get("devices", token).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
}
