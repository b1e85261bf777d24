//! What guests may ask (client-server API, "Guest Access"). Whatever is not listed is refused, so that an endpoint that
//! is added later is closed to them.

use axum::extract::MatchedPath;
use http::{Extensions, Method, Uri};

/// The endpoints of the specification's lists, without version.
const ALLOWED: [(Method, &str); 33] = [
    // Reading.
    (Method::GET, "rooms/{}/state"),
    (Method::GET, "rooms/{}/state/{}"),
    (Method::GET, "rooms/{}/state/{}/"),
    (Method::GET, "rooms/{}/state/{}/{}"),
    (Method::GET, "rooms/{}/context/{}"),
    (Method::GET, "rooms/{}/event/{}"),
    (Method::GET, "rooms/{}/messages"),
    (Method::GET, "rooms/{}/members"),
    (Method::GET, "rooms/{}/initialSync"),
    (Method::GET, "sync"),
    (Method::GET, "events"),
    (Method::GET, "media/download/{}/{}"),
    (Method::GET, "media/download/{}/{}/{}"),
    (Method::GET, "media/thumbnail/{}/{}"),
    // Writing.
    (Method::POST, "rooms/{}/join"),
    (Method::POST, "rooms/{}/leave"),
    (Method::PUT, "rooms/{}/send/{}/{}"),
    (Method::PUT, "rooms/{}/state/{}"),
    (Method::PUT, "rooms/{}/state/{}/"),
    (Method::PUT, "rooms/{}/state/{}/{}"),
    (Method::PUT, "sendToDevice/{}/{}"),
    // The account.
    (Method::PUT, "profile/{}/{}"),
    (Method::DELETE, "profile/{}/{}"),
    (Method::GET, "devices"),
    (Method::GET, "devices/{}"),
    (Method::PUT, "devices/{}"),
    (Method::GET, "account/whoami"),
    // Encryption.
    (Method::POST, "keys/upload"),
    (Method::POST, "keys/query"),
    (Method::POST, "keys/claim"),
    // Not in the lists: the other form of joining, what every client asks first, and going away.
    (Method::POST, "join/{}"),
    (Method::GET, "capabilities"),
    (Method::POST, "logout"),
];

/// Whether a guest may make a request that needs an access token.
pub(crate) fn may_ask(method: &Method, uri: &Uri, extensions: &Extensions) -> bool {
    let Some(matched) = extensions.get::<MatchedPath>() else {
        return false;
    };
    let endpoint = endpoint(matched.as_str());
    let is_listed = ALLOWED
        .iter()
        .any(|(allowed, path)| allowed == method && *path == endpoint);
    // Of the profile, guests may change the name alone.
    is_listed && (!endpoint.starts_with("profile/") || uri.path().ends_with("/displayname"))
}

/// A route without API and version, its parameters without names.
fn endpoint(route: &str) -> String {
    let path = route
        .strip_prefix("/_matrix/client/")
        .unwrap_or_default()
        .split_once('/')
        .map_or("", |(_, path)| path);
    let parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_compared_without_version_and_names() {
        for (route, expected) in [
            ("/_matrix/client/v3/rooms/{room_id}/state", "rooms/{}/state"),
            (
                "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/",
                "rooms/{}/state/{}/",
            ),
            ("/_matrix/client/v3/sync", "sync"),
            ("/_matrix/media/v3/upload", ""),
            (
                "/_matrix/client/unstable/chat.hearth/rooms",
                "chat.hearth/rooms",
            ),
        ] {
            assert_eq!(endpoint(route), expected, "{route}");
        }
    }
}
