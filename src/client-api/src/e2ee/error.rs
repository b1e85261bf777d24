//! What goes wrong in `e2ee`, as a client sees it.

use hearth_e2ee::{Error, StoreError};
use hearth_http::ApiError;
use http::StatusCode;

pub(crate) fn api_error(error: Error) -> ApiError {
    let message = error.to_string();
    let bad_request = |errcode| ApiError::new(StatusCode::BAD_REQUEST, errcode, message.clone());
    match error {
        Error::Store(StoreError::NoSpace | StoreError::Closed) | Error::Contended => {
            ApiError::unavailable(&error)
        }
        Error::Store(_) | Error::Corrupt { .. } => ApiError::internal(&error),
        Error::NoDevice | Error::Param(_) => bad_request("M_INVALID_PARAM"),
        Error::Schema(_) => bad_request("M_BAD_JSON"),
        Error::Signature(_) => bad_request("M_INVALID_SIGNATURE"),
        Error::Missing(_) => bad_request("M_MISSING_PARAM"),
        Error::KeyNamedLikeDevice | Error::NeedsAuthentication | Error::Foreign => {
            ApiError::forbidden(message)
        }
        Error::NotFound(_) => ApiError::not_found(message),
        Error::TooLarge { .. } => ApiError::too_large(message),
        Error::WrongBackupVersion { current } => {
            ApiError::new(StatusCode::FORBIDDEN, "M_WRONG_ROOM_KEYS_VERSION", message)
                .with("current_version", current.to_string())
        }
    }
}
