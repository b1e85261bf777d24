//! What goes wrong in `rooms`, as a client sees it.

use std::time::Duration;

use hearth_http::ApiError;
use hearth_ports::remote::{Refusal, RemoteError};
use hearth_rooms::{Error, StoreError};
use http::StatusCode;

/// When to come back to a room for which too much is waiting.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) fn rooms_error(error: Error) -> ApiError {
    let message = error.to_string();
    let bad_request = |errcode| ApiError::new(StatusCode::BAD_REQUEST, errcode, message.clone());
    match &error {
        Error::Stopping | Error::Contended | Error::RiderConflict => ApiError::unavailable(&error),
        Error::Store(cause) if matches!(**cause, StoreError::NoSpace | StoreError::Closed) => {
            ApiError::unavailable(&error)
        }
        Error::Busy => ApiError::limit_exceeded(BUSY_RETRY_AFTER),
        Error::Suspended => ApiError::user_suspended(),
        Error::InviteBlocked => ApiError::new(StatusCode::FORBIDDEN, "M_INVITE_BLOCKED", message),
        // To those who are not in a room it looks the same whether there is one.
        Error::NoSuchRoom
        | Error::NotInRoom
        | Error::TargetNotInRoom
        | Error::AlreadyJoined
        | Error::Forbidden(_)
        | Error::Refused(_)
        | Error::NotRecommended(_)
        | Error::RemoteUnavailable => ApiError::forbidden(message),
        Error::NoServerInRoom
        | Error::NoSuchEvent
        | Error::NoSuchState
        | Error::NoSuchUser
        | Error::NoSuchAlias => ApiError::not_found(message),
        Error::AliasTaken => ApiError::new(StatusCode::CONFLICT, "M_UNKNOWN", message),
        Error::BadAlias(_) => bad_request("M_BAD_ALIAS"),
        Error::Invalid(_) => bad_request("M_INVALID_PARAM"),
        Error::BadContent(_) => bad_request("M_BAD_JSON"),
        Error::UnsupportedVersion(_) => bad_request("M_UNSUPPORTED_ROOM_VERSION"),
        Error::InvalidRoomState(_) => bad_request("M_INVALID_ROOM_STATE"),
        Error::Build(cause) if cause.is_too_large() => ApiError::too_large(message),
        Error::Build(_) => bad_request("M_BAD_JSON"),
        Error::DuplicateAnnotation => bad_request("M_DUPLICATE_ANNOTATION"),
        Error::ThreadOnRelation | Error::StillInRoom => bad_request("M_UNKNOWN"),
        Error::CannotAuthoriseJoin => bad_request("M_UNABLE_TO_AUTHORISE_JOIN"),
        Error::CannotGrantJoin => bad_request("M_UNABLE_TO_GRANT_JOIN"),
        Error::IncompatibleVersion(version) => {
            bad_request("M_INCOMPATIBLE_ROOM_VERSION").with("room_version", version.as_str())
        }
        Error::NotYet => ApiError::unavailable(&error),
        Error::BadEvent(_) | Error::Denied => ApiError::forbidden(message),
        Error::Remote(cause) => remote_error(cause),
        Error::TooLarge => ApiError::too_large(message),
        _ => ApiError::internal(&error),
    }
}

/// What another server said, or that it said nothing.
fn remote_error(error: &RemoteError) -> ApiError {
    let bad_gateway = |message| ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message);
    let bad_request =
        |errcode, message: &String| ApiError::new(StatusCode::BAD_REQUEST, errcode, message);
    match error {
        RemoteError::Unreachable(_) => bad_gateway("The other server cannot be reached"),
        RemoteError::Malformed(_) => bad_gateway("The other server gave a malformed answer"),
        RemoteError::Refused { reason, message } => match reason {
            Refusal::Forbidden => ApiError::forbidden(message),
            Refusal::NotFound => ApiError::not_found(message),
            Refusal::IncompatibleVersion(version) => {
                bad_request("M_INCOMPATIBLE_ROOM_VERSION", message)
                    .with("room_version", version.as_str())
            }
            Refusal::CannotAuthorise => bad_request("M_UNABLE_TO_AUTHORISE_JOIN", message),
            Refusal::CannotGrant => bad_request("M_UNABLE_TO_GRANT_JOIN", message),
            Refusal::NoEndpoint | Refusal::Other => bad_gateway("The other server refused"),
        },
    }
}
