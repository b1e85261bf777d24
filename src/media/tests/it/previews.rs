use std::time::Duration;

use hearth_media::{Error, MediaUri};
use serde_json::Value;

use crate::house::{House, png};

const PAGE: &str = "https://example.org/a/page";

async fn preview(house: &House, link: &str) -> Value {
    let json = house.media.preview(link).await.expect("previewed");
    serde_json::from_str(&json).expect("JSON")
}

#[tokio::test]
async fn a_page_is_previewed_with_its_image_once_an_hour() {
    let house = House::new();
    let html = "<meta property=og:title content=Title><meta property=og:image content=i.png>";
    house.web.put(PAGE, "text/html; charset=utf-8", html);
    let image = png(40, 30);
    house
        .web
        .put("https://example.org/a/i.png", "text/plain", image.clone());
    let said = preview(&house, &format!("{PAGE}#part")).await;
    assert_eq!(said["og:title"], "Title");
    assert_eq!(said["og:image:width"], 40);
    assert_eq!(said["og:image:height"], 30);
    assert_eq!(said["og:image:type"], "image/png");
    assert_eq!(said["matrix:image:size"], image.len());
    let uri = said["og:image"].as_str().expect("text");
    let uri = MediaUri::parse(uri).expect("a name");
    assert_eq!(house.content(&uri).await.expect("there"), image);
    assert_eq!(preview(&house, PAGE).await, said);
    assert_eq!(house.web.asked().len(), 2);
    house.clock.advance(Duration::from_secs(3_601));
    preview(&house, PAGE).await;
    assert_eq!(house.web.asked().len(), 4);
    // The image of before is gone with the preview of before.
    assert!(house.content(&uri).await.is_err());
    house.check().await;
    house.clock.advance(Duration::from_secs(2 * 24 * 60 * 60));
    assert_eq!(house.media.sweep().await.expect("swept").previews, 1);
    assert_eq!(house.blob_files(), 0);
    house.check().await;
}

#[tokio::test]
async fn an_image_is_its_own_preview_and_other_files_have_none() {
    let house = House::new();
    house.web.put(PAGE, "image/png", png(5, 5));
    assert_eq!(preview(&house, PAGE).await["og:image:width"], 5);
    let svg = "https://example.org/x.svg";
    house.web.put(svg, "image/svg+xml", "<svg/>");
    assert_eq!(preview(&house, svg).await, serde_json::json!({}));
    let zip = "https://example.org/x.zip";
    house.web.put(zip, "application/zip", "PK");
    assert_eq!(preview(&house, zip).await, serde_json::json!({}));
}

#[tokio::test]
async fn s16_links_that_are_not_http_are_not_followed() {
    let house = House::new();
    for link in [
        "",
        "file:///etc/passwd",
        "ftp://example.org/",
        "javascript:alert(1)",
        "/etc",
    ] {
        let refused = house.media.preview(link).await;
        assert!(matches!(refused, Err(Error::NoPreview(_))), "{link}");
    }
    let long = format!("https://example.org/{}", "x".repeat(3_000));
    assert!(house.media.preview(&long).await.is_err());
    assert!(house.web.asked().is_empty());
}

#[tokio::test]
async fn s17_a_page_may_be_endless_and_its_image_missing() {
    let house = House::new();
    let html = format!(
        "<title>T</title><meta property=og:image content=/x>{}",
        "x".repeat(2 << 20)
    );
    house.web.put(PAGE, "text/html", html);
    assert_eq!(
        preview(&house, PAGE).await,
        serde_json::json!({ "og:title": "T" })
    );
}
