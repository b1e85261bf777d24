//! Sizes that the Matrix specification sets.

/// Largest event in federation format, canonical JSON with signatures, in bytes
/// (client-server API, "Size limits").
pub const EVENT_BYTES_MAX: usize = 65_536;

/// Largest `sender`, `room_id`, `state_key`, `type` or `event_id`, in bytes.
pub const EVENT_FIELD_BYTES_MAX: usize = 255;

/// Most entries of `prev_events` (server-server API, PDU schema).
pub const PREV_EVENTS_MAX: usize = 20;

/// Most entries of `auth_events`.
pub const AUTH_EVENTS_MAX: usize = 10;

/// Largest integer that canonical JSON allows.
pub const INTEGER_MAX: i64 = (1 << 53) - 1;
