//! Push rules.

use axum::Router;
use axum::extract::{FromRef, Query, State};
use hearth_accounts::{Accounts, RuleChange, RulePlace};
use hearth_http::{ApiError, Gate, RawJson, Ruma, RumaResponse, route};
use ruma::api::client::push::{
    PushRule, delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled,
    get_pushrules_all, get_pushrules_global_scope, set_pushrule, set_pushrule_actions,
    set_pushrule_enabled,
};
use ruma::push::{
    Action, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
    PushCondition, RuleKind,
};
use ruma::{OwnedRoomId, OwnedUserId};
use serde::Deserialize;
use serde_json::Value;

use super::answer;
use super::done;
use super::error::accounts_error;
use crate::unparsed::Unparsed;

pub(super) fn router<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Gate: FromRef<S>,
    Accounts: FromRef<S>,
{
    let router = Router::new();
    let router = route::<get_pushrules_all::v3::Request, _, _, _>(router, all);
    let router = route::<get_pushrules_global_scope::v3::Request, _, _, _>(router, global);
    let router = route::<get_pushrule::v3::Request, _, _, _>(router, rule);
    let router = route::<set_pushrule::v3::Request, _, _, _>(router, put);
    let router = route::<delete_pushrule::v3::Request, _, _, _>(router, delete);
    let router = route::<get_pushrule_enabled::v3::Request, _, _, _>(router, enabled);
    let router = route::<set_pushrule_enabled::v3::Request, _, _, _>(router, set_enabled);
    let router = route::<get_pushrule_actions::v3::Request, _, _, _>(router, actions);
    route::<set_pushrule_actions::v3::Request, _, _, _>(router, set_actions)
}

/// GET /_matrix/client/v3/pushrules/
async fn all(
    State(accounts): State<Accounts>,
    request: Ruma<get_pushrules_all::v3::Request>,
) -> Result<RawJson, ApiError> {
    let rules = accounts.push_rules_json(&request.caller()?.user).await;
    Ok(RawJson(rules.map_err(accounts_error)?.0))
}

/// GET /_matrix/client/v3/pushrules/global/
async fn global(
    State(accounts): State<Accounts>,
    request: Ruma<get_pushrules_global_scope::v3::Request>,
) -> Result<RawJson, ApiError> {
    let rules = accounts.push_rules_json(&request.caller()?.user).await;
    let rules = rules.map_err(accounts_error)?;
    let mut rules: Value =
        serde_json::from_str(rules.text()).map_err(|error| ApiError::internal(&error))?;
    answer(&rules["global"].take())
}

async fn load<T>(
    accounts: &Accounts,
    request: &Ruma<T>,
    (kind, rule_id): (&RuleKind, &str),
) -> Result<PushRule, ApiError> {
    let rules = accounts.push_rules(&request.caller()?.user).await;
    let rules = rules.map_err(accounts_error)?;
    let found = rules.get(kind.clone(), rule_id).map(PushRule::from);
    found.ok_or_else(|| ApiError::not_found("Unknown push rule"))
}

/// GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
async fn rule(
    State(accounts): State<Accounts>,
    request: Ruma<get_pushrule::v3::Request>,
) -> Result<RumaResponse<get_pushrule::v3::Response>, ApiError> {
    let rule = load(
        &accounts,
        &request,
        (&request.body.kind, &request.body.rule_id),
    )
    .await?;
    Ok(RumaResponse(get_pushrule::v3::Response::new(rule)))
}

#[derive(Deserialize)]
struct RuleBody {
    actions: Vec<Action>,
    #[serde(default)]
    conditions: Vec<PushCondition>,
    pattern: Option<String>,
}

#[derive(Deserialize)]
struct RuleQuery {
    before: Option<String>,
    after: Option<String>,
}

/// PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
async fn put(
    State(accounts): State<Accounts>,
    request: Ruma<Unparsed<set_pushrule::v3::Request>>,
) -> Result<RawJson, ApiError> {
    let Query(RuleQuery { before, after }) = Query::try_from_uri(&request.body.uri)
        .map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let body: RuleBody = serde_json::from_slice(&request.json)
        .map_err(|error| ApiError::bad_json(error.to_string()))?;
    let rule = new_rule(
        &request.body.path::<String>(0)?,
        request.body.path(1)?,
        body,
    )?;
    let change = RuleChange::Put {
        rule,
        place: RulePlace { before, after },
    };
    change_rules(&accounts, &request, &change).await
}

fn new_rule(kind: &str, rule_id: String, body: RuleBody) -> Result<NewPushRule, ApiError> {
    let actions = body.actions;
    Ok(match RuleKind::from(kind) {
        RuleKind::Override => NewPushRule::Override(NewConditionalPushRule::new(
            rule_id,
            body.conditions,
            actions,
        )),
        RuleKind::Underride => NewPushRule::Underride(NewConditionalPushRule::new(
            rule_id,
            body.conditions,
            actions,
        )),
        RuleKind::Content => {
            let pattern = body.pattern;
            let pattern = pattern.ok_or_else(|| ApiError::missing_param("Missing pattern"))?;
            NewPushRule::Content(NewPatternedPushRule::new(rule_id, pattern, actions))
        }
        RuleKind::Room => {
            let room = OwnedRoomId::try_from(rule_id);
            let room = room.map_err(|_| ApiError::invalid_param("The rule id is no room id"))?;
            NewPushRule::Room(NewSimplePushRule::new(room, actions))
        }
        RuleKind::Sender => {
            let user = OwnedUserId::try_from(rule_id);
            let user = user.map_err(|_| ApiError::invalid_param("The rule id is no user id"))?;
            NewPushRule::Sender(NewSimplePushRule::new(user, actions))
        }
        _ => return Err(ApiError::invalid_param("Unknown kind of push rule")),
    })
}

async fn change_rules<T>(
    accounts: &Accounts,
    request: &Ruma<T>,
    change: &RuleChange,
) -> Result<RawJson, ApiError> {
    let user = &request.caller()?.user;
    let changed = accounts.push_rules_change(user, change).await;
    changed.map_err(accounts_error)?;
    Ok(done())
}

/// DELETE /_matrix/client/v3/pushrules/global/{kind}/{ruleId}
async fn delete(
    State(accounts): State<Accounts>,
    request: Ruma<delete_pushrule::v3::Request>,
) -> Result<RawJson, ApiError> {
    let change = RuleChange::Delete {
        kind: request.body.kind.clone(),
        rule_id: request.body.rule_id.clone(),
    };
    change_rules(&accounts, &request, &change).await
}

/// GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
async fn enabled(
    State(accounts): State<Accounts>,
    request: Ruma<get_pushrule_enabled::v3::Request>,
) -> Result<RumaResponse<get_pushrule_enabled::v3::Response>, ApiError> {
    let rule = load(
        &accounts,
        &request,
        (&request.body.kind, &request.body.rule_id),
    )
    .await?;
    let answered = get_pushrule_enabled::v3::Response::new(rule.enabled);
    Ok(RumaResponse(answered))
}

/// PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/enabled
async fn set_enabled(
    State(accounts): State<Accounts>,
    request: Ruma<set_pushrule_enabled::v3::Request>,
) -> Result<RawJson, ApiError> {
    let change = RuleChange::Enabled {
        kind: request.body.kind.clone(),
        rule_id: request.body.rule_id.clone(),
        enabled: request.body.enabled,
    };
    change_rules(&accounts, &request, &change).await
}

/// GET /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
async fn actions(
    State(accounts): State<Accounts>,
    request: Ruma<get_pushrule_actions::v3::Request>,
) -> Result<RumaResponse<get_pushrule_actions::v3::Response>, ApiError> {
    let rule = load(
        &accounts,
        &request,
        (&request.body.kind, &request.body.rule_id),
    )
    .await?;
    let answered = get_pushrule_actions::v3::Response::new(rule.actions);
    Ok(RumaResponse(answered))
}

/// PUT /_matrix/client/v3/pushrules/global/{kind}/{ruleId}/actions
async fn set_actions(
    State(accounts): State<Accounts>,
    request: Ruma<set_pushrule_actions::v3::Request>,
) -> Result<RawJson, ApiError> {
    let change = RuleChange::Actions {
        kind: request.body.kind.clone(),
        rule_id: request.body.rule_id.clone(),
        actions: request.body.actions.clone(),
    };
    change_rules(&accounts, &request, &change).await
}
