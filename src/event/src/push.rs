//! Push rules: which events notify whom (client-server API, "Push Notifications").
//!
//! The rules are ruma's types; they are evaluated here, because ruma's evaluation is async and its patterns are not
//! linear in time.

use ruma::push::{
    Action, AnyPushRuleRef, PatternedPushRule, PushCondition, Ruleset, ScalarJsonValue,
};
use ruma::{OwnedUserId, UInt, UserId};

use crate::canonical::{Object, Value};
use crate::{Glob, Pdu, PowerLevels, UserLevel};

/// Most conditions of a rule that are looked at; a rule with more matches nothing.
const CONDITIONS_MAX: usize = 128;

/// What the conditions of push rules look at besides the event.
#[derive(Clone, Debug)]
pub struct PushContext {
    /// Whose rules they are.
    pub user_id: OwnedUserId,
    /// The user's display name in the room.
    pub display_name: Option<String>,
    /// How many members are joined.
    pub joined_members: u64,
    /// The room's power levels at the event. Without them no permission is granted.
    pub power_levels: Option<PowerLevels>,
}

/// What the first matching rule says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Whether to notify.
    pub notify: bool,
    /// Whether to highlight.
    pub highlight: bool,
    /// The sound to play.
    pub sound: Option<String>,
    /// The rule that matched.
    pub rule_id: Option<String>,
}

/// The server-default rules for a user, as of version 1.19 of the specification.
pub fn default_ruleset(user_id: &UserId) -> Ruleset {
    Ruleset::server_default(user_id)
}

/// An event made ready to be matched against the rules of several users.
#[derive(Debug)]
pub struct PushEvent {
    fields: Object,
    sender: OwnedUserId,
}

impl PushEvent {
    /// Reads the event once.
    pub fn new(event: &Pdu) -> Self {
        let mut fields = event.to_object();
        fields.insert("event_id".to_owned(), event.event_id().as_str().into());
        fields.insert("room_id".to_owned(), event.room_id().as_str().into());
        Self {
            fields,
            sender: event.sender().to_owned(),
        }
    }

    /// What the user's rules say about the event. One's own events never notify.
    pub fn evaluate(&self, ruleset: &Ruleset, context: &PushContext) -> PushOutcome {
        if self.sender == context.user_id {
            return PushOutcome::default();
        }
        // The master rule beats all, wherever a client has put its own rules.
        let master = ruleset
            .override_
            .get(".m.rule.master")
            .map(AnyPushRuleRef::Override);
        let matching = master
            .into_iter()
            .chain(ruleset.iter())
            .find(|rule| rule.enabled() && self.matches(*rule, context));
        matching.map_or_else(PushOutcome::default, outcome)
    }

    fn matches(&self, rule: AnyPushRuleRef<'_>, context: &PushContext) -> bool {
        match rule {
            AnyPushRuleRef::Override(rule) | AnyPushRuleRef::Underride(rule) => {
                rule.conditions.len() <= CONDITIONS_MAX
                    && rule
                        .conditions
                        .iter()
                        .all(|condition| self.meets(condition, context))
            }
            AnyPushRuleRef::Content(rule) => self.matches_pattern(rule),
            AnyPushRuleRef::Room(rule) => self.text("room_id") == Some(rule.rule_id.as_str()),
            AnyPushRuleRef::Sender(rule) => self.sender == rule.rule_id,
            _ => false,
        }
    }

    fn matches_pattern(&self, rule: &PatternedPushRule) -> bool {
        self.text("content.body")
            .is_some_and(|body| Glob::new(&rule.pattern).matches_word(body))
    }

    fn meets(&self, condition: &PushCondition, context: &PushContext) -> bool {
        match condition {
            PushCondition::EventMatch(condition) => {
                self.matches_field(&condition.key, &condition.pattern)
            }
            PushCondition::RoomMemberCount(condition) => UInt::try_from(context.joined_members)
                .is_ok_and(|count| std::ops::RangeBounds::contains(&condition.is, &count)),
            PushCondition::SenderNotificationPermission(condition) => {
                context.power_levels.as_ref().is_some_and(|power| {
                    let needed = power.notification(condition.key.as_str());
                    power.user_level(&self.sender) >= UserLevel::Int(needed)
                })
            }
            PushCondition::EventPropertyIs(condition) => self
                .field(&condition.key)
                .is_some_and(|value| is_scalar(value, &condition.value)),
            PushCondition::EventPropertyContains(condition) => self
                .field(&condition.key)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .any(|value| is_scalar(value, &condition.value)),
            // Of rules that clients made before it was removed from the specification.
            #[expect(deprecated, reason = "old rules still hold it")]
            PushCondition::ContainsDisplayName => context
                .display_name
                .as_deref()
                .zip(self.text("content.body"))
                .is_some_and(|(name, body)| contains_word(body, name)),
            // Unknown kinds never match.
            _ => false,
        }
    }

    fn matches_field(&self, key: &str, pattern: &str) -> bool {
        let Some(text) = self.text(key) else {
            return false;
        };
        if key == "content.body" {
            Glob::new(pattern).matches_word(text)
        } else if pattern.contains(['*', '?']) || !pattern.is_ascii() {
            Glob::new(pattern).matches(text)
        } else {
            text.eq_ignore_ascii_case(pattern)
        }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.field(key).and_then(Value::as_str)
    }

    /// The value at a dotted path; `\.` and `\\` stand for a dot and a backslash within a key.
    fn field(&self, path: &str) -> Option<&Value> {
        // Asked by each rule of each user.
        if !path.contains('\\') {
            return self.at(path.split('.'));
        }
        self.at(split_path(path).iter().map(String::as_str))
    }

    fn at<'a>(&self, mut keys: impl Iterator<Item = &'a str>) -> Option<&Value> {
        let mut value = self.fields.get(keys.next()?)?;
        for key in keys {
            value = value.as_object()?.get(key)?;
        }
        Some(value)
    }
}

/// [`PushEvent::evaluate`] for a single user.
pub fn evaluate(ruleset: &Ruleset, event: &Pdu, context: &PushContext) -> PushOutcome {
    PushEvent::new(event).evaluate(ruleset, context)
}

fn outcome(rule: AnyPushRuleRef<'_>) -> PushOutcome {
    let actions = rule.actions();
    PushOutcome {
        notify: actions.iter().any(Action::should_notify),
        highlight: actions.iter().any(Action::is_highlight),
        sound: actions
            .iter()
            .find_map(Action::sound)
            .map(|sound| sound.as_str().to_owned()),
        rule_id: Some(rule.rule_id().to_owned()),
    }
}

/// The keys of a dotted path; `\.` and `\\` stand for a dot and a backslash within a key.
pub fn split_path(path: &str) -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut characters = path.chars().peekable();
    while let Some(character) = characters.next() {
        let escaped = characters.next_if(|next| character == '\\' && matches!(next, '.' | '\\'));
        match (character, escaped) {
            (_, Some(escaped)) => push_char(&mut keys, escaped),
            ('.', None) => keys.push(String::new()),
            (plain, None) => push_char(&mut keys, plain),
        }
    }
    keys
}

fn push_char(keys: &mut [String], character: char) {
    if let Some(last) = keys.last_mut() {
        last.push(character);
    }
}

fn is_scalar(value: &Value, wanted: &ScalarJsonValue) -> bool {
    match (value, wanted) {
        (Value::Null, ScalarJsonValue::Null) => true,
        (Value::Bool(value), ScalarJsonValue::Bool(wanted)) => value == wanted,
        (Value::Integer(value), ScalarJsonValue::Integer(wanted)) => *value == i64::from(*wanted),
        (Value::String(value), ScalarJsonValue::String(wanted)) => value == wanted,
        _ => false,
    }
}

/// Whether a text contains words, letter case ignored. Not a pattern: a name may hold `*`.
fn contains_word(text: &str, words: &str) -> bool {
    Glob::literal(words).matches_word(text)
}

#[cfg(test)]
mod tests;
