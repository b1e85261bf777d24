//! Keys that sort as their parts do: numbers big-endian, signed numbers with the sign bit turned, strings ended by
//! two zero bytes (a zero inside is written `00 ff`), tuples part by part.

use crate::Position;

/// Why bytes are not a key of the type asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It ends too early.
    #[error("the key is too short")]
    Short,
    /// Something is left over.
    #[error("the key is too long")]
    Long,
    /// A string is not UTF-8, or not ended properly.
    #[error("the key holds a malformed string")]
    Text,
}

/// A part of a key, or a whole one.
pub trait Key: Sized {
    /// Appends the part's bytes, which sort as the values do.
    fn encode(&self, out: &mut Vec<u8>);
    /// Takes the part from the front.
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError>;
}

/// The bytes of a key.
pub fn encode_key<K: Key>(key: &K) -> Vec<u8> {
    let mut out = Vec::with_capacity(32);
    key.encode(&mut out);
    out
}

/// A whole key from its bytes.
pub fn decode_key<K: Key>(mut bytes: &[u8]) -> Result<K, KeyError> {
    let key = K::decode(&mut bytes)?;
    if bytes.is_empty() {
        Ok(key)
    } else {
        Err(KeyError::Long)
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], KeyError> {
    let (head, tail) = bytes.split_at_checked(count).ok_or(KeyError::Short)?;
    *bytes = tail;
    Ok(head)
}

fn take_array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], KeyError> {
    take(bytes, N)?.try_into().map_err(|_| KeyError::Short)
}

impl Key for () {
    fn encode(&self, _: &mut Vec<u8>) {}
    fn decode(_: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(())
    }
}

impl Key for u8 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(take_array::<1>(bytes)?[0])
    }
}

impl Key for u32 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(Self::from_be_bytes(take_array(bytes)?))
    }
}

impl Key for u64 {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(Self::from_be_bytes(take_array(bytes)?))
    }
}

impl Key for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ (1 << 63)).encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok((u64::decode(bytes)? ^ (1 << 63)).cast_signed())
    }
}

impl Key for Position {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        u64::decode(bytes).map(Self)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        take_array(bytes)
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        for byte in self.bytes() {
            out.push(byte);
            if byte == 0 {
                out.push(0xff);
            }
        }
        out.extend_from_slice(&[0, 0]);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        let mut text = Vec::new();
        loop {
            match take_array::<1>(bytes)?[0] {
                0 => match take_array::<1>(bytes)?[0] {
                    0 => return Self::from_utf8(text).map_err(|_| KeyError::Text),
                    0xff => text.push(0),
                    _ => return Err(KeyError::Text),
                },
                byte => text.push(byte),
            }
        }
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok((A::decode(bytes)?, B::decode(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok((A::decode(bytes)?, B::decode(bytes)?, C::decode(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key, D: Key> Key for (A, B, C, D) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
        self.3.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok((
            A::decode(bytes)?,
            B::decode(bytes)?,
            C::decode(bytes)?,
            D::decode(bytes)?,
        ))
    }
}

impl<A: Key, B: Key, C: Key, D: Key, E: Key> Key for (A, B, C, D, E) {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
        self.1.encode(out);
        self.2.encode(out);
        self.3.encode(out);
        self.4.encode(out);
    }
    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok((
            A::decode(bytes)?,
            B::decode(bytes)?,
            C::decode(bytes)?,
            D::decode(bytes)?,
            E::decode(bytes)?,
        ))
    }
}

#[cfg(test)]
mod tests;
