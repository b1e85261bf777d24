//! Who may ask at all (S02, S19).

use bytes::Bytes;
use hearth_federation::XMatrix;
use serde_json::{Value, json};

use crate::house::House;

const READ: &str = "GET /_matrix/federation/v1/query/profile?user_id=@alice:house";
const WRITE: &str = "PUT /_matrix/federation/v1/send/1";

const UNAUTHORIZED: (u16, &str) = (401, "M_UNAUTHORIZED");

fn body() -> Bytes {
    let body = json!({ "origin": "far", "origin_server_ts": 1, "pdus": [], "edus": [] });
    Bytes::from(body.to_string())
}

#[tokio::test]
async fn requests_with_a_good_signature_are_let_in() {
    let house = House::new();
    house.register("alice").await;
    let header = house.signed("far", READ, None).to_header();
    house.wire(READ, Some(&header), Bytes::new()).await.ok();
    let header = house.signed("far", WRITE, Some(&body())).to_header();
    let answer = house.wire(WRITE, Some(&header), body()).await;
    assert_eq!(answer.ok(), json!({ "pdus": {} }));
    // An older server does not say for whom the request is, but has signed it for us.
    let mut old = house.signed("far", READ, None);
    old.destination = None;
    let answer = house.wire(READ, Some(&old.to_header()), Bytes::new()).await;
    answer.ok();
}

#[tokio::test]
async fn requests_without_a_good_signature_are_refused() {
    let house = House::new();
    house.register("alice").await;
    let good = house.signed("far", READ, None);
    let with = |change: fn(&mut XMatrix)| {
        let mut header = good.clone();
        change(&mut header);
        header.to_header()
    };
    let other_signature = house.signed("further", READ, None).signature;
    let mut stolen = good.clone();
    stolen.signature = other_signature;
    let headers = [
        "Bearer abc".to_owned(),
        "X-Matrix".to_owned(),
        "X-Matrix origin=far".to_owned(),
        with(|header| header.destination = Some("other".to_owned())),
        with(|header| header.key_id = "ed25519:none".to_owned()),
        with(|header| header.signature = "AAAA".to_owned()),
        with(|header| header.origin = "further".try_into().unwrap()),
        // A signature for another request.
        house
            .signed("far", &READ.replace("alice", "bob"), None)
            .to_header(),
        house
            .signed("far", &READ.replace("GET", "PUT"), None)
            .to_header(),
        house.signed("far", READ, Some(&body())).to_header(),
        stolen.to_header(),
        // A server whose keys nobody knows.
        house.signed("silent", READ, None).to_header(),
    ];
    for header in &headers {
        let answer = house.wire(READ, Some(header), Bytes::new()).await;
        assert_eq!(answer.error(), UNAUTHORIZED, "{header}");
    }
    let bare = house.wire(READ, None, Bytes::new()).await;
    assert_eq!(bare.error(), UNAUTHORIZED);
}

#[tokio::test]
async fn a_body_that_was_not_signed_is_refused() {
    let house = House::new();
    let header = house.signed("far", WRITE, Some(&body())).to_header();
    let other = Bytes::from(
        body()
            .as_ref()
            .escape_ascii()
            .to_string()
            .replace("\\\"", "\"")
            .replace(":1,", ":2,"),
    );
    assert_ne!(other, body());
    let answer = house.wire(WRITE, Some(&header), other).await;
    assert_eq!(answer.error(), UNAUTHORIZED);
    let answer = house.wire(WRITE, Some(&header), Bytes::new()).await;
    assert_eq!(answer.error(), UNAUTHORIZED);
}

#[tokio::test]
async fn a_server_with_which_this_one_does_not_talk_gets_nothing() {
    let house = House::new();
    for origin in ["denied", "house"] {
        let header = house.signed(origin, READ, None).to_header();
        let answer = house.wire(READ, Some(&header), Bytes::new()).await;
        assert_eq!(answer.error(), (403, "M_FORBIDDEN"), "{origin}");
    }
    // It is not even asked for its keys.
    assert!(house.asked().is_empty(), "{:?}", house.asked());
}

#[tokio::test]
async fn bodies_that_are_no_requests_are_refused_with_a_reason() {
    let house = House::new();
    for (body, expected) in [
        (
            json!({ "origin": "far", "origin_server_ts": 1 }),
            "M_BAD_JSON",
        ),
        (
            json!({ "origin": "far", "origin_server_ts": 1, "pdus": 1 }),
            "M_BAD_JSON",
        ),
        (
            json!({ "origin": "far", "origin_server_ts": 1, "pdus": vec![json!({}); 51] }),
            "M_BAD_JSON",
        ),
        (
            json!({ "origin": "far", "origin_server_ts": 1, "pdus": [], "edus": vec![json!({ "edu_type": "x", "content": {} }); 101] }),
            "M_BAD_JSON",
        ),
    ] {
        let answer = house.ask("far", "PUT v1/send/2", &body).await;
        assert_eq!(answer.error(), (400, expected), "{body}");
    }
    let not_json = house.wire(WRITE, None, Bytes::from_static(b"{")).await;
    assert_eq!(not_json.error(), (400, "M_NOT_JSON"));
    let large = house
        .wire(WRITE, None, Bytes::from(vec![b' '; 17 << 20]))
        .await;
    assert_eq!(large.error(), (413, "M_TOO_LARGE"));
    let unknown = house.get("far", "v1/nothing").await;
    assert_eq!(unknown.error(), (404, "M_UNRECOGNIZED"));
    let method = house.ask("far", "POST v1/send/2", &Value::Null).await;
    assert_eq!(method.error(), (405, "M_UNRECOGNIZED"));
}
