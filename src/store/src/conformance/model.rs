//! Random batches against a plain map.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::{TABLES, all_of, rows, snapshot};
use crate::{Backend, Batch, Error, KeyRange, Op, Position, Snapshot};

type Rows = BTreeMap<Bytes, Bytes>;

const STEPS: usize = 150;

/// Batches that are committed at the same time.
const TOGETHER: u64 = 4;

/// Numbers that look random and are the same in each run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// Few keys, so that operations meet each other; the first byte is the table.
    fn key(&mut self) -> Bytes {
        let table = TABLES[self.below(TABLES.len() as u64) as usize].id;
        Bytes::copy_from_slice(&[table, self.below(12) as u8])
    }

    fn value(&mut self) -> Bytes {
        // Eight bytes, so that counters can be added to every row.
        Bytes::copy_from_slice(&self.below(3).to_be_bytes())
    }

    fn op(&mut self) -> Op {
        let key = self.key();
        match self.below(12) {
            0..4 => Op::Put {
                key,
                value: self.value(),
            },
            4 | 5 => Op::Delete { key },
            6 | 7 => Op::Add {
                key,
                delta: self.below(5) as i64 - 2,
            },
            8 => Op::PutAtPosition {
                prefix: key,
                suffix: "s".into(),
                value: self.value(),
            },
            9 => Op::PutPosition {
                key,
                value: Bytes::new(),
            },
            10 => {
                let other = self.key();
                Op::DeleteRange {
                    from: key.clone().min(other.clone()),
                    to: key.max(other),
                }
            }
            _ => {
                let value = (self.below(2) == 0).then(|| self.value());
                Op::Expect { key, value }
            }
        }
    }

    fn batch(&mut self) -> Batch {
        let mut batch = match self.below(3) {
            0 => Batch::buffered(),
            _ => Batch::new(),
        };
        for _ in 0..=self.below(6) {
            batch.push(self.op());
        }
        batch
    }
}

pub(super) async fn random_batches_do_what_a_plain_map_does(store: &dyn Backend) {
    let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
    let mut model = Rows::new();
    let mut kept: Vec<(Arc<dyn Snapshot>, Rows)> = Vec::new();
    for _ in 0..STEPS {
        let batches: Vec<Batch> = (0..TOGETHER).map(|_| numbers.batch()).collect();
        let answers = join_all(batches.iter().cloned().map(|batch| store.commit(batch))).await;
        let mut done: Vec<(Position, &Batch)> = Vec::new();
        for (batch, answer) in batches.iter().zip(answers) {
            match answer {
                Ok(position) => done.push((position, batch)),
                Err(Error::Conflict) => {}
                Err(error) => panic!("a commit failed: {error}"),
            }
        }
        // Applied in the order of positions, each must be possible and lead to what the store has.
        done.sort_by_key(|(position, _)| *position);
        for (position, batch) in done {
            apply(&mut model, batch, position);
        }
        let now = snapshot(store).await;
        compare(&*now, &model).await;
        if numbers.below(20) == 0 {
            kept.push((now, model.clone()));
        }
    }
    for (old, model) in kept {
        compare(&*old, &model).await;
    }
}

fn apply(rows: &mut Rows, batch: &Batch, position: Position) {
    for op in batch.ops() {
        if let Op::Expect { key, value } = op {
            assert_eq!(rows.get(key), value.as_ref(), "it should have conflicted");
        }
    }
    let place = position.0.to_be_bytes();
    for op in batch.ops().iter().cloned() {
        match op {
            Op::Put { key, value } => drop(rows.insert(key, value)),
            Op::PutAtPosition {
                prefix,
                suffix,
                value,
            } => {
                let key = [&prefix[..], &place, &suffix].concat();
                rows.insert(key.into(), value);
            }
            Op::PutPosition { key, value } => {
                rows.insert(key, [&value[..], &place].concat().into());
            }
            Op::Add { key, delta } => {
                let old = rows.get(&key).map_or(0, |row| {
                    i64::from_be_bytes(row[..].try_into().expect("all values are numbers"))
                });
                let sum = old.wrapping_add(delta).to_be_bytes();
                rows.insert(key, Bytes::copy_from_slice(&sum));
            }
            Op::Delete { key } => drop(rows.remove(&key)),
            Op::DeleteRange { from, to } => rows.retain(|key, _| *key < from || *key >= to),
            Op::Expect { .. } => {}
        }
    }
}

async fn compare(snapshot: &dyn Snapshot, model: &Rows) {
    let mut found = Vec::new();
    for info in TABLES {
        found.extend(rows(snapshot, all_of(info)).await);
    }
    let expected: Vec<_> = model.clone().into_iter().collect();
    assert_eq!(found, expected);
    let all = KeyRange {
        from: Bytes::copy_from_slice(&[TABLES[0].id]),
        to: Bytes::copy_from_slice(&[TABLES[4].id + 1]),
    };
    let reverse = snapshot.range(all, true, usize::MAX).await;
    let reverse = reverse.expect("a range can be read");
    assert!(reverse.iter().eq(expected.iter().rev()));
    let keys: Vec<Bytes> = (0..12)
        .map(|at| Bytes::from(vec![TABLES[0].id, at]))
        .collect();
    let values = snapshot.get_many(&keys).await.expect("rows can be read");
    let known: Vec<_> = keys.iter().map(|key| model.get(key).cloned()).collect();
    assert_eq!(values, known);
}
