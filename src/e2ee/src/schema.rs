//! What keys look like. Pure: bytes in, checked keys out. What passes here can be stored, shown to every client and
//! sent to other servers: it is canonical JSON, of bounded size, of the shape that the specification wants.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hearth_event::canonical::{self, Object, Strictness, Value};
use hearth_event::verify_json;

/// Longest identity key object, in bytes.
pub(crate) const DEVICE_KEYS_BYTES_MAX: usize = 16 << 10;
/// Longest one-time key, in bytes.
pub(crate) const ONE_TIME_KEY_BYTES_MAX: usize = 4 << 10;
/// Most entries of an object or a list in a key.
const ENTRIES_MAX: usize = 32;
/// Longest name in a key, in bytes.
const NAME_BYTES_MAX: usize = 255;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&base64::alphabet::STANDARD, LENIENT);

/// Why something is not a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// Not of the right shape.
    Shape(String),
    /// Names another user, device or key than it should.
    Other(&'static str),
    /// A signature does not fit.
    Signature(&'static str),
    /// Too large.
    Large { what: &'static str, max: usize },
}

type Result<T> = std::result::Result<T, Malformed>;

fn shape<T>(text: impl Into<String>) -> Result<T> {
    Err(Malformed::Shape(text.into()))
}

/// A JSON object in the form that can be signed: integers only, no text that has no canonical form.
pub(crate) fn object(json: &[u8]) -> Result<Object> {
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(Object::new());
    }
    canonical::parse_object(json, Strictness::Strict)
        .map_err(|error| Malformed::Shape(format!("not canonical JSON: {error}")))
}

/// An optional field that is an object.
pub(crate) fn field<'a>(object: &'a Object, name: &str) -> Result<Option<&'a Object>> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(_) => shape(format!("{name} is not an object")),
    }
}

/// Identity keys of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceKeys {
    /// Canonical JSON without `signatures` and `unsigned`.
    pub(crate) body: String,
    /// The signing key.
    pub(crate) ed25519: [u8; 32],
    /// All of `keys`: while they stay, one-time keys stay good.
    pub(crate) identity: Vec<(String, String)>,
    /// The device's own signature, if it has one.
    pub(crate) signature: Option<String>,
}

impl DeviceKeys {
    /// Checks identity keys of a user's device.
    pub(crate) fn new(object: &Object, user: &str, device: &str) -> Result<Self> {
        if text(object, "user_id")? != user {
            return Err(Malformed::Other("these keys are another user's"));
        }
        if text(object, "device_id")? != device {
            return Err(Malformed::Other("these keys are another device's"));
        }
        algorithms(object)?;
        let identity = identity(object, device)?;
        let key_id = format!("ed25519:{device}");
        let ed25519 = identity
            .iter()
            .find(|(name, _)| *name == key_id)
            .and_then(|(_, key)| key_bytes(key));
        let Some(ed25519) = ed25519 else {
            return shape("the ed25519 key is missing");
        };
        let Some(signatures) = field(object, "signatures")? else {
            return shape("signatures are missing");
        };
        check_signatures(signatures)?;
        let signature = signature(object, user, &key_id);
        if signature.is_some() && verify_json(object, user, &key_id, &ed25519).is_err() {
            return Err(Malformed::Signature("the device's signature does not fit"));
        }
        Ok(Self {
            body: body(object, DEVICE_KEYS_BYTES_MAX)?,
            ed25519,
            identity,
            signature: signature.map(str::to_owned),
        })
    }
}

fn algorithms(object: &Object) -> Result<()> {
    let Some(algorithms) = object.get("algorithms").and_then(Value::as_array) else {
        return shape("algorithms is not a list");
    };
    let good = algorithms.len() <= ENTRIES_MAX
        && algorithms
            .iter()
            .all(|name| name.as_str().is_some_and(is_name));
    match good {
        true => Ok(()),
        false => shape("an algorithm is not a name"),
    }
}

/// The entries of `keys`: `algorithm:device` → key.
fn identity(object: &Object, device: &str) -> Result<Vec<(String, String)>> {
    let Some(keys) = field(object, "keys")? else {
        return shape("keys are missing");
    };
    if keys.len() > ENTRIES_MAX {
        return shape("too many keys");
    }
    let mut identity = Vec::with_capacity(keys.len());
    for (name, key) in keys {
        let Some((algorithm, of)) = name.split_once(':') else {
            return shape("a key's name is not `algorithm:device`");
        };
        if of != device {
            return Err(Malformed::Other("a key is named for another device"));
        }
        let Some(key) = key.as_str() else {
            return shape("a key is not text");
        };
        let is_curve = matches!(algorithm, "ed25519" | "curve25519");
        if !is_name(algorithm) || (is_curve && key_bytes(key).is_none()) {
            return shape("a key is malformed");
        }
        identity.push((name.clone(), key.to_owned()));
    }
    Ok(identity)
}

/// A one-time or fallback key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OneTimeKey {
    /// The algorithm.
    pub(crate) algorithm: String,
    /// The id, without the algorithm.
    pub(crate) key_id: String,
    /// Canonical JSON: text or an object.
    pub(crate) key: String,
    object: Option<Object>,
}

impl OneTimeKey {
    /// Checks a key under its name `algorithm:id`.
    pub(crate) fn new(name: &str, value: &Value, user: &str) -> Result<Self> {
        let Some((algorithm, key_id)) = name.split_once(':') else {
            return shape("a one-time key's name is not `algorithm:id`");
        };
        if !is_name(algorithm) || !is_name(key_id) {
            return shape("a one-time key's name is malformed");
        }
        let (key, object) = match value {
            Value::String(key) => (canonical::quote(key), None),
            Value::Object(object) => (canonical::to_string(object), Some(object.clone())),
            _ => return shape("a one-time key is neither text nor an object"),
        };
        if key.len() > ONE_TIME_KEY_BYTES_MAX {
            return Err(Malformed::Large {
                what: "bytes of a one-time key",
                max: ONE_TIME_KEY_BYTES_MAX,
            });
        }
        match (algorithm, &object) {
            ("curve25519", None) => check_curve(value.as_str().unwrap_or_default())?,
            ("signed_curve25519", Some(object)) => check_signed(object, user)?,
            ("curve25519" | "signed_curve25519", _) => {
                return shape("a one-time key has the shape of another algorithm");
            }
            _ => {}
        }
        Ok(Self {
            algorithm: algorithm.to_owned(),
            key_id: key_id.to_owned(),
            key,
            object,
        })
    }

    /// `algorithm:id`.
    pub(crate) fn name(&self) -> String {
        format!("{}:{}", self.algorithm, self.key_id)
    }

    /// Checks the signature of the device.
    pub(crate) fn verify(&self, user: &str, device: &str, ed25519: &[u8; 32]) -> Result<()> {
        let key_id = format!("ed25519:{device}");
        match &self.object {
            Some(object) if self.algorithm == "signed_curve25519" => {
                verify_json(object, user, &key_id, ed25519)
                    .map_err(|_| Malformed::Signature("a one-time key's signature does not fit"))
            }
            _ => Ok(()),
        }
    }
}

fn check_curve(key: &str) -> Result<()> {
    match key_bytes(key) {
        Some(_) => Ok(()),
        None => shape("a one-time key is not a curve25519 key"),
    }
}

fn check_signed(object: &Object, user: &str) -> Result<()> {
    check_curve(
        object
            .get("key")
            .and_then(Value::as_str)
            .unwrap_or_default(),
    )?;
    if !matches!(object.get("fallback"), None | Some(Value::Bool(_))) {
        return shape("fallback is neither true nor false");
    }
    let Some(signatures) = field(object, "signatures")? else {
        return shape("a signed one-time key has no signatures");
    };
    check_signatures(signatures)?;
    match signatures.keys().any(|signer| signer == user) {
        true => Ok(()),
        false => shape("a one-time key is not signed by its user"),
    }
}

/// A cross-signing key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SigningKey {
    /// Canonical JSON without `signatures` and `unsigned`.
    pub(crate) body: String,
    /// The public key in base64, which is its id.
    pub(crate) public: String,
    /// Its bytes.
    pub(crate) bytes: [u8; 32],
    /// The whole object.
    pub(crate) object: Object,
}

impl SigningKey {
    /// Checks a user's key of a usage: `master`, `self_signing` or `user_signing`.
    pub(crate) fn new(object: &Object, user: &str, usage: &str) -> Result<Self> {
        if text(object, "user_id")? != user {
            return Err(Malformed::Other("this key is another user's"));
        }
        let usages = object.get("usage").and_then(Value::as_array);
        let usages = usages.unwrap_or_default();
        if usages.len() != 1 || usages.first().and_then(Value::as_str) != Some(usage) {
            return shape(format!("usage is not [\"{usage}\"]"));
        }
        let keys = field(object, "keys")?;
        let mut keys = keys.into_iter().flatten();
        let (Some((name, Value::String(public))), None) = (keys.next(), keys.next()) else {
            return shape("a cross-signing key has one key");
        };
        let bytes = key_bytes(public);
        let (Some(bytes), true) = (bytes, name.strip_prefix("ed25519:") == Some(public)) else {
            return shape("a cross-signing key is named by its public key");
        };
        if let Some(signatures) = field(object, "signatures")? {
            check_signatures(signatures)?;
        }
        Ok(Self {
            body: body(object, DEVICE_KEYS_BYTES_MAX)?,
            public: public.clone(),
            bytes,
            object: object.clone(),
        })
    }

    /// Reads a key that was checked when it was stored.
    pub(crate) fn stored(body: &str) -> Option<Self> {
        let object = object(body.as_bytes()).ok()?;
        let user = text(&object, "user_id").ok()?.to_owned();
        let usage = object
            .get("usage")?
            .as_array()?
            .first()?
            .as_str()?
            .to_owned();
        Self::new(&object, &user, &usage).ok()
    }

    /// `ed25519:<public key>`.
    pub(crate) fn key_id(&self) -> String {
        format!("ed25519:{}", self.public)
    }

    /// The signature that another key made on this one, if it fits.
    pub(crate) fn signed_by(&self, user: &str, key_id: &str, key: &[u8; 32]) -> Option<&str> {
        verify_json(&self.object, user, key_id, key).ok()?;
        signature(&self.object, user, key_id)
    }
}

/// The ed25519 key in stored identity keys.
pub(crate) fn stored_ed25519(body: &str, device: &str) -> Option<[u8; 32]> {
    let object = object(body.as_bytes()).ok()?;
    let keys = object.get("keys")?.as_object()?;
    key_bytes(keys.get(&format!("ed25519:{device}"))?.as_str()?)
}

/// `keys` of stored identity keys.
pub(crate) fn stored_identity(body: &str, device: &str) -> Vec<(String, String)> {
    object(body.as_bytes())
        .and_then(|object| identity(&object, device))
        .unwrap_or_default()
}

/// An object without what changes from copy to copy.
pub(crate) fn body(object: &Object, bytes_max: usize) -> Result<String> {
    let body = canonical::to_string_without(object, &["signatures", "unsigned"]);
    match body.len() <= bytes_max {
        true => Ok(body),
        false => Err(Malformed::Large {
            what: "bytes of a key",
            max: bytes_max,
        }),
    }
}

/// A signature in an object.
pub(crate) fn signature<'a>(object: &'a Object, user: &str, key_id: &str) -> Option<&'a str> {
    let signatures = object.get("signatures")?.as_object()?;
    signatures.get(user)?.as_object()?.get(key_id)?.as_str()
}

/// Signatures are texts by key id by signer.
fn check_signatures(signatures: &Object) -> Result<()> {
    for (signer, keys) in signatures {
        let Value::Object(keys) = keys else {
            return shape("signatures of a user are not an object");
        };
        let is_good = |(key_id, signature): (&String, &Value)| {
            key_id.contains(':')
                && key_id.len() <= 2 * NAME_BYTES_MAX
                && signature
                    .as_str()
                    .is_some_and(|text| !text.is_empty() && text.len() <= NAME_BYTES_MAX)
        };
        if ruma::UserId::parse(signer.as_str()).is_err()
            || keys.len() > ENTRIES_MAX
            || !keys.iter().all(is_good)
        {
            return shape("a signature is malformed");
        }
    }
    match signatures.len() <= ENTRIES_MAX {
        true => Ok(()),
        false => shape("too many signatures"),
    }
}

pub(crate) fn text<'a>(object: &'a Object, name: &str) -> Result<&'a str> {
    match object.get(name) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => shape(format!("{name} is not text")),
        None => shape(format!("{name} is missing")),
    }
}

/// A name of an algorithm or a key: printable, no more than 255 bytes.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= NAME_BYTES_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':')
}

/// 32 bytes in base64, padded or not.
pub(crate) fn key_bytes(text: &str) -> Option<[u8; 32]> {
    BASE64.decode(text).ok()?.try_into().ok()
}
