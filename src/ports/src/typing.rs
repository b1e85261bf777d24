//! Who is typing, for those who tell clients.

use ruma::OwnedUserId;

use crate::BoxFuture;

/// Who is typing where. Asked by `sync`, answered by what takes typing notifications in.
///
/// Rooms are named by the number under which the store knows them. Versions grow with every change in any room, also
/// over a restart.
pub trait TypingSource: Send + Sync {
    /// The version of the newest change.
    fn version(&self) -> u64;

    /// The rooms with a change after `version`, oldest change first, each with the version of its newest change.
    fn changed_since(&self, version: u64) -> Vec<(u64, u64)>;

    /// The version of a room's newest change; 0 if nobody typed there lately.
    fn room_version(&self, room: u64) -> u64;

    /// Who is typing in a room now.
    fn users(&self, room: u64) -> Vec<OwnedUserId>;

    /// Waits for a change after `seen` and answers the newest version. Dropping the future is safe.
    fn wait_past(&self, seen: u64) -> BoxFuture<'_, u64>;
}
