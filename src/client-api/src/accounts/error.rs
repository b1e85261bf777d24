//! What goes wrong in `accounts`, as a client sees it.

use std::time::Duration;

use hearth_accounts::{AccountDataError, Error, ProfileError, PushRuleError};
use hearth_http::ApiError;
use http::StatusCode;

/// When to come back when too many log in.
const BUSY_RETRY_AFTER: Duration = Duration::from_secs(2);

pub(super) fn accounts_error(error: Error) -> ApiError {
    let message = error.to_string();
    let bad_request = |errcode| ApiError::new(StatusCode::BAD_REQUEST, errcode, message.clone());
    let forbidden = |errcode| ApiError::new(StatusCode::FORBIDDEN, errcode, message.clone());
    match error {
        Error::Store(
            hearth_accounts::StoreError::NoSpace | hearth_accounts::StoreError::Closed,
        )
        | Error::Contended => ApiError::unavailable(&error),
        Error::Store(_) | Error::Hash(_) | Error::Corrupt { .. } => ApiError::internal(&error),
        Error::Busy => ApiError::limit_exceeded(BUSY_RETRY_AFTER),
        Error::RegistrationClosed
        | Error::BadCredentials
        | Error::UnknownNonce
        | Error::BadMac
        | Error::UiaForeign(_)
        | Error::TooMany { .. } => forbidden("M_FORBIDDEN"),
        Error::BadRegistrationToken => {
            ApiError::new(StatusCode::UNAUTHORIZED, "M_UNAUTHORIZED", message)
        }
        Error::GuestsForbidden => forbidden("M_GUEST_ACCESS_FORBIDDEN"),
        Error::Deactivated => forbidden("M_USER_DEACTIVATED"),
        Error::InvalidUsername(_) => bad_request("M_INVALID_USERNAME"),
        Error::UserInUse => bad_request("M_USER_IN_USE"),
        Error::Exclusive => bad_request("M_EXCLUSIVE"),
        Error::WeakPassword { .. } => bad_request("M_WEAK_PASSWORD"),
        Error::RegistrationTokenInUse
        | Error::InvalidRegistrationToken
        | Error::InvalidDevice { .. } => bad_request("M_INVALID_PARAM"),
        Error::NoSharedSecret => bad_request("M_UNKNOWN"),
        Error::MalformedAuth(_) => bad_request("M_BAD_JSON"),
        Error::IncompleteAuth(_) => bad_request("M_MISSING_PARAM"),
        Error::UnknownToken => ApiError::unknown_token(),
        Error::Locked => ApiError::user_locked(),
        Error::Suspended => ApiError::user_suspended(),
        Error::NoSuchUser | Error::NoSuchDevice => ApiError::not_found(message),
        Error::UiaTooLarge { .. } => ApiError::too_large(message),
        Error::Profile(error) => bad_request(profile_errcode(error)),
        Error::AccountData(error) => account_data_error(error),
        Error::PushRule(PushRuleError::NotFound) => ApiError::not_found(message),
        Error::PushRule(_) => bad_request("M_UNKNOWN"),
    }
}

fn profile_errcode(error: ProfileError) -> &'static str {
    match error {
        ProfileError::FieldLong => "M_KEY_TOO_LARGE",
        ProfileError::FieldName => "M_INVALID_PARAM",
        ProfileError::Value => "M_BAD_JSON",
        ProfileError::Large => "M_PROFILE_TOO_LARGE",
    }
}

fn account_data_error(error: AccountDataError) -> ApiError {
    let message = error.to_string();
    match error {
        AccountDataError::ServerOnly => {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "M_BAD_JSON", message)
        }
        AccountDataError::Name => ApiError::invalid_param(message),
        AccountDataError::Large => ApiError::too_large(message),
    }
}
