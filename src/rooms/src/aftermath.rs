//! What some events lead to besides themselves: jobs in the commit that writes them.
//!
//! A room that was upgraded takes its members' settings along: `accounts` copies them, here it is found out for whom. A
//! room that no longer wants guests is left by them.

use hearth_data::accounts::users::{UserKind, user};
use hearth_data::append::MemberChange;
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_data::{RoomNo, members, rooms};
use hearth_event::Pdu;
use hearth_event::canonical::Value;
use hearth_store::Batch;
use ruma::events::room::member::MembershipState;
use ruma::{OwnedUserId, RoomId, UserId};

use crate::membership::{Action, MemberAsk};
use crate::stage::Stage;
use crate::{Result, Rider, Rooms, content};

/// How many members are looked at at once.
const PAGE: usize = 256;

/// Where the numbers of jobs that events lead to begin; those below are for the callers' own.
pub(crate) const FIRST_JOB: u32 = 1_000;

/// What has to be known besides an event to say what it leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Around<'a> {
    pub(crate) room: RoomNo,
    /// The room's create event.
    pub(crate) create: Option<&'a Pdu>,
    /// The state event that it replaces.
    pub(crate) replaced: Option<&'a Pdu>,
    /// The local user who joins with it.
    pub(crate) joins: Option<&'a str>,
}

/// The jobs that an accepted event leads to.
pub(crate) fn jobs_of(event: &Pdu, around: Around<'_>) -> Vec<JobRow> {
    let mut jobs = Vec::new();
    if let Some(user) = around.joins
        && let Some(from) = around.create.and_then(predecessor)
    {
        jobs.push(JobRow::Upgraded {
            from,
            to: event.room_id().to_string(),
            user: Some(user.to_owned()),
        });
    }
    if event.is("m.room.tombstone", "")
        && let Some(to) = content::text(event, "replacement_room")
    {
        jobs.push(JobRow::Upgraded {
            from: event.room_id().to_string(),
            to,
            user: None,
        });
    }
    let admits = |event: &Pdu| content::text(event, "guest_access").as_deref() == Some("can_join");
    if event.is("m.room.guest_access", "") && !admits(event) && around.replaced.is_some_and(admits)
    {
        jobs.push(JobRow::GuestsLeave { room: around.room });
    }
    jobs
}

/// The local user who joins with a change.
pub(crate) fn joining(member: Option<&MemberChange>) -> Option<String> {
    let member = member.filter(|member| {
        member.local.is_some()
            && member.after == MembershipState::Join
            && member.before != Some(MembershipState::Join)
    });
    member.map(|member| member.user.clone())
}

impl Stage<'_> {
    /// Puts the jobs to which an event leads into its commit, before its state is known as the current one.
    pub(crate) fn stage_jobs(&mut self, event: &Pdu, joins: Option<&str>) {
        let around = Around {
            room: self.room(),
            create: self.view.create(),
            replaced: event
                .state_key_pair()
                .and_then(|(kind, key)| self.view.pdu(kind, key)),
            joins,
        };
        for job in jobs_of(event, around) {
            self.stage_job(&job);
        }
    }

    /// Puts a job into the commit.
    pub(crate) fn stage_job(&mut self, job: &JobRow) {
        let index = self.jobs;
        jobs::put(self.ops(), Owner::Rooms, index, job);
        self.jobs += 1;
    }

    /// The same for an event that came from elsewhere.
    pub(crate) async fn stage_jobs_of_received(&mut self, event: &Pdu) -> Result<()> {
        if event.is("m.room.guest_access", "") {
            self.load(&[("m.room.guest_access", "")]).await?;
        }
        self.stage_jobs(event, None);
        Ok(())
    }
}

/// The room that a room says it replaces.
fn predecessor(create: &Pdu) -> Option<String> {
    let content = create.content_object();
    let predecessor = content.get("predecessor")?.as_object()?;
    let room_id = predecessor.get("room_id").and_then(Value::as_str)?;
    Some(room_id.to_owned())
}

impl Rooms {
    /// Has the settings of one user, or of all local members, follow from a room to the one that replaced it. Both
    /// rooms have to say so: anybody can claim to replace a room.
    pub(crate) async fn follow_upgrade(
        &self,
        (from, to): (&str, &str),
        only: Option<&str>,
    ) -> Result<()> {
        let (Ok(from_id), Ok(to_id)) = (RoomId::parse(from), RoomId::parse(to)) else {
            return Ok(());
        };
        let snapshot = self.snapshot().await?;
        let from_no = rooms::number(&*snapshot, &from_id).await?;
        let to_no = rooms::number(&*snapshot, &to_id).await?;
        let (Some(from_no), Some(to_no)) = (from_no, to_no) else {
            return Ok(());
        };
        let (Some(old), Some(new)) = (
            self.look(snapshot.clone(), from_no).await?,
            self.look(snapshot.clone(), to_no).await?,
        ) else {
            return Ok(());
        };
        let tombstone = old.current("m.room.tombstone").await?;
        let replacement = tombstone.and_then(|event| content::text(&event, "replacement_room"));
        let create = new.current("m.room.create").await?;
        if replacement.as_deref() != Some(to)
            || create.as_ref().and_then(predecessor).as_deref() != Some(from)
        {
            return Ok(());
        }
        drop((old, new, snapshot));
        match only {
            Some(user) => {
                self.carry_over((from, to), to_no, vec![user.to_owned()])
                    .await
            }
            None => {
                let mut after = String::new();
                loop {
                    let users = self.local_members(from_no, &mut after).await?;
                    let Some(users) = users else {
                        return Ok(());
                    };
                    self.carry_over((from, to), to_no, users).await?;
                }
            }
        }
    }

    /// Writes the jobs of `accounts` for those who are in the new room.
    async fn carry_over(
        &self,
        (from, to): (&str, &str),
        to_no: RoomNo,
        users: Vec<String>,
    ) -> Result<()> {
        let snapshot = self.snapshot().await?;
        let mut batch = Batch::new();
        for (index, user) in (0..).zip(users) {
            let row = members::member(&*snapshot, to_no, &user).await?;
            if row.is_some_and(|row| row.membership == MembershipState::Join) {
                let job = JobRow::CarryOver {
                    user,
                    from: from.to_owned(),
                    to: to.to_owned(),
                };
                jobs::put(&mut batch, Owner::Accounts, index, &job);
            }
        }
        if !batch.is_empty() {
            self.0.store.commit(batch).await?;
        }
        Ok(())
    }

    /// The next joined local members of a room; `None` at the end.
    async fn local_members(&self, room: RoomNo, after: &mut String) -> Result<Option<Vec<String>>> {
        let snapshot = self.snapshot().await?;
        let page = members::members_after(&*snapshot, room, after, PAGE).await?;
        let Some((last, _)) = page.last() else {
            return Ok(None);
        };
        after.clone_from(last);
        let local = page.into_iter().filter(|(user, row)| {
            let user_id = <&UserId>::try_from(user.as_str());
            row.membership == MembershipState::Join
                && user_id.is_ok_and(|user_id| self.0.is_local(user_id))
        });
        Ok(Some(local.map(|(user, _)| user).collect()))
    }

    /// Has all guests leave a room.
    pub(crate) async fn guests_leave(&self, room: RoomNo) -> Result<()> {
        let mut after = String::new();
        while let Some(users) = self.local_members(room, &mut after).await? {
            let mut guests: Vec<OwnedUserId> = Vec::new();
            let snapshot = self.snapshot().await?;
            for name in users {
                let account = user(&*snapshot, &name).await?;
                if account.is_some_and(|account| account.kind == UserKind::Guest) {
                    guests.extend(UserId::parse(name));
                }
            }
            drop(snapshot);
            for guest in guests {
                let ask = MemberAsk::of_self(Action::Leave, &guest, None);
                crate::jobs::settle(self.change_member(room, ask, Rider::new()).await)?;
            }
        }
        Ok(())
    }
}
