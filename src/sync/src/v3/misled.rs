//! State events of a timeline that are not the room's state at its end, though no later one of their key is shown: state
//! resolution chose another, or the filter leaves that out. A client of the spec's older `state` section takes what it is
//! shown last for the state. Its next sync, which it makes with a token that says so, tells it the right one.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use hearth_data::{EventNo, StateId, rooms, timeline};
use hearth_store::Position;

use super::Round;
use super::timeline::SCANNED_MAX;
use crate::Result;
use crate::ask::StateUntil;
use crate::room::{Event, RoomReader};

/// How many commits back a timeline may mislead the client until its next sync: that one has to look at every room that
/// changed since.
const COMMITS_BACK_MAX: u64 = 1_000;

/// What is wrong with a timeline.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Misled {
    /// How many events at the start must not be shown: the next sync could not put them right.
    pub(super) cut: usize,
    /// The others that mislead came after this.
    pub(super) since: Option<Position>,
}

/// Looks for what misleads in a timeline that ends with this state.
pub(super) async fn misled(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    events: &[Arc<Event>],
    end: StateId,
) -> Result<Misled> {
    let mut found = Misled::default();
    if round.state_until == StateUntil::TimelineEnd {
        return Ok(found);
    }
    let newest: BTreeMap<_, _> = events.iter().filter_map(keyed).collect();
    for (event, current) in differing(reader, newest.into_iter().collect(), end).await? {
        let index = events
            .iter()
            .position(|shown| shown.row.event == event.row.event)
            .unwrap_or_default();
        let before = Position(event.row.position.0.saturating_sub(1));
        let is_recent = round.to.position.0.saturating_sub(before.0) <= COMMITS_BACK_MAX;
        if is_recent && is_told(round, reader, current).await? {
            found.since = Some(found.since.map_or(before, |since| since.min(before)));
        } else {
            found.cut = found.cut.max(index + 1);
        }
    }
    Ok(found)
}

/// Whether the next sync would tell the right event.
async fn is_told(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    current: Option<EventNo>,
) -> Result<bool> {
    let filter = &round.filter.room.state;
    let Some(current) = current else {
        return Ok(false);
    };
    let stored = reader.stored(current).await?;
    Ok(filter.wants_room(reader.name.id.as_str())
        && stored.is_some_and(|(_, _, pdu)| filter.wants(&pdu)))
}

/// What the client has to be told because the last sync misled it: the state of the keys that the timeline then showed
/// otherwise.
pub(super) async fn corrections(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
) -> Result<HashSet<EventNo>> {
    let Some((misled_since, since)) = round
        .since
        .and_then(|since| Some((since.misled_since?, since.position)))
    else {
        return Ok(HashSet::new());
    };
    let snapshot = reader.snapshot;
    let places =
        timeline::positions_since(snapshot, reader.no, misled_since, since, SCANNED_MAX).await?;
    let mut events = Vec::with_capacity(places.len());
    for (_, placed) in timeline::placed(snapshot, reader.no, &places).await? {
        events.extend(reader.placed(placed).await?);
    }
    let end = rooms::state_at(snapshot, reader.no, round.to.position).await?;
    // Any of a key, not its newest: the filter may have left that out.
    let shown: Vec<_> = events.iter().filter_map(keyed).collect();
    let wrong = differing(reader, shown, end).await?;
    Ok(wrong.into_iter().filter_map(|(_, now)| now).collect())
}

/// A state event under its key.
type Keyed<'a> = ((&'a str, &'a str), &'a Event);

fn keyed(event: &Arc<Event>) -> Option<Keyed<'_>> {
    Some((event.pdu.state_key_pair()?, event))
}

/// Those that are not the state, with what is.
async fn differing<'a>(
    reader: &RoomReader<'_>,
    shown: Vec<Keyed<'a>>,
    state: StateId,
) -> Result<Vec<(&'a Event, Option<EventNo>)>> {
    if shown.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<(&str, &str)> = shown.iter().map(|(key, _)| *key).collect();
    let current = reader.view().lookup_many(state, &keys).await?;
    let shown = shown.into_iter().map(|(_, event)| event).zip(current);
    Ok(shown
        .filter(|(event, current)| *current != Some(event.row.event))
        .collect())
}
