//! How rows are written: one version byte, then the fields in `postcard` form; JSON stays the bytes it came as.

use bytes::Bytes;
use hearth_store::{Value, ValueError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A row's bytes: the version, then its fields.
pub fn encode_row<T: Serialize>(version: u8, row: &T) -> Vec<u8> {
    // Rows are plain structs of numbers, strings and lists, which always serialize to memory.
    postcard::to_extend(row, vec![version]).unwrap_or_default()
}

/// A row of the version that is current; other versions are the caller's.
pub fn decode_row<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, ValueError> {
    match bytes.split_first() {
        Some((found, fields)) if *found == version => {
            postcard::from_bytes(fields).map_err(|error| ValueError(error.to_string()))
        }
        Some((found, _)) => Err(ValueError(format!(
            "row version {found}, expected {version}"
        ))),
        None => Err(ValueError("an empty row".to_owned())),
    }
}

/// Makes serde structs storable, each with its version. A macro because the orphan rule forbids one blanket
/// implementation of `hearth_store::Value` here.
macro_rules! rows {
    ($($row:ty = $version:literal),+ $(,)?) => {$(
        impl hearth_store::Value for $row {
            fn encode(&self) -> Vec<u8> {
                $crate::row::encode_row($version, self)
            }
            fn decode(bytes: &bytes::Bytes) -> Result<Self, hearth_store::ValueError> {
                $crate::row::decode_row($version, bytes)
            }
        }
    )+};
}
pub(crate) use rows;

/// The same for structs with a field `position` that serde skips: their rows end with the position of the commit that
/// wrote them.
macro_rules! positioned_rows {
    ($($row:ty = $version:literal),+ $(,)?) => {$(
        impl hearth_store::Value for $row {
            fn encode(&self) -> Vec<u8> {
                let head = hearth_store::PositionedValue::encode_head(self);
                $crate::row::join_position(head, self.position)
            }
            fn decode(bytes: &bytes::Bytes) -> Result<Self, hearth_store::ValueError> {
                let (fields, position) = $crate::row::split_position(bytes)?;
                let row: Self = $crate::row::decode_row($version, &fields)?;
                Ok(Self { position, ..row })
            }
        }

        impl hearth_store::PositionedValue for $row {
            fn encode_head(&self) -> Vec<u8> {
                $crate::row::encode_row($version, self)
            }
        }
    )+};
}
pub(crate) use positioned_rows;

/// JSON as it was received or made, valid UTF-8, kept byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json(pub Bytes);

impl Json {
    /// JSON from a string.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(Bytes::from(text.into()))
    }

    /// The JSON text. What is stored was text, so this fails only on a corrupt store.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("null")
    }
}

impl Value for Json {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.0.len() + 1);
        out.push(1);
        out.extend_from_slice(&self.0);
        out
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        match bytes.first() {
            Some(1) => Ok(Self(bytes.slice(1..))),
            _ => Err(ValueError("not a JSON row of version 1".to_owned())),
        }
    }
}

/// A row that ends with the position of the commit that wrote it: all but those eight bytes.
pub fn split_position(bytes: &Bytes) -> Result<(Bytes, hearth_store::Position), ValueError> {
    let at = bytes
        .len()
        .checked_sub(8)
        .ok_or_else(|| ValueError("no position at the end".to_owned()))?;
    let mut tail = [0; 8];
    tail.copy_from_slice(&bytes[at..]);
    Ok((
        bytes.slice(..at),
        hearth_store::Position(u64::from_be_bytes(tail)),
    ))
}

/// Appends a position to a row's head.
pub fn join_position(mut head: Vec<u8>, position: hearth_store::Position) -> Vec<u8> {
    head.extend_from_slice(&position.0.to_be_bytes());
    head
}
