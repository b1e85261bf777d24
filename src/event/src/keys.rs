//! Ed25519 keys: ours to sign, others' to verify.

use hearth_types::UnixMs;
use ruma::ServerName;

use crate::canonical::Object;

/// Why a key or signature is unusable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The stored form is not `ed25519 <version> <unpadded base64 of 32 bytes>`.
    #[error("signing key is malformed")]
    Malformed,
    /// The public key is not a point of the curve.
    #[error("public key is malformed")]
    PublicKey,
    /// There is no signature of that server and key.
    #[error("signature is missing")]
    NoSignature,
    /// The signature does not match.
    #[error("signature does not verify")]
    Mismatch,
}

/// The server's signing key.
#[derive(Clone)]
pub struct SigningKey {}

/// A server's public key and until when it may be used.
#[derive(Clone, Debug)]
pub struct VerifyKey {
    /// The 32 bytes of the key.
    pub key: [u8; 32],
    /// Good for events up to this moment: `valid_until_ts` capped to now plus seven days, or `expired_ts` of an old key.
    pub valid_until: UnixMs,
}

#[expect(unused_variables, reason = "skeleton")]
impl SigningKey {
    /// A key from 32 random bytes, named `ed25519:<version>`.
    pub fn generate(seed: [u8; 32], version: &str) -> Result<Self, KeyError> {
        unimplemented!()
    }

    /// Reads the form written by [`SigningKey::to_stored`] (the one line of other homeservers' key files).
    pub fn from_stored(stored: &str) -> Result<Self, KeyError> {
        unimplemented!()
    }

    /// `ed25519 <version> <base64>`. Secret.
    pub fn to_stored(&self) -> String {
        unimplemented!()
    }

    /// `ed25519:<version>`.
    pub fn key_id(&self) -> &str {
        unimplemented!()
    }

    /// The public key in unpadded base64.
    pub fn public_key(&self) -> String {
        unimplemented!()
    }

    /// The public key's bytes.
    pub fn public_key_bytes(&self) -> [u8; 32] {
        unimplemented!()
    }

    /// Signs bytes; unpadded base64.
    pub fn sign_bytes(&self, message: &[u8]) -> String {
        unimplemented!()
    }

    /// Adds the signature of `server_name` to an object, over its canonical JSON without `signatures` and `unsigned`.
    pub fn sign_json(&self, server_name: &ServerName, object: &mut Object) {
        unimplemented!()
    }
}

/// Checks the signature of `entity` (a server, user or identity server) made by `key_id` on an object.
#[expect(unused_variables, reason = "skeleton")]
pub fn verify_json(
    object: &Object,
    entity: &str,
    key_id: &str,
    public_key: &[u8; 32],
) -> Result<(), KeyError> {
    unimplemented!()
}
