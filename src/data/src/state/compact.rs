//! Short forms: keys and numbers of a few bytes, because rows of state and reachability are many and small.

use hearth_store::{Key, KeyError, ValueError};

use crate::RoomNo;

/// The key of a row that has a number within its room: four to eight bytes instead of sixteen, in the same order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomItem {
    /// The room.
    pub room: RoomNo,
    /// The number within the room.
    pub number: u64,
}

impl Key for RoomItem {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_ordered(self.room.0, out);
        encode_ordered(self.number, out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Ok(Self {
            room: RoomNo(decode_ordered(bytes)?),
            number: decode_ordered(bytes)?,
        })
    }
}

// Below 0xf0 a number is its own byte; above, 0xf0 + (length - 1), then its bytes without leading zeros. Longer
// forms are greater numbers and begin with a greater byte, so keys sort as the numbers do.
fn encode_ordered(number: u64, out: &mut Vec<u8>) {
    if number < 0xf0 {
        out.push(number.to_be_bytes()[7]);
        return;
    }
    let bytes = number.to_be_bytes();
    let zeros = (number.leading_zeros() / 8) as usize;
    // At most 0xf7: a number above 0xef has one to eight bytes.
    out.push(0xf7 - zeros.to_be_bytes()[7]);
    out.extend_from_slice(&bytes[zeros..]);
}

fn decode_ordered(bytes: &mut &[u8]) -> Result<u64, KeyError> {
    let (&first, rest) = bytes.split_first().ok_or(KeyError::Short)?;
    *bytes = rest;
    if first < 0xf0 {
        return Ok(u64::from(first));
    }
    let length = usize::from(first - 0xf0) + 1;
    let (digits, rest) = bytes.split_at_checked(length).ok_or(KeyError::Short)?;
    *bytes = rest;
    if length > 8 {
        return Err(KeyError::Long);
    }
    Ok(digits
        .iter()
        .fold(0, |sum, digit| sum << 8 | u64::from(*digit)))
}

/// Appends a number, seven bits a byte, lowest first.
pub(crate) fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_be_bytes()[7] | 0x80);
        number >>= 7;
    }
    out.push(number.to_be_bytes()[7]);
}

/// Reads the fields of a row one after the other.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], ValueError> {
        let (head, tail) = self
            .0
            .split_at_checked(count)
            .ok_or_else(|| ValueError("it ends too early".to_owned()))?;
        self.0 = tail;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], ValueError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, ValueError> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn varint(&mut self) -> Result<u64, ValueError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let digit = u64::from(byte & 0x7f);
            if shift == 63 && digit > 1 {
                break;
            }
            number |= digit << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ValueError("a number is too long".to_owned()))
    }

    /// A number of things that follow, each at least one byte long: so no count can ask for more memory than the
    /// row has bytes.
    pub(crate) fn count(&mut self) -> Result<usize, ValueError> {
        let count = self.varint()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.0.len() => Ok(count),
            _ => Err(ValueError(format!(
                "{count} entries do not fit into the row"
            ))),
        }
    }

    pub(crate) fn end(&self) -> Result<(), ValueError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ValueError(format!("{} bytes are left over", self.0.len())))
        }
    }
}
