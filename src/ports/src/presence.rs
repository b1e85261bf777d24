//! Who is there, for those who tell clients.

use hearth_types::UnixMs;
use ruma::presence::PresenceState;
use ruma::{OwnedUserId, UserId};

use crate::BoxFuture;

/// A user's presence as others are shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Online, idle or away.
    pub state: PresenceState,
    /// What the user says about it.
    pub status_msg: Option<String>,
    /// When the user last did something; `None` if that is not known.
    pub last_active: Option<UnixMs>,
}

impl Presence {
    /// Whether no further news of activity is to be expected while this stands.
    pub fn is_currently_active(&self) -> bool {
        self.state == PresenceState::Online
    }
}

/// Who is there. Asked by `sync`, answered by what notes it.
///
/// Versions grow with every change of any user, also over a restart.
pub trait PresenceSource: Send + Sync {
    /// The version of the newest change.
    fn version(&self) -> u64;

    /// The users with a change after `version`, oldest change first, each with the version of the newest change.
    fn changed_since(&self, version: u64) -> Vec<(OwnedUserId, u64)>;

    /// A user's presence; `None` if nothing is known.
    fn presence(&self, user: &UserId) -> Option<Presence>;

    /// Waits for a change after `seen` and answers the newest version. Dropping the future is safe.
    fn wait_past(&self, seen: u64) -> BoxFuture<'_, u64>;
}
