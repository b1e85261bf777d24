//! Push rules: a user's rules are her account data `m.push_rules`, begun with the server's defaults.

use std::hash::Hash;

use hearth_data::accounts::{account_data, push_rules as data};
use hearth_data::changes::{Change, record};
use hearth_data::row::Json;
use hearth_store::Batch;
use indexmap::{Equivalent, IndexSet};
use ruma::UserId;
use ruma::push::{
    Action, ConditionalPushRule, NewPushRule, PatternedPushRule, RemovePushRuleError, RuleKind,
    Ruleset, SimplePushRule,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Accounts, Error, Result};

/// How many rules a user can have, the defaults counted in.
const RULES_MAX: usize = 2_000;

/// Largest set of rules as JSON, in bytes.
const RULES_BYTES_MAX: usize = 512 << 10;

/// Longest id of a rule, in bytes.
const RULE_ID_BYTES_MAX: usize = 255;

/// The kinds of rules, all of which a client is shown, empty or not.
const KINDS: [&str; 5] = ["override", "content", "room", "sender", "underride"];

/// Why push rules were not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushRuleError {
    /// Ids with a dot in front are the server's.
    #[error("rule ids that begin with a dot are the server's")]
    ServerDefaultId,
    /// The id is empty, too long, or holds a slash.
    #[error("a rule id has 1 to 255 bytes and no slash or backslash")]
    InvalidId,
    /// `before` or `after` names a rule of the server.
    #[error("a rule cannot be placed by one of the server's")]
    BesideServerDefault,
    /// `before` or `after` names no rule.
    #[error("the rule in before or after does not exist")]
    UnknownNeighbour,
    /// `before` comes before `after`.
    #[error("the rule in before comes before the one in after")]
    ImpossiblePlace,
    /// The rule is the server's and cannot be removed.
    #[error("the server's rules cannot be removed")]
    ServerDefault,
    /// There is no such rule.
    #[error("there is no such push rule")]
    NotFound,
    /// There would be too many.
    #[error("these are too many push rules")]
    TooMany,
}

/// Where a rule is put among those of its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RulePlace {
    /// Right before this one.
    pub before: Option<String>,
    /// Right after this one.
    pub after: Option<String>,
}

/// A change of push rules.
#[derive(Clone, Debug)]
pub enum RuleChange {
    /// Adds a rule or replaces it.
    Put {
        /// The rule.
        rule: NewPushRule,
        /// Where.
        place: RulePlace,
    },
    /// Removes a rule.
    Delete {
        /// Its kind.
        kind: RuleKind,
        /// Its id.
        rule_id: String,
    },
    /// Turns a rule on or off.
    Enabled {
        /// Its kind.
        kind: RuleKind,
        /// Its id.
        rule_id: String,
        /// On.
        enabled: bool,
    },
    /// Gives a rule other actions.
    Actions {
        /// Its kind.
        kind: RuleKind,
        /// Its id.
        rule_id: String,
        /// The actions.
        actions: Vec<Action>,
    },
}

#[derive(Serialize, Deserialize)]
struct Content<G> {
    global: G,
}

impl Accounts {
    /// A user's rules as the content of `m.push_rules`: `{"global": …}`.
    pub async fn push_rules_json(&self, user: &UserId) -> Result<Json> {
        let stored = self.account_data(user, None, data::TYPE).await?;
        Ok(stored.unwrap_or_else(|| default_content(user)))
    }

    /// A user's rules.
    pub async fn push_rules(&self, user: &UserId) -> Result<Ruleset> {
        parse(&self.push_rules_json(user).await?)
    }

    /// Changes a user's rules.
    pub async fn push_rules_change(&self, user: &UserId, change: &RuleChange) -> Result<()> {
        let key = &(user.to_string(), String::new(), data::TYPE.to_owned());
        self.decide(|snapshot| async move {
            let current = account_data::account_data(&*snapshot, key).await?;
            let mut rules = match &current {
                Some(current) => parse(&current.content)?,
                None => hearth_event::push::default_ruleset(user),
            };
            apply(&mut rules, change.clone())?;
            let after = content(&rules)?;
            if rules.iter().count() > RULES_MAX || after.0.len() > RULES_BYTES_MAX {
                return Err(PushRuleError::TooMany.into());
            }
            let history = data::history(&*snapshot, user.as_str()).await?;
            let mut batch = Batch::new();
            data::put(&mut batch, user.as_str(), &history, &after);
            account_data::put(&mut batch, key, current.as_ref(), after);
            let user = user.to_string();
            record(&mut batch, vec![Change::AccountData { user }]);
            Ok((batch, ()))
        })
        .await
    }
}

/// The content of `m.push_rules` of a new user.
pub(crate) fn default_content(user: &UserId) -> Json {
    content(&hearth_event::push::default_ruleset(user))
        .unwrap_or_else(|_| Json::from_text(r#"{"global":{}}"#))
}

fn parse(json: &Json) -> Result<Ruleset> {
    let content: Content<Ruleset> =
        serde_json::from_str(json.text()).map_err(|source| Error::Corrupt {
            what: "set of push rules",
            source,
        })?;
    Ok(content.global)
}

fn content(rules: &Ruleset) -> Result<Json> {
    let corrupt = |source| Error::Corrupt {
        what: "set of push rules",
        source,
    };
    let mut global = serde_json::to_value(rules).map_err(corrupt)?;
    if let Value::Object(kinds) = &mut global {
        for kind in KINDS {
            kinds
                .entry(kind)
                .or_insert_with(|| Value::Array(Vec::new()));
        }
    }
    let text = serde_json::to_string(&Content { global }).map_err(corrupt)?;
    Ok(Json::from_text(text))
}

fn apply(rules: &mut Ruleset, change: RuleChange) -> Result<(), PushRuleError> {
    let not_found = |_| PushRuleError::NotFound;
    match change {
        RuleChange::Put { rule, place } => put(rules, rule, &place),
        RuleChange::Delete { kind, rule_id } => {
            rules.remove(kind, rule_id).map_err(|error| match error {
                RemovePushRuleError::ServerDefault => PushRuleError::ServerDefault,
                _ => PushRuleError::NotFound,
            })
        }
        RuleChange::Enabled {
            kind,
            rule_id,
            enabled,
        } => rules.set_enabled(kind, rule_id, enabled).map_err(not_found),
        RuleChange::Actions {
            kind,
            rule_id,
            actions,
        } => rules.set_actions(kind, rule_id, actions).map_err(not_found),
    }
}

/// `Ruleset::insert` of ruma panics when a rule is moved behind the last one, so rules are placed here.
fn put(rules: &mut Ruleset, rule: NewPushRule, place: &RulePlace) -> Result<(), PushRuleError> {
    let id = rule.rule_id().to_owned();
    if id.starts_with('.') {
        return Err(PushRuleError::ServerDefaultId);
    }
    if id.is_empty() || id.len() > RULE_ID_BYTES_MAX || id.contains(['/', '\\']) {
        return Err(PushRuleError::InvalidId);
    }
    let enabled = rules
        .get(rule.kind(), &id)
        .is_none_or(|before| before.enabled());
    match rule {
        NewPushRule::Override(rule) => {
            let mut rule = ConditionalPushRule::from(rule);
            rule.enabled = enabled;
            // After the master switch, before all others.
            let default = usize::from(rules.override_.get_index_of(".m.rule.master") == Some(0));
            insert(&mut rules.override_, rule, &id, (place, default))
        }
        NewPushRule::Underride(rule) => {
            let mut rule = ConditionalPushRule::from(rule);
            rule.enabled = enabled;
            insert(&mut rules.underride, rule, &id, (place, 0))
        }
        NewPushRule::Content(rule) => {
            let mut rule = PatternedPushRule::from(rule);
            rule.enabled = enabled;
            insert(&mut rules.content, rule, &id, (place, 0))
        }
        NewPushRule::Room(rule) => {
            let mut rule = SimplePushRule::from(rule);
            rule.enabled = enabled;
            insert(&mut rules.room, rule, &id, (place, 0))
        }
        NewPushRule::Sender(rule) => {
            let mut rule = SimplePushRule::from(rule);
            rule.enabled = enabled;
            insert(&mut rules.sender, rule, &id, (place, 0))
        }
        _ => Err(PushRuleError::NotFound),
    }
}

/// Puts a rule where it is asked for; without a wish an old one stays where it is and a new one goes to `default`.
fn insert<T>(
    rules: &mut IndexSet<T>,
    rule: T,
    id: &str,
    (place, default): (&RulePlace, usize),
) -> Result<(), PushRuleError>
where
    T: Hash + Eq,
    str: Equivalent<T>,
{
    let unplaced = place.before.is_none() && place.after.is_none();
    if unplaced && rules.contains(id) {
        rules.replace(rule);
        return Ok(());
    }
    rules.shift_remove(id);
    let neighbour = |id: &Option<String>| match id.as_deref() {
        None => Ok(None),
        Some(id) if id.starts_with('.') => Err(PushRuleError::BesideServerDefault),
        Some(id) => rules
            .get_index_of(id)
            .map(Some)
            .ok_or(PushRuleError::UnknownNeighbour),
    };
    let index = match (neighbour(&place.before)?, neighbour(&place.after)?) {
        (None, None) => default.min(rules.len()),
        (Some(before), Some(after)) if before <= after => {
            return Err(PushRuleError::ImpossiblePlace);
        }
        (Some(before), _) => before,
        (None, Some(after)) => after + 1,
    };
    rules.shift_insert(index, rule);
    Ok(())
}
