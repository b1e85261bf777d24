//! What passes: who is typing, who is there, and what has been read.
//!
//! [`Typing`] and [`Presences`] are in memory; receipts and read markers are durable rows, written through [`crate::Rooms`].

mod presence;
mod receipts;
mod typing;

pub use presence::{OFFLINE_AFTER, Presences, RemotePresence, STATUS_BYTES_MAX};
pub use receipts::{MarkersUpdate, ReceiptKind, ReceiptThread};
pub use typing::{TIMEOUT_MAX, Typing};
