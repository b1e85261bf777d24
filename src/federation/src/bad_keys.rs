//! Signing keys whose secret half is public knowledge.

use ruma::serde::Base64;

/// Public keys in unpadded base64.
const KNOWN_BAD: [&str; 6] = [
    // CVE-2026-24044: a key out of an installer, the same on every server that it set up.
    "l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og",
    // The test vectors of the Matrix specification (appendices, "Cryptographic Test Vectors").
    "XGX0JRS2Af3be3knz2fBiRbApjm2Dh61gXDJA8kcJNI",
    // A secret of nothing but zeros.
    "O2onvM62pC1io6jQKm8Nc2UyFXcd4kOmOsBIoYtZ2ik",
    // The test vectors of RFC 8032.
    "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw",
    "/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU",
];

/// Whether the secret half of a public key is known to everybody, so that nothing signed with it proves anything.
pub fn is_known_bad(public_key: &[u8; 32]) -> bool {
    let text = Base64::<ruma::serde::base64::Standard>::new(public_key.to_vec()).encode();
    KNOWN_BAD.contains(&text.as_str())
}

#[cfg(test)]
pub(crate) mod tests {
    use hearth_event::SigningKey;

    use super::*;

    /// The secret of the specification's test vectors.
    pub(crate) const SEED: [u8; 32] = [
        0x60, 0x90, 0xc1, 0x03, 0xd5, 0xe7, 0xaf, 0x6b, 0x15, 0xa9, 0x70, 0xfd, 0x56, 0x3e, 0xd7,
        0x55, 0x49, 0xe6, 0x15, 0x97, 0x19, 0xae, 0x5c, 0x3c, 0x31, 0xde, 0xe4, 0x31, 0x6f, 0xb7,
        0x5c, 0x0d,
    ];

    #[test]
    fn s09_keys_that_everybody_has_are_known() {
        let public = |seed| SigningKey::generate(seed, "x").unwrap().public_key_bytes();
        assert!(is_known_bad(&public(SEED)));
        assert!(is_known_bad(&public([0; 32])));
        assert!(!is_known_bad(&public([1; 32])));
        let listed = KNOWN_BAD.map(Base64::<ruma::serde::base64::Standard>::parse);
        for key in listed {
            let key = <[u8; 32]>::try_from(key.unwrap().as_bytes()).unwrap();
            assert!(is_known_bad(&key));
        }
    }
}
