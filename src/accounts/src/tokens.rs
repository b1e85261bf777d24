//! Secrets that are given out as text and kept as SHA-256.

use hearth_data::accounts::devices::TokenHash;
use hearth_types::{Ids, UnixMs};
use sha2::{Digest, Sha256};

/// Characters drawn for a token: 238 bits.
const LENGTH: usize = 40;

/// A token with its hash.
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) hash: TokenHash,
}

/// A new token. The prefix lets secret scanners find one that leaked.
pub(crate) fn mint(ids: &Ids, prefix: &str) -> Token {
    let text = format!("{prefix}_{}", ids.token(LENGTH));
    let hash = hash(&text);
    Token { text, hash }
}

/// What is kept of a token.
pub(crate) fn hash(text: &str) -> TokenHash {
    TokenHash(Sha256::digest(text.as_bytes()).into())
}

/// A new token that says itself when it expires.
pub(crate) fn mint_brief(ids: &Ids, prefix: &str, expires_at: UnixMs) -> Token {
    let text = format!("{prefix}_{:x}_{}", expires_at.0, ids.token(LENGTH));
    let hash = hash(&text);
    Token { text, hash }
}

/// The key of a token made by [`mint_brief`], unless it is expired or of another kind.
pub(crate) fn brief_key(text: &str, prefix: &str, now: UnixMs) -> Option<(UnixMs, TokenHash)> {
    let rest = text.strip_prefix(prefix)?.strip_prefix('_')?;
    let (expires_at, _) = rest.split_once('_')?;
    let expires_at = UnixMs(u64::from_str_radix(expires_at, 16).ok()?);
    (expires_at > now).then(|| (expires_at, hash(text)))
}
