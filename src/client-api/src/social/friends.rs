//! Friends: the list, requests and what becomes of them, the circle.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_social::{FriendQuery, FriendState, Social, Standing};

use super::endpoints::{Act, Ask, Circle, Friend, Friends};
use super::error::social_error;
use super::{answer, from, limit, search, shown};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Social: FromRef<S>,
{
    let router = route::<Ask<Friends>, _, _, _>(Router::new(), list);
    let router = route::<Ask<Friend>, _, _, _>(router, one);
    let router = route::<Ask<Act>, _, _, _>(router, acting);
    route::<Ask<Circle>, _, _, _>(router, to_pick)
}

/// GET /_matrix/client/unstable/chat.hearth.social/friends
async fn list(
    State(social): State<Social>,
    request: Ruma<Ask<Friends>>,
) -> Result<RawJson, ApiError> {
    let standing = request.body.0.state.as_deref().map(listed).transpose()?;
    let query = FriendQuery {
        standing,
        from: from(request.body.0.from.clone())?,
        limit: limit(request.body.0.limit.as_deref())?,
    };
    let page = social.friends(&request.caller()?.user, &query).await;
    let page = page.map_err(social_error)?;
    let friends = page.friends.iter().map(shown::friend).collect();
    Ok(answer(&shown::page("friends", friends, page.next)))
}

/// GET /_matrix/client/unstable/chat.hearth.social/friends/{userId}
async fn one(
    State(social): State<Social>,
    request: Ruma<Ask<Friend>>,
) -> Result<RawJson, ApiError> {
    let found = social.friend(&request.caller()?.user, &request.body.0.user);
    let found = found.await.map_err(social_error)?;
    Ok(answer(&shown::friend(&found)))
}

/// POST /_matrix/client/unstable/chat.hearth.social/friends/{userId}/{action}
async fn acting(
    State(social): State<Social>,
    request: Ruma<Ask<Act>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let peer = &*request.body.0.user;
    let done = match request.body.0.action.as_str() {
        "request" => {
            let message = request.body.0.message.clone();
            social.request(caller, peer, message).await
        }
        "accept" => social.accept(caller, peer).await,
        "decline" => social.decline(caller, peer).await,
        "withdraw" => social.withdraw(caller, peer).await,
        "unfriend" => social.unfriend(caller, peer).await,
        "block" => social.block(caller, peer).await,
        "unblock" => social.unblock(caller, peer).await,
        _ => return Err(ApiError::unrecognized()),
    };
    Ok(answer(&shown::friend(&done.map_err(social_error)?)))
}

/// GET /_matrix/client/unstable/chat.hearth.social/circle
async fn to_pick(
    State(social): State<Social>,
    request: Ruma<Ask<Circle>>,
) -> Result<RawJson, ApiError> {
    let search = search(request.body.0.search.clone())?;
    let limit = limit(request.body.0.limit.as_deref())?;
    let user = &request.caller()?.user;
    let found = social.circle(user, search.as_deref(), limit).await;
    Ok(answer(&shown::circle(&found.map_err(social_error)?)))
}

fn listed(state: &str) -> Result<Standing, ApiError> {
    match state {
        "pending_out" => Ok(Standing::Is(FriendState::PendingOut)),
        "pending_in" => Ok(Standing::Is(FriendState::PendingIn)),
        "friend" => Ok(Standing::Is(FriendState::Friend)),
        "ended" => Ok(Standing::Is(FriendState::Ended)),
        "blocked" => Ok(Standing::Blocked),
        _ => Err(ApiError::invalid_param("`state` is none of the list's")),
    }
}
