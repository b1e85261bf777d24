//! The commands that a running server takes.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::{
    BackupVerb, KeysVerb, MediaVerb, ReportVerb, RoomVerb, TokenVerb, UserVerb, Verb,
};
use crate::error::{Doing, Error, Result};

/// One command, as it goes over the socket.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "command")]
pub(crate) enum Command {
    Ping,
    UserCreate {
        name: String,
        password: Option<String>,
        admin: bool,
    },
    UserList,
    UserShow {
        user: String,
    },
    UserPassword {
        user: String,
        password: Option<String>,
    },
    UserDeactivate {
        user: String,
        erase: bool,
    },
    UserAdmin {
        user: String,
        revoke: bool,
    },
    TokenCreate {
        token: Option<String>,
        uses: Option<u64>,
        days: Option<u32>,
    },
    TokenList,
    TokenDelete {
        token: String,
    },
    RoomList,
    RoomShow {
        room: String,
    },
    ReportList,
    ReportRemove {
        number: u64,
    },
    KeysShow,
    KeysRotate,
    MediaList {
        user: Option<String>,
    },
    MediaShow {
        uri: String,
    },
    MediaDelete {
        uri: String,
    },
    MediaDeleteOfUser {
        user: String,
    },
    MediaQuarantine {
        uri: String,
        lift: bool,
    },
    MediaSweep,
    BackupCreate {
        folder: PathBuf,
    },
}

impl Command {
    /// The command for a command line; reads the password files that it names.
    pub(crate) fn from_cli(verb: &Verb) -> Result<Self> {
        Ok(match verb {
            Verb::User(verb) => of_user(verb)?,
            Verb::Token(TokenVerb::Create { token, uses, days }) => Self::TokenCreate {
                token: token.clone(),
                uses: *uses,
                days: *days,
            },
            Verb::Token(TokenVerb::List) => Self::TokenList,
            Verb::Token(TokenVerb::Delete { token }) => Self::TokenDelete {
                token: token.clone(),
            },
            Verb::Room(RoomVerb::List) => Self::RoomList,
            Verb::Room(RoomVerb::Show { room }) => Self::RoomShow { room: room.clone() },
            Verb::Report(ReportVerb::List) => Self::ReportList,
            Verb::Report(ReportVerb::Remove { number }) => Self::ReportRemove { number: *number },
            Verb::Keys(KeysVerb::Show) => Self::KeysShow,
            Verb::Keys(KeysVerb::Rotate) => Self::KeysRotate,
            Verb::Media(verb) => of_media(verb)?,
            Verb::Backup(BackupVerb::Create { folder }) => Self::BackupCreate {
                // The server has another working folder.
                folder: std::path::absolute(folder).doing("the folder's path is not usable")?,
            },
            _ => return Err(Error::refused("this is not a command for a running server")),
        })
    }
}

fn of_media(verb: &MediaVerb) -> Result<Command> {
    Ok(match verb {
        MediaVerb::List { user } => Command::MediaList { user: user.clone() },
        MediaVerb::Show { uri } => Command::MediaShow { uri: uri.clone() },
        MediaVerb::Delete { uri, user } => match (uri, user) {
            (Some(uri), None) => Command::MediaDelete { uri: uri.clone() },
            (None, Some(user)) => Command::MediaDeleteOfUser { user: user.clone() },
            _ => return Err(Error::refused("name a file or a user")),
        },
        MediaVerb::Quarantine { uri, lift } => Command::MediaQuarantine {
            uri: uri.clone(),
            lift: *lift,
        },
        MediaVerb::Sweep => Command::MediaSweep,
    })
}

fn of_user(verb: &UserVerb) -> Result<Command> {
    Ok(match verb {
        UserVerb::Create {
            name,
            password_file,
            admin,
        } => Command::UserCreate {
            name: name.clone(),
            password: password(password_file.as_deref())?,
            admin: *admin,
        },
        UserVerb::List => Command::UserList,
        UserVerb::Show { user } => Command::UserShow { user: user.clone() },
        UserVerb::Password {
            user,
            password_file,
        } => Command::UserPassword {
            user: user.clone(),
            password: password(password_file.as_deref())?,
        },
        UserVerb::Deactivate { user, erase } => Command::UserDeactivate {
            user: user.clone(),
            erase: *erase,
        },
        UserVerb::Admin { user, revoke } => Command::UserAdmin {
            user: user.clone(),
            revoke: *revoke,
        },
    })
}

/// The first line of a file, or of standard input.
fn password(file: Option<&Path>) -> Result<Option<String>> {
    let Some(path) = file else {
        return Ok(None);
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.doing(format!(
        "could not read the password from {}",
        path.display()
    ))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(Some(password.to_owned())),
        _ => Err(Error::refused(format!(
            "the first line of {} is empty",
            path.display()
        ))),
    }
}
