//! `/room_keys/version`: the versions of a user's key backup. One is the newest; only that takes keys.

use hearth_data::e2ee::backup::{self as data, BackupRow};
use hearth_event::canonical::{self, Object as Parsed};
use hearth_store::{Batch, Snapshot};
use hearth_types::Caller;
use ruma::UserId;

use crate::json::Object;
use crate::{E2ee, Error, Result, schema};

/// Longest `auth_data`, in bytes.
const AUTH_DATA_BYTES_MAX: usize = 64 << 10;
/// Longest name of an algorithm, in bytes.
const ALGORITHM_BYTES_MAX: usize = 255;
/// How many versions a user has at most, deleted ones included.
const VERSIONS_MAX: u64 = 10_000;
/// How many versions are looked at in search of the newest that was not deleted.
const VERSIONS_AT_ONCE: usize = 64;

pub(crate) const NO_BACKUP: Error = Error::NotFound("no such version of the backup");

/// A version that is to be made or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBackup {
    algorithm: String,
    auth_data: String,
}

impl NewBackup {
    /// A body with `algorithm` and `auth_data`.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let body = schema::object(body)?;
        let algorithm = schema::text(&body, "algorithm")?;
        if algorithm.is_empty() || algorithm.len() > ALGORITHM_BYTES_MAX {
            return Err(Error::Param("the algorithm's name is empty or too long"));
        }
        let auth_data: Option<&Parsed> = schema::field(&body, "auth_data")?;
        let auth_data =
            auth_data.ok_or_else(|| Error::Schema("auth_data is missing".to_owned()))?;
        let auth_data = canonical::to_string(auth_data);
        if auth_data.len() > AUTH_DATA_BYTES_MAX {
            return Err(Error::TooLarge {
                what: "bytes of auth_data",
                max: AUTH_DATA_BYTES_MAX,
            });
        }
        Ok(Self {
            algorithm: algorithm.to_owned(),
            auth_data,
        })
    }

    /// The version in the body, if it names one.
    fn named_version(body: &[u8]) -> Result<Option<u64>> {
        let body = schema::object(body)?;
        match body.get("version") {
            None => Ok(None),
            Some(_) => Ok(Some(version_number(schema::text(&body, "version")?)?)),
        }
    }
}

/// A version of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its number.
    pub version: u64,
    row: BackupRow,
}

impl Backup {
    /// As clients see it.
    pub fn to_json(&self) -> String {
        let mut json = Object::new();
        json.text("algorithm", &self.row.algorithm);
        json.raw("auth_data", &self.row.auth_data);
        json.raw("count", &self.row.count.to_string());
        json.text("etag", &self.row.etag.to_string());
        json.text("version", &self.version.to_string());
        json.finish()
    }
}

/// The number of a version, as it stands in a path, a query or a body.
pub(crate) fn version_number(text: &str) -> Result<u64> {
    text.parse().map_err(|_| NO_BACKUP)
}

impl E2ee {
    /// Makes a new version, which is the newest from now on.
    pub async fn backup_create(&self, caller: &Caller, new: &NewBackup) -> Result<u64> {
        let user = caller.user.as_str();
        let _turn = self.turn([user].into_iter()).await;
        self.decide(|snapshot| async move {
            let newest = data::versions(&*snapshot, user, 1).await?;
            let version = newest.first().map_or(0, |(version, _)| *version) + 1;
            if version > VERSIONS_MAX {
                return Err(Error::TooLarge {
                    what: "versions of a backup",
                    max: usize::try_from(VERSIONS_MAX).unwrap_or(usize::MAX),
                });
            }
            let mut batch = Batch::new();
            let row = BackupRow {
                algorithm: new.algorithm.clone(),
                auth_data: new.auth_data.clone(),
                etag: 0,
                count: 0,
                deleted: false,
            };
            data::version_put(&mut batch, &(user.to_owned(), version), None, &row);
            Ok((batch, version))
        })
        .await
    }

    /// A version; the newest without a number.
    pub async fn backup(&self, user: &UserId, version: Option<&str>) -> Result<Backup> {
        let snapshot = self.snapshot().await?;
        let found = match version {
            None => newest(&*snapshot, user.as_str()).await?,
            Some(version) => {
                let version = version_number(version)?;
                let row = data::version(&*snapshot, user.as_str(), version).await?;
                row.map(|row| (version, row))
            }
        };
        let found = found.filter(|(_, row)| !row.deleted);
        let (version, row) = found.ok_or(NO_BACKUP)?;
        Ok(Backup { version, row })
    }

    /// Changes a version's `auth_data`. Its algorithm is fixed.
    pub async fn backup_update(&self, caller: &Caller, version: &str, body: &[u8]) -> Result<()> {
        let new = &NewBackup::parse(body)?;
        let version = version_number(version)?;
        if NewBackup::named_version(body)?.is_some_and(|named| named != version) {
            return Err(Error::Param("the version in the body is another one"));
        }
        let key = &(caller.user.to_string(), version);
        self.decide(|snapshot| async move {
            let before = data::version(&*snapshot, &key.0, key.1).await?;
            let before = before.filter(|row| !row.deleted).ok_or(NO_BACKUP)?;
            if before.algorithm != new.algorithm {
                return Err(Error::Param("the algorithm of a version cannot change"));
            }
            let mut after = before.clone();
            after.auth_data.clone_from(&new.auth_data);
            let mut batch = Batch::new();
            data::version_put(&mut batch, key, Some(&before), &after);
            Ok((batch, ()))
        })
        .await
    }

    /// Deletes a version with its keys. Deleting it again does nothing.
    pub async fn backup_delete(&self, caller: &Caller, version: &str) -> Result<()> {
        let key = &(caller.user.to_string(), version_number(version)?);
        self.decide(|snapshot| async move {
            let before = data::version(&*snapshot, &key.0, key.1).await?;
            let before = before.ok_or(NO_BACKUP)?;
            let mut batch = Batch::new();
            if before.deleted {
                return Ok((batch, ()));
            }
            let after = BackupRow {
                auth_data: "{}".to_owned(),
                count: 0,
                deleted: true,
                ..before.clone()
            };
            data::version_put(&mut batch, key, Some(&before), &after);
            data::keys_clear(&mut batch, key);
            Ok((batch, ()))
        })
        .await
    }
}

/// The newest version that was not deleted.
pub(crate) async fn newest(
    snapshot: &dyn Snapshot,
    user: &str,
) -> Result<Option<(u64, BackupRow)>> {
    let few = data::versions(snapshot, user, VERSIONS_AT_ONCE).await?;
    let is_all = few.len() < VERSIONS_AT_ONCE;
    let found = few.into_iter().find(|(_, row)| !row.deleted);
    if found.is_some() || is_all {
        return Ok(found);
    }
    let limit = usize::try_from(VERSIONS_MAX).unwrap_or(usize::MAX);
    let all = data::versions(snapshot, user, limit).await?;
    Ok(all.into_iter().find(|(_, row)| !row.deleted))
}
