//! Media: what each `mxc://` URI stands for, which bytes there are and who uses them, thumbnails, previews of links.
//!
//! A media's row is the truth. What follows from it (its user's list and bytes, that it is waited for, that it uses a
//! blob) is written with it by [`change`]. The bytes themselves are elsewhere, under their SHA-256.

use bytes::Bytes;
use hearth_store::{Batch, Snapshot, Value, ValueError};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::row::rows;
use crate::tables::{
    BLOB_SUMS, BLOB_USES, BLOBS, MEDIA, MEDIA_USAGE, MEDIA_USED, PENDING_MEDIA,
    PENDING_MEDIA_COUNTS, PREVIEWS, PREVIEWS_AT, THUMBNAILS, USER_MEDIA,
};

/// SHA-256 of a blob.
pub type BlobHash = [u8; 32];

/// (server, media id): a medium's name; the server is empty for our own.
pub type MediaKey = (String, String);

/// The "server" of thumbnails among the users of a blob: no server name begins so.
const THUMBNAIL: &str = "#thumbnail";

/// A medium.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRow {
    /// Who uploaded it, of our own users.
    pub user: Option<String>,
    /// When, in milliseconds since the epoch.
    pub created: u64,
    /// The type its uploader gave it.
    pub content_type: String,
    /// The name its uploader gave it.
    pub file_name: Option<String>,
    /// Its bytes, or that they are to come.
    pub content: Content,
}

/// What a medium consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// Not uploaded yet, and no longer to be after this moment (milliseconds).
    Pending {
        /// The moment.
        expires: u64,
    },
    /// A blob.
    Stored {
        /// Which.
        blob: BlobHash,
        /// Its length.
        bytes: u64,
    },
}

/// A blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRow {
    /// Its length.
    pub bytes: u64,
    /// An administrator does not want it to be served.
    pub quarantined: bool,
}

/// What became of the attempt to make a thumbnail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThumbnailRow {
    /// The blob; none if there can be no thumbnail.
    pub blob: Option<BlobHash>,
    /// Its length.
    pub bytes: u64,
    /// Its type.
    pub content_type: String,
}

/// When a medium was last asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedRow {
    /// Milliseconds since the epoch; not exact.
    pub at: u64,
}

/// The preview of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewRow {
    /// When it was fetched, in milliseconds.
    pub fetched: u64,
    /// What clients are told, JSON.
    pub json: String,
    /// The media id of its image, which lives as long as it does.
    pub image: Option<String>,
}

/// The owner of a medium that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRow {
    /// The user.
    pub user: String,
}
rows!(
    MediaRow = 1,
    BlobRow = 1,
    ThumbnailRow = 1,
    UsedRow = 1,
    PreviewRow = 1,
    PendingRow = 1
);

/// Check sums of successive pieces of a blob, eight bytes each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sums(pub Vec<[u8; 8]>);

impl Value for Sums {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(1 + 8 * self.0.len());
        out.push(1);
        out.extend(self.0.iter().flatten());
        out
    }

    fn decode(bytes: &Bytes) -> Result<Self, ValueError> {
        match bytes.split_first() {
            Some((1, sums)) if sums.len().is_multiple_of(8) => {
                let sums = sums.chunks_exact(8).filter_map(|sum| sum.try_into().ok());
                Ok(Self(sums.collect()))
            }
            _ => Err(ValueError("not check sums of version 1".to_owned())),
        }
    }
}

/// A medium's row.
pub async fn load(snapshot: &dyn Snapshot, key: &MediaKey) -> Result<Option<MediaRow>> {
    MEDIA.get(snapshot, key).await
}

/// Media after a key (start with two empty texts), at most `limit`.
pub async fn after(
    snapshot: &dyn Snapshot,
    key: &MediaKey,
    limit: usize,
) -> Result<Vec<(MediaKey, MediaRow)>> {
    let mut range = MEDIA.prefix(&());
    range.from = [&MEDIA.raw_key(key)[..], b"\0"].concat().into();
    MEDIA.range(snapshot, range, limit).await
}

/// Media ids of a user after one of them, at most `limit`.
pub async fn of_user(
    snapshot: &dyn Snapshot,
    user: &str,
    after: &str,
    limit: usize,
) -> Result<Vec<String>> {
    let mut range = USER_MEDIA.prefix(&user.to_owned());
    let after = USER_MEDIA.raw_key(&(user.to_owned(), after.to_owned()));
    range.from = [&after[..], b"\0"].concat().into();
    let rows = USER_MEDIA.range(snapshot, range, limit).await?;
    Ok(rows.into_iter().map(|((_, id), ())| id).collect())
}

/// The bytes that a user's media take; none if she never had any.
pub async fn usage(snapshot: &dyn Snapshot, user: &str) -> Result<Option<i64>> {
    MEDIA_USAGE.get(snapshot, &user.to_owned()).await
}

/// Fails the batch if a user's usage has changed since it was loaded.
pub fn expect_usage(batch: &mut Batch, user: &str, loaded: Option<i64>) {
    MEDIA_USAGE.expect(batch, &user.to_owned(), loaded.as_ref());
}

/// Makes, changes or removes a medium with all that follows from it. Fails the batch unless it stands as it was loaded.
pub fn change(
    batch: &mut Batch,
    key: &MediaKey,
    before: Option<&MediaRow>,
    after: Option<&MediaRow>,
) {
    MEDIA.expect(batch, key, before);
    if let Some(row) = before {
        MEDIA.delete(batch, key);
        undo(batch, key, row);
    }
    if let Some(row) = after {
        MEDIA.put(batch, key, row);
        follow(batch, key, row);
    } else {
        MEDIA_USED.delete(batch, key);
    }
}

fn follow(batch: &mut Batch, key: &MediaKey, row: &MediaRow) {
    if let Some(user) = &row.user {
        USER_MEDIA.put(batch, &(user.clone(), key.1.clone()), &());
    }
    match row.content {
        Content::Pending { expires } => {
            let user = row.user.clone().unwrap_or_default();
            PENDING_MEDIA_COUNTS.add(batch, &user, 1);
            PENDING_MEDIA.put(batch, &(expires, key.1.clone()), &PendingRow { user });
        }
        Content::Stored { blob, bytes } => {
            BLOB_USES.put(batch, &(blob, key.clone()), &());
            if let Some(user) = &row.user {
                MEDIA_USAGE.add(batch, user, length(bytes));
            }
        }
    }
}

fn undo(batch: &mut Batch, key: &MediaKey, row: &MediaRow) {
    if let Some(user) = &row.user {
        USER_MEDIA.delete(batch, &(user.clone(), key.1.clone()));
    }
    match row.content {
        Content::Pending { expires } => {
            let user = row.user.clone().unwrap_or_default();
            PENDING_MEDIA_COUNTS.add(batch, &user, -1);
            PENDING_MEDIA.delete(batch, &(expires, key.1.clone()));
        }
        Content::Stored { blob, bytes } => {
            BLOB_USES.delete(batch, &(blob, key.clone()));
            if let Some(user) = &row.user {
                MEDIA_USAGE.add(batch, user, -length(bytes));
            }
        }
    }
}

fn length(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// How many media of a user are waited for.
pub async fn pending(snapshot: &dyn Snapshot, user: &str) -> Result<i64> {
    let row = PENDING_MEDIA_COUNTS.get(snapshot, &user.to_owned()).await?;
    Ok(row.unwrap_or(0))
}

/// Media ids that were waited for until before `now`, oldest first, at most `limit`.
pub async fn expired(snapshot: &dyn Snapshot, now: u64, limit: usize) -> Result<Vec<String>> {
    let range = PENDING_MEDIA.between(&0_u64, &now);
    let rows = PENDING_MEDIA.range(snapshot, range, limit).await?;
    Ok(rows.into_iter().map(|((_, id), _)| id).collect())
}

/// A blob's row.
pub async fn blob(snapshot: &dyn Snapshot, hash: &BlobHash) -> Result<Option<BlobRow>> {
    BLOBS.get(snapshot, hash).await
}

/// Writes a blob's row.
pub fn blob_put(batch: &mut Batch, hash: &BlobHash, row: &BlobRow) {
    BLOBS.put(batch, hash, row);
}

/// Fails the batch unless a blob's row stands as it was loaded.
pub fn blob_expect(batch: &mut Batch, hash: &BlobHash, loaded: &BlobRow) {
    BLOBS.expect(batch, hash, Some(loaded));
}

/// Blobs after a hash, at most `limit`.
pub async fn blobs_from(
    snapshot: &dyn Snapshot,
    from: &BlobHash,
    limit: usize,
) -> Result<Vec<(BlobHash, BlobRow)>> {
    let mut range = BLOBS.prefix(&());
    range.from = BLOBS.raw_key(from);
    BLOBS.range(snapshot, range, limit).await
}

/// Writes a group of check sums.
pub fn sums_put(batch: &mut Batch, hash: &BlobHash, group: u32, sums: &Sums) {
    BLOB_SUMS.put(batch, &(*hash, group), sums);
}

/// A group of check sums.
pub async fn sums(snapshot: &dyn Snapshot, hash: &BlobHash, group: u32) -> Result<Option<Sums>> {
    BLOB_SUMS.get(snapshot, &(*hash, group)).await
}

/// Whether any medium or thumbnail consists of a blob.
pub async fn is_used(snapshot: &dyn Snapshot, hash: &BlobHash) -> Result<bool> {
    let rows = BLOB_USES.range(snapshot, BLOB_USES.prefix(hash), 1).await?;
    Ok(!rows.is_empty())
}

/// Removes what is known of a blob that nobody uses: its row, its check sums, and which thumbnails were made of it.
/// Those are answered, for their blobs may be of no use then.
pub async fn blob_remove(
    snapshot: &dyn Snapshot,
    batch: &mut Batch,
    hash: &BlobHash,
    thumbnails_max: usize,
) -> Result<Vec<BlobHash>> {
    BLOBS.delete(batch, hash);
    BLOB_SUMS.delete_range(batch, BLOB_SUMS.prefix(hash));
    let range = THUMBNAILS.prefix(hash);
    let rows = THUMBNAILS.range(snapshot, range, thumbnails_max).await?;
    let mut orphans = Vec::new();
    for (key, row) in rows {
        THUMBNAILS.delete(batch, &key);
        if let Some(blob) = row.blob.filter(|blob| blob != hash) {
            BLOB_USES.delete(batch, &(blob, thumbnail_user(&key.0, &key.1)));
            orphans.push(blob);
        }
    }
    Ok(orphans)
}

/// A thumbnail of a blob.
pub async fn thumbnail(
    snapshot: &dyn Snapshot,
    source: &BlobHash,
    form: &str,
) -> Result<Option<ThumbnailRow>> {
    THUMBNAILS.get(snapshot, &(*source, form.to_owned())).await
}

/// Writes a thumbnail of a blob. A blob that is its own thumbnail is not among its own users: nothing would ever let it go.
pub fn thumbnail_put(batch: &mut Batch, source: &BlobHash, form: &str, row: &ThumbnailRow) {
    THUMBNAILS.put(batch, &(*source, form.to_owned()), row);
    if let Some(blob) = row.blob.filter(|blob| blob != source) {
        BLOB_USES.put(batch, &(blob, thumbnail_user(source, form)), &());
    }
}

/// How a thumbnail stands among the users of its blob.
fn thumbnail_user(source: &BlobHash, form: &str) -> MediaKey {
    let source: String = source.iter().map(|byte| format!("{byte:02x}")).collect();
    (THUMBNAIL.to_owned(), format!("{source} {form}"))
}

/// The thumbnail that a user of a blob is, if it is one.
pub(crate) fn thumbnail_of_user(user: &MediaKey) -> Option<(BlobHash, String)> {
    if user.0 != THUMBNAIL {
        return None;
    }
    let (source, form) = user.1.split_once(' ')?;
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(source.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some((hash, form.to_owned()))
}

/// When a medium was last asked for.
pub async fn used(snapshot: &dyn Snapshot, key: &MediaKey) -> Result<Option<u64>> {
    let row = MEDIA_USED.get(snapshot, key).await?;
    Ok(row.map(|row| row.at))
}

/// Notes that a medium was asked for.
pub fn used_put(batch: &mut Batch, key: &MediaKey, at: u64) {
    MEDIA_USED.put(batch, key, &UsedRow { at });
}

/// The preview of a link.
pub async fn preview(snapshot: &dyn Snapshot, url: &str) -> Result<Option<PreviewRow>> {
    PREVIEWS.get(snapshot, &url.to_owned()).await
}

/// Writes or replaces the preview of a link.
pub fn preview_put(batch: &mut Batch, url: &str, before: Option<&PreviewRow>, row: &PreviewRow) {
    if let Some(before) = before {
        PREVIEWS_AT.delete(batch, &(before.fetched, url.to_owned()));
    }
    PREVIEWS.put(batch, &url.to_owned(), row);
    PREVIEWS_AT.put(batch, &(row.fetched, url.to_owned()), &());
}

/// Removes the preview of a link.
pub fn preview_delete(batch: &mut Batch, url: &str, row: &PreviewRow) {
    PREVIEWS.delete(batch, &url.to_owned());
    PREVIEWS_AT.delete(batch, &(row.fetched, url.to_owned()));
}

/// Links whose previews were fetched before a moment, oldest first, at most `limit`.
pub async fn previews_before(
    snapshot: &dyn Snapshot,
    moment: u64,
    limit: usize,
) -> Result<Vec<String>> {
    let range = PREVIEWS_AT.between(&0_u64, &moment);
    let rows = PREVIEWS_AT.range(snapshot, range, limit).await?;
    Ok(rows.into_iter().map(|((_, url), ())| url).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_bytes_stay_readable() {
        let row = MediaRow {
            user: Some("@a:b".to_owned()),
            created: 1,
            content_type: "image/png".to_owned(),
            file_name: None,
            content: Content::Stored {
                blob: [7; 32],
                bytes: 300,
            },
        };
        let mut old = b"\x01\x01\x04@a:b\x01\x09image/png\x00\x01".to_vec();
        old.extend([7; 32]);
        old.extend([0xac, 0x02]);
        assert_eq!(row.encode(), old);
        assert_eq!(MediaRow::decode(&old.into()).expect("readable"), row);
        let sums = Sums(vec![[1; 8], [2; 8]]);
        let old = [&[1][..], &[1; 8], &[2; 8]].concat();
        assert_eq!(sums.encode(), old);
        assert_eq!(Sums::decode(&old.into()).expect("readable"), sums);
    }

    #[test]
    fn a_thumbnail_is_found_again_among_the_users_of_its_blob() {
        let user = thumbnail_user(&[0xab; 32], "32x32 crop");
        let found = thumbnail_of_user(&user);
        assert_eq!(found, Some(([0xab; 32], "32x32 crop".to_owned())));
        let media = ("example.org".to_owned(), "abc".to_owned());
        assert_eq!(thumbnail_of_user(&media), None);
    }
}
