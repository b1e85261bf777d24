//! Format and size checks of received events; hostile bytes (S05).

use hearth_event::canonical::{self, JsonError, Strictness};
use hearth_event::{FormatError, Pdu, RoomVersion};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::event_json;

fn parse(version: RoomVersion, event: &Value) -> Result<Pdu, FormatError> {
    Pdu::parse(version, event.to_string().as_bytes())
}

#[test]
fn a_complete_event_is_read_in_every_version() {
    for version in RoomVersion::SUPPORTED {
        let mut event = event_json(version);
        event["unsigned"] = json!({"age": 3});
        let pdu = parse(version, &event).unwrap();
        assert_eq!(
            (pdu.kind(), pdu.sender().as_str()),
            ("m.room.message", "@u:x")
        );
        assert_eq!(
            (pdu.depth(), pdu.origin_server_ts().0),
            (7, 1_700_000_000_000)
        );
        assert_eq!(pdu.content_json(), r#"{"body":"hello","msgtype":"m.text"}"#);
        assert!(!String::from_utf8_lossy(pdu.json()).contains("unsigned"));
        let again = Pdu::from_stored(
            version,
            pdu.event_id().to_owned(),
            pdu.room_id().to_owned(),
            pdu.json().clone(),
        );
        assert_eq!(again.unwrap().content_json(), pdu.content_json());
        let alphabet = match version {
            RoomVersion::V1 | RoomVersion::V2 => continue,
            RoomVersion::V3 => "+/",
            _ => "-_",
        };
        let is_id = |byte: char| byte.is_ascii_alphanumeric() || alphabet.contains(byte);
        assert!(pdu.event_id().as_str()[1..].chars().all(is_id));
    }
}

#[test]
fn each_missing_or_wrong_field_is_refused() {
    for version in RoomVersion::SUPPORTED {
        let mut required = vec![
            "type",
            "sender",
            "room_id",
            "content",
            "origin_server_ts",
            "depth",
            "prev_events",
            "auth_events",
            "hashes",
            "signatures",
        ];
        if version < RoomVersion::V3 {
            required.push("event_id");
        }
        for field in required {
            let mut event = event_json(version);
            event.as_object_mut().unwrap().remove(field);
            assert_eq!(
                parse(version, &event).unwrap_err(),
                FormatError::Field(field)
            );
            for wrong in [json!(null), json!(true), json!([{}])] {
                event[field] = wrong;
                assert_eq!(
                    parse(version, &event).unwrap_err(),
                    FormatError::Field(field)
                );
            }
        }
        let wrong = [
            ("state_key", json!(null)),
            ("sender", json!("u")),
            ("room_id", json!("room")),
            ("depth", json!(-1)),
            ("prev_events", json!(["x"])),
            ("prev_events", json!([["$a:x"]])),
        ];
        for (field, value) in wrong {
            let mut event = event_json(version);
            event[field] = value;
            assert_eq!(
                parse(version, &event).unwrap_err(),
                FormatError::Field(field),
                "{version}"
            );
        }
    }
}

#[test]
fn references_are_pairs_in_versions_1_and_2_and_ids_after() {
    for version in RoomVersion::SUPPORTED {
        let mut event = event_json(version);
        event["prev_events"] = json!([["$a:x", {"sha256": "AAAA"}]]);
        let pairs = parse(version, &event);
        event["prev_events"] = json!(["$a:x"]);
        let ids = parse(version, &event);
        let (good, bad) = if version < RoomVersion::V3 {
            (pairs, ids)
        } else {
            (ids, pairs)
        };
        assert_eq!(good.unwrap().prev_events()[0], "$a:x");
        assert_eq!(bad.unwrap_err(), FormatError::Field("prev_events"));
    }
}

#[test]
fn a_create_event_of_version_12_must_not_have_a_room_id() {
    let mut event = event_json(RoomVersion::V12);
    event["type"] = json!("m.room.create");
    assert_eq!(
        parse(RoomVersion::V12, &event).unwrap_err(),
        FormatError::Field("room_id")
    );
    event.as_object_mut().unwrap().remove("room_id");
    assert!(parse(RoomVersion::V12, &event).is_ok());
    assert_eq!(
        parse(RoomVersion::V11, &event).unwrap_err(),
        FormatError::Field("room_id")
    );
}

#[test]
fn limits_hold_exactly() {
    for version in RoomVersion::SUPPORTED {
        let mut event = event_json(version);
        event["content"] = json!({"body": ""});
        let empty = parse(version, &event).unwrap().json().len();
        event["content"]["body"] = json!("x".repeat(65_536 - empty));
        assert_eq!(parse(version, &event).unwrap().json().len(), 65_536);
        event["content"]["body"] = json!("x".repeat(65_537 - empty));
        assert_eq!(
            parse(version, &event).unwrap_err(),
            FormatError::TooLarge(65_537)
        );

        for (field, count_max) in [("prev_events", 20), ("auth_events", 10)] {
            let id = if version < RoomVersion::V3 {
                json!(["$a:x", {}])
            } else {
                json!("$a")
            };
            let mut event = event_json(version);
            event[field] = json!(vec![id.clone(); count_max]);
            assert!(parse(version, &event).is_ok());
            event[field] = json!(vec![id; count_max + 1]);
            assert_eq!(
                parse(version, &event).unwrap_err(),
                FormatError::TooMany(field)
            );
        }
        let mut event = event_json(version);
        event["state_key"] = json!("x".repeat(255));
        assert!(parse(version, &event).is_ok());
        event["state_key"] = json!("x".repeat(256));
        assert_eq!(
            parse(version, &event).unwrap_err(),
            FormatError::FieldTooLong("state_key")
        );
        // 255 characters of two bytes: counted as characters by peers up to version 10.
        event["state_key"] = json!("é".repeat(255));
        assert_eq!(parse(version, &event).is_ok(), version <= RoomVersion::V10);
    }
}

#[test]
fn s05_numbers_at_the_limits() {
    let with_depth = |version: RoomVersion, depth: &str| {
        let text = event_json(version)
            .to_string()
            .replace("\"depth\":7", &format!("\"depth\":{depth}"));
        Pdu::parse(version, text.as_bytes())
    };
    for version in RoomVersion::SUPPORTED {
        assert_eq!(
            with_depth(version, "9007199254740991").unwrap().depth(),
            (1 << 53) - 1
        );
        let is_lenient = version < RoomVersion::V6;
        let huge = with_depth(version, "9223372036854775807");
        assert_eq!(
            huge.map(|pdu| pdu.depth()).ok(),
            is_lenient.then_some(i64::MAX as u64)
        );
        for bad in [
            "9223372036854775808",
            "18446744073709551616",
            "1e3",
            "1.0",
            "-1",
            "-0",
            "1e999",
        ] {
            assert!(
                with_depth(version, bad).is_err(),
                "{bad} in version {version}"
            );
        }
        for bad in ["01", "+1", "0x1", ".5", "1.", "NaN", "Infinity", "-"] {
            let error = with_depth(version, bad).unwrap_err();
            assert!(
                matches!(error, FormatError::Json(JsonError::Syntax(_))),
                "{bad}"
            );
        }
    }
}

#[test]
fn s05_floats_survive_as_received_to_version_5_and_are_refused_after() {
    for version in RoomVersion::SUPPORTED {
        let body = r#"{"a":1.10,"b":1e2,"c":123456789012345678901234567890,"d":-0.0}"#;
        let text = event_json(version)
            .to_string()
            .replace(r#"{"body":"hello","msgtype":"m.text"}"#, body);
        let result = Pdu::parse(version, text.as_bytes());
        if version < RoomVersion::V6 {
            assert_eq!(result.unwrap().content_json(), body);
        } else {
            assert!(matches!(
                result.unwrap_err(),
                FormatError::Json(JsonError::Number(_))
            ));
        }
    }
}

#[test]
fn s05_odd_json() {
    let version = RoomVersion::V11;
    let with_content = |content: &str| {
        let text = event_json(version)
            .to_string()
            .replace(r#"{"body":"hello","msgtype":"m.text"}"#, content);
        Pdu::parse(version, text.as_bytes())
    };
    // The last of equal keys counts, for the hash and for whoever reads the stored bytes.
    assert_eq!(
        with_content(r#"{"a":1,"a":2}"#).unwrap().content_json(),
        r#"{"a":2}"#
    );
    assert_eq!(
        with_content(r#"{"a":"\u0000"}"#).unwrap().content_json(),
        r#"{"a":"\u0000"}"#
    );
    assert_eq!(
        with_content(r#"{"a":"\ud83d\ude00"}"#)
            .unwrap()
            .content_json(),
        r#"{"a":"😀"}"#
    );
    for bad in [
        r#"{"a":"\ud800"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud800\u0041"}"#,
        "{\"a\":\"\u{0}\"}",
        r#"{"a":"\x"}"#,
        r#"{"a":1,}"#,
        "{a:1}",
        r#"{"a":"\u12"}"#,
        r#"{"a":tru}"#,
    ] {
        assert!(
            matches!(
                with_content(bad).unwrap_err(),
                FormatError::Json(JsonError::Syntax(_))
            ),
            "{bad}"
        );
    }
    let mut broken = event_json(version).to_string().into_bytes();
    broken[10] = 0xff;
    assert!(matches!(
        Pdu::parse(version, &broken).unwrap_err(),
        FormatError::Json(JsonError::Syntax(10))
    ));
}

#[test]
fn s05_deep_nesting_is_refused_without_a_stack_overflow() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let nested =
            |depth: usize| format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        for depth in [200, 10_000] {
            let text = nested(depth);
            for strictness in [Strictness::Strict, Strictness::Lenient] {
                assert_eq!(
                    canonical::parse(text.as_bytes(), strictness).unwrap_err(),
                    JsonError::TooDeep
                );
            }
        }
        assert!(
            canonical::parse(
                nested(canonical::DEPTH_MAX - 1).as_bytes(),
                Strictness::Strict
            )
            .is_ok()
        );
    }
}

#[test]
fn canonical_json_is_that_of_the_appendices() {
    let cases = [
        ("{}", "{}"),
        (r#"{"one": 1, "two": "Two"}"#, r#"{"one":1,"two":"Two"}"#),
        (r#"{"b": "2", "a": "1"}"#, r#"{"a":"1","b":"2"}"#),
        (
            r#"{"auth":{"success":true,"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"medium":"email","address":"john.doe@example.org"},{"medium":"msisdn","address":"123456789"}]}}}"#,
            r#"{"auth":{"mxid":"@john.doe:example.com","profile":{"display_name":"John Doe","three_pids":[{"address":"john.doe@example.org","medium":"email"},{"address":"123456789","medium":"msisdn"}]},"success":true}}"#,
        ),
        (r#"{"a":"日本語"}"#, r#"{"a":"日本語"}"#),
        (r#"{"本":2,"日":1}"#, r#"{"日":1,"本":2}"#),
        (r#"{"a":"\u65E5"}"#, r#"{"a":"日"}"#),
        (r#"{"a":null}"#, r#"{"a":null}"#),
        (
            r#"{"a":"\/\u0008\u001F\u007f\""}"#,
            "{\"a\":\"/\\b\\u001f\u{7f}\\\"\"}",
        ),
        // By code point, not by UTF-16 unit.
        (
            r#"{"\uffff":1,"\ud83d\ude00":2}"#,
            "{\"\u{ffff}\":1,\"😀\":2}",
        ),
    ];
    for (text, expected) in cases {
        let value = canonical::parse(text.as_bytes(), Strictness::Strict).unwrap();
        assert_eq!(value.to_string(), expected);
    }
    for bad in [
        r#"{"a":-0}"#,
        r#"{"a":1e10}"#,
        r#"{"a":9007199254740992}"#,
        r#"{"a":-9007199254740992}"#,
    ] {
        let error = canonical::parse(bad.as_bytes(), Strictness::Strict).unwrap_err();
        assert_eq!(error, JsonError::Number(5), "{bad}");
    }
}

proptest! {
    #[test]
    fn s05_arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for version in [RoomVersion::V1, RoomVersion::V12] {
            prop_assert!(Pdu::parse(version, &bytes).is_err() || !bytes.is_empty());
        }
    }

    #[test]
    fn s05_events_with_a_hole_never_panic(
        version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()),
        at in 0..250_usize, junk in "[\\[\\]{}\",:0-9a-zé\\\\-]{0,12}", length in 0..20_usize,
    ) {
        let text = event_json(version).to_string();
        let mut bytes = text.into_bytes();
        let end = (at + length).min(bytes.len());
        bytes.splice(at.min(end)..end, junk.bytes());
        if let Ok(pdu) = Pdu::parse(version, &bytes) {
            let canonical = canonical::to_string(&pdu.to_object());
            let again = Pdu::parse(version, pdu.json()).unwrap();
            prop_assert_eq!(canonical.as_bytes(), &pdu.json()[..]);
            prop_assert_eq!(again.json(), pdu.json());
        }
    }

    #[test]
    fn canonical_json_agrees_with_ruma(map in prop::collection::btree_map(".{0,8}", ".{0,12}", 0..6)) {
        let text = serde_json::to_string_pretty(&map).unwrap();
        let ours = canonical::parse(text.as_bytes(), Strictness::Strict).unwrap().to_string();
        let theirs: ruma::CanonicalJsonValue = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(ours, theirs.to_string());
    }
}
