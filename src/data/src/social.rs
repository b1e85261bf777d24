//! Friends, direct chats and private groups: what is derived from rooms, and the claims that make a room the only one.

use bytes::Bytes;
use hearth_store::{Batch, Snapshot, Value, ValueError};
use hearth_types::UnixMs;
use ruma::OwnedRoomId;
use serde::{Deserialize, Serialize};

use crate::row::{decode_row, encode_row, rows};
use crate::tables::{DIRECT_CHATS, DIRECT_ROOMS, FRIEND_ACTS, FRIENDS, PRIVATE_GROUPS};
use crate::{Result, RoomNo};

/// What there is between a user and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FriendState {
    /// A request of the user is not answered yet.
    PendingOut,
    /// A request waits for the user's answer.
    PendingIn,
    /// They are friends.
    Friend,
    /// It is over.
    Ended,
}

/// What ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Ending {
    /// Who was asked said no.
    Declined,
    /// Who asked took it back.
    Withdrawn,
    /// One of the friends left.
    Unfriended,
}

/// A user's side of what there is between her and another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FriendRow {
    /// How they stand.
    pub state: FriendState,
    /// Since when.
    pub since: UnixMs,
    /// The direct chat that this is about; none once it is over.
    pub chat: Option<(RoomNo, OwnedRoomId)>,
    /// What ended it.
    pub ending: Option<Ending>,
    /// What was said with the request, while it is pending.
    pub message: Option<String>,
    /// Both have asked: of the two chats this one stays, and the user joins it as soon as she can.
    pub is_crossed: bool,
}

impl Value for FriendRow {
    fn encode(&self) -> Vec<u8> {
        encode_row(2, self)
    }

    /// A row of version 1 does not say whether both have asked.
    fn decode(bytes: &Bytes) -> std::result::Result<Self, ValueError> {
        if bytes.first() != Some(&1) {
            return decode_row(2, bytes);
        }
        let (state, since, chat, ending, message) = decode_row(1, bytes)?;
        Ok(Self {
            state,
            since,
            chat,
            ending,
            message,
            is_crossed: false,
        })
    }
}

/// A direct chat of a user with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectChatRow {
    /// The room.
    pub room_id: OwnedRoomId,
    /// When it was over.
    pub ended: Option<UnixMs>,
}

/// The two whose direct chat a room is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectRoomRow {
    /// Both users.
    pub users: [String; 2],
}

impl DirectRoomRow {
    /// The other one.
    pub fn peer_of(&self, user: &str) -> Option<&str> {
        match &self.users {
            [one, other] if one == user => Some(other),
            [other, one] if one == user => Some(other),
            _ => None,
        }
    }
}

/// The group that was made for a set of users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateGroupRow {
    /// The room.
    pub room_id: OwnedRoomId,
    /// Who made it.
    pub creator: String,
    /// Whether its first invites are out.
    pub is_complete: bool,
}

rows!(DirectChatRow = 1, DirectRoomRow = 1, PrivateGroupRow = 1);

/// A user's side of what there is between her and another.
pub async fn friend(snapshot: &dyn Snapshot, user: &str, peer: &str) -> Result<Option<FriendRow>> {
    FRIENDS
        .get(snapshot, &(user.to_owned(), peer.to_owned()))
        .await
}

/// With whom a user has or had to do, after a user id (exclusive; start with ""), at most `limit`.
pub async fn friends_after(
    snapshot: &dyn Snapshot,
    user: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, FriendRow)>> {
    let mut range = FRIENDS.prefix(&user.to_owned());
    if !after.is_empty() {
        range.from = FRIENDS.prefix(&(user.to_owned(), after.to_owned())).to;
    }
    let rows = FRIENDS.range(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, peer), row)| (peer, row))
        .collect())
}

/// Writes a user's side. Fails the batch unless `current` still stands there.
pub fn put_friend(
    batch: &mut Batch,
    (user, peer): (&str, &str),
    current: Option<&FriendRow>,
    row: &FriendRow,
) {
    let key = (user.to_owned(), peer.to_owned());
    FRIENDS.expect(batch, &key, current);
    FRIENDS.put(batch, &key, row);
}

/// Fails the batch unless a user's side still is as it was loaded.
pub fn expect_friend(batch: &mut Batch, (user, peer): (&str, &str), current: Option<&FriendRow>) {
    FRIENDS.expect(batch, &(user.to_owned(), peer.to_owned()), current);
}

/// The newest direct chats of a user with another, newest first, at most `limit`.
pub async fn chats(
    snapshot: &dyn Snapshot,
    user: &str,
    peer: &str,
    limit: usize,
) -> Result<Vec<(RoomNo, DirectChatRow)>> {
    let range = DIRECT_CHATS.prefix(&(user.to_owned(), peer.to_owned()));
    let rows = DIRECT_CHATS.range_reverse(snapshot, range, limit).await?;
    Ok(rows
        .into_iter()
        .map(|((_, _, room), row)| (room, row))
        .collect())
}

/// Writes a direct chat of a user with another.
pub fn put_chat(batch: &mut Batch, (user, peer): (&str, &str), room: RoomNo, row: &DirectChatRow) {
    DIRECT_CHATS.put(batch, &(user.to_owned(), peer.to_owned(), room), row);
}

/// Whose direct chat a room is, as far as is known.
pub async fn direct_room(snapshot: &dyn Snapshot, room: RoomNo) -> Result<Option<DirectRoomRow>> {
    DIRECT_ROOMS.get(snapshot, &room).await
}

/// Notes whose direct chat a room is.
pub fn put_direct_room(batch: &mut Batch, room: RoomNo, row: &DirectRoomRow) {
    DIRECT_ROOMS.put(batch, &room, row);
}

/// The users for whom the server has something to do in a direct chat, after such a pair, at most `limit`.
pub async fn acts_after(
    snapshot: &dyn Snapshot,
    after: Option<&(String, String)>,
    limit: usize,
) -> Result<Vec<(String, String)>> {
    let mut range = FRIEND_ACTS.prefix(&());
    if let Some(after) = after {
        range.from = FRIEND_ACTS.prefix(after).to;
    }
    let rows = FRIEND_ACTS.range(snapshot, range, limit).await?;
    Ok(rows.into_iter().map(|(pair, ())| pair).collect())
}

/// Whether the server has something to do for a user in a direct chat with another.
pub async fn has_acts(snapshot: &dyn Snapshot, user: &str, peer: &str) -> Result<bool> {
    let key = (user.to_owned(), peer.to_owned());
    Ok(FRIEND_ACTS.get(snapshot, &key).await?.is_some())
}

/// Notes that the server has something to do for a user in a direct chat with another.
pub fn put_acts(batch: &mut Batch, user: &str, peer: &str) {
    FRIEND_ACTS.put(batch, &(user.to_owned(), peer.to_owned()), &());
}

/// Nothing is left to do.
pub fn remove_acts(batch: &mut Batch, user: &str, peer: &str) {
    FRIEND_ACTS.delete(batch, &(user.to_owned(), peer.to_owned()));
}

/// The group that was last made for a set of users, by the set's hash.
pub async fn private_group(snapshot: &dyn Snapshot, set: &str) -> Result<Option<PrivateGroupRow>> {
    PRIVATE_GROUPS.get(snapshot, &set.to_owned()).await
}

/// Writes the group of a set. Fails the batch unless `current` still stands there.
pub fn put_private_group(
    batch: &mut Batch,
    set: &str,
    current: Option<&PrivateGroupRow>,
    row: &PrivateGroupRow,
) {
    let key = set.to_owned();
    PRIVATE_GROUPS.expect(batch, &key, current);
    PRIVATE_GROUPS.put(batch, &key, row);
}
