//! Typed tables: the key type and the value type of a table id, known at compile time.

use std::marker::PhantomData;

use bytes::Bytes;

use crate::{Batch, Error, Key, KeyRange, Op, Position, Result, Snapshot, decode_key};

/// How a table is used, from which an engine chooses how to keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Profile {
    /// Single rows by their whole key, often absent.
    Point,
    /// Runs of neighbouring rows, mostly near the end of a prefix.
    Scan,
    /// Written in growing order, read at the end, trimmed at the beginning.
    Log,
    /// Written and soon deleted.
    Queue,
    /// Large values, written once.
    Blob,
}

/// The untyped facts of a table, for engines and tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// The first byte of its keys.
    pub id: u8,
    /// Its name, for errors and tools.
    pub name: &'static str,
    /// How it is used.
    pub profile: Profile,
}

/// Why bytes are not a value of the type asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

/// What a table holds. The first byte is a version; old bytes stay readable.
pub trait Value: Sized {
    /// The bytes to store.
    fn encode(&self) -> Vec<u8>;
    /// The value of stored bytes.
    fn decode(bytes: &Bytes) -> Result<Self, ValueError>;
}

/// A table: `K` fixes the key's form, `V` what stands there.
pub struct Table<K, V> {
    info: TableInfo,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Table<K, V> {
    /// A table. Ids are unique in a program; all are listed in one file.
    pub const fn new(id: u8, name: &'static str, profile: Profile) -> Self {
        Self {
            info: TableInfo { id, name, profile },
            types: PhantomData,
        }
    }

    /// The untyped facts.
    pub const fn info(&self) -> TableInfo {
        self.info
    }

    /// The whole range of a prefix of the key (any leading parts, as a tuple or `()` for the whole table).
    pub fn prefix<P: Key>(&self, prefix: &P) -> KeyRange {
        let from = self.raw_key(prefix);
        let to = successor(&from);
        KeyRange { from, to }
    }

    /// The range `from <= key < to`; both may be whole keys or prefixes.
    pub fn between<A: Key, B: Key>(&self, from: &A, to: &B) -> KeyRange {
        KeyRange {
            from: self.raw_key(from),
            to: self.raw_key(to),
        }
    }

    /// The bytes of a key or of a prefix of one, with the table's id in front.
    pub fn raw_key<P: Key>(&self, key: &P) -> Bytes {
        let mut out = Vec::with_capacity(48);
        out.push(self.info.id);
        key.encode(&mut out);
        out.into()
    }
}

impl<K: Key, V: Value> Table<K, V> {
    /// One row.
    pub async fn get(&self, snapshot: &dyn Snapshot, key: &K) -> Result<Option<V>> {
        let key = self.raw_key(key);
        snapshot
            .get(&key)
            .await?
            .map(|bytes| self.decode_value(&key, &bytes))
            .transpose()
    }

    /// Several rows, in the order of the keys.
    pub async fn get_many(&self, snapshot: &dyn Snapshot, keys: &[K]) -> Result<Vec<Option<V>>> {
        let keys: Vec<Bytes> = keys.iter().map(|key| self.raw_key(key)).collect();
        let rows = snapshot.get_many(&keys).await?;
        keys.iter()
            .zip(rows)
            .map(|(key, row)| row.map(|bytes| self.decode_value(key, &bytes)).transpose())
            .collect()
    }

    /// Rows of a range in key order, at most `limit`.
    pub async fn range(
        &self,
        snapshot: &dyn Snapshot,
        range: KeyRange,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        self.decode_rows(snapshot.range(range, false, limit).await?)
    }

    /// Rows of a range from its end backwards, at most `limit`.
    pub async fn range_reverse(
        &self,
        snapshot: &dyn Snapshot,
        range: KeyRange,
        limit: usize,
    ) -> Result<Vec<(K, V)>> {
        self.decode_rows(snapshot.range(range, true, limit).await?)
    }

    /// Writes a row.
    pub fn put(&self, batch: &mut Batch, key: &K, value: &V) {
        batch.push(Op::Put {
            key: self.raw_key(key),
            value: value.encode().into(),
        });
    }

    /// Removes a row.
    pub fn delete(&self, batch: &mut Batch, key: &K) {
        batch.push(Op::Delete {
            key: self.raw_key(key),
        });
    }

    /// Removes a range.
    pub fn delete_range(&self, batch: &mut Batch, range: KeyRange) {
        batch.push(Op::DeleteRange {
            from: range.from,
            to: range.to,
        });
    }

    /// Fails the batch unless the row stands as it was loaded.
    pub fn expect(&self, batch: &mut Batch, key: &K, value: Option<&V>) {
        let value = value.map(|value| value.encode().into());
        batch.push(Op::Expect {
            key: self.raw_key(key),
            value,
        });
    }

    /// Decodes a raw row (tools, followers).
    pub fn decode_row(&self, key: &Bytes, value: &Bytes) -> Result<(K, V)> {
        let typed = key
            .get(1..)
            .ok_or(crate::KeyError::Short)
            .and_then(decode_key);
        let typed = typed.map_err(|error| self.corrupt(key, &error.to_string()))?;
        Ok((typed, self.decode_value(key, value)?))
    }

    fn decode_rows(&self, rows: Vec<(Bytes, Bytes)>) -> Result<Vec<(K, V)>> {
        rows.iter()
            .map(|(key, value)| self.decode_row(key, value))
            .collect()
    }

    fn decode_value(&self, key: &Bytes, bytes: &Bytes) -> Result<V> {
        V::decode(bytes).map_err(|error| self.corrupt(key, &error.to_string()))
    }

    fn corrupt(&self, key: &Bytes, reason: &str) -> Error {
        Error::Corrupt {
            table: self.info.name,
            key: hex(key),
            reason: reason.to_owned(),
        }
    }
}

impl<P: Key, S: Key, V: Value> Table<(P, Position, S), V> {
    /// Writes a row at the position that the commit will get: `(prefix, position, suffix)`.
    pub fn put_at_position(&self, batch: &mut Batch, prefix: &P, suffix: &S, value: &V) {
        let mut tail = Vec::new();
        suffix.encode(&mut tail);
        let value = value.encode().into();
        batch.push(Op::PutAtPosition {
            prefix: self.raw_key(prefix),
            suffix: tail.into(),
            value,
        });
    }
}

/// A value that ends with the position of the commit that wrote it.
pub trait PositionedValue: Value {
    /// The bytes to store, without the last eight, which are the position.
    fn encode_head(&self) -> Vec<u8>;
}

impl<K: Key, V: PositionedValue> Table<K, V> {
    /// Writes a row whose value ends with the position that the commit will get.
    pub fn put_position(&self, batch: &mut Batch, key: &K, value: &V) {
        batch.push(Op::PutPosition {
            key: self.raw_key(key),
            value: value.encode_head().into(),
        });
    }
}

impl<K: Key> Table<K, i64> {
    /// Adds to a counter.
    pub fn add(&self, batch: &mut Batch, key: &K, delta: i64) {
        batch.push(Op::Add {
            key: self.raw_key(key),
            delta,
        });
    }
}

impl Value for i64 {
    fn encode(&self) -> Vec<u8> {
        self.to_be_bytes().into()
    }
    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        let bytes = bytes
            .as_ref()
            .try_into()
            .map_err(|_| ValueError("a counter has eight bytes".to_owned()))?;
        Ok(Self::from_be_bytes(bytes))
    }
}

/// The number in a counter row for [`Op::Add`]; an absent row counts as zero. For backends.
pub fn counter(key: &[u8], row: Option<&[u8]>) -> Result<i64> {
    let Some(row) = row else {
        return Ok(0);
    };
    let row = row.try_into().map_err(|_| Error::Corrupt {
        table: "counter",
        key: hex(key),
        reason: format!("a counter has eight bytes, not {}", row.len()),
    })?;
    Ok(i64::from_be_bytes(row))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An index row without content.
impl Value for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }
    fn decode(_: &Bytes) -> Result<Self, ValueError> {
        Ok(())
    }
}

/// The smallest key that is greater than all keys with this prefix.
fn successor(prefix: &Bytes) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    // All bytes were 0xff: table ids stay below that, so an end always exists.
    end.into()
}
