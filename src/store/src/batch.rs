//! A batch: what one decision writes, all or none. A batch is data; nothing happens before it is committed.

use bytes::Bytes;

/// When a commit is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// After it is synced to the disk: survives `kill -9` and power loss.
    #[default]
    Synced,
    /// As soon as it is visible: for what may be lost (presence, last-seen times), and for what means nothing until a later
    /// commit that is synced, which takes all before it along.
    Buffered,
}

/// One operation of a [`Batch`]. Keys begin with their table's id byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Writes a row.
    Put {
        /// The whole key.
        key: Bytes,
        /// The whole value.
        value: Bytes,
    },
    /// Writes a row whose key holds the commit's position (8 bytes, big-endian) between prefix and suffix.
    PutAtPosition {
        /// The key up to the position.
        prefix: Bytes,
        /// The key after it.
        suffix: Bytes,
        /// The whole value.
        value: Bytes,
    },
    /// Writes a row whose value ends with the commit's position (8 bytes, big-endian).
    PutPosition {
        /// The whole key.
        key: Bytes,
        /// The value up to the position.
        value: Bytes,
    },
    /// Adds to a counter row (8 bytes, big-endian two's complement; absent counts as zero).
    Add {
        /// The whole key.
        key: Bytes,
        /// What to add; wraps on overflow.
        delta: i64,
    },
    /// Removes a row if it is there.
    Delete {
        /// The whole key.
        key: Bytes,
    },
    /// Removes all rows with `from <= key < to`.
    DeleteRange {
        /// The first key.
        from: Bytes,
        /// The key after the last.
        to: Bytes,
    },
    /// Fails the whole batch with [`crate::Error::Conflict`] unless the row has this value (`None`: is absent) at
    /// the moment of the commit, before the batch's own writes.
    Expect {
        /// The whole key.
        key: Bytes,
        /// The value that must stand there.
        value: Option<Bytes>,
    },
}

impl Op {
    /// The tables in which it may change something: none if it only expects.
    pub fn tables(&self) -> std::ops::RangeInclusive<u8> {
        let table = |key: &Bytes| key.first().copied().unwrap_or_default();
        match self {
            Self::Put { key, .. }
            | Self::PutPosition { key, .. }
            | Self::PutAtPosition { prefix: key, .. }
            | Self::Add { key, .. }
            | Self::Delete { key } => table(key)..=table(key),
            Self::DeleteRange { from, to } => table(from)..=table(to),
            #[expect(clippy::reversed_empty_ranges, reason = "it is to be empty")]
            Self::Expect { .. } => 1..=0,
        }
    }

    /// Its keys and values, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Put { key, value } | Self::PutPosition { key, value } => {
                key.len() + value.len() + 8
            }
            Self::PutAtPosition {
                prefix,
                suffix,
                value,
            } => prefix.len() + suffix.len() + value.len() + 8,
            Self::Add { key, .. } => key.len() + 8,
            Self::Delete { key } => key.len(),
            Self::DeleteRange { from, to } => from.len() + to.len(),
            Self::Expect { key, value } => key.len() + value.as_ref().map_or(0, Bytes::len),
        }
    }
}

/// What one decision writes. Later operations on a key win over earlier ones.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    ops: Vec<Op>,
    bytes: usize,
    durability: Durability,
}

impl Batch {
    /// An empty batch that is acknowledged when synced.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty batch for what may be lost in a crash.
    pub fn buffered() -> Self {
        Self {
            durability: Durability::Buffered,
            ..Self::default()
        }
    }

    /// Adds an operation. Typed callers use [`crate::Table`].
    pub fn push(&mut self, op: Op) {
        self.bytes += op.size();
        self.ops.push(op);
    }

    /// Adds all operations of another batch; the stronger durability of both holds.
    pub fn append(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.ops.extend(other.ops);
        if other.durability == Durability::Synced {
            self.durability = Durability::Synced;
        }
    }

    /// The operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// Takes the operations out.
    pub fn into_ops(self) -> Vec<Op> {
        self.ops
    }

    /// Keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The same, acknowledged at another time.
    pub fn with_durability(self, durability: Durability) -> Self {
        Self { durability, ..self }
    }

    /// When it is acknowledged.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }
}
