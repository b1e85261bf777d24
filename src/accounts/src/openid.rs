//! OpenID tokens: with one, a user proves to a third party who she is (client-server API, "OpenID").

use std::time::Duration;

use hearth_data::accounts::tokens::{self as brief, BriefTokenRow};
use hearth_data::accounts::users::user;
use hearth_data::tables::OPENID_TOKENS;
use hearth_store::Batch;
use ruma::{OwnedUserId, UserId};

use crate::{Accounts, Result, tokens};

/// How long a token is good.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

const PREFIX: &str = "hot";

/// A token to be shown to a third party.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenidToken {
    /// The token.
    pub token: String,
    /// How long it is good.
    pub expires_in: Duration,
}

impl Accounts {
    /// A token that proves who a user is.
    pub async fn openid_token(&self, user: &UserId) -> Result<OpenidToken> {
        let now = self.inner.clock.now();
        let expires_at = now.after(LIFETIME);
        let token = tokens::mint_brief(&self.inner.ids, PREFIX, expires_at);
        let row = BriefTokenRow {
            user: user.to_string(),
        };
        let mut batch = Batch::new();
        brief::put(
            &mut batch,
            &OPENID_TOKENS,
            now,
            (expires_at, token.hash),
            &row,
        );
        self.inner.store.commit(batch).await?;
        Ok(OpenidToken {
            token: token.text,
            expires_in: LIFETIME,
        })
    }

    /// Whose an OpenID token is, as long as it and the account are good.
    pub async fn openid_user(&self, token: &str) -> Result<Option<OwnedUserId>> {
        let Some(key) = tokens::brief_key(token, PREFIX, self.inner.clock.now()) else {
            return Ok(None);
        };
        let snapshot = self.snapshot().await?;
        let Some(row) = brief::load(&*snapshot, &OPENID_TOKENS, key).await? else {
            return Ok(None);
        };
        let account = user(&*snapshot, &row.user).await?;
        let good = account.is_some_and(|account| !account.deactivated && !account.locked);
        Ok(UserId::parse(row.user).ok().filter(|_| good))
    }
}
