//! The events that name children of a space, of rooms here and as other servers tell them.

use hearth_event::canonical::{Object, Strictness, Value, parse_object};
use hearth_event::{Pdu, client};
use ruma::{OwnedRoomId, OwnedServerName, RoomId, ServerName, UserId};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::Children;

/// How many children of one room are looked at.
pub(super) const CHILDREN_MAX: usize = 500;
/// Longest `order` of a child.
const ORDER_BYTES_MAX: usize = 50;
/// How many servers by which a child can be reached are taken from its event.
const VIA_MAX: usize = 10;

/// A child of a space.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) room_id: OwnedRoomId,
    /// Servers that are in it, as the space says.
    pub(crate) via: Vec<OwnedServerName>,
    /// Its event: stripped state with `origin_server_ts`.
    pub(crate) event: Box<RawValue>,
    is_suggested: bool,
    rank: Rank,
}

/// "Ordering of children within a space": those with an order first, then by time, then by id.
type Rank = (bool, String, u64, String);

impl Child {
    /// The child that a state event of a room here names.
    pub(crate) fn of(event: &Pdu) -> Option<Self> {
        let stripped = client::stripped_dated(event);
        Self::new(
            event.state_key()?,
            &event.content_object(),
            event.origin_server_ts().0,
            stripped,
        )
    }

    /// The child that an event names of which another server told: only what belongs to it is kept.
    pub(super) fn told(event: &Value) -> Option<Self> {
        let event = event.as_object()?;
        let text = |field: &str| event.get(field)?.as_str();
        if text("type") != Some("m.space.child") {
            return None;
        }
        let (state_key, sender) = (text("state_key")?, text("sender")?);
        UserId::parse(sender).ok()?;
        let ts = u64::try_from(event.get("origin_server_ts")?.as_integer()?).ok()?;
        let content = event.get("content")?.as_object()?;
        let raw = RawValue::from_string(hearth_event::canonical::to_string(content)).ok()?;
        let stripped = json!({
            "content": raw,
            "origin_server_ts": ts,
            "sender": sender,
            "state_key": state_key,
            "type": "m.space.child",
        });
        Self::new(state_key, content, ts, to_raw_value(&stripped).ok()?)
    }

    /// A child without a list of servers is none (`m.space.child`).
    fn new(key: &str, content: &Object, ts: u64, event: Box<RawValue>) -> Option<Self> {
        let via = content.get("via").and_then(Value::as_array)?;
        let via: Option<Vec<&str>> = via.iter().map(Value::as_str).collect();
        let via = via?.into_iter().take(VIA_MAX);
        let order = order(content);
        Some(Self {
            room_id: RoomId::parse(key).ok()?,
            via: via
                .filter_map(|server| ServerName::parse(server).ok())
                .collect(),
            event,
            is_suggested: matches!(content.get("suggested"), Some(Value::Bool(true))),
            rank: (
                order.is_none(),
                order.unwrap_or_default(),
                ts,
                key.to_owned(),
            ),
        })
    }
}

/// Those that are wanted, in their order, no more than are looked at.
pub(crate) fn wanted(children: impl Iterator<Item = Child>, which: Children) -> Vec<Child> {
    let mut wanted: Vec<Child> = children
        .filter(|child| which == Children::All || child.is_suggested)
        .collect();
    wanted.sort_by(|one, other| one.rank.cmp(&other.rank));
    wanted.truncate(CHILDREN_MAX);
    wanted
}

fn order(content: &Object) -> Option<String> {
    let order = content.get("order")?.as_str()?;
    let is_good = (1..=ORDER_BYTES_MAX).contains(&order.len())
        && order.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
    is_good.then(|| order.to_owned())
}

/// A JSON object of another server.
pub(super) fn object(json: &RawValue) -> Option<Object> {
    parse_object(json.get().as_bytes(), Strictness::Lenient).ok()
}
