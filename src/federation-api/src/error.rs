//! What goes wrong in domain crates, as another server sees it.

use std::time::Duration;

use hearth_http::ApiError;
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
        // To a server that is not in a room it looks the same whether there is one.
        Error::Denied | Error::NotInRoom | Error::NoSuchRoom => {
            ApiError::forbidden("Your server is not in the room, or there is none")
        }
        Error::Forbidden(_) | Error::Refused(_) => ApiError::forbidden(message),
        Error::NoServerInRoom | Error::NotYet => ApiError::not_found("No such room"),
        Error::NoSuchEvent | Error::NoSuchState => ApiError::not_found("No such event"),
        Error::NoSuchAlias => ApiError::not_found(message),
        Error::IncompatibleVersion(version) => {
            let message = "Your server does not know the version of this room";
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "M_INCOMPATIBLE_ROOM_VERSION",
                message,
            )
            .with("room_version", version.as_str())
        }
        Error::UnsupportedVersion(_) => bad_request("M_UNSUPPORTED_ROOM_VERSION"),
        Error::MissingCreate => bad_request("M_MISSING_PARAM"),
        Error::BadEvent(_) | Error::BadContent(_) => bad_request("M_BAD_JSON"),
        Error::Invalid(_) => bad_request("M_INVALID_PARAM"),
        Error::Build(cause) if cause.is_too_large() => ApiError::too_large(message),
        Error::CannotAuthoriseJoin => bad_request("M_UNABLE_TO_AUTHORISE_JOIN"),
        Error::CannotGrantJoin => bad_request("M_UNABLE_TO_GRANT_JOIN"),
        Error::TooLarge => ApiError::too_large(message),
        _ => ApiError::internal(&error),
    }
}

pub(crate) fn accounts_error(error: &hearth_accounts::Error) -> ApiError {
    ApiError::internal(error)
}
