//! Work that follows a commit: invites of a new room, member events of a changed profile, the rooms of a user who is
//! gone. Each job is a row of the batch that caused it, and is done at least once.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_data::{RoomNo, members};
use hearth_event::canonical::Object;
use hearth_store::{Batch, Position};
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, UserId};
use tokio_util::sync::CancellationToken;

use crate::membership::{Action, MemberAsk};
use crate::{Error, Result, Rider, Rooms};

/// How many jobs or rooms are taken from the store at once.
const PAGE: usize = 64;
/// How many invites or rooms are under way at the same time.
const AT_ONCE: usize = 32;
/// How long a job that failed waits.
const RETRY: Duration = Duration::from_secs(10);
/// Most failed jobs that wait; more are found again at the next start.
const FAILED_MAX: usize = 1_000;

/// The table in which jobs come.
const JOBS: u8 = hearth_data::tables::JOBS.info().id;

/// A job's key.
type JobKey = (Position, u32);

/// Rooms whose first invites are on their way with the request that made them.
#[derive(Clone, Default)]
pub(crate) struct Inviting(Arc<Mutex<HashSet<RoomNo>>>);

/// Ends the claim when dropped, also if the request is given up.
pub(crate) struct Claim(Inviting, RoomNo);

impl Inviting {
    pub(crate) fn begin(&self, room: RoomNo) -> Claim {
        self.rooms().insert(room);
        Claim(self.clone(), room)
    }

    fn rooms(&self) -> std::sync::MutexGuard<'_, HashSet<RoomNo>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.rooms().remove(&self.1);
    }
}

impl Rooms {
    /// Does the jobs of this crate as they come, and those that an earlier run left. Ends with `shutdown`.
    pub async fn run_jobs(&self, shutdown: CancellationToken) {
        let mut cursor = (Position::ZERO, 0);
        let mut failed = BTreeMap::new();
        loop {
            let seen = match self.do_new_jobs(&mut cursor, &mut failed).await {
                Ok(seen) => seen,
                Err(Error::Stopping) => return,
                Err(error) => {
                    tracing::warn!(error = error.chain(), "could not read the jobs of rooms");
                    Position::MAX
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                moved = self.0.store.wait_past_in(&[JOBS], seen), if seen < Position::MAX => {
                    if moved.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(RETRY), if seen == Position::MAX || !failed.is_empty() => {
                    self.retry(&mut failed).await;
                }
            }
        }
    }

    /// Does all jobs after the cursor once; answers up to where the store was read.
    async fn do_new_jobs(
        &self,
        cursor: &mut JobKey,
        failed: &mut BTreeMap<JobKey, JobRow>,
    ) -> Result<Position> {
        loop {
            let snapshot = self.snapshot().await?;
            let page = jobs::after(&*snapshot, Owner::Rooms, *cursor, PAGE).await?;
            if page.is_empty() {
                return Ok(snapshot.position());
            }
            drop(snapshot);
            for (key, job) in page {
                *cursor = key;
                if !self.finish(key, &job).await && failed.len() < FAILED_MAX {
                    failed.insert(key, job);
                }
            }
        }
    }

    async fn retry(&self, failed: &mut BTreeMap<JobKey, JobRow>) {
        for (key, job) in std::mem::take(failed) {
            // The request that left it behind may have done it after all.
            let is_open = match self.snapshot().await {
                Ok(snapshot) => jobs::is_open(&*snapshot, Owner::Rooms, key).await,
                Err(_) => Ok(true),
            };
            if is_open.unwrap_or(true) && !self.finish(key, &job).await {
                failed.insert(key, job);
            }
        }
    }

    /// Does a job and removes it. Whether that is done.
    async fn finish(&self, key: JobKey, job: &JobRow) -> bool {
        if let JobRow::Invites { room, .. } = job
            && self.0.inviting.rooms().contains(room)
        {
            // The request that made the room is at it; should it fail, the job is still there at the next try.
            return false;
        }
        let done = match self.do_job(job).await {
            Ok(()) => self.job_done(key).await,
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    error = error.chain(),
                    "a job of rooms failed and is tried again"
                );
                false
            }
        }
    }

    async fn do_job(&self, job: &JobRow) -> Result<()> {
        match job {
            JobRow::Invites {
                room,
                sender,
                users,
                is_direct,
            } => {
                let Ok(sender) = UserId::parse(sender.as_str()) else {
                    return Ok(());
                };
                let users = users.iter().map(|user| UserId::parse(user.as_str()));
                let users: Vec<OwnedUserId> = users.filter_map(Result::ok).collect();
                self.invite_all(*room, &sender, (&users, *is_direct)).await;
                Ok(())
            }
            JobRow::SpreadProfile { user } => self.in_rooms(user, Action::Renew).await,
            JobRow::LeaveAllRooms { user, .. } => self.in_rooms(user, Action::Leave).await,
            JobRow::Upgraded { from, to, user } => {
                self.follow_upgrade((from, to), user.as_deref()).await
            }
            JobRow::GuestsLeave { room } => self.guests_leave(*room).await,
            JobRow::LeaveAgain { room, user, join } => {
                self.leave_once_more(*room, user, *join).await
            }
            JobRow::CarryOver { .. } => {
                tracing::error!("a job of accounts was given to rooms");
                Ok(())
            }
        }
    }

    /// Invites users to a room; those who cannot be invited are left out.
    pub(crate) async fn invite_all(
        &self,
        room: RoomNo,
        sender: &UserId,
        (users, is_direct): (&[OwnedUserId], bool),
    ) {
        for some in users.chunks(AT_ONCE) {
            let invites = some.iter().map(|user| {
                let ask = MemberAsk {
                    action: Action::Invite { is_direct },
                    sender: sender.to_owned(),
                    target: user.clone(),
                    reason: None,
                    further: Object::new(),
                    third_party: None,
                };
                self.change_member(room, ask, Rider::new())
            });
            for result in join_all(invites).await {
                if let Err(error) = result {
                    tracing::debug!(
                        error = error.chain(),
                        "a user was not invited to a new room"
                    );
                }
            }
        }
    }

    /// Does something to a local user's membership in all her rooms.
    async fn in_rooms(&self, user: &str, action: Action) -> Result<()> {
        let Ok(user) = UserId::parse(user) else {
            return Ok(());
        };
        let mut after = RoomNo(0);
        loop {
            let snapshot = self.snapshot().await?;
            let page = members::rooms_of(&*snapshot, user.as_str(), after, PAGE).await?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = *last;
            let rooms = page
                .iter()
                .filter(|(_, row)| is_wanted(action, &row.membership));
            let rooms: Vec<RoomNo> = rooms.map(|(room, _)| *room).collect();
            for some in rooms.chunks(AT_ONCE) {
                let changes = some.iter().map(|room| {
                    let ask = MemberAsk::of_self(action, &user, None);
                    self.change_member(*room, ask, Rider::new())
                });
                for result in join_all(changes).await {
                    settle(result)?;
                }
            }
        }
    }

    /// Removes a job that is done.
    pub(crate) async fn job_done(&self, key: JobKey) -> Result<()> {
        let mut batch = Batch::new();
        jobs::done(&mut batch, Owner::Rooms, key);
        self.0.store.commit(batch).await?;
        Ok(())
    }
}

fn is_wanted(action: Action, membership: &MembershipState) -> bool {
    use MembershipState::{Invite, Join, Knock};
    match action {
        Action::Renew => *membership == Join,
        _ => matches!(membership, Join | Invite | Knock),
    }
}

/// A room that refuses will refuse again; other failures are worth another try.
pub(crate) fn settle(result: Result<()>) -> Result<()> {
    match result {
        Err(error @ (Error::Store(_) | Error::Stopping | Error::Busy | Error::Contended)) => {
            Err(error)
        }
        Err(error) => {
            tracing::debug!(
                error = error.chain(),
                "a room refused a change of membership"
            );
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
