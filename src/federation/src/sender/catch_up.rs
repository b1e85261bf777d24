//! What a server that was out of reach is told: of each room that it shares the newest event, from which it finds the
//! others; and where history is missing, also the newest one below, from which the one above may not lead to it. Of a room
//! that it is not in any more it finds nothing: it is told how each of its members was put out.

use hearth_data::append::Standing;
use hearth_data::{EventNo, Place, RoomNo, federation, gaps, members, rooms, timeline};
use hearth_store::{Position, Snapshot};
use ruma::events::room::member::MembershipState;
use ruma::{ServerName, UserId};

use super::follower::Brief;
use super::queue::Queued;
use crate::Result;

/// How many rooms are read at once.
const ROOMS_PAGE: usize = 256;
/// How many events of a room are looked through for one of a user here. If there is none among them, other servers have
/// said enough since.
const EVENTS_MAX: usize = 256;
const EVENTS_PAGE: usize = 32;
/// How many members of a room are read at once.
const MEMBERS_PAGE: usize = 1_000;

/// The newest event of a user of this server in each room that `server` shares, or has left, above a position; where that
/// room has gaps, the newest above and below each. In the order of positions.
pub(super) async fn newest(
    snapshot: &dyn Snapshot,
    server: &ServerName,
    own: &ServerName,
    cursor: Position,
) -> Result<Vec<Queued>> {
    let mut newest = Vec::new();
    let mut after = RoomNo(0);
    loop {
        let page =
            federation::rooms_of_server(snapshot, server.as_str(), after, ROOMS_PAGE).await?;
        for (room, joined) in &page {
            match joined {
                0 => newest.extend(left(snapshot, server, *room, cursor).await?),
                _ => newest.extend(of_room(snapshot, own, *room, cursor).await?),
            }
        }
        match page.last() {
            Some((last, _)) if page.len() == ROOMS_PAGE => after = *last,
            _ => break,
        }
    }
    newest.sort_unstable();
    Ok(newest)
}

/// The events by which others made members of the server leave, as far as it has not seen them. Looks at all members of
/// the room, if there is one.
async fn left(
    snapshot: &dyn Snapshot,
    server: &ServerName,
    room: RoomNo,
    cursor: Position,
) -> Result<Vec<Queued>> {
    let last = federation::left(snapshot, server.as_str(), room).await?;
    let Some(last) = last.filter(|last| last.position > cursor) else {
        return Ok(Vec::new());
    };
    let mut ends = vec![(last.position, last.event)];
    let mut after = String::new();
    loop {
        let page = members::members_after(snapshot, room, &after, MEMBERS_PAGE).await?;
        let out = page.iter().filter(|(user, row)| {
            let is_theirs =
                <&UserId>::try_from(user.as_str()).is_ok_and(|user| user.server_name() == server);
            let is_out = matches!(
                row.membership,
                MembershipState::Leave | MembershipState::Ban
            );
            is_theirs && is_out && row.position > cursor && row.event != last.event
        });
        ends.extend(out.map(|(_, row)| (row.position, row.event)));
        match page.last() {
            Some((user, _)) if page.len() == MEMBERS_PAGE => after.clone_from(user),
            _ => break,
        }
    }
    let mut left = Vec::new();
    for (at, event) in ends {
        if is_by_another(snapshot, server, (room, event)).await? {
            left.push(Queued { at, room, event });
        }
    }
    Ok(left)
}

async fn is_by_another(
    snapshot: &dyn Snapshot,
    server: &ServerName,
    (room, event): (RoomNo, EventNo),
) -> Result<bool> {
    let event = timeline::event(snapshot, room, event).await?;
    let by = event.and_then(|(_, row)| {
        let brief = Brief::read(&row.json)?;
        Some(brief.server() != Some(server.as_str()))
    });
    Ok(by.unwrap_or(false))
}

async fn of_room(
    snapshot: &dyn Snapshot,
    own: &ServerName,
    room: RoomNo,
    cursor: Position,
) -> Result<Vec<Queued>> {
    let mut newest = Vec::new();
    let head = rooms::head(snapshot, room).await?;
    if head.is_none_or(|head| head.position <= cursor) {
        return Ok(newest);
    }
    let gaps = gaps::all(snapshot, room).await?;
    // The gaps below what was found with something below them; all if nothing was found.
    let lower = gaps.into_iter().filter(|(_, gap)| gap.floor > Place::MIN);
    let mut gaps: Vec<Place> = lower.map(|(above, _)| above).collect();
    let mut upto = snapshot.position();
    for _ in 0..EVENTS_MAX / EVENTS_PAGE {
        let page = timeline::visible_since(snapshot, room, cursor, upto, EVENTS_PAGE).await?;
        for (position, placed) in &page {
            let is_next = newest.is_empty() || gaps.last().is_some_and(|gap| placed.place < *gap);
            let is_own = || {
                Brief::read(&placed.row.json)
                    .is_some_and(|brief| brief.server() == Some(own.as_str()))
            };
            if is_next && placed.row.standing == Standing::Accepted && is_own() {
                newest.push(Queued {
                    at: *position,
                    room,
                    event: placed.row.event,
                });
                gaps.retain(|gap| *gap <= placed.place);
                if gaps.is_empty() {
                    return Ok(newest);
                }
            }
        }
        match page.last() {
            Some((oldest, _)) if page.len() == EVENTS_PAGE => {
                upto = Position(oldest.0.saturating_sub(1));
            }
            _ => break,
        }
    }
    Ok(newest)
}
