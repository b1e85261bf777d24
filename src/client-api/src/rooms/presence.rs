//! Who is there.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::{Rooms, Sender};
use ruma::api::client::presence::{get_presence, set_presence};
use serde_json::json;

use super::error::rooms_error;
use super::{active, answer, done};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Rooms: FromRef<S>,
{
    let router = route::<get_presence::v3::Request, _, _, _>(Router::new(), presence);
    route::<set_presence::v3::Request, _, _, _>(router, put_presence)
}

/// GET /_matrix/client/v3/presence/{userId}/status
async fn presence(
    State(rooms): State<Rooms>,
    request: Ruma<get_presence::v3::Request>,
) -> Result<RawJson, ApiError> {
    let reader = &request.caller()?.user;
    let presence = rooms.presence(reader, &request.body.user_id).await;
    let (presence, last_active_ago) = presence.map_err(rooms_error)?;
    let mut body = json!({ "presence": presence.state.as_str() });
    if let Some(ago) = last_active_ago {
        body["last_active_ago"] = json!(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX));
    }
    if presence.is_currently_active() {
        body["currently_active"] = json!(true);
    }
    if let Some(status) = presence.status_msg {
        body["status_msg"] = json!(status);
    }
    Ok(answer(&body))
}

/// PUT /_matrix/client/v3/presence/{userId}/status
async fn put_presence(
    State(rooms): State<Rooms>,
    request: Ruma<set_presence::v3::Request>,
) -> Result<RawJson, ApiError> {
    let caller = active(&request)?;
    let body = &request.body;
    if caller.user != body.user_id {
        return Err(ApiError::forbidden("One sets one's own presence"));
    }
    let set = rooms.set_presence(
        &Sender::from(caller),
        &body.presence,
        body.status_msg.clone(),
    );
    set.map_err(rooms_error)?;
    Ok(done())
}
