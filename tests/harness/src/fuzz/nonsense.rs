//! The requests: a fixed list per route, then random bodies made of the route's own field names.

use std::sync::LazyLock;

use bytes::Bytes;
use http::Method;
use rand::{RngExt as _, rngs::StdRng};
use serde_json::{Map, Value, json};

use crate::client::escape;

use super::{Auth, Route};

/// Larger than the largest body that a server takes (4 MiB by default).
const HUGE_BYTES: usize = 5 * 1024 * 1024;
/// Deeper than any parser's stack should be asked to go.
const DEPTHS: [usize; 3] = [100, 10_000, 300_000];

/// What a server reads of a body that it does not want before it closes the connection, at most.
const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// Whether an answer can be counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// Yes.
    Normal,
    /// Not if the server refuses the request before it has read the body: the connection may be closed on the way.
    Large,
}

/// With whose token.
#[derive(Clone, Debug)]
pub(super) enum Token {
    /// The visitor's own.
    Valid,
    /// None at all.
    Missing,
    /// These bytes.
    Bad(Vec<u8>),
}

impl Token {
    pub(super) fn bytes(&self, valid: &str) -> Option<Vec<u8>> {
        match self {
            Self::Valid => Some(valid.as_bytes().to_owned()),
            Self::Missing => None,
            Self::Bad(bytes) => Some(bytes.clone()),
        }
    }
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) method: Option<Method>,
    /// A path parameter's index and what stands there instead, already encoded.
    odd_parameter: Option<(usize, String)>,
    query: String,
    pub(super) token: Token,
    pub(super) body: Bytes,
    pub(super) size: Size,
}

impl Case {
    fn new(name: impl Into<String>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let is_large = body.len() > UNREAD_BYTES_MAX;
        Self {
            name: name.into(),
            method: None,
            odd_parameter: None,
            query: String::new(),
            token: Token::Valid,
            body,
            size: if is_large { Size::Large } else { Size::Normal },
        }
    }

    /// The path with its parameters filled in, and the query.
    pub(super) fn path(&self, route: &Route, user: &str, room: &str, event: &str) -> String {
        let mut path = route.path.clone();
        for (index, name) in route.parameters().into_iter().enumerate() {
            let filled = match (&self.odd_parameter, name) {
                (Some((odd, value)), _) if *odd == index => value.clone(),
                (_, "roomId" | "roomIdOrAlias" | "room_id") => escape(room),
                (_, "userId") => escape(user),
                (_, "eventId" | "event_id") => escape(event),
                (_, "roomAlias") => escape("#alias:localhost"),
                (_, "eventType" | "type") => "m.room.message".to_owned(),
                (_, "serverName") => "localhost".to_owned(),
                _ => "x".to_owned(),
            };
            path = path.replacen(&format!("{{{name}}}"), &filled, 1);
        }
        path + &self.query
    }
}

/// All requests for one route.
pub(super) fn cases(route: &Route, random_count: usize, random: &mut StdRng) -> Vec<Case> {
    let mut cases = Vec::new();
    if route.method != Method::GET {
        cases.extend(BROKEN_BODIES.iter().cloned());
        cases.extend(wrong_types(route));
        cases.extend((0..random_count).map(|n| random_body(route, n, random)));
    }
    cases.extend(odd_paths(route));
    cases.extend(odd_queries(route));
    cases.extend(bad_tokens(route));
    cases.extend(other_methods());
    // A long-poll must not make the test wait.
    if route.path.ends_with("/sync") || route.path.ends_with("/events") {
        for case in cases
            .iter_mut()
            .filter(|case| !case.query.contains("timeout="))
        {
            case.query += if case.query.is_empty() {
                "?timeout=0"
            } else {
                "&timeout=0"
            };
        }
    }
    cases
}

/// Made once: some are large, and every route gets them.
static BROKEN_BODIES: LazyLock<Vec<Case>> = LazyLock::new(broken_bodies);

fn broken_bodies() -> Vec<Case> {
    let texts: [&str; 19] = [
        "",
        " ",
        "{",
        "{\"a\":",
        "}",
        "not json",
        "\"text\"",
        "[]",
        "[{}]",
        "1",
        "null",
        "true",
        "{}",
        "{}{}",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1e400}",
        "{\"a\":-123456789012345678901234567890}",
        "{\"\\u0000\":\"\\u0000\"}",
        "{\"a\":\"\\ud800\"}",
    ];
    let mut cases: Vec<Case> = texts
        .iter()
        .map(|text| Case::new(format!("body `{text}`"), text.as_bytes()))
        .collect();
    cases.push(Case::new("invalid UTF-8", &b"{\"a\":\"\xff\xfe\"}"[..]));
    cases.push(Case::new("UTF-16", &b"\xff\xfe{\0}\0"[..]));
    for depth in DEPTHS {
        cases.push(Case::new(
            format!("{depth} arrays deep"),
            [vec![b'['; depth], vec![b']'; depth]].concat(),
        ));
        let objects = [b"{\"a\":".repeat(depth), b"1".to_vec(), vec![b'}'; depth]].concat();
        cases.push(Case::new(format!("{depth} objects deep"), objects));
        cases.push(Case::new(
            format!("{depth} arrays deep, never closed"),
            vec![b'['; depth],
        ));
    }
    cases.push(Case::new(
        "huge string",
        [b"{\"a\":\"", &vec![b'a'; HUGE_BYTES][..], b"\"}"].concat(),
    ));
    let many: Map<String, Value> = (0..20_000).map(|n| (format!("key{n}"), json!(n))).collect();
    cases.push(Case::new(
        "20,000 keys",
        Value::Object(many).to_string().into_bytes(),
    ));
    cases
}

fn plausible(kind: &str) -> Value {
    match kind {
        "string" => json!("x"),
        "boolean" => json!(true),
        "integer" | "number" => json!(1),
        "array" => json!([]),
        _ => json!({}),
    }
}

fn plausible_body(route: &Route) -> Map<String, Value> {
    route
        .body
        .iter()
        .map(|(name, kind)| (name.clone(), plausible(kind)))
        .collect()
}

/// Every field in turn with every wrong kind of value, the others plausible.
fn wrong_types(route: &Route) -> Vec<Case> {
    let deep = (0..100).fold(json!(1), |inner, _| json!({"a": [inner]}));
    let wrong = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(9_007_199_254_740_993_u64),
        json!(""),
        json!("\u{0}"),
        json!("x".repeat(70_000)),
        json!([]),
        json!([null]),
        json!([[]]),
        json!([{"a": 1}]),
        json!({}),
        json!({"a": {}}),
        json!({"": null}),
        deep,
    ];
    let mut cases = vec![Case::new(
        "plausible body",
        Value::Object(plausible_body(route))
            .to_string()
            .into_bytes(),
    )];
    for (name, _) in &route.body {
        for value in &wrong {
            let mut body = plausible_body(route);
            body.insert(name.clone(), value.clone());
            let shown: String = value.to_string().chars().take(30).collect();
            cases.push(Case::new(
                format!("`{name}` is {shown}"),
                Value::Object(body).to_string().into_bytes(),
            ));
        }
    }
    cases
}

fn odd_paths(route: &Route) -> Vec<Case> {
    let long = "a".repeat(5_000);
    let odd = [
        "",
        "%",
        "%z",
        "%zz",
        "%00",
        "%FF",
        "%ED%A0%80",
        "%2F",
        "%2e%2e%2F%2e%2e%2Fetc",
        ".",
        "..",
        "%20",
        "+",
        "%25",
        "%F0%9F%94%A5",
        "!",
        "@",
        "@:",
        "@%3A%3A",
        "%23",
        "$",
        "%21x%3A",
        "%40a%3Aother.example",
        "m.room.create",
        "%40%00%3Alocalhost",
        "%0d%0aX%3A%20y",
        &long,
    ];
    let mut cases = Vec::new();
    for index in 0..route.parameters().len() {
        for value in odd {
            let shown: String = value.chars().take(30).collect();
            let mut case = Case::new(
                format!("odd path `{shown}`"),
                Value::Object(plausible_body(route))
                    .to_string()
                    .into_bytes(),
            );
            case.odd_parameter = Some((index, value.to_owned()));
            cases.push(case);
        }
    }
    cases
}

fn odd_queries(route: &Route) -> Vec<Case> {
    let long = "a".repeat(5_000);
    let mut odd = vec![
        "",
        "-1",
        "0",
        "99999999999999999999",
        "1.5",
        "null",
        "true",
        "%FF",
        "%00",
        "%",
        "[]",
        "%7B%7D",
        "%7B%22room%22%3A1%7D",
        "%7B%22room%22",
        "s",
        "s0",
        "s99999999999999999999",
        "p-9223372036854775808",
        "s1_2_3_4_5",
        "b",
        "f",
        "x",
        &long,
    ];
    let mut cases = Vec::new();
    for name in &route.query {
        if name == "timeout" {
            odd.retain(|value| value.parse::<f64>().is_err());
        }
        for value in &odd {
            let shown: String = value.chars().take(30).collect();
            let mut case = Case::new(
                format!("query {name}={shown}"),
                Value::Object(plausible_body(route))
                    .to_string()
                    .into_bytes(),
            );
            case.query = format!("?{name}={value}");
            cases.push(case);
        }
    }
    for query in [
        "?",
        "?&&&",
        "?=",
        "?a=b&a=c",
        "?%FF=%FF",
        "?access_token=%FF",
        "?access_token=x&access_token=y",
    ] {
        let mut case = Case::new(
            format!("query `{query}`"),
            Value::Object(plausible_body(route))
                .to_string()
                .into_bytes(),
        );
        case.query = query.to_owned();
        cases.push(case);
    }
    cases
}

fn bad_tokens(route: &Route) -> Vec<Case> {
    let bad = [
        Vec::new(),
        b" ".to_vec(),
        b"x".to_vec(),
        vec![b'x'; 7_000],
        vec![0x80, 0xff, 0xfe],
        b"a b c".to_vec(),
        b"syt_\xc3\xa9".to_vec(),
    ];
    let tokens = bad.into_iter().map(Token::Bad).chain([Token::Missing]);
    let body = Value::Object(plausible_body(route))
        .to_string()
        .into_bytes();
    let mut cases = Vec::new();
    for token in tokens {
        let mut case = Case::new(format!("token {token:.40?}"), body.clone());
        case.token = token;
        cases.push(case);
    }
    if route.auth != Auth::Token || route.method != Method::GET {
        // Bodies are judged before, after or without a token: all three must be safe.
        for mut case in BROKEN_BODIES
            .iter()
            .filter(|case| case.body.len() < HUGE_BYTES)
            .cloned()
        {
            case.token = Token::Missing;
            case.name += ", no token";
            cases.push(case);
        }
    }
    cases
}

fn other_methods() -> Vec<Case> {
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::OPTIONS,
        Method::TRACE,
    ];
    let with = |method: Method| {
        let mut case = Case::new("another method", &b"{}"[..]);
        case.method = Some(method);
        case
    };
    methods.into_iter().map(with).collect()
}

fn random_body(route: &Route, n: usize, random: &mut StdRng) -> Case {
    let mut body = plausible_body(route);
    let names: Vec<String> = body.keys().cloned().collect();
    for name in names {
        if random.random_range(0..3) == 0 {
            body.insert(name, random_value(route, 4, random));
        }
    }
    Case::new(
        format!("random body {n}"),
        Value::Object(body).to_string().into_bytes(),
    )
}

fn random_value(route: &Route, depth: usize, random: &mut StdRng) -> Value {
    let known = [
        "m.room.message",
        "m.login.dummy",
        "m.login.password",
        "@a:localhost",
        "!r:localhost",
        "$e",
        "",
        "type",
        "user",
        "event_id",
    ];
    match random.random_range(0..if depth == 0 { 5 } else { 8 }) {
        0 => Value::Null,
        1 => json!(random.random::<bool>()),
        2 => json!(random.random::<i64>()),
        3 => json!(random.random::<f64>()),
        4 => json!(known[random.random_range(0..known.len())]),
        5 => (0..random.random_range(0..4))
            .map(|_| random_value(route, depth - 1, random))
            .collect(),
        _ => Value::Object(
            (0..random.random_range(0..5))
                .map(|_| {
                    (
                        random_name(route, random),
                        random_value(route, depth - 1, random),
                    )
                })
                .collect(),
        ),
    }
}

fn random_name(route: &Route, random: &mut StdRng) -> String {
    let known = [
        "type",
        "identifier",
        "user",
        "session",
        "event_id",
        "rel_type",
        "m.relates_to",
        "content",
        "users",
        "membership",
        "m.mentions",
        "",
    ];
    let own = random.random_range(0..known.len() + route.body.len());
    known.get(own).map_or_else(
        || route.body[own - known.len()].0.clone(),
        |name| (*name).to_owned(),
    )
}
