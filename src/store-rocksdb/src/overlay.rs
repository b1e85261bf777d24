//! What the batches of a group change, before it is written: later batches of the group see it, the store does not.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Changes on top of something. Applying first `cleared` and then `rows` gives the result.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    rows: BTreeMap<Bytes, Option<Bytes>>,
    cleared: Vec<(Bytes, Bytes)>,
}

/// What an overlay knows of a row.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen<'a> {
    /// It has this value, or was deleted.
    Is(Option<&'a Bytes>),
    /// Nothing: what is below counts.
    Unknown,
}

impl Overlay {
    pub(crate) fn set(&mut self, key: Bytes, value: Option<Bytes>) {
        self.rows.insert(key, value);
    }

    pub(crate) fn clear(&mut self, from: Bytes, to: Bytes) {
        if from >= to {
            return;
        }
        let covered: Vec<Bytes> = self.keys_between(&from, &to).cloned().collect();
        for key in covered {
            self.rows.remove(&key);
        }
        self.cleared.push((from, to));
    }

    pub(crate) fn look(&self, key: &[u8]) -> Seen<'_> {
        if let Some(row) = self.rows.get(key) {
            return Seen::Is(row.as_ref());
        }
        let covered = |(from, to): &(Bytes, Bytes)| from <= key && key < to;
        if self.cleared.iter().any(covered) {
            Seen::Is(None)
        } else {
            Seen::Unknown
        }
    }

    /// The keys that it has rows for, deleted ones included; `from` must not be greater than `to`.
    pub(crate) fn keys_between(&self, from: &Bytes, to: &Bytes) -> impl Iterator<Item = &Bytes> {
        self.rows.range::<Bytes, _>(from..to).map(|(key, _)| key)
    }

    /// The tables in which it changes something, each at least once.
    pub(crate) fn tables(&self) -> impl Iterator<Item = u8> {
        let first = |key: &Bytes| key.first().copied();
        let rows = self.rows.keys().filter_map(first);
        let cleared = self.cleared.iter().flat_map(|(from, to)| {
            let to = to.first().copied().unwrap_or(u8::MAX);
            from.first().copied().unwrap_or_default()..=to
        });
        rows.chain(cleared)
    }

    /// Puts the changes of a later overlay on top.
    pub(crate) fn absorb(&mut self, later: Self) {
        for (from, to) in later.cleared {
            self.clear(from, to);
        }
        self.rows.extend(later.rows);
    }

    pub(crate) fn cleared(&self) -> &[(Bytes, Bytes)] {
        &self.cleared
    }

    pub(crate) fn rows(&self) -> &BTreeMap<Bytes, Option<Bytes>> {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::{Overlay, Seen};

    #[test]
    fn a_later_clear_covers_rows_and_a_later_row_stands_in_a_clear() {
        let mut first = Overlay::default();
        first.set("b".into(), Some("1".into()));
        first.set("d".into(), Some("1".into()));
        let mut later = Overlay::default();
        later.clear("a".into(), "d".into());
        later.set("c".into(), Some("2".into()));
        first.absorb(later);
        assert_eq!(first.look(b"b"), Seen::Is(None));
        assert_eq!(first.look(b"c"), Seen::Is(Some(&"2".into())));
        assert_eq!(first.look(b"d"), Seen::Is(Some(&"1".into())));
        assert_eq!(first.look(b"e"), Seen::Unknown);
    }

    #[test]
    fn an_empty_or_reversed_range_clears_nothing() {
        let mut overlay = Overlay::default();
        overlay.set("b".into(), Some("1".into()));
        overlay.clear("c".into(), "a".into());
        overlay.clear("b".into(), "b".into());
        assert_eq!(overlay.look(b"b"), Seen::Is(Some(&"1".into())));
        assert!(overlay.cleared().is_empty());
    }
}
