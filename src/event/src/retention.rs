//! How long messages are kept (MSC1763): what a room wants by `m.room.retention`, and what the server lets it have.
//!
//! Only messages end. State events are what a room is made of and stay.

use hearth_types::UnixMs;
use serde::Deserialize;

use crate::Pdu;

/// The type of the state event with which a room says how long its messages are kept.
pub const RETENTION: &str = "m.room.retention";

/// Larger numbers are none in JSON that others understand.
const MILLIS_MAX: u64 = (1 << 53) - 1;

/// How long messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lifetime(u64);

impl Lifetime {
    /// Without end.
    pub const FOREVER: Self = Self(u64::MAX);

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    /// In milliseconds; `None` without end.
    pub fn as_millis(self) -> Option<u64> {
        (self != Self::FOREVER).then_some(self.0)
    }

    /// What was sent before this moment has come to its end. The beginning of time without end.
    pub fn ended_before(self, now: UnixMs) -> UnixMs {
        UnixMs(now.0.saturating_sub(self.0))
    }
}

/// What a room's `m.room.retention` says. One that makes no sense says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    max: Option<Lifetime>,
    min: Option<Lifetime>,
}

impl Policy {
    /// The policy that an event sets.
    pub fn of(event: &Pdu) -> Self {
        #[derive(Deserialize)]
        struct Content {
            max_lifetime: Option<u64>,
            min_lifetime: Option<u64>,
        }
        let Ok(content) = event.content_as::<Content>() else {
            return Self::default();
        };
        let (max, min) = (content.max_lifetime, content.min_lifetime);
        let are_numbers = max.is_none_or(is_number) && min.is_none_or(is_number);
        let are_ordered = max.zip(min).is_none_or(|(max, min)| min <= max);
        match are_numbers && are_ordered {
            true => Self {
                max: max.map(Lifetime),
                min: min.map(Lifetime),
            },
            false => Self::default(),
        }
    }
}

fn is_number(millis: u64) -> bool {
    millis <= MILLIS_MAX
}

/// What the operator of a server wants. `min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For rooms that do not say.
    pub default: Lifetime,
    /// No room's messages are kept shorter.
    pub min: Lifetime,
    /// No room's messages are kept longer.
    pub max: Lifetime,
}

impl Default for Bounds {
    /// Everything is kept, whatever rooms want.
    fn default() -> Self {
        Self {
            default: Lifetime::FOREVER,
            min: Lifetime::FOREVER,
            max: Lifetime::FOREVER,
        }
    }
}

impl Bounds {
    /// How long the messages of a room with this policy are kept.
    pub fn lifetime(&self, policy: Policy) -> Lifetime {
        let wanted = policy.max.unwrap_or(self.default);
        let wanted = policy.min.map_or(wanted, |min| wanted.max(min));
        // Should the bounds cross, more is kept rather than less.
        wanted.min(self.max).max(self.min)
    }

    /// Whether messages of any room come to an end.
    pub fn is_any(&self) -> bool {
        self.min != Lifetime::FOREVER
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::RoomVersion;
    use crate::fixture::stored;

    fn policy(content: serde_json::Value) -> Policy {
        let event = json!({
            "type": RETENTION, "state_key": "", "sender": "@a:x", "origin_server_ts": 1,
            "depth": 1, "prev_events": [], "auth_events": [], "content": content,
        });
        Policy::of(&stored(RoomVersion::V11, &event))
    }

    #[test]
    fn a_policy_that_makes_no_sense_says_nothing() {
        for content in [
            json!({}),
            json!({"max_lifetime": null}),
            json!({"max_lifetime": "1d"}),
            json!({"max_lifetime": -1}),
            json!({"max_lifetime": [1]}),
            json!({"max_lifetime": 9_007_199_254_740_991_u64, "min_lifetime": "x"}),
            json!({"max_lifetime": 5, "min_lifetime": 6}),
        ] {
            assert_eq!(policy(content.clone()), Policy::default(), "{content}");
        }
    }

    #[test]
    fn a_room_gets_what_it_wants_within_the_bounds() {
        let bounds = Bounds {
            default: Lifetime(500),
            min: Lifetime(100),
            max: Lifetime(1_000),
        };
        for (content, lifetime) in [
            (json!({}), 500),
            (json!({"max_lifetime": 300}), 300),
            (json!({"max_lifetime": 1}), 100),
            (json!({"max_lifetime": 5_000}), 1_000),
            (json!({"min_lifetime": 800}), 800),
            (json!({"min_lifetime": 200}), 500),
            (json!({"min_lifetime": 5_000}), 1_000),
            (json!({"min_lifetime": 300, "max_lifetime": 300}), 300),
        ] {
            let found = bounds.lifetime(policy(content.clone()));
            assert_eq!(found, Lifetime(lifetime), "{content}");
        }
    }

    #[test]
    fn nothing_ends_unless_the_operator_says_so() {
        let bounds = Bounds::default();
        assert!(!bounds.is_any());
        let wanted = bounds.lifetime(policy(json!({"max_lifetime": 1})));
        assert_eq!(wanted, Lifetime::FOREVER);
        assert_eq!(wanted.ended_before(UnixMs(1_000)), UnixMs(0));
        assert_eq!(Lifetime(300).ended_before(UnixMs(1_000)), UnixMs(700));
    }
}
