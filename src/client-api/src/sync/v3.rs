//! GET `/sync`.

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use hearth_e2ee::E2ee;
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Rooms, Sender};
use hearth_sync::Token;
use hearth_sync::ask::{StateUntil, StateWanted, SyncAsk};
use ruma::api::client::sync::sync_events::v3::Request;
use serde::Deserialize;

use super::error::api_error;
use super::{reader, token};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
    hearth_sync::Sync: FromRef<S>,
    E2ee: FromRef<S>,
{
    route::<Request, _, _, _>(Router::new(), sync)
}

/// The filter as it was written: ruma drops what it does not know of.
#[derive(Deserialize)]
struct Written {
    filter: Option<String>,
}

/// GET `/_matrix/client/v3/sync`
async fn sync(
    State(rooms): State<Rooms>,
    State(sync): State<hearth_sync::Sync>,
    State(e2ee): State<E2ee>,
    query: Result<Query<Written>, QueryRejection>,
    request: Ruma<Request>,
) -> Result<RawJson, ApiError> {
    let Query(written) = query.map_err(|error| ApiError::invalid_param(error.body_text()))?;
    let who = Sender::from(request.caller()?);
    let waits = request.body.timeout.unwrap_or_default();
    let waits = waits.min(sync.timeout_max());
    rooms
        .presences()
        .seen(&who, &request.body.set_presence, waits);
    let ask = SyncAsk {
        reader: reader(request.caller()?),
        since: token(request.body.since.as_deref())?,
        filter: written.filter,
        state_wanted: match request.body.full_state {
            true => StateWanted::Full,
            false => StateWanted::Changes,
        },
        state_until: match request.body.use_state_after {
            true => StateUntil::TimelineEnd,
            false => StateUntil::TimelineStart,
        },
        timeout: waits,
    };
    if let Some(Token::Sync(since)) = ask.since {
        let acknowledged = e2ee.acknowledge(request.caller()?, since.to_device()).await;
        acknowledged.map_err(crate::e2ee::api_error)?;
    }
    sync.v3(ask).await.map(RawJson).map_err(api_error)
}
