//! Every row of every table can be read, and there is no row of no table.

use bytes::Bytes;
use hearth_store::{Key, KeyRange, Table, TableInfo, Value};

use super::{Check, Invariant};
use crate::tables as t;
use crate::{Result, meta};

/// Ids of backends, which are not ours: 0x00 and from here on.
const BACKENDS: u8 = 0xf0;

/// A table and whether a row of it can be read.
pub(super) type Reader = (
    TableInfo,
    Box<dyn Fn(&Bytes, &Bytes) -> Result<()> + Send + Sync>,
);

fn reader<K: Key + 'static, V: Value + 'static>(table: &'static Table<K, V>) -> Reader {
    let read = |key: &Bytes, value: &Bytes| table.decode_row(key, value).map(drop);
    (table.info(), Box::new(read))
}

/// All tables. A test compares it with the catalogue.
pub(super) fn readers() -> Vec<Reader> {
    let mut readers = vec![
        reader(&t::META),
        reader(&t::CHANGES),
        reader(&t::JOBS),
        reader(&t::EVENT_IDS),
        reader(&t::WHEREABOUTS),
        reader(&t::TIMELINE),
        reader(&t::OUTLIERS),
        reader(&t::ROOM_POSITIONS),
        reader(&t::ROOM_STATES),
        reader(&t::RELATIONS),
        reader(&t::THREADS),
        reader(&t::THREADS_AT),
        reader(&t::TXNS),
        reader(&t::ANNOTATIONS),
        reader(&t::RETENTION),
        reader(&t::EARLY_REDACTIONS),
        reader(&t::STATE_NODES),
        reader(&t::AUTH_LINKS),
        reader(&t::USERS),
        reader(&t::DEVICES),
        reader(&t::DEVICES_SEEN),
        reader(&t::ACCESS_TOKENS),
        reader(&t::REFRESH_TOKENS),
        reader(&t::LOGIN_TOKENS),
        reader(&t::OPENID_TOKENS),
        reader(&t::REGISTRATION_TOKENS),
        reader(&t::THREEPIDS),
        reader(&t::THREEPID_OWNERS),
        reader(&t::PROFILES),
        reader(&t::ACCOUNT_DATA),
        reader(&t::ACCOUNT_DATA_AT),
        reader(&t::ACCOUNT_DATA_COUNTS),
        reader(&t::PUSH_RULES_AT),
        reader(&t::FILTERS),
        reader(&t::REPORTS),
        reader(&t::REPORT_COUNTS),
        reader(&t::RECEIPTS),
        reader(&t::RECEIPTS_AT),
        reader(&t::COUNTS),
        reader(&t::ROOM_SERVERS),
        reader(&t::HOME_SINCE),
        reader(&t::REMOTE_LISTS_SINCE),
        reader(&t::NEWCOMERS),
        reader(&t::SERVER_ROOMS),
        reader(&t::SERVER_LEFT),
        reader(&t::DESTINATIONS),
        reader(&t::OUTBOX),
        reader(&t::SERVER_KEYS),
        reader(&t::ORIGIN_TXNS),
        reader(&t::INBOX),
    ];
    readers.extend(room_readers());
    readers.extend(media_readers());
    readers.extend(key_readers());
    readers.extend(social_readers());
    readers
}

fn room_readers() -> Vec<Reader> {
    vec![
        reader(&t::ROOM_NUMBERS),
        reader(&t::ROOM_HEADS),
        reader(&t::ALIASES),
        reader(&t::ROOM_ALIASES),
        reader(&t::PUBLIC_ROOMS),
        reader(&t::MEMBERS),
        reader(&t::USER_ROOMS),
        reader(&t::USER_ROOMS_AT),
        reader(&t::STRIPPED_STATE),
        reader(&t::PARTIAL_ROOMS),
        reader(&t::PARTIAL_STAYS),
        reader(&t::WHOLE_ROOMS),
        reader(&t::GAPS),
    ]
}

fn media_readers() -> Vec<Reader> {
    vec![
        reader(&t::MEDIA),
        reader(&t::USER_MEDIA),
        reader(&t::MEDIA_USAGE),
        reader(&t::PENDING_MEDIA),
        reader(&t::PENDING_MEDIA_COUNTS),
        reader(&t::BLOBS),
        reader(&t::BLOB_SUMS),
        reader(&t::BLOB_USES),
        reader(&t::THUMBNAILS),
        reader(&t::MEDIA_USED),
        reader(&t::PREVIEWS),
        reader(&t::PREVIEWS_AT),
    ]
}

fn key_readers() -> Vec<Reader> {
    vec![
        reader(&t::DEVICE_KEYS),
        reader(&t::KEY_HEADS),
        reader(&t::ONE_TIME_KEYS),
        reader(&t::ONE_TIME_KEY_IDS),
        reader(&t::FALLBACK_KEYS),
        reader(&t::CROSS_SIGNING_KEYS),
        reader(&t::SIGNATURES),
        reader(&t::DEVICE_LISTS),
        reader(&t::DEVICE_LISTS_AT),
        reader(&t::DEVICE_LIST_LOG),
        reader(&t::TO_DEVICE),
        reader(&t::TO_DEVICE_TXNS),
        reader(&t::TO_DEVICE_SEEN),
        reader(&t::TO_DEVICE_SEEN_AT),
        reader(&t::BACKUP_VERSIONS),
        reader(&t::BACKUP_KEYS),
        reader(&t::DEHYDRATED_DEVICES),
        reader(&t::SIGNED_AT),
        reader(&t::REMOTE_DEVICE_LISTS),
    ]
}

fn social_readers() -> Vec<Reader> {
    vec![
        reader(&t::FRIENDS),
        reader(&t::DIRECT_CHATS),
        reader(&t::DIRECT_ROOMS),
        reader(&t::FRIEND_ACTS),
        reader(&t::PRIVATE_GROUPS),
        reader(&t::SERVICES),
        reader(&t::SERVICE_QUEUE),
    ]
}

impl Check<'_> {
    pub(super) async fn all_rows(&mut self) -> Result<()> {
        let readers = readers();
        let mut range = KeyRange {
            from: Bytes::from_static(&[1]),
            to: Bytes::from_static(&[BACKENDS]),
        };
        loop {
            let rows = self.raw_page("all tables", &mut range).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for (key, value) in rows {
                self.report.rows += 1;
                self.report.bytes += (key.len() + value.len()) as u64;
                let table = readers
                    .iter()
                    .find(|(info, _)| key.first() == Some(&info.id));
                match table.map(|(_, read)| read(&key, &value)) {
                    Some(Ok(())) => {}
                    Some(Err(error)) => self.problem(Invariant::Readable, error.to_string()),
                    None => self.problem(Invariant::KnownTable, format!("key {key:?}")),
                }
            }
        }
    }

    pub(super) async fn meta(&mut self) -> Result<()> {
        let has_rooms = !self
            .snapshot
            .range(t::ROOM_HEADS.prefix(&()), false, 1)
            .await?
            .is_empty();
        let secret = meta::load(self.snapshot, meta::HASH_KEY).await;
        let secret = self.read(secret, Invariant::Meta)?;
        self.hold(
            !has_rooms || secret.is_some_and(|secret| secret.len() == 16),
            Invariant::Meta,
            || "no secret of 16 bytes for hashing state".to_owned(),
        );
        Ok(())
    }
}
