//! Carries commands out.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hearth_accounts::{
    Accounts, Erase, Flag, Logout, NewRegistrationToken, NewUser, RegistrationKind,
    RegistrationToken, User,
};
use hearth_data::RoomNo;
use hearth_data::rooms::{self, RoomHead};
use hearth_data::tables::ROOM_HEADS;
use hearth_federation::OwnKeys;
use hearth_media::Media;
use hearth_rooms::{Report, Reported, Rooms};
use hearth_store::Backend;
use hearth_store_rocksdb::RocksBackend;
use hearth_types::{Clock, Ids, SystemClock};
use ruma::{OwnedUserId, RoomId, UserId};

use super::Command;
use crate::backup::{self, Files};
use crate::error::{Doing, Error, Result};
use crate::identity;

/// Length of passwords that are made up, in characters: 119 bits.
const PASSWORD_LENGTH: usize = 20;
/// Users or rooms that are read at a time.
const PAGE: usize = 500;
/// Aliases that are shown of a room.
const ALIASES_SHOWN_MAX: usize = 50;

/// What commands are carried out on.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) accounts: Accounts,
    pub(crate) media: Media,
    /// Where files are; none if in an object store.
    pub(crate) blobs: Option<PathBuf>,
    pub(crate) rooms: Rooms,
    pub(crate) store: Arc<RocksBackend>,
    pub(crate) server_name: String,
    pub(crate) own_keys: OwnKeys,
}

impl Operator {
    /// Does it; the answer is text for a terminal.
    pub(crate) async fn carry_out(&self, command: Command) -> Result<String> {
        match command {
            Command::Ping => self.ping().await,
            Command::UserCreate {
                name,
                password,
                admin,
            } => self.user_create(name, password, admin_of(admin)).await,
            Command::UserList => self.user_list().await,
            Command::UserShow { user } => self.user_show(&user).await,
            Command::UserPassword { user, password } => self.user_password(&user, password).await,
            Command::UserDeactivate { user, erase } => {
                let erase = if erase { Erase::Yes } else { Erase::No };
                self.user_deactivate(&user, erase).await
            }
            Command::UserAdmin { user, revoke } => self.user_admin(&user, admin_of(!revoke)).await,
            Command::TokenCreate { token, uses, days } => {
                self.token_create(token, uses, days).await
            }
            Command::TokenList => self.token_list().await,
            Command::TokenDelete { token } => self.token_delete(&token).await,
            Command::RoomList => self.room_list().await,
            Command::RoomShow { room } => self.room_show(&room).await,
            Command::ReportList => self.report_list().await,
            Command::ReportRemove { number } => self.report_remove(number).await,
            Command::KeysShow => Ok(format!("{}\n", self.own_keys.document_text())),
            Command::KeysRotate => keys_rotate(&*self.store).await,
            Command::BackupCreate { folder } => {
                let files = Files {
                    media: &self.media,
                    folder: self.blobs.as_deref(),
                };
                backup::create(&self.store, &self.server_name, files, &folder).await
            }
            command => self.carry_out_on_media(command).await,
        }
    }

    async fn report_list(&self) -> Result<String> {
        let mut text = String::new();
        let mut after = 0;
        loop {
            let page = self.rooms.report_list(after, PAGE).await;
            let page = page.doing("could not list the reports")?;
            text.extend(page.iter().map(report_lines));
            match page.last() {
                Some(last) if page.len() == PAGE => after = last.number,
                _ => return Ok(text),
            }
        }
    }

    async fn report_remove(&self, number: u64) -> Result<String> {
        let removed = self.rooms.report_remove(number).await;
        match removed.doing("could not remove the report")? {
            true => Ok("removed\n".to_owned()),
            false => Err(Error::refused("there is no such report")),
        }
    }

    async fn ping(&self) -> Result<String> {
        let snapshot = self.store.snapshot().await.doing("the store is not well")?;
        Ok(format!("position {}\n", snapshot.position()))
    }

    pub(super) fn user_id(&self, name: &str) -> Result<OwnedUserId> {
        let id = if name.starts_with('@') {
            name.to_owned()
        } else {
            format!("@{name}:{}", self.server_name)
        };
        UserId::parse(&id).doing(format!("`{id}` is not a user id"))
    }

    async fn user_create(
        &self,
        name: String,
        password: Option<String>,
        role: Role,
    ) -> Result<String> {
        let (password, made_up) = password_or_made_up(password);
        let new = NewUser {
            username: Some(name.clone()),
            password: Some(password),
            kind: RegistrationKind::ByAdministrator,
            admin: role == Role::Admin,
            ..NewUser::default()
        };
        let registered = self.accounts.register(new, None).await;
        let user = registered.doing(format!("could not make the user `{name}`"))?;
        Ok(format!("made {}\n{made_up}", user.user_id))
    }

    async fn user_list(&self) -> Result<String> {
        let mut text = String::new();
        let mut after: Option<OwnedUserId> = None;
        loop {
            let page = self.accounts.user_list(after.as_deref(), PAGE).await;
            let page = page.doing("could not list users")?;
            for user in &page {
                writeln!(text, "{}{}", user.user_id, marks(user)).doing("text")?;
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after = Some(last.user_id.clone()),
                _ => return Ok(text),
            }
        }
    }

    async fn user_show(&self, name: &str) -> Result<String> {
        let user_id = self.user_id(name)?;
        let user = self.accounts.user(&user_id).await;
        let user = user.doing("could not read the user")?;
        let user = user.ok_or_else(|| Error::refused(format!("there is no user {user_id}")))?;
        let devices = self.accounts.device_list(&user_id).await;
        let devices = devices.doing("could not read the user's devices")?;
        let mut text = format!("{}{}\n", user.user_id, marks(&user));
        writeln!(text, "registered at {} ms", user.created.0).doing("text")?;
        for device in devices {
            writeln!(text, "device {}", device.device_id).doing("text")?;
        }
        Ok(text)
    }

    async fn user_password(&self, name: &str, password: Option<String>) -> Result<String> {
        let user_id = self.user_id(name)?;
        let (password, made_up) = password_or_made_up(password);
        let set = self.accounts.password_set(&user_id, &password, Logout::All);
        set.await.doing("could not set the password")?;
        Ok(format!("set the password of {user_id}\n{made_up}"))
    }

    async fn user_deactivate(&self, name: &str, erase: Erase) -> Result<String> {
        let user_id = self.user_id(name)?;
        let done = self.accounts.deactivate(&user_id, erase).await;
        done.doing("could not deactivate the user")?;
        Ok(format!("deactivated {user_id}\n"))
    }

    async fn user_admin(&self, name: &str, role: Role) -> Result<String> {
        let user_id = self.user_id(name)?;
        let (done, now) = match role {
            Role::Admin => (
                self.accounts.flag_set(&user_id, Flag::Admin).await,
                "is an administrator",
            ),
            Role::User => (
                self.accounts.flag_clear(&user_id, Flag::Admin).await,
                "is no administrator",
            ),
        };
        done.doing("could not change the user")?;
        Ok(format!("{user_id} {now}\n"))
    }

    async fn token_create(
        &self,
        token: Option<String>,
        uses_allowed: Option<u64>,
        days: Option<u32>,
    ) -> Result<String> {
        let lifetime = days.map(|days| Duration::from_secs(u64::from(days) * 24 * 60 * 60));
        let new = NewRegistrationToken {
            token,
            uses_allowed,
            expires_at: lifetime.map(|lifetime| SystemClock.now().after(lifetime)),
        };
        let token = self.accounts.registration_token_create(new).await;
        let token = token.doing("could not make the token")?;
        Ok(format!("{}\n", token.token))
    }

    async fn token_list(&self) -> Result<String> {
        let tokens = self.accounts.registration_token_list().await;
        let tokens = tokens.doing("could not list the tokens")?;
        Ok(tokens.iter().map(token_line).collect())
    }

    async fn token_delete(&self, token: &str) -> Result<String> {
        let removed = self.accounts.registration_token_delete(token).await;
        match removed.doing("could not remove the token")? {
            Some(_) => Ok("removed\n".to_owned()),
            None => Err(Error::refused("there is no such token")),
        }
    }

    async fn room_list(&self) -> Result<String> {
        let mut text = String::new();
        let mut after = RoomNo(0);
        loop {
            // Released before each page: a snapshot is not held for long.
            let snapshot = self.store.snapshot().await.doing("could not read rooms")?;
            let range = ROOM_HEADS.between(&RoomNo(after.0.saturating_add(1)), &RoomNo(u64::MAX));
            let page = ROOM_HEADS.range(&*snapshot, range, PAGE).await;
            let page = page.doing("could not read rooms")?;
            text.extend(page.iter().map(|(_, head)| room_line(head)));
            match page.last() {
                Some((last, _)) if page.len() == PAGE => after = *last,
                _ => return Ok(text),
            }
        }
    }

    async fn room_show(&self, room: &str) -> Result<String> {
        let room_id = RoomId::parse(room).doing(format!("`{room}` is not a room id"))?;
        let snapshot = self
            .store
            .snapshot()
            .await
            .doing("could not read the room")?;
        let number = rooms::number(&*snapshot, &room_id).await;
        let number = number.doing("could not read the room")?;
        let unknown = || Error::refused(format!("there is no room {room_id}"));
        let number = number.ok_or_else(unknown)?;
        let head = rooms::head(&*snapshot, number).await;
        let head = head.doing("could not read the room")?.ok_or_else(unknown)?;
        let aliases = rooms::aliases(&*snapshot, number, ALIASES_SHOWN_MAX).await;
        let mut text = room_line(&head);
        for alias in aliases.doing("could not read the room's aliases")? {
            writeln!(text, "alias {alias}").doing("text")?;
        }
        Ok(text)
    }
}

/// A report on two lines. What users wrote is quoted, so that it cannot play tricks on a terminal.
fn report_lines(report: &Report) -> String {
    let Report {
        number,
        reporter,
        at,
        reason,
        ..
    } = report;
    let what = match &report.reported {
        Reported::Room(room) => format!("room {room:?}"),
        Reported::User(user) => format!("user {user:?}"),
        Reported::Event {
            room,
            event,
            sender,
        } => format!("event {event:?} of {sender:?} in {room:?}"),
    };
    format!("{number} at {at} ms by {reporter:?}: {what}\n    {reason:?}\n")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Admin,
    User,
}

fn admin_of(admin: bool) -> Role {
    if admin { Role::Admin } else { Role::User }
}

/// A password, and what is told about it.
fn password_or_made_up(password: Option<String>) -> (String, String) {
    match password {
        Some(password) => (password, String::new()),
        None => {
            let password = Ids::from_system().token(PASSWORD_LENGTH);
            let told = format!("password {password}\n");
            (password, told)
        }
    }
}

fn marks(user: &User) -> String {
    let marks = [
        (user.is_admin, " admin"),
        (user.is_guest, " guest"),
        (user.is_locked, " locked"),
        (user.is_suspended, " suspended"),
        (user.is_deactivated, " deactivated"),
    ];
    marks
        .into_iter()
        .filter_map(|(is, mark)| is.then_some(mark))
        .collect()
}

fn room_line(head: &RoomHead) -> String {
    format!(
        "{} version {}, {} joined ({} here), {} invited\n",
        head.room_id, head.version, head.joined, head.joined_local, head.invited
    )
}

fn token_line(token: &RegistrationToken) -> String {
    let allowed = token
        .uses_allowed
        .map_or("any number".to_owned(), |uses| uses.to_string());
    let expiry = token
        .expires_at
        .map_or(String::new(), |at| format!(", until {} ms", at.0));
    format!(
        "{} used {} of {allowed}{expiry}\n",
        token.token, token.uses_completed
    )
}

/// Gives the server a new signing key.
pub(super) async fn keys_rotate(store: &dyn Backend) -> Result<String> {
    let ids = Ids::from_system();
    let (old, new) = identity::rotate(store, &ids, &SystemClock).await?;
    Ok(format!(
        "{new} takes the place of {old} at the next start of the server\n"
    ))
}
