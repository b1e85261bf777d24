//! Errors of `sync` as clients see them.

use hearth_http::ApiError;
use hearth_sync::Error;

pub(crate) fn api_error(error: Error) -> ApiError {
    match error {
        Error::NotInRoom => ApiError::forbidden("You are not, and were not, in this room"),
        Error::NoSuchEvent => ApiError::not_found("Event not found"),
        Error::NoSuchFilter => ApiError::not_found("No such filter"),
        Error::BadToken(_) => ApiError::invalid_param("Not a token of this server"),
        Error::BadFilter(cause) => ApiError::invalid_param(format!("Malformed filter: {cause}")),
        error if error.is_temporary() => ApiError::unavailable(&error),
        error @ (Error::Behind | Error::Store(_)) => ApiError::internal(&error),
    }
}
