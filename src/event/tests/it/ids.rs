//! Making, signing and verifying events.

use hearth_event::canonical::{self, Strictness};
use hearth_event::{
    BuildError, Draft, Parents, Pdu, Received, RoomVersion, SigningKey, Unchecked, VerifyError,
    VerifyKey, build, cosign, received, signing_servers, verify_json,
};
use hearth_types::UnixMs;
use proptest::prelude::*;
use ruma::signatures::{Verified, verify_event};
use ruma::{RoomId, ServerName, UserId};
use serde_json::{Value, json};

use crate::support::{key, raw};

fn server() -> &'static ServerName {
    "x".try_into().unwrap()
}

fn draft(kind: &str, content: &Value) -> Draft {
    Draft {
        sender: UserId::parse("@u:x").unwrap(),
        kind: kind.to_owned(),
        state_key: None,
        content: raw(content),
        redacts: None,
    }
}

fn parents() -> Parents {
    Parents {
        room_id: Some(RoomId::parse("!room:x").unwrap()),
        depth: 8,
        origin_server_ts: UnixMs(1_700_000_000_000),
        ..Parents::default()
    }
}

fn made(version: RoomVersion, draft: &Draft) -> Result<Pdu, BuildError> {
    build(draft, &parents(), version, &key(), server())
}

fn keys(_: &ServerName, key_id: &str) -> Option<VerifyKey> {
    (key_id == "ed25519:test").then(|| VerifyKey {
        key: key().public_key_bytes(),
        valid_until: UnixMs(1_800_000_000_000),
    })
}

#[test]
fn a_built_event_is_received_intact_in_every_version_also_by_ruma() {
    for version in RoomVersion::SUPPORTED {
        let pdu = made(
            version,
            &draft("m.room.message", &json!({"body": "hé\u{7}"})),
        )
        .unwrap();
        let Received::Intact(got) = received(version, pdu.json(), &keys).unwrap() else {
            panic!("redacted in version {version}");
        };
        assert_eq!(got.event_id(), pdu.event_id());
        assert_eq!(got.json(), pdu.json());
        let has_server = version < RoomVersion::V3;
        assert_eq!(pdu.event_id().server_name().is_some(), has_server);

        let object = serde_json::from_slice(pdu.json()).unwrap();
        let public =
            serde_json::from_value(json!({"x": {"ed25519:test": key().public_key()}})).unwrap();
        let verified = verify_event(&public, &object, version.rules()).unwrap();
        assert_eq!(verified, Verified::All);
        if !has_server {
            let id = ruma::signatures::reference_hash(&object, version.rules()).unwrap();
            assert_eq!(pdu.event_id().as_str(), format!("${id}"));
        }
    }
}

#[test]
fn a_changed_content_is_received_redacted_and_a_changed_sender_dropped() {
    for version in RoomVersion::SUPPORTED {
        let pdu = made(version, &draft("m.room.message", &json!({"body": "hello"}))).unwrap();
        let json = String::from_utf8(pdu.json().to_vec()).unwrap();
        let changed = json.replace("hello", "HELLO");
        let Ok(Received::Redacted(got)) = received(version, changed.as_bytes(), &keys) else {
            panic!("version {version}");
        };
        assert_eq!(got.event_id(), pdu.event_id());
        assert_eq!(got.content_json(), "{}");
        let changed = json.replace("@u:x", "@v:x");
        let error = received(version, changed.as_bytes(), &keys).unwrap_err();
        assert_eq!(error, VerifyError::Signature(server().to_owned()));
    }
}

#[test]
fn unknown_keys_are_skipped_and_expired_ones_from_version_5_on() {
    let expired = |_: &ServerName, _: &str| {
        Some(VerifyKey {
            key: key().public_key_bytes(),
            valid_until: UnixMs(1),
        })
    };
    for version in RoomVersion::SUPPORTED {
        let pdu = made(version, &draft("m.room.message", &json!({}))).unwrap();
        let no_key = VerifyError::NoKey(server().to_owned());
        assert_eq!(
            received(version, pdu.json(), &|_, _| None).unwrap_err(),
            no_key
        );
        let result = received(version, pdu.json(), &expired);
        if version < RoomVersion::V5 {
            assert!(result.is_ok());
        } else {
            assert_eq!(result.unwrap_err(), no_key);
        }
        let unsigned = String::from_utf8(pdu.json().to_vec())
            .unwrap()
            .replace("\"x\":{\"ed25519", "\"z\":{\"ed25519");
        let missing = VerifyError::Signature(server().to_owned());
        assert_eq!(
            received(version, unsigned.as_bytes(), &keys).unwrap_err(),
            missing
        );
    }
}

#[test]
fn a_second_signature_of_the_sender_by_a_known_key_must_be_valid_too() {
    let pdu = made(RoomVersion::V11, &draft("m.room.message", &json!({}))).unwrap();
    let other = SigningKey::generate([9; 32], "other").unwrap();
    let twice = cosign(&pdu, &other, server()).unwrap();
    let wrong = |_: &ServerName, _: &str| {
        Some(VerifyKey {
            key: key().public_key_bytes(),
            valid_until: UnixMs(u64::MAX),
        })
    };
    assert!(received(RoomVersion::V11, twice.json(), &keys).is_ok());
    assert!(received(RoomVersion::V11, twice.json(), &wrong).is_err());
}

#[test]
fn who_must_have_signed() {
    let servers = |version: RoomVersion, content: Value| {
        let mut draft = draft("m.room.member", &content);
        draft.state_key = Some("@u:x".to_owned());
        let pdu = made(version, &draft).unwrap();
        let servers: Vec<String> = signing_servers(&pdu)
            .iter()
            .map(ToString::to_string)
            .collect();
        let read = Unchecked::read(version, pdu.json()).unwrap();
        assert_eq!(read.signature_keys().len(), servers.len());
        servers.join(" ")
    };
    for version in RoomVersion::SUPPORTED {
        assert_eq!(servers(version, json!({"membership": "join"})), "x");
        let restricted = json!({"membership": "join", "join_authorised_via_users_server": "@r:y"});
        assert_eq!(
            servers(version, restricted),
            if version < RoomVersion::V8 {
                "x"
            } else {
                "x y"
            }
        );
        let invite = json!({"membership": "invite", "third_party_invite": {}});
        // Versions 1 and 2: the server of the event id.
        assert_eq!(
            servers(version, invite),
            if version < RoomVersion::V3 { "x" } else { "" }
        );
    }
}

#[test]
fn a_cosigned_join_is_received_with_both_keys() {
    let y: &ServerName = "y".try_into().unwrap();
    let version = RoomVersion::V12;
    let content = json!({"membership": "join", "join_authorised_via_users_server": "@r:y"});
    let mut draft = draft("m.room.member", &content);
    draft.state_key = Some("@u:x".to_owned());
    let pdu = made(version, &draft).unwrap();
    assert_eq!(
        received(version, pdu.json(), &keys).unwrap_err(),
        VerifyError::Signature(y.to_owned())
    );
    let both = cosign(&pdu, &key(), y).unwrap();
    assert_eq!(both.event_id(), pdu.event_id());
    assert!(matches!(
        received(version, both.json(), &keys),
        Ok(Received::Intact(_))
    ));
}

#[test]
fn redacts_moves_to_where_the_version_wants_it() {
    for version in RoomVersion::SUPPORTED {
        let target = ruma::EventId::parse("$target:x").unwrap();
        let in_content = draft(
            "m.room.redaction",
            &json!({"redacts": "$target:x", "reason": "r"}),
        );
        let mut on_top = draft("m.room.redaction", &json!({"reason": "r"}));
        on_top.redacts = Some(target.clone());
        for draft in [in_content, on_top] {
            let pdu = made(version, &draft).unwrap();
            assert_eq!(pdu.redacts(), Some(&*target));
            let json: Value = serde_json::from_slice(pdu.json()).unwrap();
            let (top, content) = (json.get("redacts"), json["content"].get("redacts"));
            assert_eq!(top.is_some(), version < RoomVersion::V11);
            assert_eq!(content.is_some(), version >= RoomVersion::V11);
        }
        let without = made(version, &draft("m.room.redaction", &json!({"redacts": 1})));
        assert_eq!(without.unwrap_err(), BuildError::Field("redacts"));
    }
}

#[test]
fn s03_a_create_event_of_version_12_names_its_room() {
    let mut draft = draft("m.room.create", &json!({"room_version": "12"}));
    draft.state_key = Some(String::new());
    let pdu = build(
        &draft,
        &Parents::default(),
        RoomVersion::V12,
        &key(),
        server(),
    )
    .unwrap();
    assert_eq!(pdu.room_id().as_str()[1..], pdu.event_id().as_str()[1..]);
    assert!(!String::from_utf8_lossy(pdu.json()).contains("room_id"));
    let got = received(RoomVersion::V12, pdu.json(), &keys)
        .unwrap()
        .into_pdu();
    assert_eq!(got.room_id(), pdu.room_id());
    let without = build(
        &draft,
        &Parents::default(),
        RoomVersion::V11,
        &key(),
        server(),
    );
    assert_eq!(without.unwrap_err(), BuildError::Field("room_id"));
}

#[test]
fn versions_1_and_2_write_hashes_next_to_ids() {
    let version = RoomVersion::V2;
    let first = made(version, &draft("m.room.message", &json!({"body": "1"}))).unwrap();
    let mut parents = parents();
    parents.prev_events = vec![first.event_id().to_owned()];
    parents.auth_events = vec![first.event_id().to_owned()];
    parents.reference_hashes = [(first.event_id().to_owned(), first.reference_hash())].into();
    let next = build(
        &draft("m.room.message", &json!({})),
        &parents,
        version,
        &key(),
        server(),
    )
    .unwrap();
    let json: Value = serde_json::from_slice(next.json()).unwrap();
    let expected = json!([[first.event_id(), {"sha256": first.reference_hash()}]]);
    assert_eq!(json["prev_events"], expected);
    assert_eq!(next.prev_events(), [first.event_id().to_owned()]);
    assert_eq!(next.auth_events(), [first.event_id().to_owned()]);
    assert_eq!(next.depth(), 8);
}

#[test]
fn too_large_is_told_apart() {
    let long = "x".repeat(65_536);
    let error = made(
        RoomVersion::V12,
        &draft("m.room.message", &json!({"body": long})),
    )
    .unwrap_err();
    assert!(error.is_too_large());
    let mut draft = draft(&"t".repeat(256), &json!({}));
    assert_eq!(
        made(RoomVersion::V1, &draft).unwrap_err(),
        BuildError::FieldTooLong("type")
    );
    draft.kind = "t".repeat(255);
    assert!(made(RoomVersion::V1, &draft).is_ok());
    // Bytes, not characters, in our own events of every version.
    draft.state_key = Some("é".repeat(128));
    assert_eq!(
        made(RoomVersion::V1, &draft).unwrap_err(),
        BuildError::FieldTooLong("state_key")
    );
}

#[test]
fn floats_are_refused_from_version_6_on() {
    for version in RoomVersion::SUPPORTED {
        for content in [json!({"a": 1.5}), json!({"a": 9_007_199_254_740_992_i64})] {
            let result = made(version, &draft("m.room.message", &content));
            if version < RoomVersion::V6 {
                let pdu = result.unwrap();
                assert!(pdu.content_json().contains(&content["a"].to_string()));
                assert!(matches!(
                    received(version, pdu.json(), &keys),
                    Ok(Received::Intact(_))
                ));
            } else {
                assert!(matches!(result, Err(BuildError::Json(_))));
            }
        }
        let list = draft("m.room.message", &json!([]));
        assert_eq!(made(version, &list).unwrap_err(), BuildError::NotAnObject);
    }
}

#[test]
fn a_signing_key_is_stored_as_one_line() {
    let key =
        SigningKey::from_stored("ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1").unwrap();
    assert_eq!(key.key_id(), "ed25519:1");
    assert_eq!(
        key.public_key(),
        "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI"
    );
    // The seed of the appendices has bits to spare in its last character.
    assert_eq!(
        key.to_stored(),
        "ed25519 1 YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA0"
    );
    let again = SigningKey::from_stored(&key.to_stored()).unwrap();
    assert_eq!(again.public_key_bytes(), key.public_key_bytes());
    assert!(!format!("{key:?}").contains("YJDB"));
    for bad in [
        "",
        "ed25519 1",
        "rsa 1 YJDB",
        "ed25519 a-b YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1",
        "ed25519 1 YJDB",
    ] {
        assert!(SigningKey::from_stored(bad).is_err(), "{bad}");
    }
}

proptest! {
    // Each case signs and verifies, which is slow without optimisation.
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_signed_object_verifies_and_a_changed_one_does_not(
        map in prop::collection::btree_map(".{0,6}", ".{0,12}", 0..6), other in "[a-z]{3}",
    ) {
        let text = serde_json::to_vec(&map).unwrap();
        let mut object = canonical::parse_object(&text, Strictness::Strict).unwrap();
        for part in ["signatures", "unsigned"] {
            object.remove(part);
        }
        key().sign_json(server(), &mut object);
        let public = key().public_key_bytes();
        prop_assert_eq!(verify_json(&object, "x", "ed25519:test", &public), Ok(()));
        object.insert("changed".to_owned(), other.into());
        prop_assert!(verify_json(&object, "x", "ed25519:test", &public).is_err());
    }

    #[test]
    fn build_then_receive_round_trips(
        version in prop::sample::select(RoomVersion::SUPPORTED.to_vec()),
        kind in ".{1,20}", state_key in prop::option::of(".{0,20}"), body in ".{0,200}",
    ) {
        prop_assume!(kind != "m.room.create" && kind != "m.room.redaction");
        let mut draft = draft(&kind, &json!({"body": body}));
        draft.state_key = state_key;
        let pdu = made(version, &draft).unwrap();
        let got = received(version, pdu.json(), &keys).unwrap();
        let Received::Intact(got) = got else { panic!("redacted") };
        prop_assert_eq!(got.json(), pdu.json());
        prop_assert_eq!(got.kind(), kind.as_str());
        prop_assert_eq!(got.state_key(), draft.state_key.as_deref());
        let content: Value = got.content_as().unwrap();
        prop_assert_eq!(content, json!({"body": body}));
    }
}
