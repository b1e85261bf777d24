//! From an access token to its user: two point reads, so that a revoked token is dead with the commit that revokes it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hearth_data::accounts::devices::{
    AccessTokenRow, SeenRow, TokenHash, access_token, device_row,
};
use hearth_data::accounts::users::user;
use hearth_data::tables::{ACCESS_TOKENS, DEVICES, DEVICES_SEEN};
use hearth_ports::{Acting, AuthFailure, Authenticate, BoxFuture};
use hearth_store::Batch;
use hearth_types::{Caller, UnixMs};
use ruma::{OwnedDeviceId, UserId};

use crate::sessions::{caller, use_next};
use crate::{Accounts, Result, tokens};

/// How exact the time is at which a device was last seen.
const SEEN_EVERY: Duration = Duration::from_secs(60);

/// How many devices are remembered as seen; beyond that all are forgotten, which costs a write each.
const SEEN_MAX: usize = 50_000;

/// Longest access token that is looked up, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;

/// When devices were last written as seen.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<(String, String), UnixMs>>);

impl Seen {
    /// Whether it is time to write a device as seen; the answer yes is given once.
    fn is_due(&self, key: &(String, String), now: UnixMs) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen
            .get(key)
            .is_some_and(|last| now.since(*last) < SEEN_EVERY)
        {
            return false;
        }
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(key.clone(), now);
        true
    }
}

impl Authenticate for Accounts {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Caller, AuthFailure>> {
        Box::pin(self.authenticate_token(token))
    }

    fn is_service(&self, token: &str) -> bool {
        self.inner.namespaces.service_of_token(token).is_some()
    }

    fn authenticate_service<'a>(
        &'a self,
        token: &'a str,
        acting: Acting<'a>,
    ) -> BoxFuture<'a, Result<Caller, AuthFailure>> {
        Box::pin(self.service_caller(token, acting))
    }
}

impl Accounts {
    async fn authenticate_token(&self, token: &str) -> Result<Caller, AuthFailure> {
        const UNKNOWN: AuthFailure = AuthFailure::Unknown { soft_logout: false };
        if token.is_empty() || token.len() > TOKEN_BYTES_MAX {
            return Err(UNKNOWN);
        }
        let hash = tokens::hash(token);
        let snapshot = self.snapshot().await.map_err(internal)?;
        let found = access_token(&*snapshot, hash).await.map_err(internal)?;
        let row = found.ok_or(UNKNOWN)?;
        let account = user(&*snapshot, &row.user).await.map_err(internal)?;
        let account = account
            .filter(|account| !account.deactivated)
            .ok_or(UNKNOWN)?;
        let now = self.inner.clock.now();
        if row.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(AuthFailure::Unknown { soft_logout: true });
        }
        let user_id = UserId::parse(&*row.user).map_err(internal)?;
        let caller = caller(user_id, OwnedDeviceId::from(&*row.device), &account);
        drop(snapshot);
        if row.fresh {
            self.first_use(hash).await.map_err(internal)?;
        }
        self.seen(row, now).await;
        if account.locked {
            let caller = Box::new(caller);
            return Err(AuthFailure::Locked { caller });
        }
        Ok(caller)
    }

    /// The first use of an access token from a refresh revokes the tokens before it.
    async fn first_use(&self, hash: TokenHash) -> Result<()> {
        self.decide(|snapshot| async move {
            let mut batch = Batch::new();
            let Some(token) = access_token(&*snapshot, hash)
                .await?
                .filter(|token| token.fresh)
            else {
                return Ok((batch, ()));
            };
            let device = device_row(&*snapshot, &token.user, &token.device).await?;
            let Some(mut row) = device else {
                return Ok((batch, ()));
            };
            let key = (token.user.clone(), token.device.clone());
            ACCESS_TOKENS.expect(&mut batch, &hash, Some(&token));
            DEVICES.expect(&mut batch, &key, Some(&row));
            if row.next.as_ref().is_some_and(|next| next.access == hash) {
                use_next(&mut batch, &mut row);
                DEVICES.put(&mut batch, &key, &row);
            }
            let used = AccessTokenRow {
                fresh: false,
                ..token
            };
            ACCESS_TOKENS.put(&mut batch, &hash, &used);
            Ok((batch, ()))
        })
        .await
    }

    /// Notes that a device was there. What fails here must not fail the request.
    async fn seen(&self, token: AccessTokenRow, now: UnixMs) {
        let key = (token.user, token.device);
        if !self.inner.seen.is_due(&key, now) {
            return;
        }
        let mut batch = Batch::buffered();
        DEVICES_SEEN.put(&mut batch, &key, &SeenRow(now));
        if let Err(error) = self.inner.store.commit(batch).await {
            tracing::warn!(%error, "could not note when a device was last seen");
        }
    }
}

pub(crate) fn internal(error: impl Into<hearth_ports::BoxError>) -> AuthFailure {
    AuthFailure::Internal(error.into())
}
