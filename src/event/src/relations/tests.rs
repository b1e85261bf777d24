use serde_json::{Value, json};

use super::*;
use crate::RoomVersion;
use crate::fixture::stored;

fn message(id: &str, sender: &str, content: &Value) -> Pdu {
    stored(
        RoomVersion::V12,
        &json!({"event_id": id, "type": "m.room.message", "sender": sender, "content": content}),
    )
}

fn edit(of: &str, sender: &str) -> Pdu {
    let content = json!({"body": "* b", "m.new_content": {"body": "b"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": of}});
    message("$edit", sender, &content)
}

#[test]
fn relations_are_read() {
    let reaction =
        json!({"m.relates_to": {"rel_type": "m.annotation", "event_id": "$a", "key": "👍"}});
    let expected = Relation {
        rel_type: "m.annotation".to_owned(),
        event_id: EventId::parse("$a").unwrap(),
        key: Some("👍".to_owned()),
        is_falling_back: false,
    };
    assert_eq!(relation(&message("$e", "@u:x", &reaction)), Some(expected));
    let thread = json!({"m.relates_to": {"rel_type": "m.thread", "event_id": "$root", "is_falling_back": true,
        "m.in_reply_to": {"event_id": "$last"}}});
    let thread = message("$e", "@u:x", &thread);
    assert!(relation(&thread).is_some_and(|relation| relation.is_falling_back));
    assert_eq!(in_reply_to(&thread).unwrap(), "$last");
    let reply = message(
        "$e",
        "@u:x",
        &json!({"m.relates_to": {"m.in_reply_to": {"event_id": "$a"}}}),
    );
    assert_eq!(relation(&reply), None);
    assert_eq!(in_reply_to(&reply).unwrap(), "$a");
}

#[test]
fn malformed_relations_are_none() {
    for relates_to in [
        json!(1),
        json!({}),
        json!({"rel_type": "x"}),
        json!({"rel_type": "x", "event_id": "a"}),
        json!({"rel_type": 1, "event_id": "$a"}),
    ] {
        assert_eq!(
            relation(&message("$e", "@u:x", &json!({"m.relates_to": relates_to}))),
            None
        );
    }
    assert_eq!(relation(&message("$e", "@u:x", &json!({}))), None);
    assert_eq!(relation_in("no JSON m.relates_to"), None);
    let escaped = r#"{"m.relates\u005fto":{"rel_type":"m.thread","event_id":"$a"}}"#;
    assert!(relation_in(escaped).is_some());
}

#[test]
fn an_edit_is_valid_by_the_sender_of_the_original_only() {
    let original = message("$a", "@u:x", &json!({"body": "a"}));
    assert!(is_valid_edit(&original, &edit("$a", "@u:x")));
    assert!(!is_valid_edit(&original, &edit("$a", "@v:x")));
    assert!(!is_valid_edit(&original, &edit("$b", "@u:x")));
    let state = stored(
        RoomVersion::V12,
        &json!({"event_id": "$a", "type": "m.room.message", "sender": "@u:x", "state_key": "", "content": {}}),
    );
    assert!(!is_valid_edit(&state, &edit("$a", "@u:x")));
    let no_content = json!({"m.relates_to": {"rel_type": "m.replace", "event_id": "$a"}});
    assert!(!is_valid_edit(
        &original,
        &message("$e", "@u:x", &no_content)
    ));
    let other_type = stored(
        RoomVersion::V12,
        &json!({"event_id": "$a", "type": "m.sticker", "sender": "@u:x", "content": {}}),
    );
    assert!(!is_valid_edit(&other_type, &edit("$a", "@u:x")));
    let edit_of_edit = edit("$edit", "@u:x");
    assert!(!is_valid_edit(&edit("$a", "@u:x"), &edit_of_edit));
}
