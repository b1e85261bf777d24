//! Joining, leaving and knocking over another server: our event from its template, and what it answers to a join.

use std::collections::{BTreeMap, HashMap};

use hearth_types::UnixMs;
use hearth_types::limits::{AUTH_EVENTS_MAX, INTEGER_MAX, PREV_EVENTS_MAX};
use ruma::{EventId, OwnedEventId, OwnedUserId, RoomId, ServerName, UserId};

use crate::auth::create_event_id;
use crate::canonical::{self, Object, Value};
use crate::pdu::{read_object, room_of_create};
use crate::{
    AuthError, BuildError, Draft, FormatError, Parents, Pdu, RoomVersion, SigningKey, authorize,
    build,
};

/// What we want, and as whom.
pub struct Wish<'a> {
    /// The room.
    pub room_id: &'a RoomId,
    /// Our user.
    pub user: &'a UserId,
    /// `join`, `leave` or `knock`.
    pub membership: &'a str,
    /// Our own content of the member event; `membership` is put in.
    pub content: Object,
    /// Now.
    pub now: UnixMs,
    /// With what we sign.
    pub key: &'a SigningKey,
    /// As whom.
    pub server_name: &'a ServerName,
}

/// Why a template is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Not an object with the fields of an event.
    #[error("the template is malformed")]
    Format(#[from] FormatError),
    /// It is of another event than the one asked for.
    #[error("field `{0}` of the template is not what was asked for")]
    Other(&'static str),
    /// It cannot be built.
    #[error("the template makes no event")]
    Build(#[from] BuildError),
}

/// Makes our member event where a resident server's template says. Of the template only the references, the depth and
/// who authorises a restricted join are taken; everything else is ours, so nothing is signed that we have not built
/// (S01).
pub fn complete(
    version: RoomVersion,
    template: &str,
    wish: &Wish<'_>,
) -> Result<Pdu, TemplateError> {
    let template = read_object(version, template.as_bytes())?;
    check_template(&template, wish)?;
    let mut content = wish.content.clone();
    content.insert("membership".to_owned(), wish.membership.into());
    if let Some(authoriser) = authoriser(version, &template, wish)? {
        let field = "join_authorised_via_users_server".to_owned();
        content.insert(field, authoriser.as_str().into());
    }
    let mut reference_hashes = BTreeMap::new();
    let prev_events = references(
        &template,
        "prev_events",
        PREV_EVENTS_MAX,
        &mut reference_hashes,
    )?;
    let auth_events = references(
        &template,
        "auth_events",
        AUTH_EVENTS_MAX,
        &mut reference_hashes,
    )?;
    let depth = match template.get("depth") {
        Some(Value::Integer(depth)) if (0..=INTEGER_MAX).contains(depth) => depth.unsigned_abs(),
        _ => return Err(TemplateError::Other("depth")),
    };
    let draft = Draft {
        sender: wish.user.to_owned(),
        kind: "m.room.member".to_owned(),
        state_key: Some(wish.user.to_string()),
        content: serde_json::value::RawValue::from_string(canonical::to_string(&content))
            .map_err(|_| TemplateError::Other("content"))?,
        redacts: None,
    };
    let parents = Parents {
        room_id: Some(wish.room_id.to_owned()),
        prev_events,
        auth_events,
        depth,
        origin_server_ts: wish.now,
        reference_hashes,
    };
    Ok(build(
        &draft,
        &parents,
        version,
        wish.key,
        wish.server_name,
    )?)
}

fn check_template(template: &Object, wish: &Wish<'_>) -> Result<(), TemplateError> {
    let user = wish.user.as_str();
    let wanted = [
        ("type", "m.room.member"),
        ("room_id", wish.room_id.as_str()),
        ("sender", user),
        ("state_key", user),
    ];
    for (field, value) in wanted {
        if text(template, field) != Some(value) {
            return Err(TemplateError::Other(field));
        }
    }
    let content = template.get("content").and_then(Value::as_object);
    let membership = content.and_then(|content| text(content, "membership"));
    if membership != Some(wish.membership) {
        return Err(TemplateError::Other("membership"));
    }
    Ok(())
}

fn authoriser(
    version: RoomVersion,
    template: &Object,
    wish: &Wish<'_>,
) -> Result<Option<OwnedUserId>, TemplateError> {
    const FIELD: &str = "join_authorised_via_users_server";
    let is_possible =
        wish.membership == "join" && version.rules().authorization.restricted_join_rule;
    let named = template
        .get("content")
        .and_then(Value::as_object)
        .and_then(|content| content.get(FIELD));
    let Some(named) = named.filter(|_| is_possible) else {
        return Ok(None);
    };
    let user = named.as_str().and_then(|user| UserId::parse(user).ok());
    // With our own signature we would vouch for a join that nobody here has looked at.
    match user.filter(|user| user.server_name() != wish.server_name) {
        Some(user) => Ok(Some(user)),
        None => Err(TemplateError::Other(FIELD)),
    }
}

/// Event ids, in versions 1 and 2 with hashes.
fn references(
    template: &Object,
    field: &'static str,
    max: usize,
    hashes: &mut BTreeMap<OwnedEventId, String>,
) -> Result<Vec<OwnedEventId>, TemplateError> {
    let wrong = || TemplateError::Other(field);
    let listed = template
        .get(field)
        .and_then(Value::as_array)
        .ok_or_else(wrong)?;
    if listed.len() > max {
        return Err(wrong());
    }
    let mut ids = Vec::with_capacity(listed.len());
    for reference in listed {
        let (id, hash) = match reference {
            Value::Array(pair) => {
                let hash = pair
                    .get(1)
                    .and_then(Value::as_object)
                    .and_then(|hashes| text(hashes, "sha256"));
                (pair.first().and_then(Value::as_str), hash)
            }
            other => (other.as_str(), None),
        };
        let id = id
            .and_then(|id| EventId::parse(id).ok())
            .ok_or_else(wrong)?;
        if let Some(hash) = hash {
            hashes.insert(id.clone(), hash.to_owned());
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Why the answer to a join is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// There is no create event, or one of another room or version.
    #[error("the room's create event is missing or another")]
    Create,
    /// Two events at one key.
    #[error("the state has two events of type `{0}` with one state key")]
    Twice(String),
    /// An event in the state is not a state event.
    #[error("the state holds an event without state key")]
    NotState,
    /// By this state we may not join.
    #[error("the state does not allow the join")]
    Forbidden(#[source] AuthError),
}

/// Checks the state that came with a join: that it is one, that it begins with the room's create event, and that it
/// allows the join. `chain` is looked through for what is left out of the state. The events' signatures were checked; their
/// own auth rules are when they are kept.
pub fn check_import(
    (version, room_id): (RoomVersion, &RoomId),
    join: &Pdu,
    state: &[Pdu],
    chain: &[Pdu],
) -> Result<(), ImportError> {
    let mut by_key: HashMap<(&str, &str), &Pdu> = HashMap::with_capacity(state.len());
    for event in state {
        let key = event.state_key_pair().ok_or(ImportError::NotState)?;
        if by_key.insert(key, event).is_some() {
            return Err(ImportError::Twice(key.0.to_owned()));
        }
    }
    let create = by_key.get(&("m.room.create", "")).copied();
    let create = create.or_else(|| chain.iter().find(|event| event.is("m.room.create", "")));
    check_create(version, room_id, create.ok_or(ImportError::Create)?)?;
    authorize(join, &|kind, key| {
        by_key.get(&(kind, key)).copied().cloned().or_else(|| {
            // Members may have been left out of the state, but not those that the join needs.
            let is_named = |id: &EventId| {
                join.auth_events().iter().any(|named| named == id)
                    || create_event_id(join).as_deref() == Some(id)
            };
            let mut events = chain.iter().filter(|event| event.is(kind, key));
            events.rfind(|event| is_named(event.event_id())).cloned()
        })
    })
    .map_err(ImportError::Forbidden)
}

/// Whether this is the create event of a room: also for invites, which show it to those who are not in the room (S02).
pub fn check_create(
    version: RoomVersion,
    room_id: &RoomId,
    create: &Pdu,
) -> Result<(), ImportError> {
    let says = create.content_object().remove("room_version");
    let says = match &says {
        None => Some("1"),
        Some(version) => version.as_str(),
    };
    let is_derived = version
        .rules()
        .authorization
        .room_create_event_id_as_room_id;
    let is_of_room = match is_derived {
        true => room_of_create(create.event_id()).is_ok_and(|derived| derived == room_id),
        false => {
            create.room_id() == room_id
                && room_id.server_name() == Some(create.sender().server_name())
        }
    };
    let is_create = create.is("m.room.create", "") && create.prev_events().is_empty();
    match is_create && is_of_room && says == Some(version.as_str()) {
        true => Ok(()),
        false => Err(ImportError::Create),
    }
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    fn template() -> Json {
        json!({
            "type": "m.room.member",
            "room_id": "!r:there",
            "sender": "@u:here",
            "state_key": "@u:here",
            "content": {"membership": "join", "evil": true},
            "prev_events": ["$p"],
            "auth_events": ["$a"],
            "depth": 7,
            "origin_server_ts": 1,
            "unheard_of": "x",
        })
    }

    fn completed(template: &Json) -> Result<Pdu, TemplateError> {
        let key = SigningKey::generate([1; 32], "a").unwrap();
        let (room_id, user) = (
            "!r:there".try_into().unwrap(),
            "@u:here".try_into().unwrap(),
        );
        let wish = Wish {
            room_id,
            user,
            membership: "join",
            content: Object::new(),
            now: UnixMs(5),
            key: &key,
            server_name: "here".try_into().unwrap(),
        };
        complete(RoomVersion::V10, &template.to_string(), &wish)
    }

    #[test]
    fn s01_of_a_template_only_references_and_depth_are_signed() {
        let pdu = completed(&template()).unwrap();
        assert_eq!(pdu.content_json(), r#"{"membership":"join"}"#);
        assert!(!pdu.to_object().contains_key("unheard_of"));
        assert_eq!((pdu.depth(), pdu.origin_server_ts()), (7, UnixMs(5)));
        assert_eq!(pdu.prev_events().len() + pdu.auth_events().len(), 2);
    }

    #[test]
    fn s01_a_template_of_another_event_is_not_signed() {
        let wrong = [
            ("type", json!("m.room.power_levels")),
            ("room_id", json!("!other:there")),
            ("sender", json!("@other:here")),
            ("state_key", json!("@other:here")),
            ("content", json!({"membership": "ban"})),
            ("depth", json!(-1)),
            ("prev_events", json!([1])),
            ("auth_events", json!(vec!["$a"; 11])),
            (
                "content",
                json!({"membership": "join", "join_authorised_via_users_server": "@x:here"}),
            ),
        ];
        for (field, value) in wrong {
            let mut template = template();
            template[field] = value;
            assert!(completed(&template).is_err(), "{field}");
        }
    }
}
