//! A room that the user is joined to.

use std::collections::BTreeMap;

use hearth_data::accounts::account_data;
use hearth_data::members::UserRoomRow;
use hearth_data::{StateId, partial, rooms};
use hearth_event::visibility::Membership;
use hearth_store::Position;
use serde_json::value::RawValue;

use super::state::{StateAsk, Stretch as StateStretch};
use super::summary::Summary;
use super::timeline::{Stretch, Timeline};
use super::{Round, ephemeral, misled, state, summary, timeline};
use crate::Result;
use crate::ask::StateWanted;
use crate::counts::{Count, Counting, Counts};
use crate::json::{JsonWriter, typed};
use crate::notifier::Tail;
use crate::room::RoomReader;
use crate::viewer::Viewer;

/// How many changes of one's own membership are gone back over to find out whether one was away in between.
const MEMBERSHIPS_WALKED_MAX: usize = 100;

/// What is known about the room before it is looked at.
pub(super) struct JoinedAsk<'a> {
    pub(super) row: &'a UserRoomRow,
    /// Account data that changed.
    pub(super) data: &'a [Box<RawValue>],
    /// The list of those whom she ignores changed.
    pub(super) is_ignoring_anew: bool,
    /// The user's own member event changed since the client's last sync.
    pub(super) has_moved: bool,
}

/// What there is to tell of the room.
pub(super) struct Joined {
    pub(super) json: String,
    /// The client begins with this room.
    pub(super) is_new: bool,
    /// The timeline shows state events after this that are not the state.
    pub(super) misled_since: Option<Position>,
}

/// The room's section; `None` if there is nothing to tell.
pub(super) async fn section(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    ask: JoinedAsk<'_>,
) -> Result<Option<Joined>> {
    if is_hidden(round, reader).await? {
        return Ok(None);
    }
    let upto = round.to.position;
    let known = known(round, reader, &ask).await?;
    let is_new = known.is_none();
    let since = known.as_ref().map(|(since, _)| *since);
    let tail = known.as_ref().map(|(_, tail)| tail);
    let viewer = Viewer::joined(round.user());
    let stretch = Stretch { after: since, upto };
    let mut timeline = timeline::section(round, reader, &viewer, (stretch, tail)).await?;
    // What was sent while the user was away is news that the timeline need not reach back to: a gap to page over.
    timeline.is_limited |= is_new && round.since.is_some();
    let (states, misled_since) =
        states_and_cut(round, reader, (since, tail), &mut timeline).await?;
    if is_new && let Some(told) = &round.told {
        told.forget_room(reader.no);
    }
    let is_full = is_new || round.state_wanted == StateWanted::Full;
    let (summary, state) = described(round, reader, &viewer, (&timeline, states), is_full).await?;
    let (ephemeral, has_own_receipt) = ephemeral::section(round, reader, (since, tail)).await?;
    let data = room_data(round, reader, ask.data, is_new).await?;
    let counts = counts(round, reader, &viewer).await?;
    // What the filter keeps from the client may still be unread.
    let are_counts_new = counts.changed_at > since.unwrap_or(Position::ZERO)
        || (ask.is_ignoring_anew && counts.has_senders);
    let is_empty = timeline.events.is_empty()
        && !timeline.is_limited
        && state.is_empty()
        && ephemeral.is_empty()
        && data.is_empty()
        && !are_counts_new
        && !has_own_receipt;
    if is_empty && !is_full && !summary::is_new(reader, (states.before, states.end)).await? {
        return Ok(None);
    }
    let mut json = JsonWriter::new();
    json.begin_object();
    timeline.write(&mut json);
    json.events_field(state::field(round), &state);
    json.events_field("ephemeral", &ephemeral);
    json.events_field("account_data", &data);
    if let Some(summary) = summary {
        summary.write(&mut json);
    }
    write_counts(round, &counts, &mut json);
    json.end_object();
    Ok(Some(Joined {
        json: json.finish(),
        is_new,
        misled_since,
    }))
}

/// Up to when the client knows the room, and what is at hand since; `None` if it begins with the room.
async fn known(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    ask: &JoinedAsk<'_>,
) -> Result<Option<(Position, Tail)>> {
    let Some(since) = round.since.map(|since| since.position) else {
        return Ok(None);
    };
    let tail = round
        .inner
        .notifier
        .tail(reader.no, since, round.to.position);
    let is_new = ask.has_moved && was_away(round, reader, ask.row, since).await?
        || was_hidden(round, reader, (since, &tail)).await?;
    Ok((!is_new).then_some((since, tail)))
}

/// Whether the client has to wait for the room: it wants all members, and most are not known yet.
async fn is_hidden(round: &Round<'_>, reader: &RoomReader<'_>) -> Result<bool> {
    if round.filter.room.state.lazy_load_members {
        return Ok(false);
    }
    let at = (&*round.inner.parts.store, reader.snapshot);
    round.inner.partials.is_partial(at, reader.no).await
}

/// Whether the client had to wait for the room until now.
async fn was_hidden(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    (since, tail): (Position, &Tail),
) -> Result<bool> {
    if round.filter.room.state.lazy_load_members || tail.is_state_same {
        return Ok(false);
    }
    Ok(partial::whole_at(reader.snapshot, reader.no).await? > since)
}

/// The summary, if it may have changed, and the state.
async fn described(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    viewer: &Viewer,
    (timeline, states): (&Timeline, StateStretch<StateId>),
    is_full: bool,
) -> Result<(Option<Summary>, Vec<Box<RawValue>>)> {
    let summary = if is_full || states.before != states.end {
        Some(summary::section(round, reader, states.end).await?)
    } else {
        None
    };
    let heroes = summary.as_ref().map(|summary| summary.heroes.as_slice());
    let ask = StateAsk {
        stretch: StateStretch {
            before: Some(states.before).filter(|before| *before != StateId::EMPTY),
            start: states.start,
            end: states.end,
        },
        heroes: heroes.unwrap_or_default(),
        is_full,
        corrections: misled::corrections(round, reader).await?,
        viewer,
    };
    let state = state::section(round, reader, &timeline.events, ask).await?;
    Ok((summary, state))
}

/// The states that the section lies between; the timeline then begins after what would mislead the client for good. Where
/// it misleads until the next sync is answered, too.
async fn states_and_cut(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    known: (Option<Position>, Option<&Tail>),
    timeline: &mut Timeline,
) -> Result<(StateStretch<StateId>, Option<Position>)> {
    let start = |timeline: &Timeline| {
        let first = timeline.events.first();
        first.map(|event| event.row.state_before)
    };
    let found = states(round, reader, known, timeline).await?;
    let misled = misled::misled(round, reader, &timeline.events, found.end).await?;
    if misled.cut == 0 {
        return Ok((found, misled.since));
    }
    timeline.begin_after(misled.cut, round.to.position);
    let stretch = StateStretch {
        start: start(timeline).unwrap_or(found.end),
        ..found
    };
    Ok((stretch, misled.since))
}

/// The states that the section lies between.
async fn states(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    (since, tail): (Option<Position>, Option<&Tail>),
    timeline: &Timeline,
) -> Result<StateStretch<StateId>> {
    let upto = round.to.position;
    let start = timeline.events.first();
    let start = start.map(|event| event.row.state_before);
    let has_state = timeline.events.iter().any(|event| event.pdu.is_state());
    if let Some(start) = start
        && tail.is_some_and(|tail| tail.is_state_same)
        && !has_state
    {
        // The state is known not to have changed; its id matters only for members that are loaded lazily. (An event may
        // come on another state than the room's: a state event is compared with what is really the state.)
        return Ok(StateStretch {
            before: start,
            start,
            end: start,
        });
    }
    let end = rooms::state_at(reader.snapshot, reader.no, upto).await?;
    let before = match since {
        Some(since) => rooms::state_at(reader.snapshot, reader.no, since).await?,
        None => StateId::EMPTY,
    };
    Ok(StateStretch {
        before,
        start: start.unwrap_or(end),
        end,
    })
}

/// Whether the user was anything but joined at some moment since a position.
async fn was_away(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    row: &UserRoomRow,
    since: Position,
) -> Result<bool> {
    // Another server may have let her in without having heard of a leave that the client was told of: then no event says so.
    let then = rooms::state_at(reader.snapshot, reader.no, since).await?;
    if reader.member(then, round.user()).await?.membership != Membership::Join {
        return Ok(true);
    }
    let mut number = row.event;
    for _ in 0..MEMBERSHIPS_WALKED_MAX {
        let Some((_, event, _)) = reader.stored(number).await? else {
            return Ok(true);
        };
        if event.position <= since {
            return Ok(false);
        }
        let before = reader.member(event.state_before, round.user()).await?;
        match before.event {
            Some(earlier) if before.membership == Membership::Join => number = earlier,
            _ => return Ok(true),
        }
    }
    Ok(true)
}

/// The room's account data: what changed, or all of it for a room that is new to the client.
async fn room_data(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    changed: &[Box<RawValue>],
    is_new: bool,
) -> Result<Vec<Box<RawValue>>> {
    let filter = &round.filter.room.account_data;
    if !filter.wants_room(reader.name.id.as_str()) {
        return Ok(Vec::new());
    }
    if !is_new || round.since.is_none() {
        return Ok(changed.to_vec());
    }
    let room_id = reader.name.id.as_str();
    let data = account_data::of_room(round.snapshot, round.user(), room_id).await?;
    Ok(data
        .iter()
        .filter(|datum| filter.wants_type(&datum.kind))
        .filter_map(|datum| typed(&datum.kind, datum.content.text()))
        .collect())
}

async fn counts(round: &Round<'_>, reader: &RoomReader<'_>, viewer: &Viewer) -> Result<Counts> {
    let to = round.to.position;
    let tail = |from| round.inner.notifier.tail(reader.no, from, to);
    let counting = Counting {
        cache: &round.inner.counts,
        store: &*round.inner.parts.store,
        facts: &round.facts,
        tail: &tail,
    };
    counting.counts(reader, viewer).await
}

fn write_counts(round: &Round<'_>, counts: &Counts, json: &mut JsonWriter) {
    if !round.filter.room.timeline.unread_thread_notifications {
        json.key("unread_notifications");
        write_count(counts.total(), json);
        return;
    }
    json.key("unread_notifications");
    write_count(counts.main, json);
    if !counts.threads.is_empty() {
        json.key("unread_thread_notifications");
        json.begin_object();
        for (root, count) in &counts.threads as &BTreeMap<String, Count> {
            json.key(root);
            write_count(*count, json);
        }
        json.end_object();
    }
}

fn write_count(count: Count, json: &mut JsonWriter) {
    json.begin_object();
    json.key("highlight_count");
    json.number(count.highlights);
    json.key("notification_count");
    json.number(count.notifications);
    json.end_object();
}
