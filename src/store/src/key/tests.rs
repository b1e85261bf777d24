//! Keys sort as their values do, come back, and never make a reader of them panic.

use std::cmp::Ordering;
use std::fmt::Debug;

use proptest::prelude::*;

use super::{Key, KeyError, decode_key, encode_key};
use crate::Position;

fn check<K: Key + Ord + Debug>(a: &K, b: &K) -> Result<(), TestCaseError> {
    let (left, right) = (encode_key(a), encode_key(b));
    prop_assert_eq!(left.cmp(&right), a.cmp(b));
    prop_assert_eq!(&decode_key::<K>(&left).unwrap(), a);
    // No key is the beginning of another one of its type, or a range of one would hold the other.
    if a.cmp(b) != Ordering::Equal {
        prop_assert!(!left.starts_with(&right));
    }
    Ok(())
}

/// Strings that are often alike and often hold what the codec treats specially.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[\\x00\\x01a\u{7f}\u{ff}]{0,4}", ".{0,12}"]
}

proptest! {
    #[test]
    fn numbers_sort_as_they_count(a: (u8, u32, u64, i64), b: (u8, u32, u64, i64)) {
        check(&a, &b)?;
    }

    #[test]
    fn signed_numbers_sort_through_zero(a in -3_i64..4, b in -3_i64..4) {
        check(&a, &b)?;
    }

    #[test]
    fn strings_sort_by_their_bytes(a in text(), b in text()) {
        check(&a, &b)?;
    }

    #[test]
    fn tuples_sort_part_by_part(
        a in (text(), -1_i64..2, text(), 0_u8..2, any::<[u8; 3]>()),
        b in (text(), -1_i64..2, text(), 0_u8..2, any::<[u8; 3]>()),
    ) {
        check(&a, &b)?;
        check(&((a.0, a.1), Position(a.3.into())), &((b.0, b.1), Position(b.3.into())))?;
    }

    #[test]
    fn the_keys_of_a_prefix_lie_together(prefix in text(), inside in text(), other in text()) {
        let start = encode_key(&prefix);
        prop_assert!(encode_key(&(prefix.clone(), inside.clone())).starts_with(&start));
        let strange = encode_key(&(other.clone(), inside));
        prop_assert_eq!(strange.starts_with(&start), other == prefix);
    }

    #[test]
    fn any_bytes_are_a_key_or_an_error(bytes: Vec<u8>) {
        // What is taken for a key must be one: written again it is the same.
        if let Ok(key) = decode_key::<(String, i64)>(&bytes) {
            prop_assert_eq!(encode_key(&key), bytes);
        }
    }
}

#[test]
fn malformed_keys_say_what_is_wrong() {
    assert_eq!(decode_key::<u64>(&[1, 2]), Err(KeyError::Short));
    assert_eq!(decode_key::<u8>(&[1, 2]), Err(KeyError::Long));
    assert_eq!(decode_key::<String>(b"ab\0"), Err(KeyError::Short));
    assert_eq!(decode_key::<String>(b"ab\0\x01"), Err(KeyError::Text));
    assert_eq!(decode_key::<String>(b"\xff\0\0"), Err(KeyError::Text));
}
