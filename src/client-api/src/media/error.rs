//! Errors of `media` as clients see them.

use std::time::Duration;

use hearth_http::ApiError;
use hearth_media::Error;
use hearth_ports::OutError;
use http::StatusCode;

/// How long a client should wait that has reserved too many files.
const PENDING_RETRY: Duration = Duration::from_secs(60);

pub(super) fn api_error(error: Error) -> ApiError {
    match error {
        Error::NotFound => ApiError::not_found("No such file"),
        Error::NotYetUploaded => ApiError::new(
            StatusCode::GATEWAY_TIMEOUT,
            "M_NOT_YET_UPLOADED",
            "The file has not been uploaded yet",
        ),
        Error::AlreadyUploaded => ApiError::new(
            StatusCode::CONFLICT,
            "M_CANNOT_OVERWRITE_MEDIA",
            "The file has been uploaded already",
        ),
        Error::NotYours => ApiError::forbidden("Somebody else reserved this file"),
        Error::Unwelcome => ApiError::forbidden("This file is not welcome here"),
        Error::Quota { .. } => ApiError::forbidden("Your files take as much room as they may"),
        Error::TooLarge { bytes_max } => {
            ApiError::too_large(format!("A file has at most {bytes_max} bytes"))
        }
        Error::ImageTooLarge => ApiError::too_large("The image is too large for a thumbnail"),
        Error::TooManyPending => ApiError::limit_exceeded(PENDING_RETRY),
        Error::Incomplete(_) => ApiError::bad_request("The file did not arrive whole"),
        Error::Malformed(what) => {
            ApiError::invalid_param(format!("The {what} is too long or malformed"))
        }
        Error::NoThumbnail => ApiError::bad_request("There can be no thumbnail of this file"),
        Error::NoPreview(why) => ApiError::bad_request(format!("Nothing to preview: {why}")),
        Error::Preview(OutError::Refused { .. } | OutError::Invalid(_)) => {
            ApiError::forbidden("This link is not previewed")
        }
        Error::Preview(_) => bad_gateway("M_UNKNOWN", "The link could not be fetched"),
        // Of a server that this one does not talk to there are no files.
        Error::Remote(cause) if is_not_allowed(&*cause) => ApiError::not_found("No such file"),
        Error::Remote(_) => bad_gateway("M_UNKNOWN", "The other server did not give the file"),
        Error::RemoteTooLarge => bad_gateway("M_TOO_LARGE", "The other server's file is too large"),
        error @ Error::Busy => ApiError::unavailable(&error),
        error @ (Error::Blobs(_) | Error::Damaged | Error::Store(_)) => ApiError::internal(&error),
    }
}

fn is_not_allowed(cause: &(dyn std::error::Error + 'static)) -> bool {
    let cause = cause.downcast_ref();
    matches!(cause, Some(hearth_federation::Error::NotAllowed(_)))
}

fn bad_gateway(errcode: &str, message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, errcode, message)
}
