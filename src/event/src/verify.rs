//! The first three checks on receipt of a PDU: format, signatures, content hash.

use std::collections::BTreeSet;

use hearth_types::UnixMs;
use ruma::{EventId, OwnedServerName, ServerName, UserId};

use crate::canonical::{self, Object, Value};
use crate::keys::verify_bytes;
use crate::pdu::read_object;
use crate::policy::POLICY_KEY_ID;
use crate::{FormatError, Pdu, RoomVersion, VerifyKey, hash};

/// Why a received event must be dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// Not an event of the room version.
    #[error("event has a bad format")]
    Format(#[from] FormatError),
    /// No usable key of a server that must have signed.
    #[error("no usable signing key of `{0}`")]
    NoKey(OwnedServerName),
    /// A server that must have signed has no valid signature.
    #[error("signature of `{0}` is missing or wrong")]
    Signature(OwnedServerName),
}

/// An event whose signatures are valid.
#[derive(Clone, Debug)]
pub enum Received {
    /// As it was sent.
    Intact(Pdu),
    /// Its content hash was wrong, so this is the redacted form, which is to be processed in its place.
    Redacted(Pdu),
}

impl Received {
    /// The event, in whichever form.
    pub fn into_pdu(self) -> Pdu {
        match self {
            Self::Intact(pdu) | Self::Redacted(pdu) => pdu,
        }
    }
}

/// Checks format, signatures and content hash of an event from another server.
///
/// `keys` gives the key of a server by its id (`ed25519:abc`), if it is at hand.
pub fn received(
    version: RoomVersion,
    json: &[u8],
    keys: &dyn Fn(&ServerName, &str) -> Option<VerifyKey>,
) -> Result<Received, VerifyError> {
    Unchecked::read(version, json)?.check(keys)
}

/// An event from another server that is well-formed, and not checked yet.
#[derive(Clone, Debug)]
pub struct Unchecked {
    event: Object,
    redacted: Object,
    pdu: Pdu,
}

impl Unchecked {
    /// Reads an event, and checks its format.
    pub fn read(version: RoomVersion, json: &[u8]) -> Result<Self, VerifyError> {
        let event = read_object(version, json)?;
        let (pdu, redacted) = Pdu::with_redacted(version, &event)?;
        Ok(Self {
            event,
            redacted,
            pdu,
        })
    }

    /// The event as it claims to be.
    pub fn claimed(&self) -> &Pdu {
        &self.pdu
    }

    /// The keys that are needed to check the event: each server that must have signed it, with the ids of its signatures.
    pub fn signature_keys(&self) -> Vec<(OwnedServerName, Vec<String>)> {
        required_servers(self.pdu.version(), &self.event)
            .into_iter()
            .map(|server| {
                let signatures = server_signatures(&self.event, &server).into_iter();
                let key_ids = signatures.map(|(key_id, _)| key_id.to_owned()).collect();
                (server, key_ids)
            })
            .collect()
    }

    /// Checks signatures and content hash; see [`received`].
    pub fn check(
        &self,
        keys: &dyn Fn(&ServerName, &str) -> Option<VerifyKey>,
    ) -> Result<Received, VerifyError> {
        let Self {
            event,
            redacted,
            pdu,
        } = self;
        let version = pdu.version();
        let message = canonical::to_string_without(redacted, &["signatures", "unsigned"]);
        for server in required_servers(version, event) {
            check_server(event, &message, server, &|server, key_id| {
                keys(server, key_id).filter(|key| is_in_time(version, pdu, key.valid_until))
            })?;
        }
        if hash::is_intact(event) {
            return Ok(Received::Intact(pdu.clone()));
        }
        let pdu = Pdu::from_stored(
            version,
            pdu.event_id().to_owned(),
            pdu.room_id().to_owned(),
            canonical::to_string(redacted).into(),
        )?;
        Ok(Received::Redacted(pdu))
    }
}

/// Versions 1 to 4 do not ask whether a key was still valid at the event's time.
fn is_in_time(version: RoomVersion, pdu: &Pdu, valid_until: UnixMs) -> bool {
    !version.rules().enforce_key_validity || pdu.origin_server_ts() <= valid_until
}

/// All signatures of the server by usable keys must be valid, and there must be one.
fn check_server(
    event: &Object,
    message: &str,
    server: OwnedServerName,
    keys: &dyn Fn(&ServerName, &str) -> Option<VerifyKey>,
) -> Result<(), VerifyError> {
    let signatures = server_signatures(event, &server);
    if signatures.is_empty() {
        return Err(VerifyError::Signature(server));
    }
    let mut is_signed = false;
    for (key_id, signature) in signatures {
        let Some(key) = keys(&server, key_id) else {
            continue;
        };
        if verify_bytes(message.as_bytes(), signature, &key.key).is_err() {
            return Err(VerifyError::Signature(server));
        }
        is_signed = true;
    }
    if is_signed {
        Ok(())
    } else {
        Err(VerifyError::NoKey(server))
    }
}

/// The ed25519 signatures of a server, but not what it recommends as a policy server: key id and signature.
fn server_signatures<'a>(event: &'a Object, server: &ServerName) -> Vec<(&'a str, &'a str)> {
    event
        .get("signatures")
        .and_then(Value::as_object)
        .and_then(|signatures| signatures.get(server.as_str())?.as_object())
        .into_iter()
        .flatten()
        .filter(|(key_id, _)| key_id.starts_with("ed25519:") && *key_id != POLICY_KEY_ID)
        .filter_map(|(key_id, signature)| Some((key_id.as_str(), signature.as_str()?)))
        .collect()
}

/// The servers that must have signed the event.
pub fn signing_servers(pdu: &Pdu) -> BTreeSet<OwnedServerName> {
    required_servers(pdu.version(), &pdu.to_object())
}

fn required_servers(version: RoomVersion, event: &Object) -> BTreeSet<OwnedServerName> {
    let rules = &version.rules().signatures;
    let mut servers = BTreeSet::new();
    let is_member = text(event, "type") == Some("m.room.member");
    let content = event.get("content").and_then(Value::as_object);
    let membership = content.and_then(|content| text(content, "membership"));
    let is_third_party_invite = is_member
        && membership == Some("invite")
        && content.is_some_and(|content| content.contains_key("third_party_invite"));
    // Somebody else's server may send the invite in the name of its issuer ("Third-party invites").
    if !is_third_party_invite {
        servers.extend(server_of_user(text(event, "sender")));
    }
    if rules.check_event_id_server {
        let event_id = text(event, "event_id").and_then(|id| EventId::parse(id).ok());
        servers.extend(event_id.and_then(|id| id.server_name().map(ToOwned::to_owned)));
    }
    if rules.check_join_authorised_via_users_server && is_member {
        let authoriser =
            content.and_then(|content| text(content, "join_authorised_via_users_server"));
        servers.extend(server_of_user(authoriser));
    }
    servers
}

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn server_of_user(user: Option<&str>) -> Option<OwnedServerName> {
    let user = UserId::parse(user?).ok()?;
    Some(user.server_name().to_owned())
}
