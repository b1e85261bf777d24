//! Commands about media.

use std::fmt::Write;

use hearth_media::{MediaInfo, MediaUri, Quarantine};
use ruma::OwnedUserId;

use super::{Command, Operator};
use crate::error::{Doing, Error, Result};

/// Files that are read at a time.
const PAGE: usize = 500;

impl Operator {
    pub(super) async fn carry_out_on_media(&self, command: Command) -> Result<String> {
        match command {
            Command::MediaList { user: Some(user) } => self.media_list_of_user(&user).await,
            Command::MediaList { user: None } => self.media_list().await,
            Command::MediaShow { uri } => self.media_show(&uri).await,
            Command::MediaDelete { uri } => self.media_delete(&uri).await,
            Command::MediaDeleteOfUser { user } => self.media_delete_of_user(&user).await,
            Command::MediaQuarantine { uri, lift } => {
                let quarantine = match lift {
                    true => Quarantine::Lift,
                    false => Quarantine::Set,
                };
                self.media_quarantine(&uri, quarantine).await
            }
            Command::MediaSweep => self.media_sweep().await,
            _ => Err(Error::refused("this command is not known")),
        }
    }

    async fn media_list(&self) -> Result<String> {
        let mut text = String::new();
        let mut after = None;
        loop {
            let page = self.media.list(after.as_ref(), PAGE).await;
            let page = page.doing("could not list files")?;
            text.extend(page.iter().map(line));
            match page.last() {
                Some(last) => after = Some(last.uri.clone()),
                None => return Ok(text),
            }
        }
    }

    async fn media_list_of_user(&self, name: &str) -> Result<String> {
        let user = self.known_user(name).await?;
        let mut text = String::new();
        let mut after = None;
        loop {
            let page = self.media.list_of_user(&user, after.as_ref(), PAGE).await;
            let page = page.doing("could not list files")?;
            text.extend(page.iter().map(line));
            match page.last() {
                Some(last) => after = Some(last.uri.clone()),
                None => break,
            }
        }
        let usage = self.media.usage(&user).await;
        writeln!(text, "{} bytes in all", usage.doing("could not add up")?).doing("text")?;
        Ok(text)
    }

    /// A user who is or was there: a name that was mistyped is no user without files.
    async fn known_user(&self, name: &str) -> Result<OwnedUserId> {
        let user = self.user_id(name)?;
        let known = self.accounts.user(&user).await;
        match known.doing("could not read the user")? {
            Some(_) => Ok(user),
            None => Err(Error::refused(format!("there is no user {user}"))),
        }
    }

    async fn media_show(&self, uri: &str) -> Result<String> {
        let info = self.media.info(&parse(uri)?).await;
        let info = info.doing("could not read about the file")?;
        let info = info.ok_or_else(|| Error::refused(format!("there is no {uri}")))?;
        let name = info.file_name.as_deref().unwrap_or("(no name)");
        Ok(format!(
            "{}{name}\nuploaded at {} ms, last asked for about {} ms\n",
            line(&info),
            info.created,
            info.used
        ))
    }

    async fn media_delete(&self, uri: &str) -> Result<String> {
        let removed = self.media.delete(&parse(uri)?).await;
        match removed.doing("could not remove the file")? {
            true => Ok("removed\n".to_owned()),
            false => Err(Error::refused(format!("there is no {uri}"))),
        }
    }

    async fn media_delete_of_user(&self, name: &str) -> Result<String> {
        let user = self.known_user(name).await?;
        let removed = self.media.delete_of_user(&user).await;
        let count = removed.doing("could not remove the files")?;
        Ok(format!("removed {count} files\n"))
    }

    async fn media_quarantine(&self, uri: &str, quarantine: Quarantine) -> Result<String> {
        let done = self.media.quarantine(&parse(uri)?, quarantine).await;
        done.doing("could not change the file")?;
        Ok(match quarantine {
            Quarantine::Set => format!("{uri} is not served any more\n"),
            Quarantine::Lift => format!("{uri} is served again\n"),
        })
    }

    async fn media_sweep(&self) -> Result<String> {
        let swept = self.media.sweep().await.doing("could not sweep")?;
        Ok(format!(
            "removed {} reservations, {} previews, {} files of other servers, {} files of users; \
             {} files on the disk, {} bytes\n",
            swept.reservations, swept.previews, swept.remote, swept.local, swept.blobs, swept.bytes
        ))
    }
}

fn parse(uri: &str) -> Result<MediaUri> {
    MediaUri::parse(uri).ok_or_else(|| Error::refused(format!("`{uri}` is not an mxc:// URI")))
}

fn line(info: &MediaInfo) -> String {
    let bytes = match info.bytes {
        Some(bytes) => format!("{bytes} bytes"),
        None => "not uploaded".to_owned(),
    };
    let user = info.user.as_deref().unwrap_or("-");
    let mark = if info.is_quarantined {
        " quarantined"
    } else {
        ""
    };
    format!("{} {bytes} {} {user}{mark}\n", info.uri, info.content_type)
}
