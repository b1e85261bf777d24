//! The rows of the structure and their bytes.
//!
//! A row points to older rows only, by the distance between their numbers: small numbers, and no cycle can be written.

use bytes::Bytes;
use hearth_store::{Value, ValueError};

use super::compact::{Reader, put_varint};
use super::hash::{StateHash, is_type_number};
use crate::EventNo;

// The first byte of a row: version 1, and what it is.
const PLAIN: u8 = 0x11;
const RUN: u8 = 0x12;
const FULL: u8 = 0x13;
const INNER: u8 = 0x14;
const LEAF: u8 = 0x15;

/// One key whose value differs between two states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub hash: StateHash,
    /// What the first state holds there.
    pub before: Option<EventNo>,
    /// What the second state holds there.
    pub after: Option<EventNo>,
}

/// One key of a state and the event that stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The key.
    pub hash: StateHash,
    /// The state event.
    pub event: EventNo,
}

/// A row of the structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A state; its number is a [`crate::StateId`].
    State(StateRow),
    /// A fork of a trie.
    Inner(Inner),
    /// Entries of a trie, in order.
    Leaf(Vec<Entry>),
}

/// A state: what it changes, and where the rest is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRow {
    /// How far back the state is that this one was made from; zero if it is not recorded.
    pub(crate) parent_back: u64,
    /// Number of entries.
    pub(crate) len: u64,
    /// The sum of the entries' prints.
    pub(crate) fingerprint: u128,
    /// The changes against the parent; none if the parent is not recorded.
    pub(crate) changes: Vec<Change>,
    /// Where the rest of the map is.
    pub(crate) rest: Rest,
}

/// Where the rest of a state's map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// In the parent. `since_run` and `since_full` count the changes of the chain up to and with this row.
    Plain { since_run: u64, since_full: u64 },
    /// In `run`, which sums up the rows between here and the row `skip_back` before, and then there.
    Run {
        since_full: u64,
        skip_back: u64,
        run: Vec<Change>,
    },
    /// In the trie, which includes this row's changes.
    Full { trie_back: Option<u64> },
}

/// A fork of a trie: all entries below share `prefix` up to the half-byte `at` and differ there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inner {
    pub(crate) at: u32,
    pub(crate) prefix: StateHash,
    /// By rising half-byte: how far back the child is.
    pub(crate) children: Vec<(u8, u64)>,
}

impl Node {
    /// What it takes in a cache, roughly, in bytes.
    pub(crate) fn weight(&self) -> u64 {
        let inside = match self {
            Self::State(row) => {
                let run = match &row.rest {
                    Rest::Run { run, .. } => run.len(),
                    _ => 0,
                };
                (row.changes.len() + run) * size_of::<Change>()
            }
            Self::Inner(inner) => inner.children.len() * size_of::<(u8, u64)>(),
            Self::Leaf(entries) => entries.len() * size_of::<Entry>(),
        };
        (inside + size_of::<Self>() + 64) as u64
    }
}

impl Value for Node {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        match self {
            Self::State(row) => encode_state(row, &mut out),
            Self::Inner(inner) => encode_inner(inner, &mut out),
            Self::Leaf(entries) => encode_leaf(entries, &mut out),
        }
        out
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        let mut reader = Reader(bytes);
        let node = match reader.byte()? {
            kind @ (PLAIN | RUN | FULL) => Self::State(decode_state(kind, &mut reader)?),
            INNER => Self::Inner(decode_inner(&mut reader)?),
            LEAF => Self::Leaf(decode_leaf(&mut reader)?),
            kind => {
                return Err(ValueError(format!(
                    "no node of the state is of kind {kind:#x}"
                )));
            }
        };
        reader.end()?;
        Ok(node)
    }
}

fn encode_state(row: &StateRow, out: &mut Vec<u8>) {
    out.push(match row.rest {
        Rest::Plain { .. } => PLAIN,
        Rest::Run { .. } => RUN,
        Rest::Full { .. } => FULL,
    });
    put_varint(row.parent_back, out);
    put_varint(row.len, out);
    out.extend_from_slice(&row.fingerprint.to_be_bytes());
    encode_changes(&row.changes, out);
    match &row.rest {
        Rest::Plain {
            since_run,
            since_full,
        } => {
            put_varint(*since_run, out);
            put_varint(*since_full, out);
        }
        Rest::Run {
            since_full,
            skip_back,
            run,
        } => {
            put_varint(*since_full, out);
            put_varint(*skip_back, out);
            encode_changes(run, out);
        }
        Rest::Full { trie_back } => put_varint(trie_back.unwrap_or(0), out),
    }
}

fn decode_state(kind: u8, reader: &mut Reader<'_>) -> Result<StateRow, ValueError> {
    let parent_back = reader.varint()?;
    let len = reader.varint()?;
    let fingerprint = u128::from_be_bytes(reader.array()?);
    let changes = decode_changes(reader)?;
    let rest = match kind {
        PLAIN => Rest::Plain {
            since_run: reader.varint()?,
            since_full: reader.varint()?,
        },
        RUN => Rest::Run {
            since_full: reader.varint()?,
            skip_back: back(reader.varint()?)?,
            run: decode_changes(reader)?,
        },
        _ => Rest::Full {
            trie_back: Some(reader.varint()?).filter(|back| *back > 0),
        },
    };
    if parent_back == 0 && kind != FULL {
        return Err(ValueError(
            "a state without a parent has no trie".to_owned(),
        ));
    }
    Ok(StateRow {
        parent_back,
        len,
        fingerprint,
        changes,
        rest,
    })
}

fn encode_changes(changes: &[Change], out: &mut Vec<u8>) {
    put_varint(changes.len() as u64, out);
    for change in changes {
        encode_hash(change.hash, out);
        for event in [change.before, change.after] {
            put_varint(event.map_or(0, |event| event.0.saturating_add(1)), out);
        }
    }
}

fn decode_changes(reader: &mut Reader<'_>) -> Result<Vec<Change>, ValueError> {
    let count = reader.count()?;
    let mut changes = Vec::with_capacity(count);
    for _ in 0..count {
        changes.push(Change {
            hash: decode_hash(reader)?,
            before: reader.varint()?.checked_sub(1).map(EventNo),
            after: reader.varint()?.checked_sub(1).map(EventNo),
        });
    }
    rising(changes.iter().map(|change| change.hash))?;
    Ok(changes)
}

fn encode_hash(hash: StateHash, out: &mut Vec<u8>) {
    encode_type(hash.type_number(), out);
    out.extend_from_slice(&hash.key_number().to_be_bytes());
}

fn decode_hash(reader: &mut Reader<'_>) -> Result<StateHash, ValueError> {
    let type_number = decode_type(reader)?;
    Ok(StateHash::of_numbers(
        type_number,
        u64::from_be_bytes(reader.array()?),
    ))
}

// A numbered type is one byte; a hashed one eight, the first of which has its highest bit set.
fn encode_type(number: u64, out: &mut Vec<u8>) {
    debug_assert!(is_type_number(number));
    let bytes = number.to_be_bytes();
    match bytes[0] & 0x80 {
        0 => out.push(bytes[7]),
        _ => out.extend_from_slice(&bytes),
    }
}

fn decode_type(reader: &mut Reader<'_>) -> Result<u64, ValueError> {
    let first = reader.byte()?;
    let number = if first & 0x80 == 0 {
        u64::from(first)
    } else {
        let [a, b, c, d, e, f, g] = reader.array()?;
        u64::from_be_bytes([first, a, b, c, d, e, f, g])
    };
    if is_type_number(number) {
        Ok(number)
    } else {
        Err(ValueError(format!("{number} is not the number of a type")))
    }
}

fn encode_inner(inner: &Inner, out: &mut Vec<u8>) {
    out.push(INNER);
    out.push(inner.at.to_be_bytes()[3]);
    out.extend_from_slice(&inner.prefix.0.to_be_bytes()[elided(inner)..prefix_end(inner.at)]);
    let set = inner
        .children
        .iter()
        .fold(0_u16, |set, (nibble, _)| set | 1 << nibble);
    out.extend_from_slice(&set.to_be_bytes());
    for (_, back) in &inner.children {
        put_varint(*back, out);
    }
}

// Seven zeros in front of the one byte of a numbered type are not written.
fn elided(inner: &Inner) -> usize {
    if inner.at >= 16 && inner.prefix.type_number() < 0x80 {
        7
    } else {
        0
    }
}

fn prefix_end(at: u32) -> usize {
    at.div_ceil(2) as usize
}

fn decode_inner(reader: &mut Reader<'_>) -> Result<Inner, ValueError> {
    let at = u32::from(reader.byte()?);
    if at >= StateHash::NIBBLES {
        return Err(ValueError(format!("a fork at half-byte {at}")));
    }
    let mut prefix = [0; 16];
    let elided = match reader.0.first() {
        Some(first) if at >= 16 && *first < 0x80 => 7,
        _ => 0,
    };
    prefix[elided..prefix_end(at)].copy_from_slice(reader.bytes(prefix_end(at) - elided)?);
    let prefix = StateHash(u128::from_be_bytes(prefix));
    if prefix.head(at) != prefix {
        return Err(ValueError("a prefix goes beyond its fork".to_owned()));
    }
    let set = u16::from_be_bytes(reader.array()?);
    let mut children = Vec::with_capacity(set.count_ones() as usize);
    for nibble in (0..16).filter(|nibble| set >> nibble & 1 == 1) {
        children.push((nibble, back(reader.varint()?)?));
    }
    if children.len() < 2 {
        return Err(ValueError("a fork with less than two children".to_owned()));
    }
    Ok(Inner {
        at,
        prefix,
        children,
    })
}

// Header: 16 times the number of entries, plus (if all are of one type) 1 + the number of bytes that all keys begin
// with; then the type and those bytes once. Otherwise each entry has its type.
fn encode_leaf(entries: &[Entry], out: &mut Vec<u8>) {
    out.push(LEAF);
    let shared = shared_key_bytes(entries);
    let mode = shared.map_or(0, |bytes| bytes as u64 + 1);
    put_varint((entries.len() as u64) << 4 | mode, out);
    let first = entries.first().map_or(StateHash(0), |entry| entry.hash);
    if let Some(shared) = shared {
        encode_type(first.type_number(), out);
        out.extend_from_slice(&first.key_number().to_be_bytes()[..shared]);
    }
    for entry in entries {
        match shared {
            Some(shared) => out.extend_from_slice(&entry.hash.key_number().to_be_bytes()[shared..]),
            None => encode_hash(entry.hash, out),
        }
        put_varint(entry.event.0, out);
    }
}

fn shared_key_bytes(entries: &[Entry]) -> Option<usize> {
    let (first, last) = (entries.first()?.hash, entries.last()?.hash);
    let same_type = first.type_number() == last.type_number();
    // Sorted, so the first and the last differ the most. Two equal hashes never stand in one leaf.
    same_type
        .then(|| ((first.key_number() ^ last.key_number()).leading_zeros() as usize / 8).min(7))
}

fn decode_leaf(reader: &mut Reader<'_>) -> Result<Vec<Entry>, ValueError> {
    let header = reader.varint()?;
    let count = usize::try_from(header >> 4).unwrap_or(usize::MAX);
    if count == 0 || count > reader.0.len() {
        return Err(ValueError(format!("a leaf of {count} entries")));
    }
    let mut key = [0; 8];
    let shared = (header & 15).checked_sub(1).map(|bytes| bytes as usize);
    let type_number = match shared {
        Some(8..) => return Err(ValueError("a leaf shares too much".to_owned())),
        Some(shared) => {
            let number = decode_type(reader)?;
            key[..shared].copy_from_slice(reader.bytes(shared)?);
            number
        }
        None => 0,
    };
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let hash = match shared {
            Some(shared) => {
                key[shared..].copy_from_slice(reader.bytes(8 - shared)?);
                StateHash::of_numbers(type_number, u64::from_be_bytes(key))
            }
            None => decode_hash(reader)?,
        };
        let event = EventNo(reader.varint()?);
        entries.push(Entry { hash, event });
    }
    rising(entries.iter().map(|entry| entry.hash))?;
    Ok(entries)
}

fn back(distance: u64) -> Result<u64, ValueError> {
    if distance == 0 {
        return Err(ValueError("a row points to itself".to_owned()));
    }
    Ok(distance)
}

fn rising(hashes: impl Iterator<Item = StateHash>) -> Result<(), ValueError> {
    let mut last = None;
    for hash in hashes {
        if last >= Some(hash) {
            return Err(ValueError("entries are not in order".to_owned()));
        }
        last = Some(hash);
    }
    Ok(())
}
