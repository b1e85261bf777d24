//! The bytes of rows: what was written once stays readable, and garbage is refused.

use std::collections::BTreeMap;

use bytes::Bytes;
use hearth_store::{Backend, Key, Value, decode_key, encode_key};
use proptest::prelude::*;

use super::Room;
use crate::RoomNo;
use crate::state::{Node, RoomItem};
use crate::tables::STATE_NODES;

/// Rows and bytes of each kind of row.
pub(super) fn by_kind(room: &Room) -> BTreeMap<&'static str, (usize, usize)> {
    let rows = futures_now(room);
    let mut kinds = BTreeMap::new();
    for (key, value) in rows {
        let kind = match value[0] {
            0x11 => "plain",
            0x12 => "run",
            0x13 => "full",
            0x14 => "inner",
            _ => "leaf",
        };
        let slot: &mut (usize, usize) = kinds.entry(kind).or_default();
        slot.0 += 1;
        slot.1 += key.len() + value.len();
    }
    kinds
}

fn futures_now(room: &Room) -> Vec<(Bytes, Bytes)> {
    use std::future::Future;
    use std::task::{Context, Poll, Waker};
    let mut read = std::pin::pin!(async {
        let snapshot = room.store.snapshot().await.unwrap();
        snapshot
            .range(STATE_NODES.prefix(&()), false, usize::MAX)
            .await
            .unwrap()
    });
    // The memory store never waits.
    match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(rows) => rows,
        Poll::Pending => panic!("the memory store waited"),
    }
}

#[test]
fn rows_of_version_1_stay_readable() {
    // What the rows of the first release look like. A change of these bytes is a new version of the format.
    let print = "0000000000000000000000000000002a";
    let change = "01010000000000000009000801";
    for text in [
        format!("110101{print}{}01", change),
        format!("120102{print}001005{}", &change[..24]),
        format!("130002{print}0003"),
        "141101a000060201".to_owned(),
        "1528010102030405060708050906".to_owned(),
        "152001000000000000000905ffffffffffffffff000000000000000106".to_owned(),
    ] {
        let bytes: Vec<u8> = (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect();
        let node = Node::decode(&Bytes::from(bytes.clone())).unwrap();
        assert_eq!(node.encode(), bytes);
    }
}

proptest! {
    #[test]
    fn keys_sort_as_their_numbers(a: (u64, u64), b: (u64, u64), small in 0_u64..600) {
        for (a, b) in [(a, b), ((1, small), (1, b.1 % 600)), ((small, 1), (b.0 % 600, 0))] {
            let item = |(room, number)| RoomItem { room: RoomNo(room), number };
            let (a, b) = (item(a), item(b));
            prop_assert_eq!(encode_key(&a).cmp(&encode_key(&b)), a.cmp(&b));
            prop_assert_eq!(decode_key::<RoomItem>(&encode_key(&a)).unwrap(), a);
        }
    }

    #[test]
    fn garbage_is_refused_without_a_panic(bytes: Vec<u8>, kind in 0x10_u8..0x17) {
        let row = Bytes::from([&[kind][..], &bytes].concat());
        if let Ok(node) = Node::decode(&row) {
            // Readable rows are written back as something that reads the same.
            prop_assert_eq!(Node::decode(&Bytes::from(node.encode())).unwrap(), node);
        }
        let mut rest = &bytes[..];
        if let Ok(item) = RoomItem::decode(&mut rest) {
            prop_assert!(encode_key(&item).len() <= bytes.len());
        }
    }
}
