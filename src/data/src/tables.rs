//! The whole key space. A table: id, key, value; then who writes it, who reads it.
//!
//! Ids are never reused. Areas: 0x01.. the store itself, 0x10.. rooms, 0x20.. events, 0x30.. state, 0x40.. accounts,
//! 0x60.. what clients follow, 0x80.. encryption, 0xa0.. media, 0xb0.. federation, 0xc0.. friends and groups, 0xd0.. application
//! services.
//! 0x00 and 0xf0.. belong to the backends.

use hearth_store::{Position, Profile, Table, TableInfo};

use crate::accounts::account_data::{AccountDataKey, AccountDataRow};
use crate::accounts::devices::{AccessTokenRow, DeviceRow, RefreshTokenRow, SeenRow, TokenHash};
use crate::accounts::profiles::ProfileRow;
use crate::accounts::tokens::BriefTokens;
use crate::accounts::users::{RegistrationTokenRow, ThreepidOwnerRow, ThreepidRow, UserRow};
use crate::append::EventRow;
use crate::appservices::ServiceRow;
use crate::changes::ChangeRow;
use crate::counts::CountRow;
use crate::e2ee::backup::{BackupKey, BackupKeyRow, BackupRow};
use crate::e2ee::device_lists::{DeviceListLogRow, DeviceListRow, NewcomerRow};
use crate::e2ee::keys::{
    DehydratedRow, DeviceAlgorithm, DeviceId, FallbackKeyRow, KeyHeadRow, OneTimeKeyIdRow,
    OneTimeKeyRow, SignatureKey, SignatureRow,
};
use crate::e2ee::remote::{ListSinceRow, RemoteListRow};
use crate::e2ee::to_device::{SeenMessageRow, ToDeviceTxn, ToDeviceTxnRow};
use crate::federation::{DestinationRow, HomeRow, LeftRow, ServerKeysRow};
use crate::gaps::GapRow;
use crate::inbox::{InboxRow, OriginTxns};
use crate::jobs::JobRow;
use crate::media::{
    BlobHash, BlobRow, MediaKey, MediaRow, PendingRow, PreviewRow, Sums, ThumbnailRow, UsedRow,
};
use crate::members::{MemberRow, UserRoomRow};
use crate::meta::MetaRow;
use crate::partial::{PartialRow, WholeRow};
use crate::reach::AuthLinks;
use crate::receipts::{ReceiptAtKey, ReceiptRow};
use crate::relations::{AnnotationKey, RelationRow, ThreadRow};
use crate::reports::ReportRow;
use crate::retention::RetentionRow;
use crate::rooms::{AliasRow, RoomHead};
use crate::row::Json;
use crate::social::{DirectChatRow, DirectRoomRow, FriendRow, PrivateGroupRow};
use crate::state::{Node, RoomItem};
use crate::timeline::{EventRef, Whereabouts};
use crate::txns::TxnRow;
use crate::{EventNo, Place, RoomNo, StateId};

// The store itself.

/// Name → bytes: format, secrets, signing keys, allocators. Written by `meta` and `rooms`, read at start.
pub const META: Table<String, MetaRow> = Table::new(0x01, "meta", Profile::Point);
/// Position → what changed. Written with every commit that somebody follows; read by followers only; trimmed.
pub const CHANGES: Table<((), Position, ()), ChangeRow> = Table::new(0x02, "changes", Profile::Log);
/// (owner, position, index) → a job to be done. Written in the batch that causes it; removed by its worker.
pub const JOBS: Table<(u8, Position, u32), JobRow> = Table::new(0x03, "jobs", Profile::Queue);

// Rooms.

/// Room id → the room's number. Written when a room is first heard of.
pub const ROOM_NUMBERS: Table<String, RoomNo> = Table::new(0x10, "room_numbers", Profile::Point);
/// Room → its head: the one token that every write of the room expects.
pub const ROOM_HEADS: Table<RoomNo, RoomHead> = Table::new(0x11, "room_heads", Profile::Point);
/// Alias → room. Written by `rooms`.
pub const ALIASES: Table<String, AliasRow> = Table::new(0x12, "aliases", Profile::Point);
/// (room, alias) → nothing: the aliases of a room.
pub const ROOM_ALIASES: Table<(RoomNo, String), ()> =
    Table::new(0x13, "room_aliases", Profile::Scan);
/// Room → nothing: the rooms that are published in the directory.
pub const PUBLIC_ROOMS: Table<RoomNo, ()> = Table::new(0x14, "public_rooms", Profile::Scan);
/// (room, user) → membership in the current state. Derived from it.
pub const MEMBERS: Table<(RoomNo, String), MemberRow> = Table::new(0x15, "members", Profile::Scan);
/// (local user, room) → the same from the user's side, with what only concerns the user (forgotten).
pub const USER_ROOMS: Table<(String, RoomNo), UserRoomRow> =
    Table::new(0x16, "user_rooms", Profile::Scan);
/// (local user, position, room) → nothing: each room once, at the newest change of the user's membership.
pub const USER_ROOMS_AT: Table<(String, Position, RoomNo), ()> =
    Table::new(0x17, "user_rooms_at", Profile::Scan);
/// (local user, room) → stripped state, a JSON array, of an invite or a knock.
pub const STRIPPED_STATE: Table<(String, RoomNo), Json> =
    Table::new(0x18, "stripped_state", Profile::Point);
/// Room → how its state came to be known in part only. Written and read by `rooms`.
pub const PARTIAL_ROOMS: Table<RoomNo, PartialRow> =
    Table::new(0x1e, "partial_rooms", Profile::Point);
/// (room, our join) → a stay in a room that ended, and another began, before its state was whole. Written and read by
/// `rooms`.
pub const PARTIAL_STAYS: Table<(RoomNo, EventNo), PartialRow> =
    Table::new(0x1c, "partial_stays", Profile::Scan);
/// Room → the commit by which the rest of its state came. Written by `rooms`; read by `sync`.
pub const WHOLE_ROOMS: Table<RoomNo, WholeRow> = Table::new(0x1d, "whole_rooms", Profile::Point);
/// (room, place of the live event above) → history that is missing. Written by `rooms`; read by it and by `sync`.
pub const GAPS: Table<(RoomNo, Place), GapRow> = Table::new(0x1f, "gaps", Profile::Scan);

// Events.

/// Event id → room and number.
pub const EVENT_IDS: Table<String, EventRef> = Table::new(0x20, "event_ids", Profile::Point);
/// (room, number) → where the event's row is.
pub const WHEREABOUTS: Table<(RoomNo, EventNo), Whereabouts> =
    Table::new(0x21, "whereabouts", Profile::Point);
/// (room, place) → the event. The first seven bytes of a place are its chunk. Written by `append`; read by pages.
pub const TIMELINE: Table<(RoomNo, Place), EventRow> = Table::new(0x22, "timeline", Profile::Blob);
/// (room, number) → an event without a place in the room's history.
pub const OUTLIERS: Table<(RoomNo, EventNo), EventRow> =
    Table::new(0x23, "outliers", Profile::Blob);
/// (room, position, index) → place: what became visible when. Live, accepted events only.
pub const ROOM_POSITIONS: Table<(RoomNo, Position, u32), Place> =
    Table::new(0x24, "room_positions", Profile::Scan);
/// (room, position) → the current state from that position on; one row whenever it changes.
pub const ROOM_STATES: Table<(RoomNo, Position, ()), StateId> =
    Table::new(0x25, "room_states", Profile::Scan);
/// (room, target, place of the relating event) → the relation.
pub const RELATIONS: Table<(RoomNo, EventNo, Place), RelationRow> =
    Table::new(0x26, "relations", Profile::Scan);
/// (room, root) → the thread's latest event and count.
pub const THREADS: Table<(RoomNo, EventNo), ThreadRow> =
    Table::new(0x27, "threads", Profile::Point);
/// (room, place of the latest event, root) → nothing: threads by activity; each thread has one row that moves.
pub const THREADS_AT: Table<(RoomNo, Place, EventNo), ()> =
    Table::new(0x28, "threads_at", Profile::Scan);
/// (user, device, path and transaction id) → what the first request led to.
pub const TXNS: Table<(String, String, String), TxnRow> = Table::new(0x29, "txns", Profile::Point);
/// (room, target, (sender, event type, key)) → the annotating event. Written and read by `rooms` against duplicates.
pub const ANNOTATIONS: Table<AnnotationKey, EventNo> =
    Table::new(0x2a, "annotations", Profile::Point);
/// Room → how far its history was emptied of messages that came to their end. Written and read by `rooms`.
pub const RETENTION: Table<RoomNo, RetentionRow> = Table::new(0x2b, "retention", Profile::Point);
/// (room, event id) → a redaction of that event, which is not here. Written and read by `rooms`.
pub const EARLY_REDACTIONS: Table<(RoomNo, String), EventNo> =
    Table::new(0x2f, "early_redactions", Profile::Point);

// Accounts.

/// User id → the user. Written by `accounts`; read at each request.
pub const USERS: Table<String, UserRow> = Table::new(0x40, "users", Profile::Point);
/// (user, device) → the device and its tokens' hashes. Written by `accounts`.
pub const DEVICES: Table<(String, String), DeviceRow> = Table::new(0x41, "devices", Profile::Scan);
/// (user, device) → when it was last seen. Buffered, at most once a minute. Written by `accounts`.
pub const DEVICES_SEEN: Table<(String, String), SeenRow> =
    Table::new(0x42, "devices_seen", Profile::Point);
/// SHA-256 of an access token → whose it is. Written by `accounts`; read at each request.
pub const ACCESS_TOKENS: Table<TokenHash, AccessTokenRow> =
    Table::new(0x43, "access_tokens", Profile::Point);
/// SHA-256 of a refresh token → whose it is. Written and read by `accounts`.
pub const REFRESH_TOKENS: Table<TokenHash, RefreshTokenRow> =
    Table::new(0x44, "refresh_tokens", Profile::Point);
/// (moment of expiry, SHA-256) → the user who may log in with it once. Written and read by `accounts`.
pub const LOGIN_TOKENS: BriefTokens = Table::new(0x45, "login_tokens", Profile::Queue);
/// (moment of expiry, SHA-256) → whose identity it proves to third parties. Written and read by `accounts`.
pub const OPENID_TOKENS: BriefTokens = Table::new(0x46, "openid_tokens", Profile::Queue);
/// Token → how often it allows registration. Written by the administrator and each registration.
pub const REGISTRATION_TOKENS: Table<String, RegistrationTokenRow> =
    Table::new(0x47, "registration_tokens", Profile::Point);
/// (user, medium, address) → an e-mail address or telephone number. Written and read by `accounts`.
pub const THREEPIDS: Table<(String, String, String), ThreepidRow> =
    Table::new(0x48, "threepids", Profile::Point);
/// (medium, address) → the user. Written and read by `accounts`.
pub const THREEPID_OWNERS: Table<(String, String), ThreepidOwnerRow> =
    Table::new(0x49, "threepid_owners", Profile::Point);
/// Local user → her profile. Written by `accounts`; read by `rooms` for member events.
pub const PROFILES: Table<String, ProfileRow> = Table::new(0x4a, "profiles", Profile::Point);
/// (user, room or "", type) → account data. Written by `accounts`, riders of `rooms`; read by `sync`.
pub const ACCOUNT_DATA: Table<AccountDataKey, AccountDataRow> =
    Table::new(0x4b, "account_data", Profile::Scan);
/// (user, position, (room, type)) → nothing: each row of account data once, at its newest position. Read by `sync`.
pub const ACCOUNT_DATA_AT: Table<(String, Position, (String, String)), ()> =
    Table::new(0x4c, "account_data_at", Profile::Scan);
/// User → how many rows of account data she has. Written with them; read by `accounts` for the quota.
pub const ACCOUNT_DATA_COUNTS: Table<String, i64> =
    Table::new(0x4d, "account_data_counts", Profile::Point);
/// (user, position) → the push rules in force from there on. Written by `accounts`; read for unread counts.
pub const PUSH_RULES_AT: Table<(String, Position, ()), Json> =
    Table::new(0x4e, "push_rules_at", Profile::Scan);
/// (user, filter id) → a filter. Written by `accounts`; read by `sync`.
pub const FILTERS: Table<(String, String), Json> = Table::new(0x4f, "filters", Profile::Point);

/// (report's number) → a report of a room, an event or a user. Written by `rooms`; read and removed by administrators.
pub const REPORTS: Table<((), Position, ()), ReportRow> = Table::new(0x50, "reports", Profile::Log);
/// User → how many of her reports are kept. Written with them; read by `rooms` for the quota.
pub const REPORT_COUNTS: Table<String, i64> = Table::new(0x51, "report_counts", Profile::Point);

// State and reachability.

/// (room, number) → a part of the map of states. Written by `state::StateWriter`; swept when no state needs it.
pub const STATE_NODES: Table<RoomItem, Node> = Table::new(0x30, "state_nodes", Profile::Scan);
/// (room, event) → its auth events and generation. Written by `reach::ReachWriter` with each event that can be one.
pub const AUTH_LINKS: Table<RoomItem, AuthLinks> = Table::new(0x31, "auth_links", Profile::Scan);

// What clients follow.

/// (room, user, receipt type, thread) → the newest receipt.
pub const RECEIPTS: Table<(RoomNo, String, String, String), ReceiptRow> =
    Table::new(0x60, "receipts", Profile::Scan);
/// (room, position, (user, type, thread)) → nothing: each receipt once, at its newest position.
pub const RECEIPTS_AT: Table<ReceiptAtKey, ()> = Table::new(0x61, "receipts_at", Profile::Scan);

/// (local user, room) → checkpoint of unread counts. Derived; written and read by `sync`.
pub const COUNTS: Table<(String, RoomNo), CountRow> = Table::new(0x62, "counts", Profile::Point);

// Federation.

/// (room, server) → how many of its users are joined. Derived from the members; 0 if there were some.
pub const ROOM_SERVERS: Table<(RoomNo, String), i64> =
    Table::new(0xb0, "room_servers", Profile::Scan);
/// (server, room) → the same from the server's side. Read by `federation` after an outage.
pub const SERVER_ROOMS: Table<(String, RoomNo), i64> =
    Table::new(0xb1, "server_rooms", Profile::Scan);
/// (server, room) → the last event by which a member of that server was made to leave. Read by `federation` after an outage.
pub const SERVER_LEFT: Table<(String, RoomNo), LeftRow> =
    Table::new(0xb2, "server_left", Profile::Point);
/// Room → the commit by which the first local user came in, the last time that nobody was there before. Read by `e2ee`.
pub const HOME_SINCE: Table<RoomNo, HomeRow> = Table::new(0xb6, "home_since", Profile::Point);
/// Server → how far it is behind, if it is. Written and read by `federation`.
pub const DESTINATIONS: Table<String, DestinationRow> =
    Table::new(0xb3, "destinations", Profile::Point);
/// (server, position, index) → an EDU until it is acknowledged. Written by whoever has something to tell; read and
/// removed by `federation`.
pub const OUTBOX: Table<(String, Position, u32), Json> = Table::new(0xb4, "outbox", Profile::Queue);
/// Server → its signing keys as last fetched. Written and read by `federation`.
pub const SERVER_KEYS: Table<String, ServerKeysRow> =
    Table::new(0xb5, "server_keys", Profile::Point);
/// Server → its last transactions and their answers. Written and read by `rooms` against repetition.
pub const ORIGIN_TXNS: Table<String, OriginTxns> = Table::new(0xbe, "origin_txns", Profile::Point);
/// (room, position, index) → an event that another server sent and nobody has decided upon. Written and read by `rooms`.
pub const INBOX: Table<(RoomNo, Position, u32), InboxRow> =
    Table::new(0xbf, "inbox", Profile::Queue);
// Encryption. Written and read by `e2ee`, but where it says more; what belongs to a device goes with it.

/// (user, device) → its identity keys: canonical JSON without signatures. Also of other servers' users.
pub const DEVICE_KEYS: Table<DeviceId, Json> = Table::new(0x80, "device_keys", Profile::Scan);
/// (local user, device) → how many one-time and fallback keys it has: what every write of them expects. Read by `sync`.
pub const KEY_HEADS: Table<DeviceId, KeyHeadRow> = Table::new(0x81, "key_heads", Profile::Point);
/// ((user, device, algorithm), position, index) → a one-time key, in the order of upload.
pub const ONE_TIME_KEYS: Table<(DeviceAlgorithm, Position, u32), OneTimeKeyRow> =
    Table::new(0x82, "one_time_keys", Profile::Queue);
/// (user, device, algorithm and id) → what is remembered of a one-time key, also after it was given out.
pub const ONE_TIME_KEY_IDS: Table<(String, String, String), OneTimeKeyIdRow> =
    Table::new(0x83, "one_time_key_ids", Profile::Point);
/// (user, device, algorithm) → the fallback key.
pub const FALLBACK_KEYS: Table<DeviceAlgorithm, FallbackKeyRow> =
    Table::new(0x84, "fallback_keys", Profile::Point);
/// (user, usage) → a cross-signing key: canonical JSON without signatures.
pub const CROSS_SIGNING_KEYS: Table<(String, String), Json> =
    Table::new(0x85, "cross_signing_keys", Profile::Scan);
/// (target, signer, (key of the target, key of the signer)) → a signature.
pub const SIGNATURES: Table<SignatureKey, SignatureRow> =
    Table::new(0x86, "signatures", Profile::Scan);
/// User → the newest change of her device list. Also written by `accounts`.
pub const DEVICE_LISTS: Table<String, DeviceListRow> =
    Table::new(0x87, "device_lists", Profile::Point);
/// (position, user) → nothing: each device list once, at its newest change. Read by `sync`.
pub const DEVICE_LISTS_AT: Table<((), Position, String), ()> =
    Table::new(0x88, "device_lists_at", Profile::Scan);
/// (position, index) → which device of a local user changed. For other servers; trimmed.
pub const DEVICE_LIST_LOG: Table<((), Position, u32), DeviceListLogRow> =
    Table::new(0x89, "device_list_log", Profile::Log);
/// ((local user, device), position) → a message to the device, until it shows that it has it. Read by `sync`.
pub const TO_DEVICE: Table<(DeviceId, Position, ()), Json> =
    Table::new(0x8a, "to_device", Profile::Queue);
/// (user, device, event type and transaction id) → how far the sending has got.
pub const TO_DEVICE_TXNS: Table<ToDeviceTxn, ToDeviceTxnRow> =
    Table::new(0x8b, "to_device_txns", Profile::Point);
/// (server, message id) → when it came, so that a message counts once.
pub const TO_DEVICE_SEEN: Table<(String, String), SeenMessageRow> =
    Table::new(0x8c, "to_device_seen", Profile::Point);
/// (position, (server, message id)) → the same by age, to be forgotten some day.
pub const TO_DEVICE_SEEN_AT: Table<((), Position, (String, String)), SeenMessageRow> =
    Table::new(0x8d, "to_device_seen_at", Profile::Queue);
/// (user, version) → a version of her key backup.
pub const BACKUP_VERSIONS: Table<(String, u64), BackupRow> =
    Table::new(0x8e, "backup_versions", Profile::Scan);
/// (user, version, (room, session)) → a session's key.
pub const BACKUP_KEYS: Table<BackupKey, BackupKeyRow> =
    Table::new(0x8f, "backup_keys", Profile::Scan);
/// (user, device) → a dehydrated device; a user has one at most.
pub const DEHYDRATED_DEVICES: Table<DeviceId, DehydratedRow> =
    Table::new(0x90, "dehydrated_devices", Profile::Point);
/// (signer, position, target) → nothing: whose master key she signed, each once. Read by `sync`.
pub const SIGNED_AT: Table<(String, Position, String), ()> =
    Table::new(0x92, "signed_at", Profile::Scan);
/// User of another server → what is known of her device list.
pub const REMOTE_DEVICE_LISTS: Table<String, RemoteListRow> =
    Table::new(0x91, "remote_device_lists", Profile::Point);
/// User of another server → up to where her list is known to be what her server tells of it.
pub const REMOTE_LISTS_SINCE: Table<String, ListSinceRow> =
    Table::new(0x93, "remote_lists_since", Profile::Point);
/// (position, index) → a local user who came into a room with members of other servers, until these are told of her
/// devices. Written with the room's events.
pub const NEWCOMERS: Table<((), Position, u32), NewcomerRow> =
    Table::new(0x94, "newcomers", Profile::Queue);

// Media.

/// (server, or "" for this one; media id) → a medium. Written and read by `media`.
pub const MEDIA: Table<MediaKey, MediaRow> = Table::new(0xa0, "media", Profile::Point);
/// (user, media id) → nothing: what a local user uploaded or is about to.
pub const USER_MEDIA: Table<(String, String), ()> = Table::new(0xa1, "user_media", Profile::Scan);
/// User → bytes that her media take. Written with them; read by `media` for the quota.
pub const MEDIA_USAGE: Table<String, i64> = Table::new(0xa2, "media_usage", Profile::Point);
/// (moment of expiry, media id) → who may upload it until then.
pub const PENDING_MEDIA: Table<(u64, String), PendingRow> =
    Table::new(0xa3, "pending_media", Profile::Queue);
/// User → how many media she may upload still. Written with them; read by `media` for the quota.
pub const PENDING_MEDIA_COUNTS: Table<String, i64> =
    Table::new(0xab, "pending_media_counts", Profile::Point);
/// SHA-256 → bytes that are kept outside of the store under this name.
pub const BLOBS: Table<BlobHash, BlobRow> = Table::new(0xa4, "blobs", Profile::Point);
/// (SHA-256, group) → check sums of the blob's pieces. Read with each piece.
pub const BLOB_SUMS: Table<(BlobHash, u32), Sums> = Table::new(0xa5, "blob_sums", Profile::Scan);
/// (SHA-256, (server or "#thumbnail", id)) → nothing: who consists of the blob. Without such a row it is removed.
pub const BLOB_USES: Table<(BlobHash, MediaKey), ()> = Table::new(0xa6, "blob_uses", Profile::Scan);
/// (SHA-256 of the image, form) → its thumbnail. Written and read by `media`.
pub const THUMBNAILS: Table<(BlobHash, String), ThumbnailRow> =
    Table::new(0xa7, "thumbnails", Profile::Scan);
/// (server, media id) → when it was last asked for. Buffered, at most once a day. Read by retention.
pub const MEDIA_USED: Table<MediaKey, UsedRow> = Table::new(0xa8, "media_used", Profile::Point);
/// URL → its preview. Written and read by `media`.
pub const PREVIEWS: Table<String, PreviewRow> = Table::new(0xa9, "previews", Profile::Point);
/// (moment of fetching, URL) → nothing: previews by age.
pub const PREVIEWS_AT: Table<(u64, String), ()> = Table::new(0xaa, "previews_at", Profile::Queue);

// Friends and groups.

/// (local user, other user) → how they stand. Derived from their direct chats; written and read by `social`.
pub const FRIENDS: Table<(String, String), FriendRow> = Table::new(0xc0, "friends", Profile::Scan);
/// (local user, other user, room) → a direct chat of both, open or over. Written and read by `social`.
pub const DIRECT_CHATS: Table<(String, String, RoomNo), DirectChatRow> =
    Table::new(0xc1, "direct_chats", Profile::Scan);
/// Room → the two whose direct chat it is. Written by `social`, which reads it at each change of membership.
pub const DIRECT_ROOMS: Table<RoomNo, DirectRoomRow> =
    Table::new(0xc2, "direct_rooms", Profile::Point);
/// (local user, other user) → nothing: the server has something to do in a chat of theirs. Written and read by `social`.
pub const FRIEND_ACTS: Table<(String, String), ()> =
    Table::new(0xc3, "friend_acts", Profile::Queue);
/// Hash of a set of users → the private group that was last made for it. Written and read by `social`.
pub const PRIVATE_GROUPS: Table<String, PrivateGroupRow> =
    Table::new(0xc4, "private_groups", Profile::Point);

// Application services.

/// Application service → how far it has come. Written and read by `appservice`.
pub const SERVICES: Table<String, ServiceRow> = Table::new(0xd0, "services", Profile::Point);
/// (application service, position, index) → an event that it has to be told. Written, read and removed by `appservice`.
pub const SERVICE_QUEUE: Table<(String, Position, u32), EventRef> =
    Table::new(0xd1, "service_queue", Profile::Queue);

/// Every table, for the engine that must know how each is used and for tools.
pub const CATALOGUE: &[TableInfo] = &[
    META.info(),
    CHANGES.info(),
    JOBS.info(),
    ROOM_NUMBERS.info(),
    ROOM_HEADS.info(),
    ALIASES.info(),
    ROOM_ALIASES.info(),
    PUBLIC_ROOMS.info(),
    MEMBERS.info(),
    USER_ROOMS.info(),
    USER_ROOMS_AT.info(),
    STRIPPED_STATE.info(),
    PARTIAL_ROOMS.info(),
    PARTIAL_STAYS.info(),
    WHOLE_ROOMS.info(),
    GAPS.info(),
    EVENT_IDS.info(),
    WHEREABOUTS.info(),
    TIMELINE.info(),
    OUTLIERS.info(),
    ROOM_POSITIONS.info(),
    ROOM_STATES.info(),
    RELATIONS.info(),
    THREADS.info(),
    THREADS_AT.info(),
    TXNS.info(),
    ANNOTATIONS.info(),
    RETENTION.info(),
    EARLY_REDACTIONS.info(),
    STATE_NODES.info(),
    AUTH_LINKS.info(),
    USERS.info(),
    DEVICES.info(),
    DEVICES_SEEN.info(),
    ACCESS_TOKENS.info(),
    REFRESH_TOKENS.info(),
    LOGIN_TOKENS.info(),
    OPENID_TOKENS.info(),
    REGISTRATION_TOKENS.info(),
    THREEPIDS.info(),
    THREEPID_OWNERS.info(),
    PROFILES.info(),
    ACCOUNT_DATA.info(),
    ACCOUNT_DATA_AT.info(),
    ACCOUNT_DATA_COUNTS.info(),
    PUSH_RULES_AT.info(),
    FILTERS.info(),
    REPORTS.info(),
    REPORT_COUNTS.info(),
    RECEIPTS.info(),
    RECEIPTS_AT.info(),
    COUNTS.info(),
    ROOM_SERVERS.info(),
    SERVER_ROOMS.info(),
    SERVER_LEFT.info(),
    HOME_SINCE.info(),
    DESTINATIONS.info(),
    OUTBOX.info(),
    SERVER_KEYS.info(),
    ORIGIN_TXNS.info(),
    INBOX.info(),
    MEDIA.info(),
    USER_MEDIA.info(),
    MEDIA_USAGE.info(),
    PENDING_MEDIA.info(),
    PENDING_MEDIA_COUNTS.info(),
    BLOBS.info(),
    BLOB_SUMS.info(),
    BLOB_USES.info(),
    THUMBNAILS.info(),
    MEDIA_USED.info(),
    PREVIEWS.info(),
    PREVIEWS_AT.info(),
    DEVICE_KEYS.info(),
    KEY_HEADS.info(),
    ONE_TIME_KEYS.info(),
    ONE_TIME_KEY_IDS.info(),
    FALLBACK_KEYS.info(),
    CROSS_SIGNING_KEYS.info(),
    SIGNATURES.info(),
    DEVICE_LISTS.info(),
    DEVICE_LISTS_AT.info(),
    DEVICE_LIST_LOG.info(),
    TO_DEVICE.info(),
    TO_DEVICE_TXNS.info(),
    TO_DEVICE_SEEN.info(),
    TO_DEVICE_SEEN_AT.info(),
    BACKUP_VERSIONS.info(),
    BACKUP_KEYS.info(),
    DEHYDRATED_DEVICES.info(),
    SIGNED_AT.info(),
    REMOTE_DEVICE_LISTS.info(),
    REMOTE_LISTS_SINCE.info(),
    NEWCOMERS.info(),
    FRIENDS.info(),
    DIRECT_CHATS.info(),
    DIRECT_ROOMS.info(),
    FRIEND_ACTS.info(),
    PRIVATE_GROUPS.info(),
    SERVICES.info(),
    SERVICE_QUEUE.info(),
];
