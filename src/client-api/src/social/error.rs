//! What goes wrong between people, as a client sees it.

use std::time::Duration;

use hearth_http::ApiError;
use hearth_social::Error;
use http::StatusCode;

use super::shown;
use crate::rooms::rooms_error;

/// When to come back with further requests after having sent as many as one can.
const TOO_MANY_RETRY_AFTER: Duration = Duration::from_secs(3_600);

pub(super) fn social_error(error: Error) -> ApiError {
    let message = error.to_string();
    match error {
        Error::NoSuchUser => ApiError::not_found(message),
        Error::Guest => ApiError::new(StatusCode::FORBIDDEN, "M_GUEST_ACCESS_FORBIDDEN", message),
        Error::Oneself | Error::Refused | Error::Blocked | Error::NotInCircle(_) => {
            ApiError::forbidden(message)
        }
        Error::WrongState(standing) => {
            ApiError::new(StatusCode::CONFLICT, "CHAT_HEARTH_WRONG_STATE", message)
                .with("state", shown::standing(standing))
        }
        Error::TooMany { .. } => ApiError::limit_exceeded(TOO_MANY_RETRY_AFTER),
        Error::Invalid(_) => ApiError::invalid_param(message),
        Error::Unreachable => ApiError::new(StatusCode::BAD_GATEWAY, "M_UNKNOWN", message),
        Error::Rooms(error) => rooms_error(error),
        Error::Store(cause) => rooms_error(hearth_rooms::Error::Store(cause)),
        error @ Error::Contended => ApiError::unavailable(&error),
        error => ApiError::internal(&error),
    }
}
