//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use hearth_config::Sources;

/// A Matrix homeserver.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) settings: SettingsArgs,
    /// What to do; `serve` if nothing is said.
    #[command(subcommand)]
    pub(crate) command: Option<Verb>,
}

/// Where settings come from.
#[derive(Debug, Args)]
pub(crate) struct SettingsArgs {
    /// A TOML file of settings; of several, later ones win. Without it, those of $HEARTH_CONFIG, separated by colons.
    #[arg(short, long = "config", value_name = "FILE", global = true)]
    files: Vec<PathBuf>,
    /// One setting, as `log.level=debug`.
    #[arg(long = "set", value_name = "NAME=VALUE", global = true, value_parser = assignment)]
    set: Vec<(String, String)>,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
        .ok_or_else(|| "expected NAME=VALUE".to_owned())
}

impl SettingsArgs {
    /// The sources in their order.
    pub(crate) fn sources(&self) -> Sources {
        let files = match (&*self.files, std::env::var_os("HEARTH_CONFIG")) {
            ([], Some(paths)) => std::env::split_paths(&paths).collect(),
            (files, _) => files.to_vec(),
        };
        Sources {
            files,
            flags: self.set.clone(),
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run the server.
    Serve,
    /// Look at the settings.
    #[command(subcommand)]
    Config(ConfigVerb),
    /// Make, change and list users.
    #[command(subcommand)]
    User(UserVerb),
    /// Tokens that allow registration.
    #[command(subcommand)]
    Token(TokenVerb),
    /// Look at rooms.
    #[command(subcommand)]
    Room(RoomVerb),
    /// What users reported.
    #[command(subcommand)]
    Report(ReportVerb),
    /// The keys with which the server signs.
    #[command(subcommand)]
    Keys(KeysVerb),
    /// Look at, remove and block files.
    #[command(subcommand)]
    Media(MediaVerb),
    /// Copies of the store.
    #[command(subcommand)]
    Backup(BackupVerb),
    /// Read the whole store and check it. The server has to be stopped.
    Fsck,
    /// Ask the running server whether it is well: for container runtimes.
    Healthcheck,
}

/// `hearth config`
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Say whether the settings are valid.
    Check,
    /// Print the settings in force, secrets masked.
    Print,
}

/// `hearth user`
#[derive(Debug, Subcommand)]
pub(crate) enum UserVerb {
    /// Make a user. Without a password file a password is made up and printed.
    Create {
        /// The name before the colon.
        name: String,
        /// File with the password; `-` for standard input.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// The user may administrate the server.
        #[arg(long)]
        admin: bool,
    },
    /// List all users.
    List,
    /// Show one user.
    Show {
        /// Name or full user id.
        user: String,
    },
    /// Set a new password and log the user out everywhere.
    Password {
        /// Name or full user id.
        user: String,
        /// File with the password; `-` for standard input.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// End an account for good.
    Deactivate {
        /// Name or full user id.
        user: String,
        /// Do not show the user's messages to those who come later.
        #[arg(long)]
        erase: bool,
    },
    /// Make a user an administrator.
    Admin {
        /// Name or full user id.
        user: String,
        /// No longer an administrator.
        #[arg(long)]
        revoke: bool,
    },
}

/// `hearth token`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a registration token.
    Create {
        /// Its text; made up if not given.
        token: Option<String>,
        /// How many registrations it allows; any number if not given.
        #[arg(long)]
        uses: Option<u64>,
        /// In how many days it expires; never if not given.
        #[arg(long)]
        days: Option<u32>,
    },
    /// List all registration tokens.
    List,
    /// Remove a registration token.
    Delete {
        /// Its text.
        token: String,
    },
}

/// `hearth room`
#[derive(Debug, Subcommand)]
pub(crate) enum RoomVerb {
    /// List rooms.
    List,
    /// Show one room.
    Show {
        /// Its id.
        room: String,
    },
}

/// `hearth report`
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ReportVerb {
    /// List all reports of rooms, messages and users, oldest first.
    List,
    /// Remove a report that was dealt with.
    Remove {
        /// Its number.
        number: u64,
    },
}

/// `hearth keys`
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum KeysVerb {
    /// Show what other servers are told.
    Show,
    /// Make a new signing key. It is used from the next start on; the old one stays published for what it signed.
    Rotate,
}

/// `hearth media`
#[derive(Debug, Subcommand)]
pub(crate) enum MediaVerb {
    /// List files, all or those of one user.
    List {
        /// Name or full user id.
        #[arg(long)]
        user: Option<String>,
    },
    /// Show one file.
    Show {
        /// Its `mxc://` URI.
        uri: String,
    },
    /// Remove a file for good, or all files of a user.
    Delete {
        /// Its `mxc://` URI.
        #[arg(required_unless_present = "user")]
        uri: Option<String>,
        /// Name or full user id.
        #[arg(long, conflicts_with = "uri")]
        user: Option<String>,
    },
    /// Serve a file no longer, nor anything with the same content, and do not take it again.
    Quarantine {
        /// Its `mxc://` URI.
        uri: String,
        /// Serve it again.
        #[arg(long)]
        lift: bool,
    },
    /// Remove now what is removed from time to time: files past their time, and what nobody uses.
    Sweep,
}

/// `hearth backup`
#[derive(Debug, Subcommand)]
pub(crate) enum BackupVerb {
    /// Copy the store into a new folder, also while the server runs.
    Create {
        /// A folder that does not exist yet.
        folder: PathBuf,
    },
    /// Read a whole backup and check it.
    Verify {
        /// The folder of the backup.
        folder: PathBuf,
    },
    /// Put a backup into the data folder, which must not hold a store. The server has to be stopped.
    Restore {
        /// The folder of the backup.
        folder: PathBuf,
    },
}
