//! The endpoints of `e2ee`: keys, cross-signing, messages to devices, key backup, dehydrated devices.

mod backup;
mod dehydrated;
mod error;
mod keys;
mod signing;
mod to_device;

use axum::Router;
use axum::extract::FromRef;
use bytes::Bytes;
use hearth_accounts::Accounts;
use hearth_e2ee::E2ee;
use hearth_http::{Gate, RawJson};

pub(crate) use error::api_error;

/// All endpoints of this module.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
    E2ee: FromRef<S>,
    hearth_sync::Sync: FromRef<S>,
{
    Router::new()
        .merge(backup::router())
        .merge(dehydrated::router())
        .merge(keys::router())
        .merge(signing::router())
        .merge(to_device::router())
}

fn answer(json: String) -> RawJson {
    RawJson(Bytes::from(json))
}

/// `{}`
fn done() -> RawJson {
    RawJson(Bytes::from_static(b"{}"))
}

#[cfg(test)]
mod tests;
