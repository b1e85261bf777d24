//! Who makes a request.

use std::sync::Arc;

use ruma::{OwnedDeviceId, OwnedUserId};

/// The authenticated user behind a request, as resolved from its access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The local user.
    pub user: OwnedUserId,
    /// The device whose token it is. `None` only for application services without device masquerading.
    pub device: Option<OwnedDeviceId>,
    /// Registered with `kind=guest` (client-server API, "Guest Access").
    pub is_guest: bool,
    /// May use the administration surface.
    pub is_admin: bool,
    /// Suspended users may read, log out and redact their own messages, little else.
    pub is_suspended: bool,
    /// The application service that asks in the user's name by its own token.
    pub service: Option<ServiceCaller>,
}

/// An application service that makes a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceCaller {
    /// The `id` of its registration.
    pub id: Arc<str>,
    /// Its requests are counted as everybody's.
    pub is_rate_limited: bool,
}
