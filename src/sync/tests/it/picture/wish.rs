//! What clients want: their filters, and by plain reading of these what belongs into a picture.

use serde_json::{Value, json};

use super::client::list;

/// How many different wishes there are.
pub(super) const WISHES: usize = 8;

/// What a client always wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    /// The room part of the filter, but for limits.
    pub(super) room: Value,
    /// Unread messages are counted per thread.
    pub(super) threads: bool,
}

impl Wish {
    /// One of the wishes, in a house with these rooms.
    pub(super) fn of(number: usize, rooms: &[String]) -> Self {
        let (room, threads) = match number % WISHES {
            0 => (json!({}), false),
            1 => (
                json!({"timeline": {"not_types": ["m.room.topic", "m.room.mem*"]}}),
                true,
            ),
            2 => (json!({"timeline": {"types": ["m.room.message"]}}), false),
            3 => (json!({"state": {"lazy_load_members": true}}), true),
            4 => (
                json!({
                    "not_rooms": [rooms[2]],
                    "state": {"types": ["m.room.name", "m.room.mem*"]},
                }),
                false,
            ),
            5 => (
                json!({
                    "timeline": {"rooms": [rooms[0], rooms[1]], "not_senders": ["@bob:house"]},
                    "state": {"not_types": ["m.room.topic"]},
                    "account_data": {"not_rooms": [rooms[0]]},
                }),
                true,
            ),
            6 => (
                json!({
                    "timeline": {"types": ["m.room.message", "m.reaction"]},
                    "state": {"lazy_load_members": true, "not_rooms": [rooms[1]]},
                    "ephemeral": {"not_types": ["m.receipt"]},
                }),
                false,
            ),
            _ => (
                json!({
                    "rooms": [rooms[0], rooms[1]],
                    "timeline": {"not_rooms": [rooms[1]]},
                    "state": {"types": []},
                    "ephemeral": {"rooms": [rooms[1]]},
                    "account_data": {"types": ["org.example.0", "m.fully_read"]},
                }),
                true,
            ),
        };
        Self { room, threads }
    }

    pub(super) fn is_lazy(&self) -> bool {
        self.room["state"]["lazy_load_members"] == true
    }

    /// Whether anything of a room is wanted.
    pub(super) fn wants_room(&self, room: &str) -> bool {
        allows(&self.room, "rooms", |name| name == room)
    }

    /// Whether what has a type is wanted in a section of a room.
    pub(super) fn wants(&self, section: &str, room: &str, kind: &str) -> bool {
        let filter = &self.room[section];
        self.wants_room(room)
            && allows(filter, "rooms", |name| name == room)
            && allows(filter, "types", |pattern| {
                pattern
                    .strip_suffix('*')
                    .map_or(pattern == kind, |start| kind.starts_with(start))
            })
    }

    /// Whether an event by a user is wanted in timelines.
    pub(super) fn wants_event(&self, room: &str, kind: &str, sender: &str) -> bool {
        let filter = &self.room["timeline"];
        self.wants("timeline", room, kind) && allows(filter, "senders", |name| name == sender)
    }

    /// Whether the client is told enough of a room to know whether she ever was in it.
    pub(super) fn knows_left(&self, room: &str) -> bool {
        self.wants("state", room, "m.room.create")
            || (self.wants("state", room, "m.room.member") && !self.is_lazy())
    }
}

/// Whether a filter's list, if there is one, names something, and the list of what it does not want does not.
fn allows(filter: &Value, name: &str, is_meant: impl Fn(&str) -> bool) -> bool {
    let names = |values: &Value| list(values).filter_map(Value::as_str).any(&is_meant);
    let wanted = &filter[name];
    (wanted.is_null() || names(wanted)) && !names(&filter[format!("not_{name}")])
}
