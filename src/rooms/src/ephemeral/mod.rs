//! What passes: who is typing, and what has been read.
//!
//! [`Typing`] is in memory; receipts and read markers are durable rows, written through [`crate::Rooms`].

mod receipts;
mod typing;

pub use receipts::{MarkersUpdate, ReceiptKind, ReceiptThread};
pub use typing::{TIMEOUT_MAX, Typing};
