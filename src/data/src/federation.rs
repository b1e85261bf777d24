//! Other servers: which rooms they share, what is still to be sent to them, their keys.

use hearth_store::{Batch, Position, Snapshot};
use hearth_types::UnixMs;
use serde::{Deserialize, Serialize};

use crate::changes::Change;
use crate::row::{Json, positioned_rows, rows};
use crate::tables::{
    DESTINATIONS, HOME_SINCE, OUTBOX, ROOM_SERVERS, SERVER_KEYS, SERVER_LEFT, SERVER_ROOMS,
};
use crate::{EventNo, Result, RoomNo};

/// Largest EDU that is kept for another server, in bytes. With the most EDUs of a transaction it stays far below what
/// servers take.
pub const EDU_BYTES_MAX: usize = 65_536;

/// The event by which the last member of a server left a room, the last time that one did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRow {
    /// The member event.
    pub event: EventNo,
    /// The commit that wrote it.
    #[serde(skip)]
    pub position: Position,
}

/// The commit since which somebody of this server has been in a room all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeRow {
    /// The member event of the first who came.
    pub event: EventNo,
    /// The commit that wrote it.
    #[serde(skip)]
    pub position: Position,
}

/// A destination that is behind: it has not acknowledged what others have.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationRow {
    /// It has all that is for it up to here.
    pub cursor: u64,
    /// How often in a row it could not be reached.
    pub failures: u32,
    /// When to try again.
    pub retry_at: UnixMs,
}

/// A server's keys as it last published them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerKeysRow {
    /// When they were fetched.
    pub fetched_at: UnixMs,
    /// Until when the server says that they are valid, not capped.
    pub valid_until: UnixMs,
    /// Keys in use: id and 32 bytes.
    pub verify_keys: Vec<(String, [u8; 32])>,
    /// Keys of before: id, 32 bytes, until when they were used.
    pub old_verify_keys: Vec<(String, [u8; 32], UnixMs)>,
    /// The signed document, as received, for those who ask this server as a notary.
    pub document: String,
}

positioned_rows!(LeftRow = 1, HomeRow = 1);
rows!(DestinationRow = 1, ServerKeysRow = 1);

/// The servers with a joined member in a room after a server (exclusive; start with ""), at most `limit`.
pub async fn servers_after(
    snapshot: &dyn Snapshot,
    room: RoomNo,
    after: &str,
    limit: usize,
) -> Result<(Vec<String>, Option<String>)> {
    let mut range = ROOM_SERVERS.prefix(&room);
    if !after.is_empty() {
        range.from = ROOM_SERVERS.prefix(&(room, after.to_owned())).to;
    }
    let rows = ROOM_SERVERS.range(snapshot, range, limit).await?;
    let more = (rows.len() == limit).then(|| rows.last().map(|((_, server), _)| server.clone()));
    let joined = rows.into_iter().filter(|(_, joined)| *joined > 0);
    Ok((
        joined.map(|((_, server), _)| server).collect(),
        more.flatten(),
    ))
}

/// All servers with a joined member in a room; while not all members are known, also those that were said to be in it.
pub async fn servers(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Vec<String>> {
    const PAGE: usize = 1_000;
    let partial = crate::partial::partial(snapshot, room).await?;
    let mut all = partial.map_or_else(Vec::new, |row| row.servers);
    let mut after = String::new();
    loop {
        let (page, more) = servers_after(snapshot, room, &after, PAGE).await?;
        all.extend(page);
        match more {
            Some(last) => after = last,
            None => {
                all.sort_unstable();
                all.dedup();
                return Ok(all);
            }
        }
    }
}

/// How many members of a server are joined in a room.
pub async fn joined_of(snapshot: &dyn Snapshot, room: RoomNo, server: &str) -> Result<i64> {
    let joined = ROOM_SERVERS
        .get(snapshot, &(room, server.to_owned()))
        .await?;
    Ok(joined.unwrap_or(0))
}

/// Whether a server has a joined member in a room.
pub async fn is_server_in(snapshot: &dyn Snapshot, room: RoomNo, server: &str) -> Result<bool> {
    Ok(joined_of(snapshot, room, server).await? > 0)
}

/// The rooms in which a server has a joined member, or had, after a room (exclusive; start with `RoomNo(0)`), at most
/// `limit`; with how many it has now.
pub async fn rooms_of_server(
    snapshot: &dyn Snapshot,
    server: &str,
    after: RoomNo,
    limit: usize,
) -> Result<Vec<(RoomNo, i64)>> {
    let mut range = SERVER_ROOMS.prefix(&server.to_owned());
    range.from = SERVER_ROOMS.raw_key(&(server.to_owned(), RoomNo(after.0.saturating_add(1))));
    let rows = SERVER_ROOMS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, room), joined)| (room, joined))
        .collect())
}

/// The last event by which somebody else made a member of a server leave a room.
pub async fn left(snapshot: &dyn Snapshot, server: &str, room: RoomNo) -> Result<Option<LeftRow>> {
    SERVER_LEFT.get(snapshot, &(server.to_owned(), room)).await
}

/// Since which commit somebody of this server has been in a room without a break; zero for a room that was entered
/// before this was written down. Says nothing of a room in which nobody is.
pub async fn home_since(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Position> {
    let row = HOME_SINCE.get(snapshot, &room).await?;
    Ok(row.map_or(Position::ZERO, |row| row.position))
}

/// Notes that the first local user came into a room.
pub(crate) fn home_begins(batch: &mut Batch, room: RoomNo, event: EventNo) {
    let row = HomeRow {
        event,
        position: Position::ZERO,
    };
    HOME_SINCE.put_position(batch, &room, &row);
}

/// Counts a member of a server in or out of a room. `event` is the member event, the user's own or somebody else's.
pub(crate) fn count_member(
    batch: &mut Batch,
    room: RoomNo,
    (user, is_own): (&str, bool),
    (was_joined, is_joined): (bool, bool),
    event: EventNo,
) {
    let Some((_, server)) = user.split_once(':') else {
        return;
    };
    let delta = i64::from(is_joined) - i64::from(was_joined);
    if delta == 0 {
        return;
    }
    let server = server.to_owned();
    ROOM_SERVERS.add(batch, &(room, server.clone()), delta);
    SERVER_ROOMS.add(batch, &(server.clone(), room), delta);
    // What it did itself need not be told to it.
    if !is_joined && !is_own {
        let row = LeftRow {
            event,
            position: Position::ZERO,
        };
        SERVER_LEFT.put_position(batch, &(server, room), &row);
    }
}

/// Keeps an EDU, a JSON object of `edu_type` and `content`, for another server until it has acknowledged it. Answers
/// the change to be recorded with the same batch; `None` if the EDU is larger than [`EDU_BYTES_MAX`], then nothing is
/// kept. `index` tells the EDUs of one batch to one server apart.
#[must_use]
pub fn put_edu(batch: &mut Batch, server: &str, index: u32, edu: &Json) -> Option<Change> {
    if edu.0.len() > EDU_BYTES_MAX {
        return None;
    }
    OUTBOX.put_at_position(batch, &server.to_owned(), &index, edu);
    Some(Change::Outbound {
        server: server.to_owned(),
    })
}

/// The oldest EDUs that a server has not acknowledged, at most `limit`, with their keys.
pub async fn outbox(
    snapshot: &dyn Snapshot,
    server: &str,
    limit: usize,
) -> Result<Vec<((Position, u32), Json)>> {
    let range = OUTBOX.prefix(&server.to_owned());
    let rows = OUTBOX.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, position, index), edu)| ((position, index), edu))
        .collect())
}

/// Removes EDUs up to and including a key: they were acknowledged, or are too many.
pub fn outbox_done(batch: &mut Batch, server: &str, (position, index): (Position, u32)) {
    let server = server.to_owned();
    let from = (server.clone(), Position::ZERO, 0_u32);
    let range = match index.checked_add(1) {
        Some(next) => OUTBOX.between(&from, &(server, position, next)),
        None => OUTBOX.between(&from, &(server, position.next(), 0_u32)),
    };
    OUTBOX.delete_range(batch, range);
}

/// The row of a destination that is behind.
pub async fn destination(snapshot: &dyn Snapshot, server: &str) -> Result<Option<DestinationRow>> {
    DESTINATIONS.get(snapshot, &server.to_owned()).await
}

/// Destinations that are behind, after a server (exclusive; start with ""), at most `limit`.
pub async fn destinations_after(
    snapshot: &dyn Snapshot,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, DestinationRow)>> {
    let mut range = DESTINATIONS.prefix(&());
    if !after.is_empty() {
        range.from = DESTINATIONS.prefix(&after.to_owned()).to;
    }
    DESTINATIONS.range(snapshot, range, limit).await
}

/// Writes how far a destination is behind, or that it is not.
pub fn put_destination(batch: &mut Batch, server: &str, row: Option<&DestinationRow>) {
    match row {
        Some(row) => DESTINATIONS.put(batch, &server.to_owned(), row),
        None => DESTINATIONS.delete(batch, &server.to_owned()),
    }
}

/// A server's keys as they were last fetched.
pub async fn server_keys(snapshot: &dyn Snapshot, server: &str) -> Result<Option<ServerKeysRow>> {
    SERVER_KEYS.get(snapshot, &server.to_owned()).await
}

/// Keeps a server's keys.
pub fn put_server_keys(batch: &mut Batch, server: &str, row: &ServerKeysRow) {
    SERVER_KEYS.put(batch, &server.to_owned(), row);
}

#[cfg(test)]
mod tests {
    use hearth_store::{Backend, MemoryBackend};

    use super::*;

    const ROOM: RoomNo = RoomNo(7);

    async fn move_member(store: &MemoryBackend, user: &str, moves: (bool, bool), event: u64) {
        let mut batch = Batch::new();
        count_member(&mut batch, ROOM, (user, false), moves, EventNo(event));
        if !batch.is_empty() {
            store.commit(batch).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_server_is_in_a_room_as_long_as_one_of_its_users_is() {
        let store = MemoryBackend::new();
        move_member(&store, "@a:one", (false, true), 1).await;
        move_member(&store, "@b:two:8448", (false, true), 2).await;
        move_member(&store, "@c:two:8448", (false, true), 3).await;
        move_member(&store, "@c:two:8448", (true, true), 4).await;
        move_member(&store, "@b:two:8448", (true, false), 5).await;
        let snapshot = store.snapshot().await.unwrap();
        assert_eq!(
            servers(&*snapshot, ROOM).await.unwrap(),
            ["one", "two:8448"]
        );
        move_member(&store, "@c:two:8448", (true, false), 6).await;
        let snapshot = store.snapshot().await.unwrap();
        assert_eq!(servers(&*snapshot, ROOM).await.unwrap(), ["one"]);
        assert!(!is_server_in(&*snapshot, ROOM, "two:8448").await.unwrap());
        let rooms = rooms_of_server(&*snapshot, "two:8448", RoomNo(0), 10).await;
        assert_eq!(rooms.unwrap(), [(ROOM, 0)]);
        let row = left(&*snapshot, "two:8448", ROOM).await.unwrap().unwrap();
        assert_eq!(row.event, EventNo(6));
        // What its users do themselves it need not be told.
        let mut batch = Batch::new();
        let left_by_herself = ("@d:two:8448", true);
        count_member(&mut batch, ROOM, left_by_herself, (true, false), EventNo(7));
        store.commit(batch).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        let row = left(&*snapshot, "two:8448", ROOM).await.unwrap().unwrap();
        assert_eq!(row.event, EventNo(6));
    }

    #[tokio::test]
    async fn acknowledged_edus_are_gone_and_later_ones_stay_in_order() {
        let store = MemoryBackend::new();
        for number in 0..3 {
            let mut batch = Batch::new();
            for index in 0..2 {
                let edu = Json::from_text(format!("{{\"n\":{}}}", number * 2 + index));
                assert!(put_edu(&mut batch, "two", index, &edu).is_some());
            }
            store.commit(batch).await.unwrap();
        }
        let snapshot = store.snapshot().await.unwrap();
        let all = outbox(&*snapshot, "two", 10).await.unwrap();
        assert_eq!(all.len(), 6);
        let mut batch = Batch::new();
        outbox_done(&mut batch, "two", all[2].0);
        store.commit(batch).await.unwrap();
        let snapshot = store.snapshot().await.unwrap();
        let left = outbox(&*snapshot, "two", 10).await.unwrap();
        assert_eq!(left, all[3..]);
    }

    #[test]
    fn s06_an_edu_that_no_transaction_could_carry_is_not_kept() {
        let mut batch = Batch::new();
        let edu = Json::from_text("x".repeat(EDU_BYTES_MAX + 1));
        assert!(put_edu(&mut batch, "two", 0, &edu).is_none());
        assert!(batch.is_empty());
    }
}
