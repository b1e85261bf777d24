use std::time::Duration;

use futures_util::TryStreamExt;
use hearth_media::{Animation, Error, FileHead, Fit, MediaUri, Reach, ThumbnailSize, multipart};
use hearth_ports::Blobs;
use ruma::server_name;

use crate::house::{AT_ONCE, House, anna, bob, body, broken, noise, png, read, read_part};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn small() -> ThumbnailSize {
    ThumbnailSize {
        width: 32,
        height: 32,
        fit: Fit::Crop,
        animation: Animation::Still,
    }
}

#[tokio::test]
async fn what_is_uploaded_is_downloaded_whole_and_in_part() {
    let house = House::new();
    for length in [0, 1, 262_143, 262_144, 262_145, 1_000_000] {
        let content = noise(length);
        let uri = house.upload(&content).await.expect("uploaded");
        let download = house
            .media
            .download(&uri, Reach::Anywhere, AT_ONCE)
            .await
            .expect("there");
        assert_eq!(download.bytes, length as u64);
        assert_eq!(download.file_name.as_deref(), Some("ä.bin"));
        assert_eq!(read(&download).await.expect("whole"), content);
        for (start, end) in [
            (0, 1),
            (5, 300_000),
            (262_144, 262_145),
            (999_999, 2_000_000),
        ] {
            let part = read_part(&download, start..end).await.expect("a part");
            let within = |at: u64| usize::try_from(at).expect("small").min(length);
            assert_eq!(
                part,
                content[within(start)..within(end)],
                "{length} {start}..{end}"
            );
        }
    }
    house.check().await;
}

#[tokio::test]
async fn the_same_bytes_are_kept_once() {
    let house = House::new();
    let content = noise(300_000);
    let first = house
        .upload_as(anna(), "image/png", &content)
        .await
        .expect("uploaded");
    let second = house
        .upload_as(bob(), "text/plain", &content)
        .await
        .expect("uploaded");
    assert_ne!(first, second);
    assert_eq!(house.blob_files(), 1);
    assert!(house.media.delete(&first).await.expect("removed"));
    assert_eq!(house.content(&second).await.expect("still there"), content);
    assert!(house.media.delete(&second).await.expect("removed"));
    assert_eq!(house.blob_files(), 0);
    house.check().await;
}

#[tokio::test]
async fn a_file_that_breaks_off_or_is_too_large_leaves_nothing() {
    let house = House::new();
    let head = FileHead::default();
    let half = house
        .media
        .upload(anna(), head, &mut broken(&noise(500_000)))
        .await;
    assert!(matches!(half, Err(Error::Incomplete(_))), "{half:?}");
    let large = house.upload(&noise((4 << 20) + 1)).await;
    assert!(matches!(large, Err(Error::TooLarge { .. })), "{large:?}");
    house.upload(&noise(4 << 20)).await.expect("exactly fits");
    assert_eq!(house.blob_files(), 1);
    assert_eq!(house.incoming_files(), 0);
    house.check().await;
}

#[tokio::test]
async fn a_damaged_file_is_not_served() {
    let house = House::new();
    let content = noise(600_000);
    let uri = house.upload(&content).await.expect("uploaded");
    let mut name = None;
    for first in 0..=u8::MAX {
        let found = house.disk().list(first).await.expect("listed");
        name = name.or(found.first().map(|(name, _)| *name));
    }
    let name = name.expect("a blob");
    let path = house.disk().path(name);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[300_000] ^= 1;
    std::fs::write(&path, &bytes).expect("written");
    let download = house
        .media
        .download(&uri, Reach::Anywhere, AT_ONCE)
        .await
        .expect("there");
    assert!(read(&download).await.is_err());
    let sound = read_part(&download, 0..262_144).await.expect("not damaged");
    assert_eq!(sound, content[..262_144]);
    // Uploading it again mends it.
    house.upload(&content).await.expect("uploaded");
    assert_eq!(house.content(&uri).await.expect("mended"), content);
}

#[tokio::test]
async fn a_reserved_file_is_uploaded_once_by_its_user() {
    let house = House::new();
    let reserved = house.media.reserve(anna()).await.expect("reserved");
    let uri = &reserved.uri;
    let early = house
        .media
        .download(uri, Reach::Anywhere, AT_ONCE)
        .await
        .map(drop);
    assert!(matches!(early, Err(Error::NotYetUploaded)), "{early:?}");
    let other = house.upload_reserved(bob(), uri, b"x").await;
    assert!(matches!(other, Err(Error::NotYours)), "{other:?}");
    let done = house.upload_reserved(anna(), uri, b"hello").await;
    done.expect("uploaded");
    let again = house.upload_reserved(anna(), uri, b"other").await;
    assert!(matches!(again, Err(Error::AlreadyUploaded)), "{again:?}");
    assert_eq!(house.content(uri).await.expect("there"), b"hello");
    let unknown = MediaUri::new(server_name!("house"), "unknown").expect("a name");
    let unknown = house.upload_reserved(anna(), &unknown, b"x").await;
    assert!(matches!(unknown, Err(Error::NotFound)), "{unknown:?}");
    house.check().await;
}

#[tokio::test]
async fn a_download_waits_for_its_upload() {
    let house = House::new();
    let uri = house.media.reserve(anna()).await.expect("reserved").uri;
    let waiting = house
        .media
        .download(&uri, Reach::Anywhere, Duration::from_secs(60));
    let uploading = house.upload_reserved(anna(), &uri, b"late");
    let (found, done) = tokio::join!(waiting, uploading);
    done.expect("uploaded");
    assert_eq!(read(&found.expect("there")).await.expect("whole"), b"late");
}

#[tokio::test]
async fn reservations_have_an_end_and_a_limit() {
    let house = House::new();
    for _ in 0..100 {
        house.media.reserve(anna()).await.expect("reserved");
    }
    let more = house.media.reserve(anna()).await;
    assert!(matches!(more, Err(Error::TooManyPending)), "{more:?}");
    let last = house
        .media
        .reserve(bob())
        .await
        .expect("hers are not his")
        .uri;
    house.clock.advance(DAY + Duration::from_secs(1));
    let late = house.upload_reserved(bob(), &last, b"x").await;
    assert!(matches!(late, Err(Error::NotFound)), "{late:?}");
    assert_eq!(house.media.sweep().await.expect("swept").reservations, 101);
    house.media.reserve(anna()).await.expect("reserved");
    house.check().await;
}

#[tokio::test]
async fn a_user_has_so_much_room() {
    let house = House::with(|settings| settings.quota_bytes_max = Some(1_000));
    let first = house.upload(&noise(600)).await.expect("fits");
    let second = house.upload(&noise(500)).await;
    assert!(matches!(second, Err(Error::Quota { .. })), "{second:?}");
    house
        .upload_as(bob(), "text/plain", &noise(500))
        .await
        .expect("his own");
    assert!(house.media.delete(&first).await.expect("removed"));
    house.upload(&noise(1_000)).await.expect("fits again");
    assert_eq!(house.media.usage(anna()).await.expect("added up"), 1_000);
    // Two at once do not share the same room.
    assert_eq!(
        house.media.delete_of_user(anna()).await.expect("removed"),
        1
    );
    let (one, two) = (noise(501), noise(502));
    let (one, two) = tokio::join!(house.upload(&one), house.upload(&two));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    house.check().await;
}

#[tokio::test]
async fn s17_heads_that_cannot_be_kept_are_refused() {
    let house = House::new();
    for content_type in ["", "text/html\r\nx: y", "ä", &"x".repeat(256)] {
        let refused = house.upload_as(anna(), content_type, b"x").await;
        assert!(
            matches!(refused, Err(Error::Malformed(_))),
            "{content_type}"
        );
    }
    let head = FileHead {
        file_name: Some("x".repeat(2_000)),
        ..FileHead::default()
    };
    let refused = house.media.upload(anna(), head, &mut body(b"x")).await;
    assert!(matches!(refused, Err(Error::Malformed(_))), "{refused:?}");
}

#[tokio::test]
async fn a_crash_leaves_nothing_half_written() {
    let mut house = House::new();
    let content = noise(500_000);
    let kept = house.upload(&content).await.expect("uploaded");
    // Written, but not complete; complete, but nobody knows it.
    std::fs::write(house.folder().join("incoming/half"), b"half").expect("written");
    let orphan = house.folder().join("whole");
    std::fs::write(&orphan, b"whole").expect("written");
    let name = hearth_ports::BlobName([7; 32]);
    house.disk().put(name, &orphan).await.expect("placed");
    house.restart();
    assert_eq!(house.incoming_files(), 0);
    let swept = house.media.sweep().await.expect("swept");
    assert_eq!((swept.blobs, swept.bytes), (1, 5));
    assert_eq!(house.blob_files(), 1);
    assert_eq!(house.content(&kept).await.expect("there"), content);
    house.check().await;
}

#[tokio::test]
async fn a_thumbnail_is_made_once_and_goes_with_its_image() {
    let house = House::new();
    let uri = house
        .upload_as(anna(), "text/html", &png(100, 80))
        .await
        .expect("uploaded");
    let made = house.thumbnail(&uri, small()).await.expect("made");
    assert_eq!(made.content_type, "image/png");
    assert_eq!(house.blob_files(), 2);
    let again = house.thumbnail(&uri, small()).await.expect("made");
    assert_eq!(again.tag(), made.tag());
    house.check().await;
    assert!(house.media.delete(&uri).await.expect("removed"));
    assert_eq!(house.blob_files(), 0);
    house.check().await;
}

#[tokio::test]
async fn an_image_that_is_small_enough_is_its_own_thumbnail() {
    let house = House::new();
    // As its first bytes say, not as its uploader does.
    let uri = house.upload_as(anna(), "text/html", &png(20, 20)).await;
    let uri = uri.expect("uploaded");
    let made = house.thumbnail(&uri, small()).await.expect("there");
    assert_eq!(read(&made).await.expect("whole"), png(20, 20));
    assert_eq!(made.content_type, "image/png");
    assert_eq!(made.file_name, None);
    assert_eq!(house.blob_files(), 1);
    let again = house.thumbnail(&uri, small()).await.expect("there");
    assert_eq!(again.tag(), made.tag());
    house.check().await;
    assert!(house.media.delete(&uri).await.expect("removed"));
    assert_eq!(house.blob_files(), 0);
    house.check().await;
}

#[tokio::test]
async fn a_thumbnail_whose_image_goes_meanwhile_is_not_left_behind() {
    let house = House::new();
    let uri = house.upload_as(anna(), "image/png", &png(100, 80)).await;
    let uri = uri.expect("uploaded");
    let source = house.media.download(&uri, Reach::Here, AT_ONCE).await;
    let source = source.expect("there");
    let making = house.media.thumbnail(&source, small());
    let removing = house.media.delete(&uri);
    // In whichever order they end.
    let (made, removed) = tokio::join!(making, removing);
    assert!(removed.expect("removed"));
    drop(made);
    house.media.sweep().await.expect("swept");
    assert_eq!(house.blob_files(), 0);
    house.check().await;
}

#[tokio::test]
async fn a_file_for_another_server_comes_in_parts_that_it_can_read() {
    let house = House::new();
    let content = noise(300_000);
    let uri = house.upload(&content).await.expect("uploaded");
    let file = house.media.download_own(uri.id(), AT_ONCE).await;
    let (content_type, body) = file.expect("there").into_parts().await.expect("read");
    let boundary = multipart::boundary(&content_type).expect("a boundary");
    let part = multipart::decode(&boundary, body).await.expect("parts");
    let multipart::Part::File {
        content_type,
        file_name,
        body,
    } = part
    else {
        panic!("a file is expected");
    };
    assert_eq!(content_type.as_deref(), Some("application/octet-stream"));
    assert_eq!(file_name.as_deref(), Some("ä.bin"));
    let mut whole = Vec::new();
    let mut body = body;
    while let Some(piece) = body.try_next().await.expect("whole") {
        whole.extend_from_slice(&piece);
    }
    assert_eq!(whole, content);
}

#[tokio::test]
async fn s17_there_is_no_thumbnail_of_what_only_says_that_it_is_an_image() {
    let house = House::new();
    let html = b"<html><script>alert(1)</script></html>";
    let uri = house
        .upload_as(anna(), "image/png", html)
        .await
        .expect("uploaded");
    for _ in 0..2 {
        let made = house.thumbnail(&uri, small()).await.map(drop);
        assert!(matches!(made, Err(Error::NoThumbnail)), "{made:?}");
    }
    let bomb = house
        .upload_as(anna(), "image/png", &png(1_100, 1_000))
        .await;
    let made = house.thumbnail(&bomb.expect("uploaded"), small()).await;
    assert!(matches!(made.map(drop), Err(Error::ImageTooLarge)));
    house.check().await;
}

#[tokio::test]
async fn unused_names_are_not_found() {
    let house = House::new();
    let unknown = MediaUri::new(server_name!("house"), "unknown").expect("a name");
    let missing = house
        .media
        .download(&unknown, Reach::Anywhere, AT_ONCE)
        .await
        .map(drop);
    assert!(matches!(missing, Err(Error::NotFound)), "{missing:?}");
}
