//! The keys of a client's device, signed as the specification wants, without a library that does encryption: the tests
//! need keys that a server accepts, not messages that anyone can read.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use ed25519_dalek::{Signer as _, SigningKey};
use http::Method;
use serde_json::{Map, Value, json};

use crate::{Result, client::User};

/// The algorithm of the one-time keys that all clients use.
pub const SIGNED_CURVE25519: &str = "signed_curve25519";

/// A device with its secret key.
#[derive(Clone, Debug)]
pub struct Device {
    /// Whose it is.
    pub user: String,
    /// Its id.
    pub id: String,
    key: SigningKey,
}

impl Device {
    /// The device of a logged-in user. Its secret follows from its name: there is nothing to protect.
    #[must_use]
    pub fn of(user: &User) -> Self {
        Self::named(&user.id, &user.device)
    }

    /// A device by its name.
    #[must_use]
    pub fn named(user: &str, id: &str) -> Self {
        Self {
            user: user.to_owned(),
            id: id.to_owned(),
            key: secret(&format!("{user} {id}")),
        }
    }

    /// `ed25519:DEVICE`.
    #[must_use]
    pub fn key_id(&self) -> String {
        format!("ed25519:{}", self.id)
    }

    /// Identity keys as they are uploaded.
    #[must_use]
    pub fn keys(&self) -> Value {
        let mut keys = json!({
            "user_id": self.user,
            "device_id": self.id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                self.key_id(): self.public(),
                format!("curve25519:{}", self.id): public(&secret(&format!("{} curve", self.id))),
            },
        });
        self.sign(&mut keys);
        keys
    }

    /// The public key in base64.
    #[must_use]
    pub fn public(&self) -> String {
        public(&self.key)
    }

    /// A one-time key, without its name.
    #[must_use]
    pub fn one_time_key(&self, number: usize) -> Value {
        let mut key = json!({"key": public(&secret(&format!("{} {number}", self.id)))});
        self.sign(&mut key);
        key
    }

    /// One-time keys under their names.
    #[must_use]
    pub fn one_time_keys(&self, numbers: std::ops::Range<usize>) -> Value {
        let named = |number| {
            (
                format!("{SIGNED_CURVE25519}:{number:06}"),
                self.one_time_key(number),
            )
        };
        Value::Object(numbers.map(named).collect::<Map<String, Value>>())
    }

    /// A fallback key under its name.
    #[must_use]
    pub fn fallback_key(&self, number: usize) -> Value {
        let curve = public(&secret(&format!("{} fallback {number}", self.id)));
        let mut key = json!({"key": curve, "fallback": true});
        self.sign(&mut key);
        json!({format!("{SIGNED_CURVE25519}:F{number:05}"): key})
    }

    /// Adds this device's signature to an object, in place of an earlier one.
    pub fn sign(&self, object: &mut Value) {
        let signature = self.signature(object);
        let mut signatures = object.get("signatures").cloned().unwrap_or(json!({}));
        signatures[&self.user][self.key_id()] = json!(signature);
        object["signatures"] = signatures;
    }

    /// The signature of this device for an object in base64.
    #[must_use]
    pub fn signature(&self, object: &Value) -> String {
        let mut bare = object.clone();
        if let Value::Object(fields) = &mut bare {
            fields.remove("signatures");
            fields.remove("unsigned");
        }
        // Sorted keys, no blanks, integers and ASCII only: this is canonical JSON.
        let signed = self.key.sign(bare.to_string().as_bytes());
        STANDARD_NO_PAD.encode(signed.to_bytes())
    }

    /// Uploads identity keys and so many one-time keys.
    pub async fn upload(&self, user: &User, one_time_keys: usize) -> Result<()> {
        let body = json!({
            "device_keys": self.keys(),
            "one_time_keys": self.one_time_keys(0..one_time_keys),
        });
        let path = "/_matrix/client/v3/keys/upload";
        user.ask(Method::POST, path, &body).await?.ok().map(drop)
    }
}

/// A secret key that follows from a name: its bytes, folded.
fn secret(name: &str) -> SigningKey {
    let mut seed = [7_u8; 32];
    for (index, byte) in name.bytes().enumerate() {
        let slot = &mut seed[index % 32];
        *slot = slot.wrapping_mul(31).wrapping_add(byte);
    }
    SigningKey::from_bytes(&seed)
}

fn public(key: &SigningKey) -> String {
    STANDARD_NO_PAD.encode(key.verifying_key().to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signature, Verifier as _};

    #[test]
    fn a_signature_is_that_of_the_object_without_signatures() {
        let device = Device::named("@a:localhost", "A");
        let keys = device.keys();
        let signature = keys["signatures"]["@a:localhost"]["ed25519:A"].as_str();
        let bytes = STANDARD_NO_PAD.decode(signature.unwrap()).unwrap();
        let signature = Signature::from_slice(&bytes).unwrap();
        let mut bare = keys.clone();
        bare.as_object_mut().unwrap().remove("signatures");
        let message = bare.to_string();
        assert!(message.starts_with(r#"{"algorithms":["#), "{message}");
        let key = device.key.verifying_key();
        assert!(key.verify(message.as_bytes(), &signature).is_ok());
        assert!(key.verify(b"{}", &signature).is_err());
    }

    #[test]
    fn no_two_devices_and_no_two_keys_are_alike() {
        let [a, b] = ["A", "B"].map(|id| Device::named("@a:localhost", id));
        assert_ne!(a.public(), b.public());
        assert_ne!(a.one_time_key(1)["key"], a.one_time_key(2)["key"]);
        let keys = a.one_time_keys(0..200);
        let keys: std::collections::BTreeSet<&str> = keys
            .as_object()
            .unwrap()
            .values()
            .map(|key| key["key"].as_str().unwrap())
            .collect();
        assert_eq!(keys.len(), 200);
    }
}
