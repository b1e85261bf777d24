//! The test vectors of the appendices, "Cryptographic Test Vectors".

use serde_json::{Value as Json, json};

use super::*;

fn key() -> SigningKey {
    SigningKey::from_stored("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap()
}

fn server() -> &'static ServerName {
    "domain".try_into().unwrap()
}

fn object(json: &Json) -> Object {
    canonical::parse_object(json.to_string().as_bytes(), Strictness::Strict).unwrap()
}

#[test]
fn json_is_signed_as_in_the_appendices() {
    let cases = [
        (
            json!({}),
            "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ",
        ),
        (
            json!({"one": 1, "two": "Two"}),
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ];
    for (mut json, signature) in cases {
        let mut signed = object(&json);
        key().sign_json(server(), &mut signed);
        json["signatures"] = json!({"domain": {"ed25519:1": signature}});
        assert_eq!(signed, object(&json));
    }
}

#[test]
fn events_are_signed_as_in_the_appendices() {
    let minimal = json!({"room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1_000_000,
        "signatures": {}, "hashes": {}, "type": "X", "content": {}, "prev_events": [], "auth_events": [], "depth": 3,
        "unsigned": {"age_ts": 1_000_000}});
    let redactable = json!({"content": {"body": "Here is the message content"}, "event_id": "$0:domain", "origin": "domain",
        "origin_server_ts": 1_000_000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
        "signatures": {}, "unsigned": {"age_ts": 1_000_000}});
    let cases = [
        (
            minimal,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            redactable,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ];
    for (mut json, hash, signature) in cases {
        let mut event = object(&json);
        hash_and_sign(RoomVersion::V1, &mut event, &key(), server());
        json["hashes"] = json!({"sha256": hash});
        json["signatures"] = json!({"domain": {"ed25519:1": signature}});
        assert_eq!(event, object(&json));
    }
}
