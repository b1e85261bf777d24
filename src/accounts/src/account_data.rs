//! Account data and tags.

use hearth_data::accounts::account_data::{self as data, ROWS_MAX};
use hearth_data::accounts::push_rules;
use hearth_data::changes::{Change, record};
use hearth_data::row::Json;
use hearth_store::{Batch, Snapshot};
use ruma::{RoomId, UserId};
use serde_json::{Map, Value};

use crate::{Accounts, Error, Result};

/// Largest content of account data, in bytes.
const CONTENT_BYTES_MAX: usize = 512 << 10;

/// Longest type of account data and longest tag, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// How many tags a room can have.
const TAGS_MAX: usize = 200;

/// The type of account data that holds a room's tags.
const TAGS: &str = "m.tag";

/// Why account data was not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountDataError {
    /// This type is the server's to write.
    #[error("this type of account data is written by the server only")]
    ServerOnly,
    /// The type or the tag is empty or too long.
    #[error("a type or tag has 1 to 255 bytes")]
    Name,
    /// The content is too large.
    #[error("account data of one type has at most 512 KiB")]
    Large,
}

impl Accounts {
    /// Account data of a user: global without a room.
    pub async fn account_data(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
    ) -> Result<Option<Json>> {
        let snapshot = self.snapshot().await?;
        let row = data::account_data(&*snapshot, &key(user, room, kind)).await?;
        Ok(row.map(|row| row.content))
    }

    /// Sets account data as a client may.
    pub async fn account_data_set(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
        content: Json,
    ) -> Result<()> {
        if matches!(kind, push_rules::TYPE | "m.fully_read") {
            return Err(AccountDataError::ServerOnly.into());
        }
        self.account_data_put(user, room, kind, content).await
    }

    /// Sets account data for the server itself, such as `m.fully_read`.
    pub async fn account_data_put(
        &self,
        user: &UserId,
        room: Option<&RoomId>,
        kind: &str,
        content: Json,
    ) -> Result<()> {
        self.account_data_change((user, room, kind), |_| Ok(Some(content.clone())))
            .await
    }

    /// The tags of a room with their contents.
    pub async fn tags(&self, user: &UserId, room: &RoomId) -> Result<Map<String, Value>> {
        let stored = self.account_data(user, Some(room), TAGS).await?;
        Ok(tags_in(stored.as_ref()))
    }

    /// Tags a room.
    pub async fn tag_set(
        &self,
        user: &UserId,
        room: &RoomId,
        tag: &str,
        content: &Map<String, Value>,
    ) -> Result<()> {
        if tag.is_empty() || tag.len() > NAME_BYTES_MAX {
            return Err(AccountDataError::Name.into());
        }
        self.account_data_change((user, Some(room), TAGS), |stored| {
            let mut tags = tags_in(stored);
            tags.insert(tag.to_owned(), Value::Object(content.clone()));
            if tags.len() > TAGS_MAX {
                return Err(Error::TooMany {
                    what: "tags",
                    max: TAGS_MAX,
                });
            }
            Ok(Some(tags_content(tags)))
        })
        .await
    }

    /// Takes a tag off a room.
    pub async fn tag_delete(&self, user: &UserId, room: &RoomId, tag: &str) -> Result<()> {
        self.account_data_change((user, Some(room), TAGS), |stored| {
            let mut tags = tags_in(stored);
            Ok(tags.remove(tag).map(|_| tags_content(tags)))
        })
        .await
    }

    /// Writes what a function makes of the stored content; nothing if it makes `None`.
    async fn account_data_change(
        &self,
        (user, room, kind): (&UserId, Option<&RoomId>, &str),
        change: impl Fn(Option<&Json>) -> Result<Option<Json>>,
    ) -> Result<()> {
        if kind.is_empty() || kind.len() > NAME_BYTES_MAX {
            return Err(AccountDataError::Name.into());
        }
        let (key, change) = (&key(user, room, kind), &change);
        self.decide(|snapshot| async move {
            let mut batch = Batch::new();
            let current = data::account_data(&*snapshot, key).await?;
            let content = change(current.as_ref().map(|row| &row.content))?;
            let Some(content) = content else {
                return Ok((batch, ()));
            };
            if content.0.len() > CONTENT_BYTES_MAX {
                return Err(AccountDataError::Large.into());
            }
            if current.is_none() {
                check_quota(&*snapshot, &key.0).await?;
            }
            data::put(&mut batch, key, current.as_ref(), content);
            let user = key.0.clone();
            record(&mut batch, vec![Change::AccountData { user }]);
            Ok((batch, ()))
        })
        .await
    }
}

async fn check_quota(snapshot: &dyn Snapshot, user: &str) -> Result<()> {
    let count = usize::try_from(data::count(snapshot, user).await?).unwrap_or(0);
    match count < ROWS_MAX {
        true => Ok(()),
        false => Err(Error::TooMany {
            what: "rows of account data",
            max: ROWS_MAX,
        }),
    }
}

fn key(user: &UserId, room: Option<&RoomId>, kind: &str) -> data::AccountDataKey {
    let room = room.map_or_else(String::new, RoomId::to_string);
    (user.to_string(), room, kind.to_owned())
}

/// The tags in a content of `m.tag`, which clients may have set to anything.
fn tags_in(stored: Option<&Json>) -> Map<String, Value> {
    let content = stored.and_then(|json| serde_json::from_str(json.text()).ok());
    let tags = content.and_then(|mut content: Map<String, Value>| content.remove("tags"));
    match tags {
        Some(Value::Object(tags)) => tags,
        _ => Map::new(),
    }
}

fn tags_content(tags: Map<String, Value>) -> Json {
    Json::from_text(serde_json::json!({ "tags": tags }).to_string())
}
