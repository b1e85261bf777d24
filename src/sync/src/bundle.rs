//! Bundled aggregations: what relates to an event, summed up in `unsigned["m.relations"]`.

use std::sync::Arc;

use hearth_data::relations::{self, RelationRow};
use hearth_data::{EventNo, Place};
use hearth_event::relations::is_valid_edit;
use serde_json::value::RawValue;

use crate::Result;
use crate::json::JsonWriter;
use crate::render::Rendering;
use crate::room::{Event, RoomReader};
use crate::viewer::Viewer;

/// How many relating events are looked at, newest first.
const RELATIONS_MAX: usize = 500;
/// How many edits are compared; the newest arrivals are also the newest in all but strange cases.
const EDITS_MAX: usize = 16;
/// How many references are listed.
const REFERENCES_MAX: usize = 100;

/// The aggregations of an event for a reader, if it has any.
pub(crate) async fn of(
    rendering: &Rendering<'_>,
    room: &RoomReader<'_>,
    viewer: &Viewer,
    event: &Event,
) -> Result<Option<Box<RawValue>>> {
    let rows = rows(room, viewer, event.row.event).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|(_, row)| !rendering.facts.ignored.contains(&row.sender))
        .collect();
    let mut json = JsonWriter::new();
    let mut has_any = false;
    json.begin_object();
    if let Some(edit) = edit(room, viewer, event, &rows).await? {
        json.key("m.replace");
        json.raw(
            rendering
                .with_relations(room, viewer, &edit, None)
                .await?
                .get(),
        );
        has_any = true;
    }
    if let Some(thread) = thread(rendering, room, viewer, (event, &rows)).await? {
        json.key("m.thread");
        json.raw(thread.get());
        has_any = true;
    }
    has_any |= references(room, viewer, &rows, &mut json).await?;
    json.end_object();
    Ok(has_any.then(|| json.finish_raw()))
}

type Rows = Vec<(Place, RelationRow)>;

async fn rows(room: &RoomReader<'_>, viewer: &Viewer, target: EventNo) -> Result<Rows> {
    let places = Place::MIN..viewer.until;
    Ok(relations::backward(room.snapshot, room.no, target, places, RELATIONS_MAX).await?)
}

/// The newest valid edit by the sender's time, then event id.
async fn edit(
    room: &RoomReader<'_>,
    viewer: &Viewer,
    original: &Event,
    rows: &[(Place, RelationRow)],
) -> Result<Option<Arc<Event>>> {
    if original.is_redacted() {
        return Ok(None);
    }
    let sender = original.pdu.sender().as_str();
    let candidates = rows
        .iter()
        .filter(|(_, row)| row.rel_type == "m.replace" && row.sender == sender)
        .take(EDITS_MAX);
    let mut newest: Option<Arc<Event>> = None;
    for (_, row) in candidates {
        let Some(edit) = room.event(row.event).await? else {
            continue;
        };
        if edit.is_redacted() || !edit.is_shown() || !is_valid_edit(&original.pdu, &edit.pdu) {
            continue;
        }
        let is_newer = newest
            .as_ref()
            .is_none_or(|newest| age_key(newest) < age_key(&edit));
        if is_newer && viewer.sees(room, &edit).await? {
            newest = Some(edit);
        }
    }
    Ok(newest)
}

fn age_key(event: &Event) -> (u64, &str) {
    (
        event.pdu.origin_server_ts().0,
        event.pdu.event_id().as_str(),
    )
}

async fn thread(
    rendering: &Rendering<'_>,
    room: &RoomReader<'_>,
    viewer: &Viewer,
    (root, rows): (&Event, &[(Place, RelationRow)]),
) -> Result<Option<Box<RawValue>>> {
    let replies: Vec<&RelationRow> = rows
        .iter()
        .map(|(_, row)| row)
        .filter(|row| row.rel_type == "m.thread")
        .collect();
    let is_cut = rows.len() >= RELATIONS_MAX;
    let sees_all = match root.place {
        Some(place) if replies.len() > 1 || is_cut => viewer.sees_all_after(room, place).await?,
        _ => false,
    };
    let (mut latest, mut count) = (None, 0);
    for reply in &replies {
        if latest.is_some() && sees_all {
            count += 1;
        } else if let Some(event) = room.event(reply.event).await?
            && viewer.sees(room, &event).await?
        {
            count += 1;
            latest.get_or_insert(event);
        }
    }
    let Some(latest) = latest else {
        return Ok(None);
    };
    // The thread's own count goes on where the rows looked at end.
    if is_cut && sees_all {
        let thread = relations::thread(room.snapshot, room.no, root.row.event).await?;
        count = thread.map_or(count, |thread| thread.count);
    }
    let user = rendering.reader.user.as_str();
    let participated =
        root.pdu.sender() == user || replies.iter().any(|reply| reply.sender == user);
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("latest_event");
    let edits = edits_of(rendering, room, viewer, &latest).await?;
    json.raw(
        rendering
            .with_relations(room, viewer, &latest, edits)
            .await?
            .get(),
    );
    json.key("count");
    json.number(count);
    json.key("current_user_participated");
    json.boolean(participated);
    json.end_object();
    Ok(Some(json.finish_raw()))
}

/// The aggregations of a thread's latest event: its edit.
async fn edits_of(
    rendering: &Rendering<'_>,
    room: &RoomReader<'_>,
    viewer: &Viewer,
    event: &Event,
) -> Result<Option<Box<RawValue>>> {
    let rows = rows(room, viewer, event.row.event).await?;
    let Some(edit) = edit(room, viewer, event, &rows).await? else {
        return Ok(None);
    };
    let mut json = JsonWriter::new();
    json.begin_object();
    json.key("m.replace");
    json.raw(
        rendering
            .with_relations(room, viewer, &edit, None)
            .await?
            .get(),
    );
    json.end_object();
    Ok(Some(json.finish_raw()))
}

async fn references(
    room: &RoomReader<'_>,
    viewer: &Viewer,
    rows: &[(Place, RelationRow)],
    json: &mut JsonWriter,
) -> Result<bool> {
    let numbers = rows
        .iter()
        .filter(|(_, row)| row.rel_type == "m.reference")
        .map(|(_, row)| row.event)
        .take(REFERENCES_MAX);
    let mut ids = Vec::new();
    for number in numbers {
        if let Some(event) = room.event(number).await?
            && viewer.sees(room, &event).await?
        {
            ids.push(event.row.event_id.clone());
        }
    }
    if ids.is_empty() {
        return Ok(false);
    }
    json.key("m.reference");
    json.begin_object();
    json.key("chunk");
    json.begin_array();
    for id in ids.iter().rev() {
        json.begin_object();
        json.key("event_id");
        json.text(id.as_str());
        json.end_object();
    }
    json.end_array();
    json.end_object();
    Ok(true)
}
