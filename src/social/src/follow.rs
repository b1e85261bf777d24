//! Following the change log: whatever client or server changes a membership, how two stand is in step with it.

use std::collections::BTreeSet;
use std::time::Duration;

use hearth_data::changes::{self, Change};
use hearth_data::social::{self, DirectChatRow};
use hearth_data::{RoomNo, members, meta};
use hearth_store::{Batch, Position, Snapshot};
use ruma::UserId;
use tokio_util::sync::CancellationToken;

use crate::{Error, Result, Social, facts};

/// How many rows of the log are read at once.
const ROWS_AT_ONCE: usize = 500;
/// How many rooms are looked at together when the log does not reach back far enough.
const CATCH_UP_PAGE: usize = 256;
/// After how many positions the place in the log is noted although nothing came of them.
const NOTE_EVERY: u64 = 2_000;
/// How long a reader waits for the follower.
const REACH_MAX: Duration = Duration::from_secs(3);
/// How long the follower lets changes gather if nobody waits for it.
const GATHERED_FOR: Duration = Duration::from_millis(20);
/// How long the follower waits after it failed.
const RETRY: Duration = Duration::from_secs(1);
/// How many blocked users are looked at when a list changes.
const BLOCKED_MAX: usize = 1_000;

/// Where the log was followed to, in `META`.
const CURSOR: &str = "social_cursor";

/// Two of whom the first is a user of this server.
type Pair = (String, String);

impl Social {
    /// Follows the log. Ends with `shutdown`.
    pub async fn run(&self, shutdown: CancellationToken) {
        let mut cursor = loop {
            match self.start().await {
                Ok(cursor) => break cursor,
                Err(error) => {
                    tracing::warn!(%error, "could not begin to follow the log of changes");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = tokio::time::sleep(RETRY) => {}
                    }
                }
            }
        };
        loop {
            let followed = self.follow(&mut cursor).await;
            if let Err(error) = &followed {
                tracing::warn!(%error, "following the log of changes failed and is tried again");
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                moved = self.0.store.wait_past(cursor.seen), if followed.is_ok() => {
                    if moved.is_err() {
                        return;
                    }
                    // Most commits are none of ours: several are looked at together, unless somebody waits.
                    let wanted = self.0.wanted.notified();
                    let _nobody_waits = tokio::time::timeout(GATHERED_FOR, wanted).await.is_err();
                }
                () = tokio::time::sleep(RETRY), if followed.is_err() => {}
            }
        }
    }

    /// Waits until everything is in step that was acknowledged before.
    pub async fn reach_now(&self) -> Result<()> {
        let position = self.snapshot().await?.position();
        let mut seen = self.0.seen.subscribe();
        self.0.wanted.notify_one();
        let reached = seen.wait_for(|seen| *seen >= position);
        if tokio::time::timeout(REACH_MAX, reached).await.is_err() {
            tracing::warn!("the list of friends is behind the rooms");
        }
        Ok(())
    }

    async fn start(&self) -> Result<Cursor> {
        let snapshot = self.snapshot().await?;
        let noted = meta::load(&*snapshot, CURSOR).await?;
        let noted = noted.and_then(|bytes| bytes.try_into().ok());
        let noted = noted.map_or(Position::ZERO, |bytes| Position(u64::from_be_bytes(bytes)));
        let is_trimmed = changes::trimmed_to(&*snapshot).await? > noted;
        let mut cursor = Cursor { seen: noted, noted };
        if is_trimmed {
            tracing::info!("looking at all direct chats, as the log does not reach back");
            self.catch_up(&snapshot).await?;
            cursor.seen = snapshot.position();
        }
        self.0.seen.send_replace(cursor.seen);
        Ok(cursor)
    }

    async fn follow(&self, cursor: &mut Cursor) -> Result<()> {
        loop {
            let snapshot = self.snapshot().await?;
            let to = snapshot.position();
            if cursor.seen >= to {
                return Ok(());
            }
            let rows = changes::since(&*snapshot, cursor.seen, to, ROWS_AT_ONCE).await?;
            let upto = match rows.last() {
                Some((position, _)) if rows.len() == ROWS_AT_ONCE => *position,
                _ => to,
            };
            let changes = rows.into_iter().flat_map(|(_, changes)| changes);
            let has_news = self.apply(&snapshot, changes, cursor.seen).await?;
            cursor.seen = upto;
            self.0.seen.send_replace(upto);
            if has_news || upto.0 - cursor.noted.0 > NOTE_EVERY {
                self.note(cursor).await?;
            }
        }
    }

    /// Whether the changes concerned anybody's direct chats.
    async fn apply(
        &self,
        snapshot: &std::sync::Arc<dyn Snapshot>,
        changes: impl Iterator<Item = Change>,
        seen: Position,
    ) -> Result<bool> {
        let mut pairs = BTreeSet::new();
        let mut blockers = BTreeSet::new();
        for change in changes {
            match change {
                Change::Member { room, user, .. } => {
                    pairs.extend(self.pairs_of(&**snapshot, room, &user).await?);
                }
                Change::AccountData { user } => {
                    blockers.insert(user);
                }
                _ => {}
            }
        }
        for user in blockers {
            pairs.extend(self.newly_blocked(&**snapshot, &user, seen).await?);
        }
        for (user, peer) in &pairs {
            self.settle_local(user, peer).await?;
        }
        Ok(!pairs.is_empty())
    }

    /// Settles without doing what follows: that may need other servers, and the log does not wait for them.
    async fn settle_local(&self, user: &str, peer: &str) -> Result<()> {
        match self.settle(user, peer).await {
            Ok(_) => Ok(()),
            Err(error @ Error::Contended) => {
                tracing::warn!(%error, "how two stand changes too fast to be followed");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Who has to look at a change of membership in a room.
    async fn pairs_of(
        &self,
        snapshot: &dyn Snapshot,
        room: RoomNo,
        user: &str,
    ) -> Result<Vec<Pair>> {
        let Some(pair) = self.direct_pair(snapshot, room, user).await? else {
            return Ok(Vec::new());
        };
        let [one, other] = &pair.users;
        if one == other {
            return Ok(Vec::new());
        }
        let both = [(one.clone(), other.clone()), (other.clone(), one.clone())];
        let local: Vec<Pair> = both
            .into_iter()
            .filter(|(user, _)| self.local(user).is_some())
            .collect();
        if social::direct_room(snapshot, room).await?.is_none()
            && let Some(room_id) = facts::room_id(snapshot, room).await?
        {
            let mut batch = Batch::new();
            social::put_direct_room(&mut batch, room, &pair);
            for (user, peer) in &local {
                let row = DirectChatRow {
                    room_id: room_id.clone(),
                    ended: None,
                };
                social::put_chat(&mut batch, (user, peer), room, &row);
            }
            self.0.store.commit(batch).await?;
        }
        Ok(local)
    }

    /// With whom a user has to do whom she has just put on her list of ignored users, whatever client did it.
    async fn newly_blocked(
        &self,
        snapshot: &dyn Snapshot,
        user: &str,
        seen: Position,
    ) -> Result<Vec<Pair>> {
        let (_, row) = facts::global(snapshot, user, facts::IGNORED).await?;
        let Some(row) = row.filter(|row| row.position > seen) else {
            return Ok(Vec::new());
        };
        let mut pairs = Vec::new();
        for peer in crate::settle::ignored_in(&row.content)
            .into_iter()
            .take(BLOCKED_MAX)
        {
            if social::friend(snapshot, user, &peer).await?.is_some() {
                pairs.push((user.to_owned(), peer));
            }
        }
        Ok(pairs)
    }

    /// Looks at all rooms of all users, in place of the log.
    async fn catch_up(&self, snapshot: &std::sync::Arc<dyn Snapshot>) -> Result<()> {
        let mut after: Option<(String, RoomNo)> = None;
        loop {
            let page = members::all_rooms_after(&**snapshot, after.as_ref(), CATCH_UP_PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            let mut pairs = BTreeSet::new();
            for (user, room) in page {
                if UserId::parse(user.as_str()).is_ok() {
                    pairs.extend(self.pairs_of(&**snapshot, room, &user).await?);
                }
            }
            for (user, peer) in pairs {
                self.settle_local(&user, &peer).await?;
            }
        }
    }

    async fn note(&self, cursor: &mut Cursor) -> Result<()> {
        let mut batch = Batch::buffered();
        meta::put(&mut batch, CURSOR, cursor.seen.0.to_be_bytes().to_vec());
        self.0.store.commit(batch).await?;
        cursor.noted = cursor.seen;
        Ok(())
    }
}

/// Where the follower is.
struct Cursor {
    /// All up to here is in step.
    seen: Position,
    /// What stands in the store.
    noted: Position,
}
