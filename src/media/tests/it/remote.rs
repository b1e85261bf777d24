use std::time::Duration;

use futures_util::TryStreamExt;
use hearth_media::multipart::{FilePart, content_type, encode};
use hearth_media::{Error, MediaUri, Reach, disposition};
use http::StatusCode;

use crate::house::{AT_ONCE, House, body, noise};

const SIGNED: &str = "https://other/_matrix/federation/v1/media/download/abc?timeout_ms=0";
const OLD: &str =
    "http://other/_matrix/media/v3/download/other/abc?allow_remote=false&timeout_ms=0";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn uri() -> MediaUri {
    MediaUri::parse("mxc://other/abc").expect("a name")
}

async fn parts(content: &[u8]) -> Vec<u8> {
    let disposition = disposition("image/png", Some("ü.png"));
    let part = FilePart {
        content_type: "image/png",
        disposition: &disposition,
    };
    let encoded = encode("bound", part, body(content));
    let encoded = encoded.try_fold(Vec::new(), async |mut all, piece| {
        all.extend_from_slice(&piece);
        Ok(all)
    });
    encoded.await.expect("encoded")
}

#[tokio::test]
async fn a_file_of_another_server_is_fetched_once() {
    let house = House::new();
    let content = noise(700_000);
    house
        .web
        .put(SIGNED, &content_type("bound"), parts(&content).await);
    let uri = uri();
    let (first, second) = tokio::join!(house.content(&uri), house.content(&uri));
    assert_eq!(first.expect("fetched"), content);
    assert_eq!(second.expect("fetched"), content);
    assert_eq!(house.web.asked(), [SIGNED]);
    let found = house
        .media
        .download(&uri, Reach::Anywhere, AT_ONCE)
        .await
        .expect("there");
    assert_eq!(found.content_type, "image/png");
    assert_eq!(found.file_name.as_deref(), Some("ü.png"));
    house.check().await;
}

#[tokio::test]
async fn servers_of_old_are_asked_in_the_old_way_and_only_they() {
    let unrecognized = r#"{"errcode":"M_UNRECOGNIZED"}"#;
    for (status, answer) in [
        (StatusCode::NOT_FOUND, unrecognized),
        (StatusCode::METHOD_NOT_ALLOWED, unrecognized),
        // Before version 1.6 servers answered so, and what stands before a server knows no Matrix.
        (StatusCode::BAD_REQUEST, unrecognized),
        (StatusCode::NOT_FOUND, "<h1>Not Found</h1>"),
        (StatusCode::BAD_REQUEST, "[]"),
    ] {
        let house = House::new();
        let answer = answer.as_bytes().to_vec();
        house.web.put_answer(SIGNED, (status, vec![], answer));
        house.web.put(OLD, "text/plain", "old");
        assert_eq!(house.content(&uri()).await.expect("fetched"), b"old");
        assert_eq!(house.web.asked(), [SIGNED, OLD]);
    }
    for (status, answer) in [
        (StatusCode::NOT_FOUND, r#"{"errcode":"M_NOT_FOUND"}"#),
        (StatusCode::FORBIDDEN, r#"{"errcode":"M_FORBIDDEN"}"#),
        (StatusCode::BAD_GATEWAY, "no server there"),
    ] {
        let house = House::new();
        let answer = answer.as_bytes().to_vec();
        house.web.put_answer(SIGNED, (status, vec![], answer));
        house.web.put(OLD, "text/plain", "old");
        let missing = house.content(&uri()).await;
        assert!(matches!(missing, Err(Error::NotFound | Error::Remote(_))));
        assert_eq!(house.web.asked(), [SIGNED]);
    }
}

#[tokio::test]
async fn a_file_may_be_elsewhere() {
    let house = House::new();
    let elsewhere = b"--b\r\n\r\n{}\r\n--b\r\nLocation: https://cdn/x\r\n\r\n\r\n--b--".to_vec();
    house.web.put(SIGNED, &content_type("b"), elsewhere);
    house.web.put("https://cdn/x", "text/plain", "from the CDN");
    assert_eq!(
        house.content(&uri()).await.expect("fetched"),
        b"from the CDN"
    );
}

#[tokio::test]
async fn s17_large_and_broken_files_of_other_servers_are_not_kept() {
    let house = House::with(|settings| settings.upload_bytes_max = 1_000);
    house
        .web
        .put(SIGNED, &content_type("bound"), parts(&noise(1_001)).await);
    let large = house.content(&uri()).await;
    assert!(matches!(large, Err(Error::RemoteTooLarge)), "{large:?}");
    let mut half = parts(&noise(900)).await;
    half.truncate(half.len() - 20);
    house.web.put(SIGNED, &content_type("bound"), half);
    let half = house.content(&uri()).await;
    assert!(matches!(half, Err(Error::Remote(_))), "{half:?}");
    house.web.put(SIGNED, "image/png", noise(10));
    let plain = house.content(&uri()).await;
    assert!(matches!(plain, Err(Error::Remote(_))), "{plain:?}");
    assert_eq!((house.blob_files(), house.incoming_files()), (0, 0));
}

#[tokio::test]
async fn copies_go_by_age_and_size_and_can_be_fetched_again() {
    let house = House::with(|settings| {
        settings.remote_keep = Some(30 * DAY);
        settings.remote_bytes_max = Some(1_500);
    });
    let own = house.upload(&noise(5_000)).await.expect("uploaded");
    for (id, length) in [("a", 1_000), ("b", 999), ("c", 400)] {
        let url = SIGNED.replace("abc", id);
        house
            .web
            .put(&url, &content_type("bound"), parts(&noise(length)).await);
        let uri = MediaUri::parse(&format!("mxc://other/{id}")).expect("a name");
        house.content(&uri).await.expect("fetched");
        house.clock.advance(2 * DAY);
    }
    // The oldest does not fit.
    assert_eq!(house.media.sweep().await.expect("swept").remote, 1);
    house.clock.advance(40 * DAY);
    assert_eq!(house.media.sweep().await.expect("swept").remote, 2);
    assert_eq!(house.blob_files(), 1);
    house.content(&own).await.expect("our own stay");
    let again = MediaUri::parse("mxc://other/a").expect("a name");
    house.content(&again).await.expect("fetched again");
    house.check().await;
}
