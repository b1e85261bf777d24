//! Where a room's history is missing: before a join, and where events were lost and too many to be fetched at once.
//!
//! A gap lies below a live event; its places are filled downwards with what is fetched when somebody reads there.

use hearth_store::{Batch, Snapshot};
use ruma::OwnedEventId;
use serde::{Deserialize, Serialize};

use crate::row::rows;
use crate::tables::GAPS;
use crate::{Place, Result, RoomNo};

/// A gap that is not filled yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapRow {
    /// The next event fetched goes here; the ones after it below.
    pub next: Place,
    /// Where older history that is here ends (exclusive); [`Place::MIN`] if there is none.
    pub floor: Place,
    /// The events to ask for next, none of which is here.
    pub awaited: Vec<OwnedEventId>,
}

rows!(GapRow = 1);

/// Most gaps of one room that are looked at.
const GAPS_MAX: usize = 256;

/// The gaps of a room, oldest first; the place is that of the live event above.
pub async fn all(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Vec<(Place, GapRow)>> {
    let rows = GAPS.range(snapshot, GAPS.prefix(&room), GAPS_MAX).await?;
    Ok(rows
        .into_iter()
        .map(|((_, place), row)| (place, row))
        .collect())
}

/// One gap.
pub async fn gap(snapshot: &dyn Snapshot, room: RoomNo, above: Place) -> Result<Option<GapRow>> {
    GAPS.get(snapshot, &(room, above)).await
}

/// The newest gap below an event with `from < place <= to`, if there is one.
pub async fn newest_between(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    from: Place,
    to: Place,
) -> Result<Option<(Place, GapRow)>> {
    let range = GAPS.between(&(room, from.next()), &(room, to.next()));
    let rows = GAPS.range_reverse(snapshot, range, 1).await?;
    Ok(rows
        .into_iter()
        .next()
        .map(|((_, place), row)| (place, row)))
}

/// Opens a gap or notes how far it is filled.
pub fn put(batch: &mut Batch, room: RoomNo, above: Place, row: &GapRow) {
    GAPS.put(batch, &(room, above), row);
}

/// Closes a gap.
pub fn remove(batch: &mut Batch, room: RoomNo, above: Place) {
    GAPS.delete(batch, &(room, above));
}
