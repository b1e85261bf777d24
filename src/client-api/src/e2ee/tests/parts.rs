//! What a client reads of all that has to do with keys, judged by rules of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use hearth_event::canonical::{Strictness, parse_object};
use hearth_event::verify_json;
use serde_json::{Map, Value};

use super::api::SIGNED;

/// Why something is no key, or not what a client can read.
pub(super) type Verdict = Result<(), String>;

fn wrong<T>(what: &str, value: &Value) -> Result<T, String> {
    Err(format!("{what}: {value}"))
}

fn object<'a>(value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
    match value.as_object() {
        Some(object) => Ok(object),
        None => wrong(&format!("{what} is no object"), value),
    }
}

fn text<'a>(value: &'a Value, what: &str) -> Result<&'a str, String> {
    match value.as_str() {
        Some(text) if !text.is_empty() => Ok(text),
        _ => wrong(&format!("{what} is no text"), value),
    }
}

fn key_bytes(text: &str) -> Result<[u8; 32], String> {
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('='));
    let bytes = bytes.map_err(|error| format!("{text}: {error}"))?;
    bytes
        .try_into()
        .map_err(|_| format!("{text} is not 32 bytes"))
}

/// It can be signed: integers only, no name twice, no lone surrogates.
fn canonical(value: &Value) -> Verdict {
    let parsed = parse_object(value.to_string().as_bytes(), Strictness::Strict);
    parsed
        .map(drop)
        .map_err(|error| format!("{error}: {value}"))
}

/// Signatures are texts by key id by user; those of a known key fit.
fn signatures(value: &Value, known: &[(&str, &str, [u8; 32])]) -> Verdict {
    for (user, keys) in object(&value["signatures"], "signatures")? {
        if !user.starts_with('@') || !user.contains(':') {
            return wrong("a signer is no user", value);
        }
        for (key_id, signature) in object(keys, "the signatures of a user")? {
            text(signature, "a signature")?;
            if !key_id.contains(':') {
                return wrong("a signature has no key id", value);
            }
        }
    }
    let parsed = parse_object(value.to_string().as_bytes(), Strictness::Strict);
    let parsed = parsed.map_err(|error| error.to_string())?;
    for (user, key_id, bytes) in known {
        if value["signatures"][*user].get(*key_id).is_some()
            && verify_json(&parsed, user, key_id, bytes).is_err()
        {
            return wrong("a signature does not fit", value);
        }
    }
    Ok(())
}

/// Identity keys of a device.
pub(super) fn device_keys(user: &str, device: &str, keys: &Value) -> Verdict {
    canonical(keys)?;
    if keys["user_id"] != user || keys["device_id"] != device {
        return wrong("keys of somebody else", keys);
    }
    let Some(algorithms) = keys["algorithms"].as_array() else {
        return wrong("algorithms are no list", keys);
    };
    for algorithm in algorithms {
        text(algorithm, "an algorithm")?;
    }
    let key_id = format!("ed25519:{device}");
    for (name, key) in object(&keys["keys"], "keys")? {
        let key = text(key, "a key")?;
        match name.split_once(':') {
            Some(("ed25519" | "curve25519", of)) if of == device => drop(key_bytes(key)?),
            Some((_, of)) if of == device => {}
            _ => return wrong("a key of another device", keys),
        }
    }
    let ed25519 = key_bytes(text(&keys["keys"][&key_id], "the ed25519 key")?)?;
    object(&keys["unsigned"], "unsigned")?;
    signatures(keys, &[(user, &key_id, ed25519)])
}

/// A one-time or fallback key as it is claimed, of a device whose identity keys these are.
pub(super) fn claimed(user: &str, device: &str, (keys, claimed): (&Value, &Value)) -> Verdict {
    let claimed = object(claimed, "a claim")?;
    if claimed.len() != 1 {
        return Err(format!("{} keys at once", claimed.len()));
    }
    for (name, key) in claimed {
        canonical(key)?;
        let is_named = name
            .strip_prefix(SIGNED)
            .and_then(|rest| rest.strip_prefix(':'));
        if is_named.is_none_or(|id| id.is_empty() || id.contains(':')) {
            return wrong("a strange name of a key", &Value::from(name.as_str()));
        }
        key_bytes(text(&key["key"], "the key")?)?;
        let key_id = format!("ed25519:{device}");
        let ed25519 = key_bytes(text(&keys["keys"][&key_id], "the ed25519 key")?)?;
        text(&key["signatures"][user][&key_id], "the device's signature")?;
        signatures(key, &[(user, &key_id, ed25519)])?;
        if !matches!(key.get("fallback"), None | Some(Value::Bool(_))) {
            return wrong("fallback is neither true nor false", key);
        }
    }
    Ok(())
}

/// The cross-signing keys of a user in an answer to a query.
pub(super) fn cross_signing(user: &str, answer: &Value) -> Verdict {
    let mut master = None;
    for usage in ["master", "self_signing", "user_signing"] {
        let Some(key) = answer[format!("{usage}_keys")].get(user) else {
            continue;
        };
        canonical(key)?;
        if key["user_id"] != user || key["usage"] != serde_json::json!([usage]) {
            return wrong("a cross-signing key of somebody or something else", key);
        }
        let keys = object(&key["keys"], "keys")?;
        let Some((name, public)) = keys.iter().next().filter(|_| keys.len() == 1) else {
            return wrong("not one key", key);
        };
        let public = text(public, "a key")?;
        let bytes = key_bytes(public)?;
        if *name != format!("ed25519:{public}") {
            return wrong("a key is not named by itself", key);
        }
        match &master {
            None => master = Some((name.clone(), bytes)),
            Some((name, bytes)) => {
                text(&key["signatures"][user][name], "the master key's signature")?;
                signatures(key, &[(user, name, *bytes)])?;
            }
        }
    }
    Ok(())
}

/// The rooms of a backup.
pub(super) fn backup(rooms: &Value) -> Verdict {
    for (room, sessions) in object(&rooms["rooms"], "rooms")? {
        if !room.starts_with('!') {
            return Err(format!("{room} is no room"));
        }
        for (session, key) in object(&sessions["sessions"], "sessions")? {
            canonical(key)?;
            object(&key["session_data"], "session_data")?;
            let numbers = ["first_message_index", "forwarded_count"];
            let are_counts = numbers.iter().all(|name| key[*name].is_u64());
            if session.is_empty() || !are_counts || !key["is_verified"].is_boolean() {
                return wrong("no key of a backup", key);
            }
        }
    }
    Ok(())
}

/// Messages to a device.
pub(super) fn messages(events: &Value) -> Verdict {
    for event in events.as_array().into_iter().flatten() {
        canonical(event)?;
        object(&event["content"], "a content")?;
        let kind = text(&event["type"], "a type")?;
        if !text(&event["sender"], "a sender")?.starts_with('@') || kind.len() > 255 {
            return wrong("no message", event);
        }
    }
    Ok(())
}
