//! A room that the user left, was kicked or banned from: what happened up to then, nothing after.

use std::collections::HashSet;
use std::sync::Arc;

use hearth_data::members::UserRoomRow;
use hearth_data::{Place, rooms};
use hearth_event::visibility::Membership;
use serde_json::value::RawValue;

use super::state::{StateAsk, Stretch as StateStretch};
use super::timeline::{Stretch, Timeline};
use super::{Round, state, timeline};
use crate::json::JsonWriter;
use crate::room::{Event, Member, RoomReader};
use crate::viewer::Viewer;
use crate::{Result, Token};

/// The room's section; `None` if the leave cannot be read, or the user asked to have the room forgotten and her client
/// does not show her as joined, invited or knocking.
pub(super) async fn section(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    row: &UserRoomRow,
) -> Result<Option<String>> {
    let Some(leave) = reader.event(row.event).await? else {
        return Ok(None);
    };
    let viewer = Viewer::left(reader, round.user(), row.event).await?;
    let since = round.since.map(|since| since.position);
    // What she was when the client last looked, and what she was before she left.
    let known_as = match since {
        Some(since) => {
            let before = rooms::state_at(reader.snapshot, reader.no, since).await?;
            reader.member(before, round.user()).await?.membership
        }
        None => Membership::Leave,
    };
    let was_joined = known_as == Membership::Join;
    let is_invited = matches!(known_as, Membership::Invite | Membership::Knock);
    // Of a room on other servers alone it is not known what she was: the client may still show an invite.
    let may_be_shown = is_invited || (since.is_some() && leave.place.is_none());
    if row.forgotten && !was_joined && !may_be_shown {
        return Ok(None);
    }
    let left_from = reader.member(leave.row.state_before, round.user()).await?;
    let has_seen = viewer
        .as_ref()
        .is_some_and(|viewer| viewer.joined_until > Place::MIN);
    // What she saw when she was last joined was not told yet, however that ended; or it may not have been, for a client
    // that was away meanwhile was only told of the invite that came after it.
    let is_untold = viewer.as_ref().is_some_and(|viewer| {
        has_seen && (is_invited || since.is_none_or(|since| viewer.ceased_at > since))
    });
    if left_from.membership == Membership::Invite
        && !has_seen
        && is_withheld(round, reader, (&left_from, &leave)).await?
    {
        return Ok(None);
    }
    let (timeline, state) = match viewer {
        Some(viewer)
            if was_joined
                || (!row.forgotten && (left_from.membership == Membership::Join || is_untold)) =>
        {
            whole(round, reader, (&viewer, &leave, was_joined)).await?
        }
        // She saw nothing of the room, or wants to know nothing of it: an invite that was rejected, a ban of somebody outside.
        _ => (only_leave(round, reader, &leave).await?, Vec::new()),
    };
    let mut json = JsonWriter::new();
    json.begin_object();
    timeline.write(&mut json);
    json.events_field(state::field(round), &state);
    json.events_field("account_data", &[]);
    json.end_object();
    Ok(Some(json.finish()))
}

/// Whether an invite was withheld because of its sender, so that its end is, too, unless the user ended it herself.
async fn is_withheld(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    (invited, leave): (&Member, &Event),
) -> Result<bool> {
    let Some(invite) = invited.event.filter(|_| leave.pdu.sender() != round.user()) else {
        return Ok(false);
    };
    let invite = reader.stored(invite).await?;
    Ok(invite.is_some_and(|(_, _, pdu)| round.facts.ignored.contains(pdu.sender().as_str())))
}

async fn whole(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    (viewer, leave, was_joined): (&Viewer, &Arc<Event>, bool),
) -> Result<(Timeline, Vec<Box<RawValue>>)> {
    let since = round
        .since
        .filter(|_| was_joined)
        .map(|since| since.position);
    let stretch = Stretch {
        after: since,
        upto: leave.row.position,
    };
    let timeline = timeline::section(round, reader, viewer, (stretch, None)).await?;
    // Of what changed between her leave and, say, a ban she learns nothing.
    let end = viewer.last_state.unwrap_or(leave.row.state_after);
    let first = timeline.events.first();
    let first = first.filter(|event| {
        event
            .place
            .is_some_and(|place| place <= viewer.joined_until)
    });
    let start = first.map_or(end, |event| event.row.state_before);
    let before = match since {
        Some(since) => Some(rooms::state_at(reader.snapshot, reader.no, since).await?),
        None => None,
    };
    let ask = StateAsk {
        stretch: StateStretch { before, start, end },
        heroes: &[],
        is_full: before.is_none(),
        corrections: HashSet::new(),
        viewer,
    };
    let state = state::section(round, reader, &timeline.events, ask).await?;
    Ok((timeline, state))
}

async fn only_leave(
    round: &Round<'_>,
    reader: &RoomReader<'_>,
    leave: &Arc<Event>,
) -> Result<Timeline> {
    let filter = &round.filter.room.timeline;
    let is_wanted = filter.wants_room(reader.name.id.as_str()) && filter.wants(&leave.pdu);
    let (mut events, mut rendered) = (Vec::new(), Vec::new());
    if is_wanted {
        let rendering = round.rendering();
        // Her own event: what else she may see makes no difference.
        let viewer = Viewer::joined(round.user());
        rendered.push(
            rendering
                .with_relations(reader, &viewer, leave, None)
                .await?,
        );
        events.push(leave.clone());
    }
    Ok(Timeline {
        events,
        is_limited: false,
        prev_batch: match leave.place {
            Some(place) => Token::Gap {
                place,
                position: leave.row.position,
            },
            None => Token::Sync(round.to),
        },
        rendered,
    })
}
