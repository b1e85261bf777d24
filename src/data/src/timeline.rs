//! Events by id, by number, by place and by position.

use hearth_event::{Pdu, RoomVersion};
use hearth_store::{Batch, Error, Position, Snapshot};
use ruma::RoomId;
use serde::{Deserialize, Serialize};

use crate::append::EventRow;
use crate::row::rows;
use crate::tables::{EVENT_IDS, OUTLIERS, ROOM_POSITIONS, TIMELINE, WHEREABOUTS};
use crate::{EventNo, Place, Result, RoomNo};

/// An event of this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EventRef {
    /// Its room.
    pub room: RoomNo,
    /// Its number there.
    pub event: EventNo,
}

/// Where an event's row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whereabouts {
    /// In the timeline.
    Placed(Place),
    /// Among the outliers.
    Outlier,
}

rows!(EventRef = 1, Whereabouts = 1, Place = 1);

/// A row of the timeline with its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its place in history.
    pub place: Place,
    /// The event.
    pub row: EventRow,
}

/// An event by its id, whatever its room.
pub async fn find(snapshot: &dyn Snapshot, event_id: &ruma::EventId) -> Result<Option<EventRef>> {
    EVENT_IDS.get(snapshot, &event_id.to_string()).await
}

/// Where an event is.
pub async fn whereabouts(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    event: EventNo,
) -> Result<Option<Whereabouts>> {
    WHEREABOUTS.get(snapshot, &(room, event)).await
}

/// An event by its number; its place if it has one.
pub async fn event(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    event: EventNo,
) -> Result<Option<(Option<Place>, EventRow)>> {
    match whereabouts(snapshot, room, event).await? {
        Some(Whereabouts::Placed(place)) => Ok(TIMELINE
            .get(snapshot, &(room, place))
            .await?
            .map(|row| (Some(place), row))),
        Some(Whereabouts::Outlier) => Ok(OUTLIERS
            .get(snapshot, &(room, event))
            .await?
            .map(|row| (None, row))),
        None => Ok(None),
    }
}

/// Several events by number, in that order; absent ones are left out.
pub async fn events(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    numbers: &[EventNo],
) -> Result<Vec<EventRow>> {
    let keys: Vec<_> = numbers.iter().map(|number| (room, *number)).collect();
    let found = WHEREABOUTS.get_many(snapshot, &keys).await?;
    let mut places = Vec::with_capacity(keys.len());
    let mut outliers = Vec::new();
    for (key, whereabouts) in keys.iter().zip(&found) {
        match whereabouts {
            Some(Whereabouts::Placed(place)) => places.push((room, *place)),
            Some(Whereabouts::Outlier) => outliers.push(*key),
            None => {}
        }
    }
    let mut placed = TIMELINE.get_many(snapshot, &places).await?.into_iter();
    let mut unplaced = OUTLIERS.get_many(snapshot, &outliers).await?.into_iter();
    let rows = found.iter().filter_map(|whereabouts| match whereabouts {
        Some(Whereabouts::Placed(_)) => placed.next().flatten(),
        Some(Whereabouts::Outlier) => unplaced.next().flatten(),
        None => None,
    });
    Ok(rows.collect())
}

/// Events with `from <= place < to`, oldest first, at most `limit`.
pub async fn forward(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    from: Place,
    to: Place,
    limit: usize,
) -> Result<Vec<Placed>> {
    let range = TIMELINE.between(&(room, from), &(room, to));
    let rows = TIMELINE.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, place), row)| Placed { place, row })
        .collect())
}

/// Events with `from <= place < to`, newest first, at most `limit`.
pub async fn backward(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    from: Place,
    to: Place,
    limit: usize,
) -> Result<Vec<Placed>> {
    let range = TIMELINE.between(&(room, from), &(room, to));
    let rows = TIMELINE.range_reverse(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, place), row)| Placed { place, row })
        .collect())
}

/// The newest events that became visible after `from` up to and including `to`: newest first, at most `limit`.
pub async fn visible_since(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    from: Position,
    to: Position,
    limit: usize,
) -> Result<Vec<(Position, Placed)>> {
    let range = ROOM_POSITIONS.between(&(room, from.next()), &(room, to.next()));
    let index = ROOM_POSITIONS.range_reverse(snapshot, range, limit).await?;
    let keys: Vec<_> = index.iter().map(|(_, place)| (room, *place)).collect();
    let rows = TIMELINE.get_many(snapshot, &keys).await?;
    let placed = index
        .into_iter()
        .zip(rows)
        .filter_map(|(((_, position, _), place), row)| {
            Some((position, Placed { place, row: row? }))
        });
    Ok(placed.collect())
}

/// Most events of one commit.
const OF_COMMIT_MAX: usize = 1_000;

/// Takes an event that became visible at a position out of sight.
pub async fn hide(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    (room, place): (RoomNo, Place),
    position: Position,
) -> Result<()> {
    let range = ROOM_POSITIONS.prefix(&(room, position));
    let rows = ROOM_POSITIONS.range(snapshot, range, OF_COMMIT_MAX).await?;
    for (key, _) in rows.into_iter().filter(|(_, shown)| *shown == place) {
        ROOM_POSITIONS.delete(batch, &key);
    }
    Ok(())
}

/// The place after the newest event that was visible at a position: where "before this token" begins.
pub async fn place_at(snapshot: &dyn Snapshot, room: RoomNo, at: Position) -> Result<Place> {
    let range = ROOM_POSITIONS.between(&(room, Position::ZERO), &(room, at.next()));
    let newest = ROOM_POSITIONS.range_reverse(snapshot, range, 1).await?;
    Ok(newest
        .first()
        .map_or(Place(i64::MIN), |(_, place)| place.next()))
}

/// The parsed event of a row.
pub fn pdu(version: RoomVersion, room_id: &RoomId, row: &EventRow) -> Result<Pdu> {
    Pdu::from_stored(
        version,
        row.event_id.clone(),
        room_id.to_owned(),
        row.json.clone(),
    )
    .map_err(|error| Error::Corrupt {
        table: TIMELINE.info().name,
        key: row.event_id.to_string(),
        reason: error.to_string(),
    })
}

/// The places of the newest events that became visible after `from` up to and including `to`: newest first, at most
/// `limit`.
pub async fn positions_since(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    from: Position,
    to: Position,
    limit: usize,
) -> Result<Vec<(Position, Place)>> {
    let range = ROOM_POSITIONS.between(&(room, from.next()), &(room, to.next()));
    let index = ROOM_POSITIONS.range_reverse(snapshot, range, limit).await?;
    Ok(index
        .into_iter()
        .map(|((_, position, _), place)| (position, place))
        .collect())
}

/// The events at these places, in that order; absent ones are left out.
pub async fn placed(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    places: &[(Position, Place)],
) -> Result<Vec<(Position, Placed)>> {
    let keys: Vec<_> = places.iter().map(|(_, place)| (room, *place)).collect();
    let rows = TIMELINE.get_many(snapshot, &keys).await?;
    let found = places
        .iter()
        .zip(rows)
        .filter_map(|((position, place), row)| {
            let placed = Placed {
                place: *place,
                row: row?,
            };
            Some((*position, placed))
        });
    Ok(found.collect())
}
