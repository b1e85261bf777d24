//! Local users, and the tokens that let somebody become one.

use hearth_store::Snapshot;
use hearth_types::UnixMs;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{REGISTRATION_TOKENS, THREEPID_OWNERS, THREEPIDS, USERS};

/// What kind of user it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserKind {
    /// An ordinary user.
    #[default]
    User,
    /// A guest, without a password (client-server API, "Guest Access").
    Guest,
}

/// A local user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRow {
    /// When she was registered.
    pub created: UnixMs,
    /// Ordinary or guest.
    pub kind: UserKind,
    /// May use the administration surface.
    pub admin: bool,
    /// The password's hash as a PHC string. `None`: no login by password.
    pub password: Option<String>,
    /// May do nothing but log out.
    pub locked: bool,
    /// May read, but hardly write.
    pub suspended: bool,
    /// Gone for good; the row stays so that the name is never given out again.
    pub deactivated: bool,
    /// Asked at deactivation that her messages be shown to nobody who has not seen them.
    pub erased: bool,
}
rows!(UserRow = 1);

/// A token that allows registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationTokenRow {
    /// When it was made.
    pub created: UnixMs,
    /// How many registrations it allows in all; `None`: any number.
    pub uses_allowed: Option<u64>,
    /// How many have been completed with it.
    pub uses_completed: u64,
    /// From when on it is worth nothing.
    pub expires_at: Option<UnixMs>,
}
rows!(RegistrationTokenRow = 1);

/// An e-mail address or telephone number of a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreepidRow {
    /// When its owner proved to hold it.
    pub validated_at: UnixMs,
    /// When it was added to the account.
    pub added_at: UnixMs,
}
rows!(ThreepidRow = 1);

/// Whose a third-party identifier is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreepidOwnerRow(pub String);
rows!(ThreepidOwnerRow = 1);

/// A user.
pub async fn user(snapshot: &dyn Snapshot, user: &str) -> Result<Option<UserRow>> {
    USERS.get(snapshot, &user.to_owned()).await
}

/// Users in the order of their ids, after a given one (`""`: from the beginning), at most `limit`.
pub async fn user_list(
    snapshot: &dyn Snapshot,
    after: &str,
    limit: usize,
) -> Result<Vec<(String, UserRow)>> {
    let mut range = USERS.prefix(&());
    if !after.is_empty() {
        // The first key after that of `after`: strings end with two zero bytes.
        let mut from = USERS.raw_key(&after.to_owned()).to_vec();
        from.push(0);
        range.from = from.into();
    }
    USERS.range(snapshot, range, limit).await
}

/// A registration token.
pub async fn registration_token(
    snapshot: &dyn Snapshot,
    token: &str,
) -> Result<Option<RegistrationTokenRow>> {
    REGISTRATION_TOKENS.get(snapshot, &token.to_owned()).await
}

/// Registration tokens in the order of their text, at most `limit`.
pub async fn registration_token_list(
    snapshot: &dyn Snapshot,
    limit: usize,
) -> Result<Vec<(String, RegistrationTokenRow)>> {
    let range = REGISTRATION_TOKENS.prefix(&());
    REGISTRATION_TOKENS.range(snapshot, range, limit).await
}

/// A user's third-party identifiers as (medium, address), at most `limit`.
pub async fn threepid_list(
    snapshot: &dyn Snapshot,
    user: &str,
    limit: usize,
) -> Result<Vec<(String, String, ThreepidRow)>> {
    let rows = THREEPIDS
        .range(snapshot, THREEPIDS.prefix(&user.to_owned()), limit)
        .await?;
    Ok(rows
        .into_iter()
        .map(|((_, medium, address), row)| (medium, address, row))
        .collect())
}

/// Whose a third-party identifier is.
pub async fn threepid_owner(
    snapshot: &dyn Snapshot,
    medium: &str,
    address: &str,
) -> Result<Option<String>> {
    let key = (medium.to_owned(), address.to_owned());
    Ok(THREEPID_OWNERS
        .get(snapshot, &key)
        .await?
        .map(|owner| owner.0))
}
