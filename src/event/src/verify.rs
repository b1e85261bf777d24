//! The first three checks on receipt of a PDU: format, signatures, content hash.

use std::collections::BTreeSet;

use ruma::{OwnedServerName, ServerName};

use crate::{FormatError, Pdu, RoomVersion, VerifyKey};

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

/// Checks format, signatures and content hash of an event from another server.
///
/// `keys` gives the key of a server by its id (`ed25519:abc`), if it is at hand.
#[expect(unused_variables, reason = "skeleton")]
pub fn received(
    version: RoomVersion,
    json: &[u8],
    keys: &dyn Fn(&ServerName, &str) -> Option<VerifyKey>,
) -> Result<Received, VerifyError> {
    unimplemented!()
}

/// The servers that must have signed the event.
#[expect(unused_variables, reason = "skeleton")]
pub fn signing_servers(pdu: &Pdu) -> BTreeSet<OwnedServerName> {
    unimplemented!()
}

/// The keys that are needed to verify the event: each required server with the ids of its signatures.
#[expect(unused_variables, reason = "skeleton")]
pub fn signature_keys(pdu: &Pdu) -> Vec<(OwnedServerName, Vec<String>)> {
    unimplemented!()
}
