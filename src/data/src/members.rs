//! Memberships, from the room's side and from the user's. Derived from the current state, written with it.

use hearth_store::{Batch, Position, Snapshot};
use ruma::events::room::member::MembershipState;
use serde::{Deserialize, Serialize};

use crate::row::positioned_rows;
use crate::tables::{MEMBERS, STRIPPED_STATE, USER_ROOMS, USER_ROOMS_AT};
use crate::{EventNo, Result, RoomNo};

/// A member in the current state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// The membership.
    pub membership: MembershipState,
    /// The member event.
    pub event: EventNo,
    /// Since which commit this event is the current one.
    #[serde(skip)]
    pub position: Position,
}

/// A local user's view of a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRoomRow {
    /// The membership.
    pub membership: MembershipState,
    /// The member event.
    pub event: EventNo,
    /// The user asked to have the room forgotten.
    pub forgotten: bool,
    /// The commit that last wrote this row.
    #[serde(skip)]
    pub position: Position,
}

positioned_rows!(MemberRow = 1, UserRoomRow = 1);

/// Stands for "the commit being built" in rows that were staged earlier in the same batch.
pub const THIS_COMMIT: Position = Position::MAX;

/// A member of a room.
pub async fn member(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    user: &str,
) -> Result<Option<MemberRow>> {
    MEMBERS.get(snapshot, &(room, user.to_owned())).await
}

/// Members of a room after a user id (exclusive; start with ""), at most `limit`, all memberships.
pub async fn members_after(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, MemberRow)>> {
    let mut from = MEMBERS.prefix(&room);
    if !after.is_empty() {
        from.from = MEMBERS.prefix(&(room, after.to_owned())).to;
    }
    let rows = MEMBERS.range(snapshot, from, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, user), row)| (user, row))
        .collect())
}

/// A local user's view of a room.
pub async fn user_room(
    snapshot: &dyn Snapshot,
    user: &str,
    room: RoomNo,
) -> Result<Option<UserRoomRow>> {
    USER_ROOMS.get(snapshot, &(user.to_owned(), room)).await
}

/// The rooms of a local user after a room (exclusive; start with `RoomNo(0)`), at most `limit`, all memberships.
pub async fn rooms_of(
    snapshot: &dyn Snapshot,
    user: &str,
    after: RoomNo,
    limit: usize,
) -> Result<Vec<(RoomNo, UserRoomRow)>> {
    let mut range = USER_ROOMS.prefix(&user.to_owned());
    range.from = USER_ROOMS.raw_key(&(user.to_owned(), RoomNo(after.0.saturating_add(1))));
    let rows = USER_ROOMS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, room), row)| (room, row))
        .collect())
}

/// The rooms in which a local user's membership changed after `from` up to `to`, oldest first.
pub async fn rooms_changed(
    snapshot: &dyn Snapshot,
    user: &str,
    from: Position,
    to: Position,
    limit: usize,
) -> Result<Vec<(Position, RoomNo)>> {
    let user = user.to_owned();
    let range = USER_ROOMS_AT.between(&(user.clone(), from.next()), &(user, to.next()));
    let rows = USER_ROOMS_AT.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, position, room), ())| (position, room))
        .collect())
}

/// (local user, room) of all rooms of all local users after such a pair, at most `limit`, all memberships.
pub async fn all_rooms_after(
    snapshot: &dyn Snapshot,
    after: Option<&(String, RoomNo)>,
    limit: usize,
) -> Result<Vec<(String, RoomNo)>> {
    let mut range = USER_ROOMS.prefix(&());
    if let Some(after) = after {
        range.from = USER_ROOMS.prefix(after).to;
    }
    let rows = USER_ROOMS.range(snapshot, range, limit).await?;
    Ok(rows.into_iter().map(|(key, _)| key).collect())
}

/// Fails the batch unless a member's row still is as it was loaded.
pub fn expect_member(batch: &mut Batch, room: RoomNo, user: &str, row: &MemberRow) {
    MEMBERS.expect(batch, &(room, user.to_owned()), Some(row));
}

/// Writes a local user's view and moves its index row. `before` is the row as loaded (or as staged in this batch,
/// with [`THIS_COMMIT`]).
pub fn put_user_room(
    batch: &mut Batch,
    user: &str,
    room: RoomNo,
    before: Option<&UserRoomRow>,
    row: &UserRoomRow,
) {
    let user = user.to_owned();
    if let Some(before) = before.filter(|before| before.position != THIS_COMMIT) {
        USER_ROOMS_AT.delete(batch, &(user.clone(), before.position, room));
    }
    USER_ROOMS.put_position(batch, &(user.clone(), room), row);
    USER_ROOMS_AT.put_at_position(batch, &user, &room, &());
}

/// Stripped state that came with an invite or knock, a JSON array.
pub async fn stripped_state(
    snapshot: &dyn Snapshot,
    user: &str,
    room: RoomNo,
) -> Result<Option<crate::row::Json>> {
    STRIPPED_STATE.get(snapshot, &(user.to_owned(), room)).await
}
