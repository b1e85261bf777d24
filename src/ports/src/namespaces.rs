//! Whose a name is: what application services have registered.

use hearth_types::ServiceCaller;
use ruma::{OwnedUserId, UserId};

/// An application service, as its token shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredService {
    /// What its requests are marked with.
    pub caller: ServiceCaller,
    /// The user that it is when it does not say.
    pub sender: OwnedUserId,
}

/// The users of application services. Asked by `accounts` before a name is given away and when a service asks in a user's
/// name, answered by `appservice`.
pub trait Namespaces: Send + Sync {
    /// The application service with this token.
    fn service_of_token(&self, token: &str) -> Option<RegisteredService>;

    /// Whether a service may be a user: its own, or one of its namespaces.
    fn may_be(&self, service: &str, user: &UserId) -> bool;

    /// Whether a user id belongs to services alone, and not to this one.
    fn is_user_reserved(&self, user: &UserId, service: Option<&str>) -> bool;
}

/// There are no application services.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoNamespaces;

impl Namespaces for NoNamespaces {
    fn service_of_token(&self, _: &str) -> Option<RegisteredService> {
        None
    }

    fn may_be(&self, _: &str, _: &UserId) -> bool {
        false
    }

    fn is_user_reserved(&self, _: &UserId, _: Option<&str>) -> bool {
        false
    }
}
