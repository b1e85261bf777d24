//! Profiles of local users.

use hearth_data::accounts::profiles::{ProfileRow, profile};
use hearth_data::accounts::users::user;
use hearth_data::changes::{Change, record};
use hearth_data::jobs::{self, JobRow, Owner};
use hearth_data::tables::PROFILES;
use hearth_store::Batch;
use ruma::UserId;
use serde_json::{Map, Value};

use crate::{Accounts, Error, Result};

/// Longest display name, in bytes.
pub const DISPLAYNAME_BYTES_MAX: usize = 1_024;

/// Longest avatar address, in bytes.
const AVATAR_URL_BYTES_MAX: usize = 1_000;

/// Largest profile as JSON, in bytes; it must be smaller (client-server API, "Profiles").
const PROFILE_BYTES_MAX: usize = 64 << 10;

/// Longest name of a field, in bytes.
const FIELD_BYTES_MAX: usize = 255;

/// Why a profile was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// The field's name is too long.
    #[error("the name of a profile field has at most 255 bytes")]
    FieldLong,
    /// The field's name is not one.
    #[error("this cannot be the name of a profile field")]
    FieldName,
    /// The value is not of the field's type.
    #[error("this value cannot stand in this profile field")]
    Value,
    /// The profile would be too large.
    #[error("a profile is smaller than 64 KiB")]
    Large,
}

impl Accounts {
    /// The profile of a local user; `None` if there is no such user or she is deactivated.
    pub async fn profile(&self, user: &UserId) -> Result<Option<Map<String, Value>>> {
        let snapshot = self.snapshot().await?;
        let row = profile(&*snapshot, user.as_str()).await?;
        Ok(row.map(|row| row.0))
    }

    /// Sets a field of a user's profile, or removes it (`None`). Her member events follow by a job.
    pub async fn profile_set(
        &self,
        user_id: &UserId,
        field: &str,
        value: Option<&Value>,
    ) -> Result<()> {
        check_name(field)?;
        if let Some(value) = value {
            check_value(field, value)?;
        }
        // An empty name or avatar is none.
        let value = value.filter(|value| !is_member_field(field) || value.as_str() != Some(""));
        self.decide(|snapshot| async move {
            let account = user(&*snapshot, user_id.as_str()).await?;
            let account = account.filter(|account| !account.deactivated);
            if account.ok_or(Error::NoSuchUser)?.suspended {
                return Err(Error::Suspended);
            }
            let before = profile(&*snapshot, user_id.as_str()).await?;
            let mut after = before.clone().unwrap_or_default();
            match value {
                Some(value) => after.0.insert(field.to_owned(), value.clone()),
                None => after.0.remove(field),
            };
            let mut batch = Batch::new();
            if before.as_ref() == Some(&after) {
                return Ok((batch, ()));
            }
            check_size(&after)?;
            let user = user_id.to_string();
            PROFILES.expect(&mut batch, &user, before.as_ref());
            PROFILES.put(&mut batch, &user, &after);
            if is_member_field(field) {
                let job = JobRow::SpreadProfile { user: user.clone() };
                jobs::put(&mut batch, Owner::Rooms, 0, &job);
            }
            record(&mut batch, vec![Change::Profile { user }]);
            Ok((batch, ()))
        })
        .await
    }
}

/// Whether a field is copied into member events.
fn is_member_field(field: &str) -> bool {
    matches!(field, "displayname" | "avatar_url")
}

/// Appendices, "Common Namespaced Identifier Grammar".
fn check_name(field: &str) -> Result<(), ProfileError> {
    if field.len() > FIELD_BYTES_MAX {
        return Err(ProfileError::FieldLong);
    }
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'.' | b'-')
    };
    let namespaced = field.starts_with(|first: char| first.is_ascii_lowercase())
        && field.contains('.')
        && field.bytes().all(allowed);
    match is_member_field(field) || namespaced {
        true => Ok(()),
        false => Err(ProfileError::FieldName),
    }
}

fn check_value(field: &str, value: &Value) -> Result<(), ProfileError> {
    let good = match field {
        "displayname" => value
            .as_str()
            .is_some_and(|name| name.len() <= DISPLAYNAME_BYTES_MAX),
        // The specification asks for an `mxc://` URL but names no error for others, and clients store some.
        "avatar_url" => value
            .as_str()
            .is_some_and(|url| url.len() <= AVATAR_URL_BYTES_MAX),
        "m.tz" => value.is_string(),
        _ => true,
    };
    match good {
        true => Ok(()),
        false => Err(ProfileError::Value),
    }
}

fn check_size(profile: &ProfileRow) -> Result<(), ProfileError> {
    match profile.json().len() < PROFILE_BYTES_MAX {
        true => Ok(()),
        false => Err(ProfileError::Large),
    }
}
