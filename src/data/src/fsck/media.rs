//! Media: rows that follow from others are there and nothing else is.

use super::{Check, Invariant};
use crate::Result;
use crate::media::{Content, MediaKey, MediaRow, thumbnail_of_user};
use crate::tables as t;

impl Check<'_> {
    pub(super) async fn media(&mut self) -> Result<()> {
        let mut range = t::MEDIA.prefix(&());
        while let Some(rows) = self.page(&t::MEDIA, &mut range).await? {
            for (key, row) in rows {
                self.medium(&key, &row).await?;
            }
        }
        self.blob_uses().await?;
        self.pending_media().await?;
        self.user_media().await?;
        self.previews().await
    }

    async fn medium(&mut self, key: &MediaKey, row: &MediaRow) -> Result<()> {
        if let Some(user) = &row.user {
            let listed = (user.clone(), key.1.clone());
            let listed = self.row(&t::USER_MEDIA, &listed).await?.is_some();
            self.hold(listed, Invariant::Media, || {
                format!("medium {key:?} is not in the list of {user}")
            });
        }
        match row.content {
            Content::Pending { expires } => {
                let awaited = (expires, key.1.clone());
                let awaited = self.row(&t::PENDING_MEDIA, &awaited).await?.is_some();
                self.hold(awaited, Invariant::Media, || {
                    format!("medium {key:?} is to come, but nobody waits for it")
                });
            }
            Content::Stored { blob, bytes } => {
                let found = self.row(&t::BLOBS, &blob).await?;
                let is_whole = found.is_some_and(|found| found.bytes == bytes);
                self.hold(is_whole, Invariant::Media, || {
                    format!("medium {key:?}: its blob is missing or of another length")
                });
                let used = self.row(&t::BLOB_USES, &(blob, key.clone())).await?;
                self.hold(used.is_some(), Invariant::Media, || {
                    format!("medium {key:?} is not among the users of its blob")
                });
            }
        }
        Ok(())
    }

    async fn blob_uses(&mut self) -> Result<()> {
        let mut range = t::BLOB_USES.prefix(&());
        while let Some(rows) = self.page(&t::BLOB_USES, &mut range).await? {
            for ((blob, user), ()) in rows {
                let found = match thumbnail_of_user(&user) {
                    Some(key) => self
                        .row(&t::THUMBNAILS, &key)
                        .await?
                        .and_then(|row| row.blob),
                    None => match self.row(&t::MEDIA, &user).await?.map(|row| row.content) {
                        Some(Content::Stored { blob, .. }) => Some(blob),
                        Some(Content::Pending { .. }) | None => None,
                    },
                };
                self.hold(found == Some(blob), Invariant::Media, || {
                    format!("{user:?} is said to use a blob that it does not")
                });
            }
        }
        Ok(())
    }

    async fn pending_media(&mut self) -> Result<()> {
        let mut range = t::PENDING_MEDIA.prefix(&());
        while let Some(rows) = self.page(&t::PENDING_MEDIA, &mut range).await? {
            for ((expires, id), _) in rows {
                let row = self.row(&t::MEDIA, &(String::new(), id.clone())).await?;
                let content = row.map(|row| row.content);
                let awaited = content == Some(Content::Pending { expires });
                self.hold(awaited, Invariant::Media, || {
                    format!("medium {id} is waited for, but not to come")
                });
            }
        }
        Ok(())
    }

    /// The lists of users, and the bytes that they use. Rows of a user follow each other.
    async fn user_media(&mut self) -> Result<()> {
        let mut current: Option<(String, i64)> = None;
        let mut range = t::USER_MEDIA.prefix(&());
        while let Some(rows) = self.page(&t::USER_MEDIA, &mut range).await? {
            for ((user, id), ()) in rows {
                let row = self.row(&t::MEDIA, &(String::new(), id.clone())).await?;
                let own = row
                    .as_ref()
                    .is_some_and(|row| row.user.as_ref() == Some(&user));
                self.hold(own, Invariant::Media, || {
                    format!("medium {id} in the list of {user} is not hers")
                });
                let bytes = match row.map(|row| row.content) {
                    Some(Content::Stored { bytes, .. }) => i64::try_from(bytes).unwrap_or(i64::MAX),
                    Some(Content::Pending { .. }) | None => 0,
                };
                match &mut current {
                    Some((same, sum)) if *same == user => *sum += bytes,
                    _ => {
                        self.media_usage(current.replace((user, bytes))).await?;
                    }
                }
            }
        }
        self.media_usage(current).await
    }

    async fn media_usage(&mut self, of: Option<(String, i64)>) -> Result<()> {
        let Some((user, sum)) = of else {
            return Ok(());
        };
        let noted = self.row(&t::MEDIA_USAGE, &user).await?.unwrap_or(0);
        self.hold(noted == sum, Invariant::Media, || {
            format!("{user} is said to use {noted} bytes, but uses {sum}")
        });
        Ok(())
    }

    async fn previews(&mut self) -> Result<()> {
        let mut range = t::PREVIEWS.prefix(&());
        while let Some(rows) = self.page(&t::PREVIEWS, &mut range).await? {
            for (url, row) in rows {
                let key = (row.fetched, url);
                let indexed = self.row(&t::PREVIEWS_AT, &key).await?.is_some();
                self.hold(indexed, Invariant::Media, || {
                    format!("a preview is not in the index at {}", key.0)
                });
            }
        }
        Ok(())
    }
}
