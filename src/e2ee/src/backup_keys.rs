//! `/room_keys/keys`: the keys of a backup, of all rooms, one room or one session.

use std::collections::BTreeMap;

use hearth_data::e2ee::backup::{self as data, BackupKeyRow, BackupRow};
use hearth_data::tables as t;
use hearth_event::canonical::{self, Object as Parsed, Value};
use hearth_store::{Batch, Snapshot};
use hearth_types::Caller;
use ruma::UserId;

use crate::backup::{NO_BACKUP, newest, version_number};
use crate::json::Object;
use crate::{E2ee, Error, Result, schema};

/// Longest `session_data`, in bytes.
const SESSION_BYTES_MAX: usize = 32 << 10;
/// Longest room id and session id, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// How many keys are written in one commit.
const KEYS_PER_COMMIT: usize = 400;
/// How many keys are read at once.
const KEYS_AT_ONCE: usize = 1_000;
/// How many keys a version holds.
const KEYS_MAX: u64 = 2_000_000;

/// Which keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupPlace {
    /// All.
    Everything,
    /// Those of a room.
    Room(String),
    /// That of a session of a room.
    Session(String, String),
}

/// A version after its keys were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupState {
    /// How many keys there are.
    pub count: u64,
    /// Changes whenever they do.
    pub etag: u64,
}

impl BackupState {
    fn of(row: &BackupRow) -> Self {
        Self {
            count: row.count,
            etag: row.etag,
        }
    }

    /// As clients see it.
    pub fn to_json(self) -> String {
        format!(r#"{{"count":{},"etag":"{}"}}"#, self.count, self.etag)
    }
}

/// Room → session → key.
type Keys = BTreeMap<(String, String), BackupKeyRow>;

impl E2ee {
    /// Keeps keys in the newest version, as far as they are better than those that are there.
    pub async fn backup_keys_put(
        &self,
        caller: &Caller,
        version: &str,
        place: &BackupPlace,
        body: &[u8],
    ) -> Result<BackupState> {
        let keys = parse(place, body)?;
        let keys: Vec<((String, String), BackupKeyRow)> = keys.into_iter().collect();
        let version = &(caller.user.to_string(), version_number(version)?);
        let _turn = self.turn([caller.user.as_str()].into_iter()).await;
        let mut state = None;
        // An empty list is asked for once, too: the version has to be the right one.
        let chunks = keys
            .chunks(KEYS_PER_COMMIT)
            .chain(keys.is_empty().then_some(&keys[..]));
        for keys in chunks {
            let put = self.decide(|snapshot| async move { put(&*snapshot, version, keys).await });
            state = Some(put.await?);
        }
        state.ok_or(NO_BACKUP)
    }

    /// The keys of a version as JSON, in the form that the place has.
    pub async fn backup_keys(
        &self,
        user: &UserId,
        version: &str,
        place: &BackupPlace,
    ) -> Result<String> {
        let snapshot = &*self.snapshot().await?;
        let version = (user.to_string(), version_number(version)?);
        let row = data::version(snapshot, &version.0, version.1).await?;
        row.filter(|row| !row.deleted).ok_or(NO_BACKUP)?;
        match place {
            BackupPlace::Session(room, session) => {
                let key = (version.0, version.1, (room.clone(), session.clone()));
                let row = t::BACKUP_KEYS.get(snapshot, &key).await?;
                let row = row.ok_or(Error::NotFound("no such key in the backup"))?;
                Ok(key_json(&row))
            }
            BackupPlace::Room(room) => {
                let rooms = read(snapshot, &version, Some(room)).await?;
                Ok(match rooms.into_iter().next() {
                    Some((_, sessions)) => sessions,
                    None => r#"{"sessions":{}}"#.to_owned(),
                })
            }
            BackupPlace::Everything => {
                let mut rooms = Object::new();
                for (room, sessions) in read(snapshot, &version, None).await? {
                    rooms.raw(&room, &sessions);
                }
                let mut json = Object::new();
                json.raw("rooms", &rooms.finish());
                Ok(json.finish())
            }
        }
    }

    /// Removes keys from a version.
    pub async fn backup_keys_delete(
        &self,
        caller: &Caller,
        version: &str,
        place: &BackupPlace,
    ) -> Result<BackupState> {
        let version = &(caller.user.to_string(), version_number(version)?);
        let _turn = self.turn([caller.user.as_str()].into_iter()).await;
        self.decide(|snapshot| async move {
            let before = data::version(&*snapshot, &version.0, version.1).await?;
            let before = before.filter(|row| !row.deleted).ok_or(NO_BACKUP)?;
            let count = count(&*snapshot, version, place, before.count).await?;
            let mut batch = Batch::new();
            if count == 0 {
                return Ok((batch, BackupState::of(&before)));
            }
            let after = BackupRow {
                count: before.count.saturating_sub(count),
                etag: before.etag + 1,
                ..before.clone()
            };
            let (user, number) = version.clone();
            let range = match place {
                BackupPlace::Everything => t::BACKUP_KEYS.prefix(version),
                BackupPlace::Room(room) => t::BACKUP_KEYS.prefix(&(user, number, room.clone())),
                BackupPlace::Session(room, session) => {
                    let key = (room.clone(), session.clone());
                    t::BACKUP_KEYS.prefix(&(user, number, key))
                }
            };
            t::BACKUP_KEYS.delete_range(&mut batch, range);
            data::version_put(&mut batch, version, Some(&before), &after);
            Ok((batch, BackupState::of(&after)))
        })
        .await
    }
}

async fn put(
    snapshot: &dyn Snapshot,
    version: &(String, u64),
    keys: &[((String, String), BackupKeyRow)],
) -> Result<(Batch, BackupState)> {
    let before = data::version(snapshot, &version.0, version.1).await?;
    let before = before.filter(|row| !row.deleted).ok_or(NO_BACKUP)?;
    if let Some((current, _)) = newest(snapshot, &version.0).await?
        && current != version.1
    {
        return Err(Error::WrongBackupVersion { current });
    }
    let places: Vec<data::BackupKey> = keys
        .iter()
        .map(|(key, _)| (version.0.clone(), version.1, key.clone()))
        .collect();
    let stored = t::BACKUP_KEYS.get_many(snapshot, &places).await?;
    let mut batch = Batch::new();
    let mut after = before.clone();
    for ((place, (_, key)), stored) in places.iter().zip(keys).zip(&stored) {
        match stored {
            Some(stored) if !is_better(key, stored) => continue,
            Some(_) => {}
            None => after.count += 1,
        }
        t::BACKUP_KEYS.put(&mut batch, place, key);
    }
    if after.count > KEYS_MAX {
        return Err(Error::TooLarge {
            what: "keys of a backup",
            max: usize::try_from(KEYS_MAX).unwrap_or(usize::MAX),
        });
    }
    if !batch.is_empty() {
        after.etag += 1;
        data::version_put(&mut batch, version, Some(&before), &after);
    }
    Ok((batch, BackupState::of(&after)))
}

/// The rule by which a key replaces another one of the same session.
fn is_better(new: &BackupKeyRow, old: &BackupKeyRow) -> bool {
    if new.is_verified != old.is_verified {
        return new.is_verified;
    }
    if new.first_message_index != old.first_message_index {
        return new.first_message_index < old.first_message_index;
    }
    new.forwarded_count < old.forwarded_count
}

async fn count(
    snapshot: &dyn Snapshot,
    version: &(String, u64),
    place: &BackupPlace,
    all: u64,
) -> Result<u64> {
    let room = match place {
        BackupPlace::Everything => return Ok(all),
        BackupPlace::Session(room, session) => {
            let key = (
                version.0.clone(),
                version.1,
                (room.clone(), session.clone()),
            );
            return Ok(u64::from(
                t::BACKUP_KEYS.get(snapshot, &key).await?.is_some(),
            ));
        }
        BackupPlace::Room(room) => room,
    };
    let mut count = 0;
    let mut after = None;
    loop {
        let page =
            data::keys_after(snapshot, version, Some(room), after.as_ref(), KEYS_AT_ONCE).await?;
        count += page.len() as u64;
        match page.into_iter().next_back() {
            Some((key, _)) => after = Some(key),
            None => return Ok(count),
        }
    }
}

/// Rooms with `{"sessions": {...}}`.
async fn read(
    snapshot: &dyn Snapshot,
    version: &(String, u64),
    room: Option<&str>,
) -> Result<Vec<(String, String)>> {
    let mut rooms: Vec<(String, Object)> = Vec::new();
    let mut after = None;
    loop {
        let page = data::keys_after(snapshot, version, room, after.as_ref(), KEYS_AT_ONCE).await?;
        let Some((last, _)) = page.last() else {
            break;
        };
        after = Some(last.clone());
        for ((room, session), key) in page {
            let is_next = rooms.last().is_none_or(|(last, _)| *last != room);
            if is_next {
                rooms.push((room, Object::new()));
            }
            if let Some((_, sessions)) = rooms.last_mut() {
                sessions.raw(&session, &key_json(&key));
            }
        }
    }
    let finished = rooms.into_iter().map(|(room, sessions)| {
        let mut json = Object::new();
        json.raw("sessions", &sessions.finish());
        (room, json.finish())
    });
    Ok(finished.collect())
}

fn key_json(row: &BackupKeyRow) -> String {
    format!(
        r#"{{"first_message_index":{},"forwarded_count":{},"is_verified":{},"session_data":{}}}"#,
        row.first_message_index, row.forwarded_count, row.is_verified, row.session_data
    )
}

/// The keys of a body, whose form depends on the place.
fn parse(place: &BackupPlace, body: &[u8]) -> Result<Keys> {
    let body = schema::object(body)?;
    let mut keys = Keys::new();
    match place {
        BackupPlace::Session(room, session) => add(&mut keys, room, session, &body)?,
        BackupPlace::Room(room) => add_room(&mut keys, room, &body)?,
        BackupPlace::Everything => {
            for (room, sessions) in member(&body, "rooms")? {
                add_room(&mut keys, room, as_object(sessions)?)?;
            }
        }
    }
    Ok(keys)
}

fn add_room(keys: &mut Keys, room: &str, body: &Parsed) -> Result<()> {
    for (session, key) in member(body, "sessions")? {
        add(keys, room, session, as_object(key)?)?;
    }
    Ok(())
}

fn add(keys: &mut Keys, room: &str, session: &str, body: &Parsed) -> Result<()> {
    if ruma::RoomId::parse(room).is_err() || room.len() > NAME_BYTES_MAX {
        return Err(Error::Param("not a room id"));
    }
    if session.is_empty() || session.len() > NAME_BYTES_MAX {
        return Err(Error::Param("a session id is empty or too long"));
    }
    let session_data = canonical::to_string(member(body, "session_data")?);
    if session_data.len() > SESSION_BYTES_MAX {
        return Err(Error::TooLarge {
            what: "bytes of session_data",
            max: SESSION_BYTES_MAX,
        });
    }
    let Some(Value::Bool(is_verified)) = body.get("is_verified") else {
        return Err(Error::Schema(
            "is_verified is neither true nor false".to_owned(),
        ));
    };
    let row = BackupKeyRow {
        first_message_index: index(body, "first_message_index")?,
        forwarded_count: index(body, "forwarded_count")?,
        is_verified: *is_verified,
        session_data,
    };
    keys.insert((room.to_owned(), session.to_owned()), row);
    Ok(())
}

fn member<'a>(body: &'a Parsed, name: &str) -> Result<&'a Parsed> {
    let found = schema::field(body, name)?;
    found.ok_or_else(|| Error::Schema(format!("{name} is missing")))
}

fn as_object(value: &Value) -> Result<&Parsed> {
    let object = value.as_object();
    object.ok_or_else(|| Error::Schema("not an object".to_owned()))
}

fn index(body: &Parsed, name: &str) -> Result<u64> {
    let number = body.get(name).and_then(Value::as_integer);
    let number = number.and_then(|number| u64::try_from(number).ok());
    number.ok_or_else(|| Error::Schema(format!("{name} is not a number from 0 on")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(is_verified: u64, first_message_index: u64, forwarded_count: u64) -> BackupKeyRow {
        BackupKeyRow {
            first_message_index,
            forwarded_count,
            is_verified: is_verified == 1,
            session_data: "{}".to_owned(),
        }
    }

    #[test]
    fn a_verified_then_an_earlier_then_a_less_forwarded_key_replaces_another() {
        let cases = [
            (key(1, 9, 9), key(0, 0, 0), true),
            (key(0, 0, 0), key(1, 9, 9), false),
            (key(0, 4, 9), key(0, 5, 0), true),
            (key(0, 6, 0), key(0, 5, 9), false),
            (key(1, 5, 1), key(1, 5, 2), true),
            (key(1, 5, 2), key(1, 5, 2), false),
            (key(1, 5, 3), key(1, 5, 2), false),
        ];
        for (new, old, expected) in cases {
            assert_eq!(is_better(&new, &old), expected, "{new:?} {old:?}");
        }
    }
}
