//! Groups: the lists, making one, and the group of an exact set of users.

use axum::Router;
use axum::extract::{FromRef, State};
use hearth_http::{ApiError, Gate, RawJson, Ruma, route};
use hearth_rooms::Publish;
use hearth_social::{GroupList, GroupQuery, NewGroup, Social};
use serde_json::json;

use super::endpoints::{Ask, CreateGroup, Groups, OpenPrivateGroup};
use super::error::social_error;
use super::{answer, from, limit, search, shown};

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Social: FromRef<S>,
{
    let router = route::<Ask<Groups>, _, _, _>(Router::new(), list);
    let router = route::<Ask<CreateGroup>, _, _, _>(router, create);
    route::<Ask<OpenPrivateGroup>, _, _, _>(router, open)
}

/// GET /_matrix/client/unstable/chat.hearth.social/groups
async fn list(
    State(social): State<Social>,
    request: Ruma<Ask<Groups>>,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let list = match request.body.0.list.as_str() {
        "created" => GroupList::Created,
        "joined" => GroupList::Joined,
        "invited" => GroupList::Invited,
        "open" => GroupList::Open,
        _ => return Err(ApiError::invalid_param("`list` names no list of groups")),
    };
    let query = GroupQuery {
        list,
        search: search(request.body.0.search.clone())?,
        from: from(request.body.0.from.clone())?,
        limit: limit(request.body.0.limit.as_deref())?,
    };
    let page = social.groups(user, &query).await.map_err(social_error)?;
    let groups = page.groups.iter().map(|group| shown::group(user, group));
    Ok(answer(&shown::page("groups", groups.collect(), page.next)))
}

/// POST /_matrix/client/unstable/chat.hearth.social/groups
async fn create(
    State(social): State<Social>,
    request: Ruma<Ask<CreateGroup>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let group = NewGroup {
        name: request.body.0.name.clone(),
        topic: request.body.0.topic.clone(),
        publish: match request.body.0.open {
            true => Publish::Public,
            false => Publish::Private,
        },
        invite: request.body.0.invite.clone(),
    };
    let made = social.create_group(caller, group).await;
    let made = made.map_err(social_error)?;
    Ok(answer(&shown::group(&caller.user, &made)))
}

/// POST /_matrix/client/unstable/chat.hearth.social/private_groups
async fn open(
    State(social): State<Social>,
    request: Ruma<Ask<OpenPrivateGroup>>,
) -> Result<RawJson, ApiError> {
    let caller = request.caller()?;
    let members = request.body.0.members.clone();
    let name = request.body.0.name.clone();
    let opened = social.open_private_group(caller, members, name).await;
    let opened = opened.map_err(social_error)?;
    let group = shown::group(&caller.user, &opened.group);
    Ok(answer(&json!({ "created": opened.is_new, "group": group })))
}
