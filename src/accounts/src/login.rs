//! Login by password or by login token.

use std::time::Duration;

use hearth_data::accounts::tokens::{self as brief, BriefTokenRow};
use hearth_data::accounts::users::{UserRow, threepid_owner, user};
use hearth_data::tables::LOGIN_TOKENS;
use hearth_store::Batch;
use hearth_types::{Caller, ServiceCaller};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value};

use crate::sessions::may_have_sessions;
use crate::uia::text;
use crate::{Accounts, Error, NewDevice, Result, Session, tokens};

/// How long a login token is good.
pub(crate) const LOGIN_TOKEN_LIFETIME: Duration = Duration::from_secs(120);

const LOGIN_TOKEN_PREFIX: &str = "hlt";

/// How somebody says who she is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identifier {
    /// A localpart or a full user id, in any case.
    User(String),
    /// An e-mail address or telephone number.
    Threepid {
        /// `email` or `msisdn`.
        medium: String,
        /// The address, or the number in international form without a plus.
        address: String,
    },
    /// Of a kind that this server cannot resolve: nobody.
    Unknown,
}

/// How somebody logs in.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// By password.
    Password {
        /// Who she says she is.
        identifier: Identifier,
        /// The password.
        password: String,
    },
    /// By a login token.
    Token(String),
    /// By the application service that she belongs to.
    Service {
        /// Which one.
        service: ServiceCaller,
        /// Who she is.
        identifier: Identifier,
    },
}

impl Identifier {
    /// The identifier in a body of `/login` or an `auth` object: `identifier`, or `user`, `medium` and `address` of
    /// old clients.
    pub fn from_json(object: &Map<String, Value>) -> Result<Self> {
        let (fields, kind) = match object.get("identifier") {
            Some(Value::Object(identifier)) => (identifier, text(identifier, "type")?),
            None | Some(Value::Null) if object.contains_key("user") => (object, Some("m.id.user")),
            None | Some(Value::Null) if object.contains_key("address") => {
                (object, Some("m.id.thirdparty"))
            }
            None | Some(Value::Null) => {
                return Err(Error::IncompleteAuth("identifier"));
            }
            Some(_) => {
                return Err(Error::MalformedAuth(
                    "identifier is not an object".to_owned(),
                ));
            }
        };
        let field = |name: &'static str| -> Result<String> {
            let found = text(fields, name)?;
            let missing = || Error::IncompleteAuth(name);
            found.map(str::to_owned).ok_or_else(missing)
        };
        match kind {
            Some("m.id.user") => Ok(Self::User(field("user")?)),
            Some("m.id.thirdparty") => Ok(Self::Threepid {
                medium: field("medium")?,
                address: field("address")?,
            }),
            Some("m.id.phone") => {
                field("country")?;
                let number = match text(fields, "phone")? {
                    Some(number) => number.to_owned(),
                    // The name that it had before r0.4.
                    None => field("number")?,
                };
                Ok(Self::Threepid {
                    medium: "msisdn".to_owned(),
                    address: number.chars().filter(char::is_ascii_digit).collect(),
                })
            }
            Some(_) => Ok(Self::Unknown),
            None => Err(Error::IncompleteAuth("identifier.type")),
        }
    }
}

impl Accounts {
    /// Begins a session.
    pub async fn login(&self, login: Login, device: &NewDevice) -> Result<Session> {
        match login {
            Login::Password {
                identifier,
                password,
            } => self.login_by_password(&identifier, &password, device).await,
            Login::Token(token) => self.login_by_token(&token, device).await,
            Login::Service {
                service,
                identifier,
            } => self.login_by_service(&service, &identifier, device).await,
        }
    }

    async fn login_by_password(
        &self,
        identifier: &Identifier,
        password: &str,
        device: &NewDevice,
    ) -> Result<Session> {
        let verified = self.verify_password(identifier, password).await?;
        let (user_id, verified) = (&verified.0, &verified.1);
        self.decide(|snapshot| async move {
            let found = user(&*snapshot, user_id.as_str()).await?;
            let row = found.ok_or(Error::BadCredentials)?;
            if row.password != verified.password {
                return Err(Error::BadCredentials);
            }
            let mut batch = Batch::new();
            let session = self
                .mint(&*snapshot, &mut batch, (user_id, &row), device)
                .await?;
            Ok((batch, session))
        })
        .await
    }

    /// The user with this password, or [`Error::BadCredentials`]. Takes the same time whether she exists or not.
    pub(crate) async fn verify_password(
        &self,
        identifier: &Identifier,
        password: &str,
    ) -> Result<(OwnedUserId, UserRow)> {
        let snapshot = self.snapshot().await?;
        let user_id = self.identify(identifier).await?;
        let row = match &user_id {
            Some(user_id) => user(&*snapshot, user_id.as_str()).await?,
            None => None,
        };
        drop(snapshot);
        let phc = row.as_ref().and_then(|row| row.password.as_deref());
        let right = self.inner.hasher.verify(password, phc).await?;
        match (user_id, row) {
            (Some(user_id), Some(row)) if right => Ok((user_id, row)),
            // That somebody was here once is no secret: her messages remain.
            (_, Some(row)) if row.deactivated => Err(Error::Deactivated),
            _ => Err(Error::BadCredentials),
        }
    }

    /// Which local user an identifier means. She need not exist.
    pub async fn identify(&self, identifier: &Identifier) -> Result<Option<OwnedUserId>> {
        let user_id = match identifier {
            Identifier::User(name) => self.local_user_id(name),
            Identifier::Threepid { medium, address } => {
                let snapshot = self.snapshot().await?;
                let owner = threepid_owner(&*snapshot, medium, &address.to_lowercase()).await?;
                owner.and_then(|owner| UserId::parse(owner).ok())
            }
            Identifier::Unknown => None,
        };
        Ok(user_id)
    }

    /// The local user with a localpart or a full id, in any case.
    fn local_user_id(&self, name: &str) -> Option<OwnedUserId> {
        let server_name = &self.inner.settings.server_name;
        let localpart = match name.strip_prefix('@') {
            Some(rest) => {
                let (localpart, server) = rest.split_once(':')?;
                server
                    .eq_ignore_ascii_case(server_name.as_str())
                    .then_some(localpart)?
            }
            None => name,
        };
        let localpart = localpart.to_ascii_lowercase();
        UserId::parse(format!("@{localpart}:{server_name}")).ok()
    }

    /// A token with which the caller can log in on another device, once, and how long it is good.
    pub async fn login_token(&self, caller: &Caller) -> Result<(String, Duration)> {
        let now = self.inner.clock.now();
        let expires_at = now.after(LOGIN_TOKEN_LIFETIME);
        let token = tokens::mint_brief(&self.inner.ids, LOGIN_TOKEN_PREFIX, expires_at);
        let hash = token.hash;
        self.decide(|snapshot| async move {
            let found = user(&*snapshot, caller.user.as_str()).await?;
            may_have_sessions(&found.ok_or(Error::NoSuchUser)?)?;
            let mut batch = Batch::new();
            let row = BriefTokenRow {
                user: caller.user.to_string(),
            };
            brief::put(&mut batch, &LOGIN_TOKENS, now, (expires_at, hash), &row);
            Ok((batch, ()))
        })
        .await?;
        Ok((token.text, LOGIN_TOKEN_LIFETIME))
    }

    async fn login_by_token(&self, token: &str, device: &NewDevice) -> Result<Session> {
        let key = tokens::brief_key(token, LOGIN_TOKEN_PREFIX, self.inner.clock.now());
        let key = key.ok_or(Error::UnknownToken)?;
        self.decide(|snapshot| async move {
            let found = brief::load(&*snapshot, &LOGIN_TOKENS, key).await?;
            let spent = found.ok_or(Error::UnknownToken)?;
            let user_id = UserId::parse(&*spent.user).map_err(|_| Error::UnknownToken)?;
            let found = user(&*snapshot, &spent.user).await?;
            let row = found.ok_or(Error::UnknownToken)?;
            let mut batch = Batch::new();
            brief::spend(&mut batch, &LOGIN_TOKENS, key, &spent);
            let session = self
                .mint(&*snapshot, &mut batch, (&user_id, &row), device)
                .await?;
            Ok((batch, session))
        })
        .await
    }
}
