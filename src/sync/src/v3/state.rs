//! The state section: what a client has to know besides the timeline to have the room's state right.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hearth_data::state::StateHash;
use hearth_data::{EventNo, StateId, timeline};
use hearth_event::Pdu;
use serde_json::value::RawValue;

use super::Round;
use crate::Result;
use crate::ask::StateUntil;
use crate::room::{Event, RoomReader};
use crate::viewer::Viewer;

/// How many state events are loaded at once.
const EVENTS_AT_ONCE: usize = 512;

/// The states that a section lies between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch<Before> {
    /// What the client knows.
    pub(super) before: Before,
    /// Before the first event of the timeline.
    pub(super) start: StateId,
    /// At the end.
    pub(super) end: StateId,
}

/// Which state is asked for.
pub(super) struct StateAsk<'a> {
    /// `before` is `None` if the client knows nothing.
    pub(super) stretch: Stretch<Option<StateId>>,
    /// Whose member events are told for the room's name.
    pub(super) heroes: &'a [String],
    /// The client gets the whole state.
    pub(super) is_full: bool,
    /// What is told because the client has it wrong.
    pub(super) corrections: HashSet<EventNo>,
    pub(super) viewer: &'a Viewer,
}

/// The field in which the section stands.
pub(super) fn field(round: &Round<'_>) -> &'static str {
    match round.state_until {
        StateUntil::TimelineStart => "state",
        StateUntil::TimelineEnd => "state_after",
    }
}

/// The state events to tell.
pub(super) async fn section(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    events: &[Arc<Event>],
    ask: StateAsk<'_>,
) -> Result<Vec<Box<RawValue>>> {
    let filter = &round.filter.room.state;
    if !filter.wants_room(reader.name.id.as_str()) || filter.wants_nothing() {
        return Ok(Vec::new());
    }
    let mut numbers: HashSet<EventNo> = match round.state_until {
        StateUntil::TimelineStart => until_start(round, reader, events, &ask).await?,
        StateUntil::TimelineEnd => changes(round, reader, &ask, ask.stretch.end)
            .await?
            .into_values()
            .flatten()
            .collect(),
    };
    let told = if filter.lazy_load_members {
        let members = members(round, reader, events, &ask).await?;
        numbers.extend(members.values());
        members.into_keys().collect()
    } else {
        Vec::new()
    };
    let mut numbers = match round.state_until {
        StateUntil::TimelineStart => {
            let start = ask.stretch.start;
            ask.viewer.known_of(reader, start, numbers).await?
        }
        StateUntil::TimelineEnd => numbers,
    };
    numbers.extend(&ask.corrections);
    let mut rendered = Vec::with_capacity(numbers.len());
    let mut told: HashSet<String> = told.into_iter().collect();
    for pdu in load(reader, numbers).await? {
        if filter.wants(&pdu) {
            if pdu.kind() == "m.room.member" {
                told.extend(pdu.state_key().map(str::to_owned));
            }
            rendered.push(round.rendering().state(&pdu));
        }
    }
    if let Some(device) = &round.told {
        // Member events of the timeline are told there.
        let shown = events
            .iter()
            .filter(|event| event.pdu.kind() == "m.room.member");
        told.extend(
            shown
                .filter_map(|event| event.pdu.state_key())
                .map(str::to_owned),
        );
        device.note(
            reader.no,
            told.iter().map(String::as_str),
            round.to.position,
        );
    }
    Ok(rendered)
}

/// Key → event, of all that differs.
type Changes = BTreeMap<StateHash, Option<EventNo>>;

/// What differs between what the client knows and a state, or the whole state. Of that, lazy loading leaves out the
/// members but for those that differ: the client may know them as they were.
async fn changes(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    ask: &StateAsk<'_>,
    after: StateId,
) -> Result<Changes> {
    let view = reader.view();
    let is_lazy = round.filter.room.state.lazy_load_members;
    let mut found = Changes::new();
    if let Some(before) = ask.stretch.before.filter(|_| is_lazy || !ask.is_full) {
        let differing = view.diff(before, after).await?;
        found.extend(
            differing
                .into_iter()
                .map(|change| (change.hash, change.after)),
        );
    }
    if ask.is_full {
        let entries = match is_lazy {
            true => view.entries_without_type(after, "m.room.member").await?,
            false => view.entries(after).await?,
        };
        found.extend(
            entries
                .into_iter()
                .map(|entry| (entry.hash, Some(entry.event))),
        );
    }
    Ok(found)
}

/// What makes the client's state that at the end, once it has applied the timeline's state events: the state at the
/// start, and what changed during the timeline without being in it (resolution, filtered events).
async fn until_start(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    events: &[Arc<Event>],
    ask: &StateAsk<'_>,
) -> Result<HashSet<EventNo>> {
    let Stretch { start, end, .. } = ask.stretch;
    let mut chosen = changes(round, reader, ask, start).await?;
    let shown: HashSet<EventNo> = events.iter().map(|event| event.row.event).collect();
    for change in reader.view().diff(start, end).await? {
        if change.after.is_none_or(|event| !shown.contains(&event)) {
            chosen.insert(change.hash, change.after);
        }
    }
    let numbers = chosen.into_values().flatten();
    Ok(numbers.filter(|event| !shown.contains(event)).collect())
}

/// The member events that lazy loading asks for: of the timeline's senders, of the heroes and, with the full state, of
/// the user; only those that the device was not told, unless it wants them again.
async fn members(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    events: &[Arc<Event>],
    ask: &StateAsk<'_>,
) -> Result<BTreeMap<String, EventNo>> {
    let mut users: HashSet<&str> = events
        .iter()
        .map(|event| event.pdu.sender().as_str())
        .collect();
    users.extend(ask.heroes.iter().map(String::as_str));
    if ask.is_full {
        users.insert(round.user());
    }
    let since = round.since_position();
    if let Some(told) = round.told.as_ref().filter(|_| !ask.is_full) {
        users.retain(|user| !told.knows(reader.no, user, since));
    }
    if users.is_empty() {
        return Ok(BTreeMap::new());
    }
    let users: Vec<&str> = users.into_iter().collect();
    let keys: Vec<_> = users.iter().map(|user| ("m.room.member", *user)).collect();
    let at = match round.state_until {
        StateUntil::TimelineStart => ask.stretch.start,
        StateUntil::TimelineEnd => ask.stretch.end,
    };
    let found = reader.view().lookup_many(at, &keys).await?;
    let shown: HashSet<EventNo> = match round.state_until {
        StateUntil::TimelineStart => events.iter().map(|event| event.row.event).collect(),
        StateUntil::TimelineEnd => HashSet::new(),
    };
    let mut members = BTreeMap::new();
    for (user, event) in users.into_iter().zip(found) {
        let event = match event {
            Some(event) => Some(event),
            None => named_member(reader, events, user).await?,
        };
        if let Some(event) = event.filter(|event| !shown.contains(event)) {
            members.insert(user.to_owned(), event);
        }
    }
    Ok(members)
}

/// The member event of a sender by which her event was allowed: the state of a room that was just joined over another
/// server need not have it yet.
async fn named_member(
    reader: &RoomReader<'_>,
    events: &[Arc<Event>],
    user: &str,
) -> Result<Option<EventNo>> {
    let Some(event) = events.iter().find(|event| event.pdu.sender() == user) else {
        return Ok(None);
    };
    for id in event.pdu.auth_events() {
        let found = timeline::find(reader.snapshot, id).await?;
        let Some(found) = found.filter(|found| found.room == reader.no) else {
            continue;
        };
        let row = timeline::event(reader.snapshot, reader.no, found.event).await?;
        let pdu = row.as_ref().and_then(|(_, row)| reader.pdu(row));
        if pdu.is_some_and(|pdu| pdu.is("m.room.member", user)) {
            return Ok(Some(found.event));
        }
    }
    Ok(None)
}

async fn load(reader: &RoomReader<'_>, numbers: HashSet<EventNo>) -> Result<Vec<Pdu>> {
    // In the order in which the room got to know them, so that answers do not differ without need.
    let mut numbers: Vec<EventNo> = numbers.into_iter().collect();
    numbers.sort_unstable();
    let mut loaded = Vec::with_capacity(numbers.len());
    for page in numbers.chunks(EVENTS_AT_ONCE) {
        let rows = timeline::events(reader.snapshot, reader.no, page).await?;
        loaded.extend(rows.iter().filter_map(|row| reader.pdu(row)));
    }
    Ok(loaded)
}
