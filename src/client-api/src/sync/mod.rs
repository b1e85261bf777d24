//! The endpoints of `sync`: what clients read of rooms as they go on, and of their past.

mod error;
mod legacy;
mod read;
mod v3;

use axum::Router;
use axum::extract::FromRef;
use hearth_http::{ApiError, Gate};
use hearth_rooms::Rooms;
use hearth_sync::Token;
use hearth_sync::ask::{Direction, Reader};
use hearth_types::Caller;

pub(crate) use error::api_error;

/// All endpoints of this module.
pub fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    hearth_sync::Sync: FromRef<S>,
    hearth_e2ee::E2ee: FromRef<S>,
{
    Router::new()
        .merge(v3::router())
        .merge(read::router())
        .merge(legacy::router())
}

pub(crate) fn reader(caller: &Caller) -> Reader {
    Reader {
        user: caller.user.clone(),
        device: caller.device.clone(),
    }
}

pub(crate) fn token(text: Option<&str>) -> Result<Option<Token>, ApiError> {
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(error::api_error))
        .transpose()
}

fn direction(dir: ruma::api::Direction) -> Direction {
    match dir {
        ruma::api::Direction::Forward => Direction::Forward,
        ruma::api::Direction::Backward => Direction::Backward,
    }
}
