//! Account data, global and per room: one row per (user, room, type), and an index in which it moves to its newest
//! position, so that what changed since any moment is one short scan.

use bytes::Bytes;
use hearth_store::{Batch, Position, PositionedValue, Snapshot, Value, ValueError};

use crate::Result;
use crate::row::{Json, join_position, split_position};
use crate::tables::{ACCOUNT_DATA, ACCOUNT_DATA_AT, ACCOUNT_DATA_COUNTS};

const VERSION: u8 = 1;

/// How many rows a user can have; also the most that one query returns.
pub const ROWS_MAX: usize = 20_000;

/// The content of one type of account data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountDataRow {
    /// The content, a JSON object.
    pub content: Json,
    /// The commit that wrote it.
    pub position: Position,
}

impl Value for AccountDataRow {
    fn encode(&self) -> Vec<u8> {
        join_position(self.encode_head(), self.position)
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        let (fields, position) = split_position(bytes)?;
        match fields.first() {
            Some(&VERSION) => Ok(Self {
                content: Json(fields.slice(1..)),
                position,
            }),
            _ => Err(ValueError("not account data of version 1".to_owned())),
        }
    }
}

impl PositionedValue for AccountDataRow {
    fn encode_head(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.content.0.len() + 9);
        out.push(VERSION);
        out.extend_from_slice(&self.content.0);
        out
    }
}

/// Account data with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountDatum {
    /// The room it belongs to; `None` if it is global.
    pub room: Option<String>,
    /// The type.
    pub kind: String,
    /// The content, a JSON object.
    pub content: Json,
    /// The commit that wrote it.
    pub position: Position,
}

/// Which account data: the user, the room (`""` for global) and the type.
pub type AccountDataKey = (String, String, String);

/// One row.
pub async fn account_data(
    snapshot: &dyn Snapshot,
    key: &AccountDataKey,
) -> Result<Option<AccountDataRow>> {
    ACCOUNT_DATA.get(snapshot, key).await
}

/// Whether a user wants no invites at all: `m.invite_permission_config` with the default action `block`.
pub async fn blocks_invites(snapshot: &dyn Snapshot, user: &str) -> Result<bool> {
    #[derive(serde::Deserialize)]
    struct Content {
        default_action: String,
    }
    let kind = "m.invite_permission_config".to_owned();
    let row = account_data(snapshot, &(user.to_owned(), String::new(), kind)).await?;
    // Clients may have stored anything; whatever is not understood blocks nobody.
    let content = row.and_then(|row| serde_json::from_str(row.content.text()).ok());
    Ok(content.is_some_and(|content: Content| content.default_action == "block"))
}

/// How many rows a user has.
pub async fn count(snapshot: &dyn Snapshot, user: &str) -> Result<i64> {
    let count = ACCOUNT_DATA_COUNTS.get(snapshot, &user.to_owned()).await?;
    Ok(count.unwrap_or(0))
}

/// What was last written after `from`, up to and including `to`, oldest first. A row that is newer than `to` is left
/// to the next question.
pub async fn changed_since(
    snapshot: &dyn Snapshot,
    user: &str,
    from: Position,
    to: Position,
) -> Result<Vec<AccountDatum>> {
    let range = ACCOUNT_DATA_AT.between(
        &(user.to_owned(), from.next()),
        &(user.to_owned(), to.next()),
    );
    let index = ACCOUNT_DATA_AT.range(snapshot, range, ROWS_MAX).await?;
    let keys: Vec<AccountDataKey> = index
        .into_iter()
        .map(|((user, _, (room, kind)), ())| (user, room, kind))
        .collect();
    let rows = ACCOUNT_DATA.get_many(snapshot, &keys).await?;
    Ok(keys
        .into_iter()
        .zip(rows)
        .filter_map(|(key, row)| Some(datum(key, row?)))
        .collect())
}

/// All account data of a user, by room and type.
pub async fn all(snapshot: &dyn Snapshot, user: &str) -> Result<Vec<AccountDatum>> {
    let range = ACCOUNT_DATA.prefix(&user.to_owned());
    let rows = ACCOUNT_DATA.range(snapshot, range, ROWS_MAX).await?;
    Ok(rows.into_iter().map(|(key, row)| datum(key, row)).collect())
}

fn datum((_, room, kind): AccountDataKey, row: AccountDataRow) -> AccountDatum {
    AccountDatum {
        room: (!room.is_empty()).then_some(room),
        kind,
        content: row.content,
        position: row.position,
    }
}

/// Writes account data and moves it in the index. Fails the batch unless `current` still stands there.
pub fn put(
    batch: &mut Batch,
    key: &AccountDataKey,
    current: Option<&AccountDataRow>,
    content: Json,
) {
    let (user, room, kind) = key;
    let suffix = (room.clone(), kind.clone());
    ACCOUNT_DATA.expect(batch, key, current);
    match current {
        Some(current) => {
            let old = (user.clone(), current.position, suffix.clone());
            ACCOUNT_DATA_AT.delete(batch, &old);
        }
        None => ACCOUNT_DATA_COUNTS.add(batch, user, 1),
    }
    let row = AccountDataRow {
        content,
        position: Position::ZERO,
    };
    ACCOUNT_DATA.put_position(batch, key, &row);
    ACCOUNT_DATA_AT.put_at_position(batch, user, &suffix, &());
}

/// Removes all account data of a user.
pub fn clear(batch: &mut Batch, user: &str) {
    let user = user.to_owned();
    ACCOUNT_DATA.delete_range(batch, ACCOUNT_DATA.prefix(&user));
    ACCOUNT_DATA_AT.delete_range(batch, ACCOUNT_DATA_AT.prefix(&user));
    ACCOUNT_DATA_COUNTS.delete(batch, &user);
}

/// A user's account data of one room.
pub async fn of_room(snapshot: &dyn Snapshot, user: &str, room: &str) -> Result<Vec<AccountDatum>> {
    let range = ACCOUNT_DATA.prefix(&(user.to_owned(), room.to_owned()));
    let rows = ACCOUNT_DATA.range(snapshot, range, ROWS_MAX).await?;
    Ok(rows.into_iter().map(|(key, row)| datum(key, row)).collect())
}
