//! New users.

use std::sync::Arc;

use hearth_data::accounts::profiles::ProfileRow;
use hearth_data::accounts::push_rules;
use hearth_data::accounts::users::{UserKind, UserRow, user};
use hearth_data::accounts::{account_data, users::RegistrationTokenRow};
use hearth_data::changes::{Change, record};
use hearth_data::tables::{PROFILES, USERS};
use hearth_ports::Authenticate;
use hearth_store::{Batch, Snapshot};
use hearth_types::UnixMs;
use ruma::{OwnedUserId, UserId};
use serde_json::Value;

use crate::password::PASSWORD_BYTES_MAX;
use crate::registration_tokens::spend;
use crate::sessions::may_have_sessions;
use crate::{
    Accounts, Error, GuestAccess, NameError, NewDevice, Registration, Result, Session,
    push_rules as rules,
};

/// Longest user id, in bytes (appendices, "User Identifiers").
const USER_ID_BYTES_MAX: usize = 255;

/// How often a name is drawn for a user who did not choose one.
const NAMES_DRAWN_MAX: usize = 4;

/// Who asks to be registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrationKind {
    /// A user, by the endpoint that is open to all.
    #[default]
    User,
    /// A guest.
    Guest,
    /// A user, by the administrator: also where registration is closed.
    ByAdministrator,
    /// A user, by an application service: also where registration is closed.
    ByService,
}

/// A user to be.
#[derive(Clone, Default)]
pub struct NewUser {
    /// Her name in any case; `None`: one is made up.
    pub username: Option<String>,
    /// Her password; `None`: no login by password.
    pub password: Option<String>,
    /// Her display name; `None`: her localpart.
    pub displayname: Option<String>,
    /// How she comes.
    pub kind: RegistrationKind,
    /// May use the administration surface.
    pub admin: bool,
    /// The registration token that she has shown; it is used up by one.
    pub registration_token: Option<String>,
    /// The application service that she belongs to.
    pub service: Option<Arc<str>>,
}

/// A user who was registered.
#[derive(Clone, Debug)]
pub struct Registered {
    /// Her id.
    pub user_id: OwnedUserId,
    /// Her first session, if one was asked for.
    pub session: Option<Session>,
}

/// A user to be, made ready: all that takes time is done.
struct Draft<'a> {
    user_id: &'a UserId,
    row: UserRow,
    displayname: String,
    spends: Option<&'a str>,
    device: Option<&'a NewDevice>,
}

impl Accounts {
    /// The user id of a name that can be registered, or why it cannot.
    pub async fn username_available(&self, username: &str) -> Result<OwnedUserId> {
        self.name_available(username, None).await
    }

    async fn name_available(&self, username: &str, service: Option<&str>) -> Result<OwnedUserId> {
        let user_id = self.check_reserved(self.new_user_id(username)?, service)?;
        let snapshot = self.snapshot().await?;
        match user(&*snapshot, user_id.as_str()).await? {
            Some(_) => Err(Error::UserInUse),
            None => Ok(user_id),
        }
    }

    /// Whether registration of this kind is open at all.
    pub fn may_register(&self, kind: RegistrationKind) -> Result<()> {
        let settings = &self.inner.settings;
        match kind {
            RegistrationKind::User if settings.registration == Registration::Closed => {
                Err(Error::RegistrationClosed)
            }
            RegistrationKind::Guest if settings.guests == GuestAccess::Forbidden => {
                Err(Error::GuestsForbidden)
            }
            _ => Ok(()),
        }
    }

    /// Registers a user and begins her first session if a device is given. Of two with the same name at the same
    /// time, one gets it.
    pub async fn register(&self, new: NewUser, device: Option<&NewDevice>) -> Result<Registered> {
        self.may_register(new.kind)?;
        let chosen = match &new.username {
            // Before the password is hashed, which is what costs.
            Some(username) => {
                let service = new.service.as_deref();
                Some(self.name_available(username, service).await?)
            }
            None => None,
        };
        let row = self.new_user_row(&new).await?;
        let mut tries_left = NAMES_DRAWN_MAX;
        loop {
            let user_id = match &chosen {
                Some(user_id) => user_id.clone(),
                None => self.drawn_user_id(new.kind)?,
            };
            let draft = Draft {
                user_id: &user_id,
                row: row.clone(),
                displayname: new
                    .displayname
                    .clone()
                    .unwrap_or_else(|| user_id.localpart().to_owned()),
                spends: new.registration_token.as_deref(),
                device,
            };
            tries_left -= 1;
            match self.register_draft(&draft).await {
                Err(Error::UserInUse) if chosen.is_none() && tries_left > 0 => {}
                Err(error) => return Err(error),
                Ok(session) => return Ok(Registered { user_id, session }),
            }
        }
    }

    /// The guest whose access token it is, if she may have the name that she asks for: her own.
    pub async fn guest_of_token(&self, token: &str, username: Option<&str>) -> Result<OwnedUserId> {
        let caller = self.authenticate(token).await;
        let guest = caller.ok().filter(|caller| caller.is_guest);
        let guest = guest.ok_or(Error::UnknownToken)?.user;
        let username = username.ok_or(Error::IncompleteAuth("username"))?;
        match username.eq_ignore_ascii_case(guest.localpart()) {
            true => Ok(guest),
            false => Err(Error::UserInUse),
        }
    }

    /// Makes a guest an ordinary user, with a password and a new session.
    pub async fn guest_upgrade(
        &self,
        guest: &UserId,
        new: &NewUser,
        device: Option<&NewDevice>,
    ) -> Result<Registered> {
        let now = self.inner.clock.now();
        let password = match &new.password {
            Some(password) => Some(self.new_password_hash(password).await?),
            None => None,
        };
        let password = &password;
        let session = self
            .decide(|snapshot| async move {
                let found = user(&*snapshot, guest.as_str()).await?;
                let before = found.filter(|row| row.kind == UserKind::Guest && !row.deactivated);
                let before = before.ok_or(Error::UnknownToken)?;
                may_have_sessions(&before)?;
                let after = UserRow {
                    kind: UserKind::User,
                    password: password.clone(),
                    ..before.clone()
                };
                let mut batch = Batch::new();
                let key = guest.to_string();
                USERS.expect(&mut batch, &key, Some(&before));
                let token = new.registration_token.as_deref();
                self.spend_registration_token(&*snapshot, &mut batch, token, now)
                    .await?;
                let session = match device {
                    Some(device) => {
                        let owner = (guest, &before);
                        Some(self.mint(&*snapshot, &mut batch, owner, device).await?)
                    }
                    None => None,
                };
                USERS.put(&mut batch, &key, &after);
                Ok((batch, session))
            })
            .await?;
        Ok(Registered {
            user_id: guest.to_owned(),
            session,
        })
    }

    async fn register_draft(&self, draft: &Draft<'_>) -> Result<Option<Session>> {
        let now = self.inner.clock.now();
        self.decide(|snapshot| async move {
            let key = draft.user_id.to_string();
            if user(&*snapshot, &key).await?.is_some() {
                return Err(Error::UserInUse);
            }
            let mut batch = Batch::new();
            USERS.expect(&mut batch, &key, None);
            USERS.put(&mut batch, &key, &draft.row);
            let mut profile = ProfileRow::default();
            let displayname = Value::from(draft.displayname.as_str());
            profile.0.insert("displayname".to_owned(), displayname);
            PROFILES.put(&mut batch, &key, &profile);
            let default_rules = rules::default_content(draft.user_id);
            push_rules::put(&mut batch, &key, &[], &default_rules);
            let rules_key = (key.clone(), String::new(), push_rules::TYPE.to_owned());
            account_data::put(&mut batch, &rules_key, None, default_rules);
            self.spend_registration_token(&*snapshot, &mut batch, draft.spends, now)
                .await?;
            record(&mut batch, vec![Change::Profile { user: key }]);
            let session = draft
                .device
                .map(|device| self.mint_first(&mut batch, draft.user_id, device))
                .transpose()?;
            Ok((batch, session))
        })
        .await
    }

    async fn spend_registration_token(
        &self,
        snapshot: &dyn Snapshot,
        batch: &mut Batch,
        token: Option<&str>,
        now: UnixMs,
    ) -> Result<()> {
        let Some(token) = token else {
            return Ok(());
        };
        let found = hearth_data::accounts::users::registration_token(snapshot, token).await?;
        let row: RegistrationTokenRow = found.ok_or(Error::BadRegistrationToken)?;
        spend(batch, token, &row, now)
    }

    async fn new_user_row(&self, new: &NewUser) -> Result<UserRow> {
        let password = match &new.password {
            Some(password) => Some(self.new_password_hash(password).await?),
            None => None,
        };
        Ok(UserRow {
            created: self.inner.clock.now(),
            kind: match new.kind {
                RegistrationKind::Guest => UserKind::Guest,
                RegistrationKind::User
                | RegistrationKind::ByAdministrator
                | RegistrationKind::ByService => UserKind::User,
            },
            admin: new.admin,
            password,
            ..UserRow::default()
        })
    }

    /// The hash of a password that somebody chooses.
    pub(crate) async fn new_password_hash(&self, password: &str) -> Result<String> {
        let min = self.inner.settings.password_length_min.max(1);
        if password.chars().count() < min || password.len() > PASSWORD_BYTES_MAX {
            return Err(Error::WeakPassword {
                min,
                max: PASSWORD_BYTES_MAX,
            });
        }
        self.inner.hasher.hash(&self.inner.ids, password).await
    }

    fn new_user_id(&self, username: &str) -> Result<OwnedUserId> {
        let localpart = username.to_ascii_lowercase();
        if localpart.is_empty() {
            return Err(NameError::Empty.into());
        }
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._=-/+".contains(&byte)
        };
        if !localpart.bytes().all(allowed) {
            return Err(NameError::Characters.into());
        }
        let user_id = format!("@{localpart}:{}", self.inner.settings.server_name);
        if user_id.len() > USER_ID_BYTES_MAX {
            return Err(NameError::Long.into());
        }
        UserId::parse(user_id).map_err(|_| NameError::Characters.into())
    }

    fn drawn_user_id(&self, kind: RegistrationKind) -> Result<OwnedUserId> {
        let drawn = self.inner.ids.token(16).to_ascii_lowercase();
        match kind {
            RegistrationKind::Guest => self.new_user_id(&format!("guest-{drawn}")),
            RegistrationKind::User
            | RegistrationKind::ByAdministrator
            | RegistrationKind::ByService => self.new_user_id(&drawn),
        }
    }
}
