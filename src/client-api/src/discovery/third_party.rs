//! Other networks. Application services are not asked for them yet: there are no protocols, and nothing is found.

use axum::Router;
use axum::extract::FromRef;
use bytes::Bytes;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use ruma::api::client::thirdparty::{
    get_location_for_protocol, get_location_for_room_alias, get_protocol, get_protocols,
    get_user_for_protocol, get_user_for_user_id,
};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
{
    let router = route::<get_protocols::v3::Request, _, _, _>(Router::new(), protocols);
    let router = route::<get_protocol::v3::Request, _, _, _>(router, protocol);
    let router = route::<get_location_for_protocol::v3::Request, _, _, _>(router, locations);
    let router = route::<get_location_for_room_alias::v3::Request, _, _, _>(router, alias);
    let router = route::<get_user_for_protocol::v3::Request, _, _, _>(router, users);
    route::<get_user_for_user_id::v3::Request, _, _, _>(router, user)
}

/// GET /_matrix/client/v3/thirdparty/protocols
async fn protocols(_: Ruma<get_protocols::v3::Request>) -> RawJson {
    RawJson(Bytes::from_static(b"{}"))
}

/// GET /_matrix/client/v3/thirdparty/protocol/{protocol}
async fn protocol(_: Ruma<get_protocol::v3::Request>) -> ApiError {
    ApiError::not_found("Unknown protocol")
}

/// GET /_matrix/client/v3/thirdparty/location/{protocol}
async fn locations(_: Ruma<get_location_for_protocol::v3::Request>) -> ApiError {
    ApiError::not_found("No portal rooms were found")
}

/// GET /_matrix/client/v3/thirdparty/location
async fn alias(_: Ruma<get_location_for_room_alias::v3::Request>) -> ApiError {
    ApiError::not_found("The Matrix room alias was not found")
}

/// GET /_matrix/client/v3/thirdparty/user/{protocol}
async fn users(_: Ruma<get_user_for_protocol::v3::Request>) -> ApiError {
    ApiError::not_found("The Matrix User ID was not found")
}

/// GET /_matrix/client/v3/thirdparty/user
async fn user(_: Ruma<get_user_for_user_id::v3::Request>) -> ApiError {
    ApiError::not_found("The Matrix User ID was not found")
}
