//! The keys of the map: a type and a state key become 128 bits under a secret of the store.

use siphasher::sip::SipHasher24 as Sip64;
use siphasher::sip128::SipHasher24 as Sip128;

use crate::EventNo;

/// Types with a number of their own, counted from 1, so that they take one byte in a row. The list is part of the
/// format: an added, removed or moved type would be looked up under another number than it was written with.
const NUMBERED_TYPES: [&str; 20] = [
    "m.room.member",
    "m.room.create",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.pinned_events",
    "m.room.server_acl",
    "m.room.third_party_invite",
    "m.room.tombstone",
    "m.room.aliases",
    "m.space.child",
    "m.space.parent",
    "m.room.policy",
    "m.call.member",
];

/// Set in the numbers of all types that are hashed.
const HASHED: u64 = 1 << 63;

/// The store's secret for hashing state. Made once with the store; another key finds nothing.
#[derive(Clone)]
pub struct HashKey([u8; 16]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// A type and a state key as the map knows them: 64 bits of the type, so that all entries of a type lie together,
/// then 64 bits of both.
///
/// Two different keys of one room collide with a chance of 2^-64 per pair within a type (10^-9 for a room of 200,000
/// members), and nobody can look for collisions without the secret. Types collide with 2^-63 per pair, those with a
/// number of their own never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub(crate) u128);

impl std::fmt::Debug for StateHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl HashKey {
    /// The key with these secret bytes.
    pub fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// What the map calls a type and a state key.
    pub fn hash(&self, event_type: &str, state_key: &str) -> StateHash {
        let mut text = Vec::with_capacity(event_type.len() + state_key.len() + 9);
        text.push(b'k');
        text.extend_from_slice(&(event_type.len() as u64).to_be_bytes());
        text.extend_from_slice(event_type.as_bytes());
        text.extend_from_slice(state_key.as_bytes());
        let key = Sip64::new_with_key(&self.0).hash(&text);
        StateHash(u128::from(self.type_number(event_type)) << 64 | u128::from(key))
    }

    /// What the map calls a type: its number, or a hash with the highest bit set.
    pub(crate) fn type_number(&self, event_type: &str) -> u64 {
        if let Some(index) = NUMBERED_TYPES.iter().position(|known| *known == event_type) {
            return index as u64 + 1;
        }
        let text = [b"t", event_type.as_bytes()].concat();
        Sip64::new_with_key(&self.0).hash(&text) | HASHED
    }

    /// What an entry adds to the fingerprint of a state.
    pub(crate) fn entry_print(&self, hash: StateHash, event: EventNo) -> u128 {
        let mut text = [0; 25];
        text[0] = b'f';
        text[1..17].copy_from_slice(&hash.0.to_be_bytes());
        text[17..].copy_from_slice(&event.0.to_be_bytes());
        Sip128::new_with_key(&self.0).hash(&text).as_u128()
    }
}

impl StateHash {
    /// Half-bytes of a hash.
    pub(crate) const NIBBLES: u32 = 32;

    pub(crate) fn type_number(self) -> u64 {
        // The upper half, which fits.
        (self.0 >> 64) as u64
    }

    pub(crate) fn key_number(self) -> u64 {
        // The lower half is what is asked for.
        self.0 as u64
    }

    pub(crate) fn of_numbers(type_number: u64, key_number: u64) -> Self {
        Self(u128::from(type_number) << 64 | u128::from(key_number))
    }

    /// The half-byte at a depth, from the top.
    pub(crate) fn nibble(self, depth: u32) -> u8 {
        debug_assert!(depth < Self::NIBBLES);
        ((self.0 >> (124 - 4 * depth)) & 15) as u8
    }

    /// How many half-bytes two hashes share from the top.
    pub(crate) fn shared_nibbles(self, other: Self) -> u32 {
        (self.0 ^ other.0).leading_zeros() / 4
    }

    /// The first `count` half-bytes, then zeros.
    pub(crate) fn head(self, count: u32) -> Self {
        if count == 0 {
            return Self(0);
        }
        Self(self.0 & (u128::MAX << (4 * (Self::NIBBLES - count.min(Self::NIBBLES)))))
    }
}

/// Whether a type number can have been made by [`HashKey::type_number`] of this or a later version.
pub(crate) fn is_type_number(number: u64) -> bool {
    number & HASHED != 0 || (1..0x80).contains(&number)
}
