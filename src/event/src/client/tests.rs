use serde_json::{Value, json};

use super::*;
use crate::RoomVersion;
use crate::fixture::stored;

fn value(json: &RawValue) -> Value {
    serde_json::from_str(json.get()).unwrap()
}

#[test]
fn a_client_event_has_exactly_the_fields_of_the_schema() {
    let pdu = stored(
        RoomVersion::V11,
        &json!({"event_id": "$a", "room_id": "!r:x", "type": "a\"b", "state_key": "", "sender": "@u:x",
            "content": {"k": [1, {"z": null}]}, "origin_server_ts": 5, "depth": 3, "prev_events": [], "auth_events": [],
            "hashes": {}, "signatures": {}, "unsigned": {"age": 1}, "origin": "x"}),
    );
    let unsigned = Unsigned {
        age: Some(7),
        transaction_id: Some("t\"x".to_owned()),
        membership: Some("join".to_owned()),
        ..Unsigned::default()
    };
    let mut expected = json!({"event_id": "$a", "room_id": "!r:x", "type": "a\"b", "state_key": "", "sender": "@u:x",
        "content": {"k": [1, {"z": null}]}, "origin_server_ts": 5,
        "unsigned": {"age": 7, "transaction_id": "t\"x", "membership": "join"}});
    assert_eq!(value(&event(&pdu, &unsigned)), expected);
    expected.as_object_mut().unwrap().remove("room_id");
    assert_eq!(value(&sync_event(&pdu, &unsigned)), expected);
    expected.as_object_mut().unwrap().remove("unsigned");
    assert_eq!(value(&sync_event(&pdu, &Unsigned::default())), expected);
    assert_eq!(
        value(&stripped(&pdu)),
        json!({"type": "a\"b", "state_key": "", "sender": "@u:x", "content": {"k": [1, {"z": null}]}})
    );
    assert_eq!(federation(&pdu).get().as_bytes(), &pdu.json()[..]);
}

#[test]
fn a_redaction_shows_its_target_in_both_places_in_every_version() {
    for version in RoomVersion::SUPPORTED {
        let mut event_json = json!({"event_id": "$r", "type": "m.room.redaction", "sender": "@u:x",
            "content": {"reason": "spam"}});
        if version < RoomVersion::V11 {
            event_json["redacts"] = json!("$t:x");
        } else {
            event_json["content"]["redacts"] = json!("$t:x");
        }
        let shown = value(&event(&stored(version, &event_json), &Unsigned::default()));
        assert_eq!(shown["redacts"], "$t:x");
        assert_eq!(
            shown["content"],
            json!({"redacts": "$t:x", "reason": "spam"})
        );
    }
}

#[test]
fn the_create_event_of_version_12_shows_its_room_id_but_not_in_sync() {
    let pdu = stored(
        RoomVersion::V12,
        &json!({"event_id": "$c", "room_id": "!c", "type": "m.room.create", "state_key": "", "sender": "@u:x",
            "content": {"room_version": "12"}, "origin_server_ts": 9}),
    );
    assert_eq!(value(&event(&pdu, &Unsigned::default()))["room_id"], "!c");
    assert!(
        value(&sync_event(&pdu, &Unsigned::default()))
            .get("room_id")
            .is_none()
    );
    assert_eq!(value(&stripped(&pdu))["origin_server_ts"], 9);
    assert_eq!(value(&stripped(&pdu))["event_id"], "$c");
}
