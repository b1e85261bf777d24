//! Ed25519 keys: ours to sign, others' to verify.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use hearth_types::UnixMs;
use ruma::ServerName;

use crate::canonical::{Object, Value, to_string_without};

/// Base64 as others write it: with or without padding.
const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD_LENIENT: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);
const URL_SAFE_LENIENT: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::URL_SAFE, LENIENT);

/// Longest version part of a key id.
const KEY_VERSION_BYTES_MAX: usize = 64;

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
pub struct SigningKey {
    key: ed25519_dalek::SigningKey,
    key_id: String,
}

/// A server's public key and until when it may be used.
#[derive(Clone, Debug)]
pub struct VerifyKey {
    /// The 32 bytes of the key.
    pub key: [u8; 32],
    /// Good for events up to this moment: `valid_until_ts` capped to now plus seven days, or `expired_ts` of an old key.
    pub valid_until: UnixMs,
}

impl SigningKey {
    /// A key from 32 random bytes, named `ed25519:<version>`. The version has letters, digits and `_` only.
    pub fn generate(seed: [u8; 32], version: &str) -> Result<Self, KeyError> {
        let is_name = !version.is_empty()
            && version.len() <= KEY_VERSION_BYTES_MAX
            && version
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(KeyError::Malformed);
        }
        Ok(Self {
            key: ed25519_dalek::SigningKey::from_bytes(&seed),
            key_id: format!("ed25519:{version}"),
        })
    }

    /// Reads the form written by [`SigningKey::to_stored`] (the one line of other homeservers' key files).
    pub fn from_stored(stored: &str) -> Result<Self, KeyError> {
        let mut words = stored.split_whitespace();
        let (Some("ed25519"), Some(version), Some(seed), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(KeyError::Malformed);
        };
        let seed = decode_base64(seed)
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or(KeyError::Malformed)?;
        Self::generate(seed, version)
    }

    /// `ed25519 <version> <base64>`. Secret.
    pub fn to_stored(&self) -> String {
        format!(
            "{} {}",
            self.key_id.replacen(':', " ", 1),
            STANDARD_NO_PAD.encode(self.key.as_bytes())
        )
    }

    /// `ed25519:<version>`.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The public key in unpadded base64.
    pub fn public_key(&self) -> String {
        STANDARD_NO_PAD.encode(self.public_key_bytes())
    }

    /// The public key's bytes.
    pub fn public_key_bytes(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Signs bytes; unpadded base64.
    pub fn sign_bytes(&self, message: &[u8]) -> String {
        STANDARD_NO_PAD.encode(self.key.sign(message).to_bytes())
    }

    /// Adds the signature of `server_name` to an object, over its canonical JSON without `signatures` and `unsigned`.
    pub fn sign_json(&self, server_name: &ServerName, object: &mut Object) {
        let message = to_string_without(object, &["signatures", "unsigned"]);
        let signature = self.sign_bytes(message.as_bytes());
        add_signature(object, server_name, &self.key_id, signature);
    }
}

/// Without the secret.
impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Checks the signature of `entity` (a server, user or identity server) made by `key_id` on an object.
pub fn verify_json(
    object: &Object,
    entity: &str,
    key_id: &str,
    public_key: &[u8; 32],
) -> Result<(), KeyError> {
    let signature = object
        .get("signatures")
        .and_then(Value::as_object)
        .and_then(|signatures| signatures.get(entity)?.as_object()?.get(key_id)?.as_str())
        .ok_or(KeyError::NoSignature)?;
    let message = to_string_without(object, &["signatures", "unsigned"]);
    verify_bytes(message.as_bytes(), signature, public_key)
}

/// Checks a signature in base64 on bytes.
pub(crate) fn verify_bytes(
    message: &[u8],
    signature: &str,
    public_key: &[u8; 32],
) -> Result<(), KeyError> {
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| KeyError::PublicKey)?;
    let signature = decode_base64(signature)
        .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
        .ok_or(KeyError::Mismatch)?;
    // Strict: refuses keys of small order, with which one signature fits many messages.
    key.verify_strict(message, &Signature::from_bytes(&signature))
        .map_err(|_| KeyError::Mismatch)
}

pub(crate) fn add_signature(
    object: &mut Object,
    server_name: &ServerName,
    key_id: &str,
    signature: String,
) {
    let signatures = object_entry(object, "signatures");
    object_entry(signatures, server_name.as_str()).insert(key_id.to_owned(), signature.into());
}

/// The object at a key, made if it is absent or something else.
fn object_entry<'a>(object: &'a mut Object, key: &str) -> &'a mut Object {
    let slot = object.entry(key.to_owned()).or_insert(Value::Null);
    if !matches!(slot, Value::Object(_)) {
        *slot = Value::Object(Object::new());
    }
    match slot {
        Value::Object(inner) => inner,
        _ => unreachable!("the slot was just made an object"),
    }
}

/// Base64 of either alphabet, padded or not.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.contains(['-', '_']) {
        &URL_SAFE_LENIENT
    } else {
        &STANDARD_LENIENT
    };
    engine.decode(text).ok()
}
