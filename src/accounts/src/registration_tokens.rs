//! Tokens that allow registration where it is not open to all.

use hearth_data::accounts::users::{
    RegistrationTokenRow, registration_token, registration_token_list,
};
use hearth_data::tables::REGISTRATION_TOKENS;
use hearth_store::Batch;
use hearth_types::UnixMs;

use crate::{Accounts, Error, Result};

/// Longest registration token (client-server API, "Token-authenticated registration").
const LENGTH_MAX: usize = 64;

/// How many registration tokens there can be.
const TOKENS_MAX: usize = 10_000;

/// A registration token to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRegistrationToken {
    /// Its text; `None`: one is made up.
    pub token: Option<String>,
    /// How many registrations it allows; `None`: any number.
    pub uses_allowed: Option<u64>,
    /// From when on it is worth nothing.
    pub expires_at: Option<UnixMs>,
}

/// A registration token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationToken {
    /// Its text.
    pub token: String,
    /// How many registrations it allows; `None`: any number.
    pub uses_allowed: Option<u64>,
    /// How many have been completed.
    pub uses_completed: u64,
    /// How many are on the way: the token has been shown, the registration is not complete.
    pub uses_pending: u64,
    /// From when on it is worth nothing.
    pub expires_at: Option<UnixMs>,
}

impl Accounts {
    /// Makes a registration token.
    pub async fn registration_token_create(
        &self,
        new: NewRegistrationToken,
    ) -> Result<RegistrationToken> {
        let token = new.token.unwrap_or_else(|| self.inner.ids.token(16));
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if token.is_empty() || token.len() > LENGTH_MAX || !token.bytes().all(allowed) {
            return Err(Error::InvalidRegistrationToken);
        }
        let row = RegistrationTokenRow {
            created: self.inner.clock.now(),
            uses_allowed: new.uses_allowed,
            uses_completed: 0,
            expires_at: new.expires_at,
        };
        let (token, row) = (&token, &row);
        self.decide(|snapshot| async move {
            if registration_token(&*snapshot, token).await?.is_some() {
                return Err(Error::RegistrationTokenInUse);
            }
            let before = registration_token_list(&*snapshot, TOKENS_MAX).await?;
            if before.len() >= TOKENS_MAX {
                return Err(Error::TooMany {
                    what: "registration tokens",
                    max: TOKENS_MAX,
                });
            }
            let mut batch = Batch::new();
            REGISTRATION_TOKENS.expect(&mut batch, token, None);
            REGISTRATION_TOKENS.put(&mut batch, token, row);
            Ok((batch, ()))
        })
        .await?;
        Ok(self.shown(token.clone(), row))
    }

    /// All registration tokens.
    pub async fn registration_token_list(&self) -> Result<Vec<RegistrationToken>> {
        let snapshot = self.snapshot().await?;
        let rows = registration_token_list(&*snapshot, TOKENS_MAX).await?;
        Ok(rows
            .into_iter()
            .map(|(token, row)| self.shown(token, &row))
            .collect())
    }

    /// Removes a registration token; the answer is what it was, `None` if there was none.
    pub async fn registration_token_delete(
        &self,
        token: &str,
    ) -> Result<Option<RegistrationToken>> {
        let key = &token.to_owned();
        let removed = self
            .decide(|snapshot| async move {
                let mut batch = Batch::new();
                let found = registration_token(&*snapshot, key).await?;
                if let Some(row) = &found {
                    REGISTRATION_TOKENS.expect(&mut batch, key, Some(row));
                    REGISTRATION_TOKENS.delete(&mut batch, key);
                }
                Ok((batch, found))
            })
            .await?;
        Ok(removed.map(|row| self.shown(key.clone(), &row)))
    }

    /// Whether a registration with this token could begin now.
    pub async fn registration_token_valid(&self, token: &str) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let found = registration_token(&*snapshot, token).await?;
        Ok(found.is_some_and(|row| {
            let pending = self.inner.uia.pending(token, self.inner.clock.now());
            is_good(&row, pending, self.inner.clock.now())
        }))
    }

    fn shown(&self, token: String, row: &RegistrationTokenRow) -> RegistrationToken {
        RegistrationToken {
            uses_allowed: row.uses_allowed,
            uses_completed: row.uses_completed,
            uses_pending: self.inner.uia.pending(&token, self.inner.clock.now()),
            expires_at: row.expires_at,
            token,
        }
    }
}

pub(crate) fn is_good(row: &RegistrationTokenRow, pending: u64, now: UnixMs) -> bool {
    let used = row.uses_completed.saturating_add(pending);
    row.uses_allowed.is_none_or(|allowed| used < allowed)
        && row.expires_at.is_none_or(|expires_at| now < expires_at)
}

/// Counts a registration as completed. What others have pending does not matter: who completes first, wins.
pub(crate) fn spend(
    batch: &mut Batch,
    token: &str,
    row: &RegistrationTokenRow,
    now: UnixMs,
) -> Result<()> {
    if !is_good(row, 0, now) {
        return Err(Error::BadRegistrationToken);
    }
    let key = token.to_owned();
    let mut after = row.clone();
    after.uses_completed += 1;
    REGISTRATION_TOKENS.expect(batch, &key, Some(row));
    REGISTRATION_TOKENS.put(batch, &key, &after);
    Ok(())
}
