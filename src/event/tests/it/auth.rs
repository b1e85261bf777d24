//! The authorization rules: `vectors/auth.json`, each row in each of its room versions, also put to ruma.

use std::collections::HashMap;

use hearth_event::canonical::{self, Object, Strictness};
use hearth_event::{AuthEvent, Pdu, RoomVersion, auth_keys, authorize, check_auth_events};
use ruma::state_res::{check_state_dependent_auth_rules, check_state_independent_auth_rules};
use ruma::{EventId, ServerName};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{State, Theirs, at, key, stored};

/// One row. `s` changes the base state: `type|state_key` to `[sender, content]`, or to null to take it away.
/// `e` is `[type, state_key, sender, content, prev_events?, redacts?]`; `err` a part of the reason to reject.
#[derive(Deserialize)]
struct Row {
    n: String,
    v: (usize, usize),
    #[serde(default)]
    s: HashMap<String, Option<(String, Value)>>,
    e: Vec<Value>,
    err: Option<String>,
    #[serde(default = "yes")]
    ruma: bool,
}

fn yes() -> bool {
    true
}

fn base(version: RoomVersion) -> HashMap<String, (String, Value)> {
    let mut create = json!({"room_version": version.as_str()});
    if version < RoomVersion::V11 {
        create["creator"] = json!("@a:x");
    }
    let mut users = json!({"@m:x": 50});
    if version < RoomVersion::V12 {
        users["@a:x"] = json!(100);
    }
    let levels = json!({"users": users, "invite": 50});
    let mut state = HashMap::new();
    let mut put = |key: &str, sender: &str, content: Value| {
        state.insert(key.to_owned(), (sender.to_owned(), content));
    };
    put("m.room.create|", "@a:x", create);
    put("m.room.power_levels|", "@a:x", levels);
    put("m.room.join_rules|", "@a:x", json!({"join_rule": "invite"}));
    put("m.room.member|@a:x", "@a:x", json!({"membership": "join"}));
    put("m.room.member|@m:x", "@m:x", json!({"membership": "join"}));
    put("m.room.member|@u:x", "@u:x", json!({"membership": "join"}));
    put(
        "m.room.member|@i:y",
        "@a:x",
        json!({"membership": "invite"}),
    );
    put("m.room.member|@b:y", "@a:x", json!({"membership": "ban"}));
    put("m.room.member|@k:y", "@k:y", json!({"membership": "knock"}));
    state
}

fn room_id(version: RoomVersion) -> &'static str {
    if version < RoomVersion::V12 {
        "!room:x"
    } else {
        "!create"
    }
}

fn event_json(version: RoomVersion, id: &str, kind: &str, state_key: &Value) -> Value {
    let mut event = json!({"event_id": id, "type": kind, "origin_server_ts": 1, "depth": 1,
        "prev_events": ["$other"], "auth_events": []});
    if kind != "m.room.create" || version < RoomVersion::V12 {
        event["room_id"] = json!(room_id(version));
    }
    if !state_key.is_null() {
        event["state_key"] = state_key.clone();
    }
    event
}

/// Puts versions, keys and signatures in the places kept for them.
fn fill(version: RoomVersion, content: &Value) -> Value {
    let public_key = key().public_key();
    let text = content
        .to_string()
        .replace("VERSION", version.as_str())
        .replace("PUBLIC_KEY", &public_key);
    let mut content: Value = serde_json::from_str(&text).unwrap();
    let signatures = content["third_party_invite"]["signed"]["signatures"].clone();
    if signatures == "SIGN" || signatures == "SIGN_AMONG_OTHERS" {
        let signed = &mut content["third_party_invite"]["signed"];
        signed.as_object_mut().unwrap().remove("signatures");
        let mut object: Object =
            canonical::parse_object(signed.to_string().as_bytes(), Strictness::Strict).unwrap();
        key().sign_json(<&ServerName>::try_from("id.example").unwrap(), &mut object);
        *signed = serde_json::from_str(&canonical::to_string(&object)).unwrap();
        if signatures == "SIGN_AMONG_OTHERS" {
            signed["signatures"]["id.example"]["ed25519:other"] = json!("AAAA");
            signed["signatures"]["zz.example"] = json!({"ed25519:0": "AAAA"});
        }
    }
    content
}

fn state_of(row: &Row, version: RoomVersion) -> State {
    let mut entries = base(version);
    for (key, change) in &row.s {
        match change {
            Some(entry) => entries.insert(key.clone(), entry.clone()),
            None => entries.remove(key),
        };
    }
    let mut state = State::new();
    for (index, (key, (sender, content))) in entries.iter().enumerate() {
        let (kind, state_key) = key.split_once('|').unwrap();
        let id = if kind == "m.room.create" {
            "$create".to_owned()
        } else {
            format!("$state{index}")
        };
        let mut event = event_json(version, &id, kind, &json!(state_key));
        event["sender"] = json!(sender);
        event["content"] = fill(version, content);
        let pdu = stored(version, &event);
        state.insert((kind.to_owned(), state_key.to_owned()), pdu);
    }
    state
}

fn event_of(row: &Row, version: RoomVersion) -> Pdu {
    let mut event = event_json(version, "$event:x", row.e[0].as_str().unwrap(), &row.e[1]);
    event["sender"] = row.e[2].clone();
    event["content"] = fill(version, &row.e[3]);
    if let Some(prev_events) = row.e.get(4).filter(|value| !value.is_null()) {
        event["prev_events"] = prev_events.clone();
    }
    if let Some(redacts) = row.e.get(5) {
        event["redacts"] = redacts.clone();
    }
    stored(version, &event)
}

fn theirs(event: &Pdu, state: &State) -> Result<(), String> {
    let rules = &event.version().rules().authorization;
    let ours = at(state);
    if event.kind() == "m.room.create" {
        let none = |_: &EventId| None::<Theirs>;
        return check_state_independent_auth_rules(rules, Theirs::of(event), none);
    }
    check_state_dependent_auth_rules(rules, Theirs::of(event), |kind, state_key| {
        ours(&kind.to_string(), state_key).map(|pdu| Theirs::of(&pdu))
    })
}

#[test]
fn s11_every_row_of_the_table_holds_in_each_of_its_versions() {
    let rows: Vec<Row> = serde_json::from_str(include_str!("../vectors/auth.json")).unwrap();
    let mut failures = Vec::new();
    for row in &rows {
        for version in &RoomVersion::SUPPORTED[row.v.0 - 1..row.v.1] {
            let (state, event) = (state_of(row, *version), event_of(row, *version));
            let result = authorize(&event, &at(&state));
            let is_right = match (&row.err, &result) {
                (None, Ok(())) => true,
                (Some(part), Err(error)) => error.to_string().contains(part),
                _ => false,
            };
            if !is_right {
                failures.push(format!("version {version}: {}: {result:?}", row.n));
            }
            if row.ruma && theirs(&event, &state).is_ok() != row.err.is_none() {
                let result = theirs(&event, &state);
                failures.push(format!("version {version}: {}: ruma: {result:?}", row.n));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn create_v12(content: &Value, room_id: Option<&str>) -> Pdu {
    let mut event = json!({"event_id": "$create", "type": "m.room.create", "state_key": "",
        "sender": "@a:x", "content": content, "prev_events": [], "auth_events": []});
    if let Some(room_id) = room_id {
        event["room_id"] = json!(room_id);
    }
    stored(RoomVersion::V12, &event)
}

#[test]
fn s03_create_events_of_version_12() {
    let nothing = |_: &str, _: &str| None;
    let allowed = [
        json!({"room_version": "12"}),
        json!({"additional_creators": []}),
        json!({"additional_creators": ["@b:y", "@A/historical:z"]}),
    ];
    for content in &allowed {
        assert_eq!(
            authorize(&create_v12(content, None), &nothing),
            Ok(()),
            "{content}"
        );
    }
    let refused = [
        json!({"additional_creators": "@b:y"}),
        json!({"additional_creators": ["b"]}),
        json!({"additional_creators": [1]}),
        json!({"additional_creators": {"@b:y": true}}),
        json!({"room_version": "99"}),
        json!({"room_version": 12}),
    ];
    for content in &refused {
        assert!(
            authorize(&create_v12(content, None), &nothing).is_err(),
            "{content}"
        );
    }
    let with_room_id = create_v12(&json!({}), Some("!create"));
    assert!(authorize(&with_room_id, &nothing).is_err());
}

/// The auth events of a message: those of the base state that selection names.
fn with_auth_events(version: RoomVersion, change: impl Fn(&mut Vec<Value>)) -> (Pdu, State) {
    let row = Row {
        n: String::new(),
        v: (1, 12),
        s: HashMap::new(),
        e: vec![
            json!("m.room.message"),
            Value::Null,
            json!("@u:x"),
            json!({}),
        ],
        err: None,
        ruma: true,
    };
    let state = state_of(&row, version);
    let plain = event_of(&row, version);
    let mut ids: Vec<Value> = auth_keys(version, (&plain).into())
        .iter()
        .filter_map(|key| state.get(key))
        .map(|pdu| json!(pdu.event_id()))
        .collect();
    change(&mut ids);
    let mut event = event_json(version, "$event:x", "m.room.message", &Value::Null);
    event["sender"] = json!("@u:x");
    event["content"] = json!({});
    event["auth_events"] = Value::Array(ids);
    (stored(version, &event), state)
}

/// An event without content by somebody.
fn stored_with(version: RoomVersion, mut event: Value) -> Pdu {
    event["sender"] = json!("@u:x");
    event["content"] = json!({});
    stored(version, &event)
}

fn check(event: &Pdu, state: &State, change: impl Fn(&mut AuthEvent)) -> Result<(), String> {
    let lookup = |id: &EventId| {
        let pdu = state.values().find(|pdu| pdu.event_id() == id)?.clone();
        let mut auth_event = AuthEvent {
            pdu,
            rejected: false,
        };
        change(&mut auth_event);
        Some(auth_event)
    };
    check_auth_events(event, &lookup).map_err(|error| error.to_string())
}

#[test]
fn auth_events_as_selected_are_allowed() {
    for version in RoomVersion::SUPPORTED {
        let (event, state) = with_auth_events(version, |_| {});
        assert_eq!(
            event.auth_events().len(),
            if version < RoomVersion::V12 { 3 } else { 2 }
        );
        assert_eq!(check(&event, &state, |_| {}), Ok(()), "version {version}");
    }
}

#[test]
fn bad_auth_events_are_refused_in_every_version() {
    for version in RoomVersion::SUPPORTED {
        let refused = |part: &str, event: &Pdu, state: &State| {
            let error = check(event, state, |_| {}).expect_err(part);
            assert!(error.contains(part), "version {version}: {error}");
        };
        let (event, state) = with_auth_events(version, |ids| ids.push(ids[0].clone()));
        refused("same type and state key", &event, &state);
        let (event, state) = with_auth_events(version, |ids| ids.push(json!("$unknown")));
        refused("is not known", &event, &state);
        let (_, state) = with_auth_events(version, |_| {});
        let join_rules = state[&("m.room.join_rules".to_owned(), String::new())]
            .event_id()
            .to_owned();
        // Ids of the fixture depend on the order of a map, so the state is that of this call.
        let mut json: Value = serde_json::from_slice(event.json()).unwrap();
        json["auth_events"] = json!([join_rules]);
        refused(
            "not of the event's auth state",
            &stored(version, &json),
            &state,
        );

        let message = event_json(version, "$message", "m.room.message", &Value::Null);
        let message = stored_with(version, message);
        let (event, mut state) = with_auth_events(version, |ids| ids.push(json!("$message")));
        state.insert(("m.room.message".to_owned(), "-".to_owned()), message);
        refused("not of the event's auth state", &event, &state);

        let (event, state) = with_auth_events(version, |_| {});
        let error = check(&event, &state, |auth_event| {
            auth_event.rejected = auth_event.pdu.kind() == "m.room.power_levels";
        });
        assert!(error.unwrap_err().contains("was rejected"));
        let other_room = |auth_event: &mut AuthEvent| {
            if auth_event.pdu.kind() == "m.room.power_levels" {
                let mut json: Value = serde_json::from_slice(auth_event.pdu.json()).unwrap();
                json["room_id"] = json!("!elsewhere:x");
                auth_event.pdu = stored(version, &json);
            }
        };
        assert!(
            check(&event, &state, other_room)
                .unwrap_err()
                .contains("another room")
        );
    }
}

#[test]
fn the_create_event_is_among_auth_events_to_version_11_and_not_in_12() {
    for version in RoomVersion::SUPPORTED {
        let is_create = |id: &Value| id == "$create";
        let (without, state) = with_auth_events(version, |ids| ids.retain(|id| !is_create(id)));
        let (with, with_state) = with_auth_events(version, |ids| {
            ids.retain(|id| !is_create(id));
            ids.push(json!("$create"));
        });
        let (without, with) = (
            check(&without, &state, |_| {}),
            check(&with, &with_state, |_| {}),
        );
        if version < RoomVersion::V12 {
            assert!(without.unwrap_err().contains("no m.room.create"));
            assert_eq!(with, Ok(()));
        } else {
            assert_eq!(without, Ok(()));
            assert!(with.unwrap_err().contains("not of the event's auth state"));
        }
    }
}

#[test]
fn s03_the_room_id_of_version_12_is_that_of_an_accepted_create_event() {
    let (event, mut state) = with_auth_events(RoomVersion::V12, |_| {});
    let rejected = |auth_event: &mut AuthEvent| {
        auth_event.rejected = auth_event.pdu.kind() == "m.room.create";
    };
    assert!(
        check(&event, &state, rejected)
            .unwrap_err()
            .contains("accepted m.room.create")
    );
    state.remove(&("m.room.create".to_owned(), String::new()));
    assert!(
        check(&event, &state, |_| {})
            .unwrap_err()
            .contains("not known")
    );
}

#[test]
fn auth_events_of_members_are_selected() {
    let pick = |version: RoomVersion, content: Value| {
        let mut event = event_json(version, "$e", "m.room.member", &json!("@t:y"));
        event["sender"] = json!("@s:x");
        event["content"] = content;
        let mut keys: Vec<String> = auth_keys(version, (&stored(version, &event)).into())
            .into_iter()
            .map(|(kind, state_key)| format!("{}|{state_key}", &kind["m.room.".len()..]))
            .collect();
        keys.sort();
        keys.join(" ")
    };
    let both = "member|@s:x member|@t:y power_levels|";
    for version in RoomVersion::SUPPORTED {
        // One's own member event is named once.
        let mut own = event_json(version, "$e", "m.room.member", &json!("@u:x"));
        own["content"] = json!({"membership": "leave"});
        let keys = auth_keys(version, (&stored_with(version, own)).into());
        let members = keys.iter().filter(|(kind, _)| kind == "m.room.member");
        assert_eq!(members.count(), 1);
        let create = if version < RoomVersion::V12 {
            "create| "
        } else {
            ""
        };
        let leave = pick(version, json!({"membership": "leave"}));
        assert_eq!(leave, format!("{create}{both}"));
        for membership in ["join", "invite", "knock"] {
            let keys = pick(version, json!({"membership": membership}));
            assert_eq!(keys, format!("{create}join_rules| {both}"));
        }
        let signed =
            json!({"membership": "invite", "third_party_invite": {"signed": {"token": "t"}}});
        assert_eq!(
            pick(version, signed),
            format!("{create}join_rules| {both} third_party_invite|t")
        );
        let restricted = json!({"membership": "join", "join_authorised_via_users_server": "@r:z"});
        let authoriser = if version < RoomVersion::V8 {
            ""
        } else {
            "member|@r:z "
        };
        assert_eq!(
            pick(version, restricted),
            format!("{create}join_rules| {authoriser}{both}")
        );
    }
}

/// The power of creators in version 12: above all levels, in nobody's hand, and for good.
#[test]
fn s03_creators_power() {
    let create = json!({"room_version": "12", "additional_creators": ["@u:x"]});
    let highest = 9_007_199_254_740_991_i64;
    let levels =
        json!({"users": {"@m:x": highest}, "state_default": highest, "events_default": highest});
    let state = json!({
        "m.room.create|": ["@a:x", create],
        "m.room.power_levels|": ["@a:x", levels],
    });
    let member = |target: &str, sender: &str, membership: &str| json!(["m.room.member", target, sender, {"membership": membership}]);
    let with_user = |user: &str| json!(["m.room.power_levels", "", "@m:x", {"users": {user: 0}}]);
    let cases = [
        (json!(["m.room.topic", "", "@a:x", {}]), None),
        (json!(["m.room.topic", "", "@u:x", {}]), None),
        (member("@m:x", "@u:x", "ban"), None),
        (member("@m:x", "@a:x", "leave"), None),
        // Not even by each other, nor by whoever has the highest level.
        (member("@a:x", "@m:x", "ban"), Some("not above")),
        (member("@u:x", "@m:x", "leave"), Some("not above")),
        (member("@u:x", "@a:x", "ban"), Some("not above")),
        (member("@a:x", "@u:x", "leave"), Some("not above")),
        (with_user("@a:x"), Some("names the creator")),
        (with_user("@u:x"), Some("names the creator")),
    ];
    for (event, expected) in cases {
        let row = Row {
            n: String::new(),
            v: (12, 12),
            s: serde_json::from_value(state.clone()).unwrap(),
            e: serde_json::from_value(event.clone()).unwrap(),
            err: None,
            ruma: true,
        };
        let (state, pdu) = (
            state_of(&row, RoomVersion::V12),
            event_of(&row, RoomVersion::V12),
        );
        let result = authorize(&pdu, &at(&state)).map_err(|error| error.to_string());
        match expected {
            None => assert_eq!(result, Ok(()), "{event}"),
            Some(part) => assert!(result.unwrap_err().contains(part), "{event}"),
        }
        assert_eq!(
            theirs(&pdu, &state).is_ok(),
            expected.is_none(),
            "ruma: {event}"
        );
    }
}
