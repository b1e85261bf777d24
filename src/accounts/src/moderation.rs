//! What is done to accounts: passwords, standing, the end. For users themselves, administrators and the command line.

use hearth_data::accounts::users::{self as data, UserKind, UserRow, threepid_list, user};
use hearth_data::accounts::{account_data, push_rules};
use hearth_data::changes::{Change, record};
use hearth_data::e2ee::device_lists::{self, Changed};
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_data::tables::{FILTERS, PROFILES, THREEPID_OWNERS, THREEPIDS, USERS};
use hearth_store::{Batch, Snapshot};
use hearth_types::UnixMs;
use ruma::{DeviceId, OwnedUserId, UserId};

use crate::sessions::{Left, logout_some};
use crate::threepids::THREEPIDS_MAX;
use crate::{Accounts, Error, Result};

/// Which sessions end with a change of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logout<'a> {
    /// None.
    Nobody,
    /// All but that of one device.
    AllBut(&'a DeviceId),
    /// All.
    All,
}

/// Whether a deactivated user's messages are still shown to those who come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erase {
    /// They are.
    No,
    /// They are not.
    Yes,
}

/// What an administrator can set and clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// May use the administration surface.
    Admin,
    /// May do nothing but log out.
    Locked,
    /// May read, but hardly write.
    Suspended,
}

impl Flag {
    fn of(self, row: &mut UserRow) -> &mut bool {
        match self {
            Self::Admin => &mut row.admin,
            Self::Locked => &mut row.locked,
            Self::Suspended => &mut row.suspended,
        }
    }
}

/// A user as an administrator sees her.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Her id.
    pub user_id: OwnedUserId,
    /// When she registered.
    pub created: UnixMs,
    /// Whether she is a guest.
    pub is_guest: bool,
    /// May use the administration surface.
    pub is_admin: bool,
    /// May do nothing but log out.
    pub is_locked: bool,
    /// May read, but hardly write.
    pub is_suspended: bool,
    /// Gone for good.
    pub is_deactivated: bool,
}

impl Accounts {
    /// A local user.
    pub async fn user(&self, user_id: &UserId) -> Result<Option<User>> {
        let snapshot = self.snapshot().await?;
        let row = user(&*snapshot, user_id.as_str()).await?;
        Ok(row.map(|row| shown(user_id.to_owned(), &row)))
    }

    /// Local users in the order of their ids, after a given one, at most `limit`.
    pub async fn user_list(&self, after: Option<&UserId>, limit: usize) -> Result<Vec<User>> {
        let snapshot = self.snapshot().await?;
        let after = after.map_or("", UserId::as_str);
        let rows = data::user_list(&*snapshot, after, limit).await?;
        Ok(rows
            .into_iter()
            .filter_map(|(id, row)| Some(shown(UserId::parse(id).ok()?, &row)))
            .collect())
    }

    /// Sets a user's password.
    pub async fn password_set(
        &self,
        user_id: &UserId,
        password: &str,
        logout: Logout<'_>,
    ) -> Result<()> {
        let hash = &self.new_password_hash(password).await?;
        let left = self
            .decide(|snapshot| async move {
                let before = standing(&*snapshot, user_id).await?;
                let mut after = before.clone();
                after.password = Some(hash.clone());
                let mut batch = Batch::new();
                replace(&mut batch, user_id, &before, &after);
                let (left, gone) = match logout {
                    Logout::Nobody => (Left::Nothing, None),
                    Logout::AllBut(device) => {
                        logout_some(&*snapshot, &mut batch, user_id, Some(device)).await?
                    }
                    Logout::All => logout_some(&*snapshot, &mut batch, user_id, None).await?,
                };
                record(&mut batch, gone.into_iter().collect());
                Ok((batch, left))
            })
            .await?;
        match (left, logout) {
            (Left::Nothing, _) | (_, Logout::Nobody) => Ok(()),
            (Left::More, Logout::AllBut(device)) => self.logout_others(user_id, Some(device)).await,
            (Left::More, Logout::All) => self.logout_others(user_id, None).await,
        }
    }

    /// Sets a flag of a user's account.
    pub async fn flag_set(&self, user_id: &UserId, flag: Flag) -> Result<()> {
        self.change(user_id, |row| *flag.of(row) = true).await
    }

    /// Clears a flag of a user's account.
    pub async fn flag_clear(&self, user_id: &UserId, flag: Flag) -> Result<()> {
        self.change(user_id, |row| *flag.of(row) = false).await
    }

    /// Ends an account for good: nobody can log in, all sessions and all that is hers alone is gone. Her rooms are
    /// left by a job. Doing it again only adds the erasure.
    pub async fn deactivate(&self, user_id: &UserId, erase: Erase) -> Result<()> {
        self.decide(|snapshot| async move {
            let found = user(&*snapshot, user_id.as_str()).await?;
            let before = found.ok_or(Error::NoSuchUser)?;
            let after = UserRow {
                created: before.created,
                kind: before.kind,
                deactivated: true,
                erased: before.erased || erase == Erase::Yes,
                ..UserRow::default()
            };
            let mut batch = Batch::new();
            if after == before {
                return Ok((batch, ()));
            }
            replace(&mut batch, user_id, &before, &after);
            forget(&*snapshot, &mut batch, user_id).await?;
            let user = user_id.to_string();
            let job = JobRow::LeaveAllRooms {
                user: user.clone(),
                erase: after.erased,
            };
            jobs::put(&mut batch, Owner::Rooms, 0, &job);
            let changes = vec![
                Change::Profile { user: user.clone() },
                Change::AccountData { user: user.clone() },
                device_lists::changed(&*snapshot, &mut batch, &user, &[Changed::CrossSigning])
                    .await?,
            ];
            record(&mut batch, changes);
            Ok((batch, ()))
        })
        .await?;
        // Tokens are dead with the commit above; what is left of the devices goes now.
        self.logout_all(user_id).await
    }

    async fn change(&self, user_id: &UserId, change: impl Fn(&mut UserRow)) -> Result<()> {
        let change = &change;
        self.decide(|snapshot| async move {
            let before = standing(&*snapshot, user_id).await?;
            let mut after = before.clone();
            change(&mut after);
            let mut batch = Batch::new();
            if after != before {
                replace(&mut batch, user_id, &before, &after);
            }
            Ok((batch, ()))
        })
        .await
    }
}

/// A user whose account is not deactivated.
async fn standing(snapshot: &dyn Snapshot, user_id: &UserId) -> Result<UserRow> {
    let row = user(snapshot, user_id.as_str()).await?;
    let row = row.ok_or(Error::NoSuchUser)?;
    match row.deactivated {
        true => Err(Error::Deactivated),
        false => Ok(row),
    }
}

fn replace(batch: &mut Batch, user_id: &UserId, before: &UserRow, after: &UserRow) {
    let key = user_id.to_string();
    USERS.expect(batch, &key, Some(before));
    USERS.put(batch, &key, after);
}

/// Removes what belongs to a user alone, but for her devices.
async fn forget(snapshot: &dyn Snapshot, batch: &mut Batch, user_id: &UserId) -> Result<()> {
    let user = user_id.to_string();
    for (medium, address, _) in threepid_list(snapshot, &user, THREEPIDS_MAX).await? {
        THREEPID_OWNERS.delete(batch, &(medium.clone(), address.clone()));
        THREEPIDS.delete(batch, &(user.clone(), medium, address));
    }
    PROFILES.delete(batch, &user);
    account_data::clear(batch, &user);
    push_rules::clear(batch, &user);
    FILTERS.delete_range(batch, FILTERS.prefix(&user));
    hearth_data::e2ee::user_clear(batch, &user);
    Ok(())
}

fn shown(user_id: OwnedUserId, row: &UserRow) -> User {
    User {
        user_id,
        created: row.created,
        is_guest: row.kind == UserKind::Guest,
        is_admin: row.admin,
        is_locked: row.locked,
        is_suspended: row.suspended,
        is_deactivated: row.deactivated,
    }
}
