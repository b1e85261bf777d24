//! Filters: which events, rooms and sections a client wants.

use std::collections::HashSet;

use hearth_event::Pdu;
use hearth_event::push::split_path;
use serde::Deserialize;
use serde::de::{DeserializeOwned, Error as _};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use crate::{Error, Result};

/// How many paths of `event_fields` are obeyed.
const FIELDS_MAX: usize = 256;

/// A filter definition (client-server API, "Filtering").
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    pub(crate) event_format: EventFormat,
    pub(crate) event_fields: Option<Fields>,
    pub(crate) account_data: EventFilter,
    pub(crate) presence: EventFilter,
    pub(crate) room: RoomFilter,
}

/// In which format events are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EventFormat {
    #[default]
    Client,
    Federation,
}

/// Which fields of events are wanted: paths of keys.
#[derive(Debug, Deserialize)]
#[serde(from = "Vec<String>")]
pub(crate) struct Fields(Vec<Vec<String>>);

impl From<Vec<String>> for Fields {
    fn from(paths: Vec<String>) -> Self {
        let paths = paths.iter().take(FIELDS_MAX);
        Self(paths.map(|path| split_path(path)).collect())
    }
}

impl Fields {
    /// The wanted part of an event.
    pub(crate) fn pick(&self, event: &RawValue) -> Box<RawValue> {
        let Ok(event) = serde_json::from_str::<Map<String, Value>>(event.get()) else {
            return event.to_owned();
        };
        let mut picked = Map::new();
        for path in &self.0 {
            copy(&event, &mut picked, path);
        }
        to_raw_value(&picked).unwrap_or_default()
    }
}

fn copy(from: &Map<String, Value>, to: &mut Map<String, Value>, path: &[String]) {
    let Some((key, rest)) = path.split_first() else {
        return;
    };
    let Some(value) = from.get(key) else { return };
    if rest.is_empty() {
        to.insert(key.clone(), value.clone());
    } else if let Value::Object(from) = value {
        let inner = to.entry(key.clone());
        if let Value::Object(to) = inner.or_insert_with(|| Map::new().into()) {
            copy(from, to, rest);
        }
    }
}

/// What is wanted of rooms.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct RoomFilter {
    pub(crate) rooms: Option<HashSet<String>>,
    pub(crate) not_rooms: HashSet<String>,
    pub(crate) include_leave: bool,
    pub(crate) account_data: EventFilter,
    pub(crate) timeline: EventFilter,
    pub(crate) ephemeral: EventFilter,
    pub(crate) state: EventFilter,
}

/// Which events are wanted. `EventFilter` and `RoomEventFilter` of the specification in one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct EventFilter {
    pub(crate) limit: Option<u64>,
    types: Option<Vec<String>>,
    not_types: Vec<String>,
    senders: Option<HashSet<String>>,
    not_senders: HashSet<String>,
    rooms: Option<HashSet<String>>,
    not_rooms: HashSet<String>,
    contains_url: Option<bool>,
    pub(crate) lazy_load_members: bool,
    pub(crate) include_redundant_members: bool,
    pub(crate) unread_thread_notifications: bool,
    pub(crate) related_by_rel_types: Option<Vec<String>>,
    pub(crate) related_by_senders: Option<Vec<String>>,
}

impl Filter {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        parse(json)
    }
}

fn parse<T: DeserializeOwned>(json: &str) -> Result<T> {
    // An array would pass for the fields in their order.
    if !json.trim_start().starts_with('{') {
        return Err(Error::BadFilter(serde_json::Error::custom("not an object")));
    }
    serde_json::from_str(json).map_err(Error::BadFilter)
}

impl RoomFilter {
    /// Whether the room is wanted at all.
    pub(crate) fn wants(&self, room_id: &str) -> bool {
        !self.not_rooms.contains(room_id)
            && self
                .rooms
                .as_ref()
                .is_none_or(|rooms| rooms.contains(room_id))
    }
}

impl EventFilter {
    pub(crate) fn parse(json: &str) -> Result<Self> {
        parse(json)
    }

    /// Whether events of a type are wanted.
    pub(crate) fn wants_type(&self, kind: &str) -> bool {
        let matches = |patterns: &[String]| patterns.iter().any(|pattern| is_match(pattern, kind));
        !matches(&self.not_types) && self.types.as_deref().is_none_or(matches)
    }

    /// Whether what a user sends is wanted.
    pub(crate) fn wants_sender(&self, sender: &str) -> bool {
        !self.not_senders.contains(sender)
            && self
                .senders
                .as_ref()
                .is_none_or(|senders| senders.contains(sender))
    }

    /// Whether anything of a room is wanted.
    pub(crate) fn wants_room(&self, room_id: &str) -> bool {
        !self.not_rooms.contains(room_id)
            && self
                .rooms
                .as_ref()
                .is_none_or(|rooms| rooms.contains(room_id))
    }

    /// Whether the filter lets no event at all through, so that nothing need be read.
    pub(crate) fn wants_nothing(&self) -> bool {
        let is_empty =
            |list: &Option<HashSet<String>>| list.as_ref().is_some_and(HashSet::is_empty);
        self.types.as_ref().is_some_and(Vec::is_empty)
            || is_empty(&self.senders)
            || is_empty(&self.rooms)
            || self.not_types.iter().any(|pattern| pattern == "*")
    }

    /// Whether an event of a room that is wanted is wanted itself. Relations to it are looked at elsewhere.
    pub(crate) fn wants(&self, pdu: &Pdu) -> bool {
        self.wants_type(pdu.kind())
            && self.wants_sender(pdu.sender().as_str())
            && self
                .contains_url
                .is_none_or(|wanted| has_url(pdu) == wanted)
    }

    /// Whether events are chosen by what relates to them.
    pub(crate) fn asks_relations(&self) -> bool {
        self.related_by_rel_types.is_some() || self.related_by_senders.is_some()
    }

    /// The number of events wanted, within bounds.
    pub(crate) fn limit_within(&self, default: usize, max: usize) -> usize {
        self.limit.map_or(default, |limit| {
            usize::try_from(limit).unwrap_or(max).min(max)
        })
    }
}

fn has_url(pdu: &Pdu) -> bool {
    #[derive(Deserialize)]
    struct Content {
        url: Option<serde::de::IgnoredAny>,
    }
    pdu.content_as::<Content>()
        .is_ok_and(|content| content.url.is_some())
}

/// Whether a pattern, in which `*` stands for anything, matches the whole text. Goes back only to the last `*`, so
/// the work is bounded by the product of the lengths.
fn is_match(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        if at < pattern.len() && pattern[at] == b'*' {
            star = Some((at + 1, from));
            at += 1;
        } else if at < pattern.len() && pattern[at] == text[from] {
            at += 1;
            from += 1;
        } else if let Some((after, tried)) = star {
            at = after;
            from = tried + 1;
            star = Some((after, tried + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_match_any_run_of_characters() {
        let cases = [
            ("m.room.message", "m.room.message", true),
            ("m.room.*", "m.room.message", true),
            ("*", "", true),
            ("*.message", "m.room.message", true),
            ("m.*.m*e", "m.room.message", true),
            ("m.room", "m.room.message", false),
            ("M.ROOM.*", "m.room.message", false),
            ("m.?oom.*", "m.room.message", false),
            ("*a*b", "xaxxb", true),
            ("*a*b", "xaxxbc", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(is_match(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn not_wins_over_wanted() {
        let filter = EventFilter::parse(r#"{"types":["m.*"],"not_types":["m.room.*"]}"#).unwrap();
        assert!(filter.wants_type("m.reaction"));
        assert!(!filter.wants_type("m.room.message"));
        assert!(!filter.wants_type("org.example"));
        assert!(
            EventFilter::parse(r#"{"types":[]}"#)
                .unwrap()
                .wants_nothing()
        );
    }

    #[test]
    fn fields_are_picked_by_their_paths() {
        let event = r#"{"type":"t","content":{"body":"b","a.b":1,"c":{"d":2,"e":3}},"sender":"s"}"#;
        let event: &RawValue = serde_json::from_str(event).unwrap();
        let cases = [
            (r#"["type"]"#, r#"{"type":"t"}"#),
            (
                r#"["content.c.d","content.body","nothing.at.all"]"#,
                r#"{"content":{"body":"b","c":{"d":2}}}"#,
            ),
            (r#"["content.a\\.b"]"#, r#"{"content":{"a.b":1}}"#),
            (r#"["sender.x",""]"#, "{}"),
            ("[]", "{}"),
        ];
        for (fields, expected) in cases {
            let fields: Fields = serde_json::from_str(fields).unwrap();
            assert_eq!(fields.pick(event).get(), expected);
        }
    }

    #[test]
    fn a_filter_of_the_wrong_shape_is_refused() {
        for json in [
            "[]",
            "{",
            r#"{"room":1}"#,
            r#"{"room":{"timeline":{"limit":"x"}}}"#,
        ] {
            assert!(Filter::parse(json).is_err(), "{json}");
        }
        assert!(Filter::parse(r#"{"room":{"timeline":{"limit":7,"unknown":1}}}"#).is_ok());
    }
}
