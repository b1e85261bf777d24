//! Sessions: a device with its tokens. The only place where tokens are minted, refreshed and revoked.

use std::time::Duration;

use hearth_data::accounts::devices::{
    AccessTokenRow, DeviceRow, RefreshTokenRow, TokenPair, device_delete, device_list, device_row,
    refresh_token, tokens_delete,
};
use hearth_data::accounts::users::{UserKind, UserRow, user};
use hearth_data::changes::{Change, record};
use hearth_data::e2ee::device_lists::devices_gone;
use hearth_data::tables::{ACCESS_TOKENS, DEVICES, REFRESH_TOKENS, USERS};
use hearth_store::{Batch, Snapshot};
use hearth_types::Caller;
use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};

use crate::{Accounts, Error, Result, tokens};

/// Longest device id and device name, in bytes.
pub(crate) const DEVICE_BYTES_MAX: usize = 255;

/// How many devices are removed in one commit: at most seventeen operations each.
const DEVICES_PER_COMMIT: usize = 50;

/// How many commits one request takes at most to remove devices.
const COMMITS_MAX: usize = 1_000;

const ACCESS_PREFIX: &str = "hat";
const REFRESH_PREFIX: &str = "hrt";

/// Whether a client can refresh its access token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefreshTokens {
    /// It has not said so: its access token does not expire.
    #[default]
    Unsupported,
    /// It has sent `refresh_token: true`.
    Supported,
}

/// The device that a login asks for.
#[derive(Clone, Debug, Default)]
pub struct NewDevice {
    /// An existing device's tokens are replaced; `None`: a new one.
    pub device_id: Option<OwnedDeviceId>,
    /// The name of a device that did not exist.
    pub display_name: Option<String>,
    /// Whether to give out a refresh token.
    pub refresh: RefreshTokens,
}

/// A session that was begun.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose it is.
    pub user_id: OwnedUserId,
    /// Its device.
    pub device_id: OwnedDeviceId,
    /// Its access token.
    pub access_token: String,
    /// Its refresh token, if it asked for one.
    pub refresh_token: Option<String>,
    /// How long the access token is good; `None`: for ever.
    pub expires_in: Option<Duration>,
}

/// What a refresh gives.
#[derive(Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// The new access token.
    pub access_token: String,
    /// The new refresh token.
    pub refresh_token: String,
    /// How long the access token is good; `None`: for ever.
    pub expires_in: Option<Duration>,
}

// Tokens are not to be printed.
impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("user_id", &self.user_id)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Refreshed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Refreshed").finish_non_exhaustive()
    }
}

/// Whether an account may have sessions. Suspended ones may.
pub(crate) fn may_have_sessions(user: &UserRow) -> Result<()> {
    if user.deactivated {
        return Err(Error::Deactivated);
    }
    if user.locked {
        return Err(Error::Locked);
    }
    Ok(())
}

/// Writes tokens for a device and what is known of their owner.
struct Minted {
    pair: TokenPair,
    access_token: String,
    refresh_token: Option<String>,
    expires_in: Option<Duration>,
}

impl Accounts {
    /// Begins a session of a user as she was loaded, in the caller's batch, which fails if her account has changed
    /// since. Every way to a session ends here, so that none forgets to look at the account.
    pub(crate) async fn mint(
        &self,
        snapshot: &dyn Snapshot,
        batch: &mut Batch,
        owner: (&UserId, &UserRow),
        device: &NewDevice,
    ) -> Result<Session> {
        let (user_id, row) = owner;
        may_have_sessions(row)?;
        USERS.expect(batch, &user_id.to_string(), Some(row));
        let device_id = device.device_id.clone().unwrap_or_else(|| self.device_id());
        let before = device_row(snapshot, user_id.as_str(), device_id.as_str()).await?;
        self.mint_for(batch, (user_id, &device_id), before, device)
    }

    /// As [`Accounts::mint`], for a user who is written in the same batch.
    pub(crate) fn mint_first(
        &self,
        batch: &mut Batch,
        user_id: &UserId,
        device: &NewDevice,
    ) -> Result<Session> {
        let device_id = device.device_id.clone().unwrap_or_else(|| self.device_id());
        self.mint_for(batch, (user_id, &device_id), None, device)
    }

    fn mint_for(
        &self,
        batch: &mut Batch,
        (user_id, device_id): (&UserId, &DeviceId),
        before: Option<DeviceRow>,
        device: &NewDevice,
    ) -> Result<Session> {
        let name_length = device.display_name.as_ref().map_or(0, String::len);
        let id_length = device_id.as_str().len();
        if id_length == 0 || id_length > DEVICE_BYTES_MAX || name_length > DEVICE_BYTES_MAX {
            return Err(Error::InvalidDevice {
                max: DEVICE_BYTES_MAX,
            });
        }
        let key = (user_id.to_string(), device_id.to_string());
        DEVICES.expect(batch, &key, before.as_ref());
        for pair in before
            .iter()
            .flat_map(|row| row.current.iter().chain(&row.next))
        {
            tokens_delete(batch, pair);
        }
        let minted = self.mint_tokens(batch, &key, device.refresh, Used::Yes);
        let row = DeviceRow {
            // The name is for new devices only.
            display_name: match &before {
                Some(row) => row.display_name.clone(),
                None => device.display_name.clone(),
            },
            created: before.map_or_else(|| self.inner.clock.now(), |row| row.created),
            current: Some(minted.pair),
            next: None,
        };
        DEVICES.put(batch, &key, &row);
        Ok(Session {
            user_id: user_id.to_owned(),
            device_id: device_id.to_owned(),
            access_token: minted.access_token,
            refresh_token: minted.refresh_token,
            expires_in: minted.expires_in,
        })
    }

    fn mint_tokens(
        &self,
        batch: &mut Batch,
        (user, device): &(String, String),
        refresh: RefreshTokens,
        used: Used,
    ) -> Minted {
        let access = tokens::mint(&self.inner.ids, ACCESS_PREFIX);
        let can_refresh = refresh == RefreshTokens::Supported;
        let lifetime = self.inner.settings.access_token_lifetime;
        let expires_in = lifetime.filter(|_| can_refresh);
        let row = AccessTokenRow {
            user: user.clone(),
            device: device.clone(),
            expires_at: expires_in.map(|lifetime| self.inner.clock.now().after(lifetime)),
            fresh: used == Used::NotYet,
        };
        ACCESS_TOKENS.put(batch, &access.hash, &row);
        let refresh = can_refresh.then(|| tokens::mint(&self.inner.ids, REFRESH_PREFIX));
        if let Some(refresh) = &refresh {
            let row = RefreshTokenRow {
                user: user.clone(),
                device: device.clone(),
            };
            REFRESH_TOKENS.put(batch, &refresh.hash, &row);
        }
        Minted {
            pair: TokenPair {
                access: access.hash,
                refresh: refresh.as_ref().map(|token| token.hash),
            },
            access_token: access.text,
            refresh_token: refresh.map(|token| token.text),
            expires_in,
        }
    }

    fn device_id(&self) -> OwnedDeviceId {
        self.inner.ids.token(10).to_uppercase().into()
    }

    /// New tokens for a refresh token. The tokens before stay good until one of the new ones is used; a repeated
    /// refresh, whose answer did not arrive, replaces the new ones.
    pub async fn refresh(&self, token: &str) -> Result<Refreshed> {
        let hash = tokens::hash(token);
        self.decide(|snapshot| async move {
            let snapshot = &*snapshot;
            let found = refresh_token(snapshot, hash).await?;
            let owner = found.ok_or(Error::UnknownToken)?;
            let account = user(snapshot, &owner.user)
                .await?
                .ok_or(Error::UnknownToken)?;
            may_have_sessions(&account)?;
            let before = device_row(snapshot, &owner.user, &owner.device).await?;
            let before = before.ok_or(Error::UnknownToken)?;
            let mut batch = Batch::new();
            let key = (owner.user, owner.device);
            USERS.expect(&mut batch, &key.0, Some(&account));
            DEVICES.expect(&mut batch, &key, Some(&before));
            let mut row = before;
            let refreshes = |pair: &TokenPair| pair.refresh == Some(hash);
            if row.next.as_ref().is_some_and(refreshes) {
                use_next(&mut batch, &mut row);
            } else if !row.current.as_ref().is_some_and(refreshes) {
                return Err(Error::UnknownToken);
            }
            if let Some(unused) = row.next.take() {
                tokens_delete(&mut batch, &unused);
            }
            let minted = self.mint_tokens(&mut batch, &key, RefreshTokens::Supported, Used::NotYet);
            row.next = Some(minted.pair);
            DEVICES.put(&mut batch, &key, &row);
            let refreshed = Refreshed {
                access_token: minted.access_token,
                refresh_token: minted.refresh_token.ok_or(Error::UnknownToken)?,
                expires_in: minted.expires_in,
            };
            Ok((batch, refreshed))
        })
        .await
    }

    /// Ends the caller's session; its device is gone.
    pub async fn logout(&self, caller: &Caller) -> Result<()> {
        match &caller.device {
            Some(device) => {
                self.device_delete(&caller.user, std::slice::from_ref(device))
                    .await
            }
            None => Ok(()),
        }
    }

    /// Ends all sessions of a user.
    pub async fn logout_all(&self, user: &UserId) -> Result<()> {
        self.logout_others(user, None).await
    }

    /// Ends all sessions of a user but that of one device.
    pub(crate) async fn logout_others(&self, user: &UserId, but: Option<&DeviceId>) -> Result<()> {
        for _ in 0..COMMITS_MAX {
            let left = self
                .decide(|snapshot| async move {
                    let mut batch = Batch::new();
                    let (left, gone) = logout_some(&*snapshot, &mut batch, user, but).await?;
                    record(&mut batch, gone.into_iter().collect());
                    Ok((batch, left))
                })
                .await?;
            if left == Left::Nothing {
                return Ok(());
            }
        }
        Err(Error::Contended)
    }

    /// Removes devices with their tokens. Those that are not there are passed over.
    pub async fn device_delete(&self, user: &UserId, devices: &[OwnedDeviceId]) -> Result<()> {
        for devices in devices.chunks(DEVICES_PER_COMMIT) {
            self.decide(|snapshot| async move {
                let mut batch = Batch::new();
                let mut done: Vec<&str> = Vec::new();
                for device in devices.iter().map(|device| device.as_str()) {
                    let row = device_row(&*snapshot, user.as_str(), device).await?;
                    if let Some(row) = row.filter(|_| !done.contains(&device)) {
                        device_delete(&mut batch, user.as_str(), device, &row);
                        done.push(device);
                    }
                }
                let gone = devices_gone(&*snapshot, &mut batch, user.as_str(), &done).await?;
                record(&mut batch, gone.into_iter().collect());
                Ok((batch, ()))
            })
            .await?;
        }
        Ok(())
    }
}

/// Whether the tokens are good at once or replace others at their first use.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Used {
    Yes,
    NotYet,
}

/// Whether devices are left to be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    More,
}

/// The tokens of a refresh have been used: those before are revoked.
pub(crate) fn use_next(batch: &mut Batch, row: &mut DeviceRow) {
    if let Some(old) = row.current.take() {
        tokens_delete(batch, &old);
    }
    row.current = row.next.take();
}

/// Removes as many of a user's devices as one commit takes, except one. The log row, with the change that comes back, is
/// the caller's.
pub(crate) async fn logout_some(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    user: &UserId,
    but: Option<&DeviceId>,
) -> Result<(Left, Option<Change>)> {
    let devices = device_list(snapshot, user.as_str(), DEVICES_PER_COMMIT + 2).await?;
    let mut doomed = devices
        .iter()
        .filter(|device| but.is_none_or(|but| device.device_id != but.as_str()));
    let mut done = Vec::new();
    for device in doomed.by_ref().take(DEVICES_PER_COMMIT) {
        device_delete(batch, user.as_str(), &device.device_id, &device.row);
        done.push(device.device_id.as_str());
    }
    let left = match doomed.next() {
        Some(_) => Left::More,
        None => Left::Nothing,
    };
    let gone = devices_gone(snapshot, batch, user.as_str(), &done).await?;
    Ok((left, gone))
}

/// What a request may know of its caller's account.
pub(crate) fn caller(user: OwnedUserId, device: OwnedDeviceId, row: &UserRow) -> Caller {
    Caller {
        user,
        device: Some(device),
        is_guest: row.kind == UserKind::Guest,
        is_admin: row.admin,
        is_suspended: row.suspended,
        service: None,
    }
}
