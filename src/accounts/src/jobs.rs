//! Work that follows a commit: the settings that a user has for a room follow her to the room that replaced it. Each job
//! is a row of the batch that caused it, and is done at least once.

use std::time::Duration;

use hearth_data::accounts::account_data;
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_store::{Batch, Position};
use ruma::push::{NewPushRule, RuleKind, Ruleset};
use ruma::{OwnedRoomId, RoomId, UserId};
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::{Accounts, Error, Result, RuleChange, RulePlace};

/// How many jobs are taken from the store at once.
const PAGE: usize = 64;
/// The table in which jobs come.
const JOBS: u8 = hearth_data::tables::JOBS.info().id;
/// How long to wait after the store failed.
const RETRY: Duration = Duration::from_secs(10);

/// The account data that names rooms by the person with whom one talks there.
const DIRECT: &str = "m.direct";

impl Accounts {
    /// Does the jobs of this crate as they come, and those that an earlier run left. Ends with `shutdown`.
    pub async fn run_jobs(&self, shutdown: CancellationToken) {
        loop {
            let seen = match self.do_jobs().await {
                Ok(seen) => Some(seen),
                Err(error) => {
                    tracing::warn!(%error, "a job of accounts failed and is tried again");
                    None
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                moved = self.inner.store.wait_past_in(&[JOBS], seen.unwrap_or(Position::MAX)), if seen.is_some() => {
                    if moved.is_err() {
                        return;
                    }
                }
                () = tokio::time::sleep(RETRY), if seen.is_none() => {}
            }
        }
    }

    /// Does all jobs that there are; answers up to where the store was read.
    pub(crate) async fn do_jobs(&self) -> Result<Position> {
        let mut cursor = (Position::ZERO, 0);
        loop {
            let snapshot = self.snapshot().await?;
            let page = jobs::after(&*snapshot, Owner::Accounts, cursor, PAGE).await?;
            if page.is_empty() {
                return Ok(snapshot.position());
            }
            drop(snapshot);
            for (key, job) in page {
                cursor = key;
                if let JobRow::CarryOver { user, from, to } = &job {
                    self.carry_over(user, (from, to)).await?;
                }
                let mut batch = Batch::new();
                jobs::done(&mut batch, Owner::Accounts, key);
                self.inner.store.commit(batch).await?;
            }
        }
    }

    async fn carry_over(&self, user: &str, (from, to): (&str, &str)) -> Result<()> {
        let ids = (UserId::parse(user), RoomId::parse(from), RoomId::parse(to));
        let (Ok(user), Ok(from), Ok(to)) = ids else {
            return Ok(());
        };
        self.carry_tags(&user, (&from, &to)).await?;
        self.carry_direct(&user, (&from, &to)).await?;
        self.carry_rules(&user, (&from, &to)).await
    }

    /// Tags, unless the new room has some already.
    async fn carry_tags(&self, user: &UserId, (from, to): (&RoomId, &RoomId)) -> Result<()> {
        let tags = self.account_data(user, Some(from), "m.tag").await?;
        let Some(tags) = tags else {
            return Ok(());
        };
        if self.account_data(user, Some(to), "m.tag").await?.is_some() {
            return Ok(());
        }
        settle(self.account_data_put(user, Some(to), "m.tag", tags).await)
    }

    /// The new room is a direct chat with the same people.
    async fn carry_direct(&self, user: &UserId, (from, to): (&RoomId, &RoomId)) -> Result<()> {
        let key = (user.to_string(), String::new(), DIRECT.to_owned());
        let snapshot = self.snapshot().await?;
        let stored = account_data::account_data(&*snapshot, &key).await?;
        drop(snapshot);
        let content = stored.and_then(|row| serde_json::from_str(row.content.text()).ok());
        let Some(mut direct): Option<Map<String, Value>> = content else {
            return Ok(());
        };
        if !add_beside(&mut direct, from, to) {
            return Ok(());
        }
        let content = hearth_data::row::Json::from_text(Value::Object(direct).to_string());
        settle(self.account_data_put(user, None, DIRECT, content).await)
    }

    /// Rules that are named after the room, in the kinds that clients use for that.
    async fn carry_rules(&self, user: &UserId, (from, to): (&RoomId, &RoomId)) -> Result<()> {
        let rules = self.push_rules(user).await?;
        for kind in [RuleKind::Room, RuleKind::Override, RuleKind::Underride] {
            if rules.get(kind.clone(), to.as_str()).is_some() {
                continue;
            }
            let Some((rule, enabled)) = renamed(&rules, kind.clone(), (from, to)) else {
                continue;
            };
            let put = RuleChange::Put {
                rule,
                place: RulePlace::default(),
            };
            settle(self.push_rules_change(user, &put).await)?;
            if !enabled {
                let off = RuleChange::Enabled {
                    kind,
                    rule_id: to.to_string(),
                    enabled,
                };
                settle(self.push_rules_change(user, &off).await)?;
            }
        }
        Ok(())
    }
}

/// The rule of a room as one of another room, and whether it is on.
fn renamed(
    rules: &Ruleset,
    kind: RuleKind,
    (from, to): (&RoomId, &RoomId),
) -> Option<(NewPushRule, bool)> {
    let enabled = rules.get(kind.clone(), from.as_str())?.enabled();
    let conditional = |rules: &ruma::push::Ruleset| {
        let rule = match kind {
            RuleKind::Override => rules.override_.get(from.as_str()),
            _ => rules.underride.get(from.as_str()),
        }?;
        let conditions = serde_json::to_string(&rule.conditions).ok()?;
        let conditions = conditions.replace(from.as_str(), to.as_str());
        let conditions = serde_json::from_str(&conditions).ok()?;
        Some(ruma::push::NewConditionalPushRule::new(
            to.to_string(),
            conditions,
            rule.actions.clone(),
        ))
    };
    let rule = match kind {
        RuleKind::Room => {
            let rule = rules.room.get(from.as_str())?;
            let id: OwnedRoomId = to.to_owned();
            let rule = ruma::push::NewSimplePushRule::new(id, rule.actions.clone());
            NewPushRule::Room(rule)
        }
        RuleKind::Override => NewPushRule::Override(conditional(rules)?),
        _ => NewPushRule::Underride(conditional(rules)?),
    };
    Some((rule, enabled))
}

/// Adds a room to each list that has another. Whether there was one to add to.
fn add_beside(direct: &mut Map<String, Value>, from: &RoomId, to: &RoomId) -> bool {
    let mut added = false;
    for rooms in direct.values_mut().filter_map(Value::as_array_mut) {
        let has = |rooms: &[Value], id: &RoomId| rooms.iter().any(|room| room == id.as_str());
        if has(rooms, from) && !has(rooms, to) {
            rooms.push(to.as_str().into());
            added = true;
        }
    }
    added
}

/// What the user's quotas refuse will be refused again; other failures are worth another try.
fn settle(result: Result<()>) -> Result<()> {
    match result {
        Err(error @ (Error::Store(_) | Error::Contended)) => Err(error),
        Err(error) => {
            tracing::debug!(%error, "a setting did not follow a room's upgrade");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}
