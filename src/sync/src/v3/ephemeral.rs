//! The ephemeral section: typing and receipts.

use std::collections::BTreeMap;

use hearth_data::receipts::{self, ReceiptKey, ReceiptRow};
use hearth_store::Position;
use ruma::OwnedEventId;
use serde_json::value::RawValue;

use super::Round;
use crate::Result;
use crate::json::{JsonWriter, typed};
use crate::notifier::Tail;
use crate::room::RoomReader;

/// How many receipts one answer holds per room.
const RECEIPTS_MAX: usize = 10_000;
/// The type of receipts that only their user gets.
const PRIVATE: &str = "m.read.private";

/// Ephemeral events, and whether a receipt of the user's own is among what changed (then counts may have, too).
pub(super) async fn section(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    (since, tail): (Option<Position>, Option<&Tail>),
) -> Result<(Vec<Box<RawValue>>, bool)> {
    let filter = &round.filter.room.ephemeral;
    let wants_room = filter.wants_room(reader.name.id.as_str());
    let mut events = Vec::new();
    if wants_room && filter.wants_type("m.typing") {
        events.extend(typing(round, reader, since));
    }
    if tail.is_some_and(|tail| tail.are_receipts_same) {
        return Ok((events, false));
    }
    let from = since.unwrap_or(Position::ZERO);
    let (snapshot, to) = (reader.snapshot, round.to.position);
    let changed = receipts::changed(snapshot, reader.no, from, to, RECEIPTS_MAX).await?;
    let has_own = changed.iter().any(|(key, _)| key.user == round.user());
    if wants_room && filter.wants_type("m.receipt") {
        events.extend(receipt_events(round, changed));
    }
    Ok((events, has_own))
}

fn typing(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    since: Option<Position>,
) -> Option<Box<RawValue>> {
    let typing = &round.inner.parts.typing;
    // A room that is new to the client is told as it stands.
    let known = if since.is_some() {
        round.since_typing()
    } else {
        0
    };
    if typing.room_version(reader.no.0) <= known {
        return None;
    }
    let users = typing.users(reader.no.0);
    if users.is_empty() && since.is_none() {
        return None;
    }
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("user_ids");
    json.begin_array();
    for user in users {
        if !round.facts.ignored.contains(user.as_str()) {
            json.text(user.as_str());
        }
    }
    json.end_array();
    json.end_object();
    typed("m.typing", &json.finish())
}

/// Event → receipt type → user → (time, thread).
type Content = BTreeMap<OwnedEventId, BTreeMap<String, BTreeMap<String, (u64, String)>>>;

/// The receipts, in as few events as hold them: in one event a user has one receipt of a type at an event. The last
/// one has those that count most, the unthreaded ones (MSC4102).
fn receipt_events(round: &Round<'_>, changed: Vec<(ReceiptKey, ReceiptRow)>) -> Vec<Box<RawValue>> {
    let (unthreaded, threaded): (Vec<_>, Vec<_>) = changed
        .into_iter()
        .filter(|(key, _)| key.kind != PRIVATE || key.user == round.user())
        .partition(|(key, _)| key.thread.is_empty());
    let mut contents = vec![Content::new()];
    for (key, row) in unthreaded.into_iter().chain(threaded) {
        let is_free = |content: &Content| {
            let kinds = content.get(&row.event_id);
            let users = kinds.and_then(|kinds| kinds.get(&key.kind));
            users.is_none_or(|users| !users.contains_key(&key.user))
        };
        let free = contents.iter().position(is_free);
        let free = free.unwrap_or(contents.len());
        if free == contents.len() {
            contents.push(Content::new());
        }
        let kinds = contents[free].entry(row.event_id).or_default();
        let users = kinds.entry(key.kind).or_default();
        users.insert(key.user, (row.ts.0, key.thread));
    }
    contents.retain(|content| !content.is_empty());
    let events = contents.iter().rev();
    events
        .filter_map(|content| typed("m.receipt", &receipt_content(content)))
        .collect()
}

fn receipt_content(content: &Content) -> String {
    let mut json = JsonWriter::new();
    json.begin_object();
    for (event_id, kinds) in content {
        json.key(event_id.as_str());
        json.begin_object();
        for (kind, users) in kinds {
            json.key(kind);
            json.begin_object();
            for (user, (ts, thread)) in users {
                json.key(user);
                json.begin_object();
                json.key("ts");
                json.number(*ts);
                if !thread.is_empty() {
                    json.key("thread_id");
                    json.text(thread);
                }
                json.end_object();
            }
            json.end_object();
        }
        json.end_object();
    }
    json.end_object();
    json.finish()
}
