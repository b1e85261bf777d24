use std::time::Duration;

use super::*;

fn page(html: &str) -> Page {
    read(html, Instant::now() + Duration::from_secs(60))
}

fn said(html: &str) -> String {
    Value::Object(page(html).said()).to_string()
}

#[test]
fn open_graph_goes_before_everything_else() {
    let html = "<html prefix='og: http://ogp.me/ns#'><head><title>The Rock (1996)</title>
        <meta property=\"og:title\" content=\"The Rock\" />
        <meta property='og:type' content='video.movie'>
        <META NAME=description CONTENT='not this one'>
        <meta property='og:description' content='A &quot;film&quot;,\n  on an island'>
        <meta property=og:image content='rock.png'></head><body><h1>no</h1></body></html>";
    assert_eq!(
        said(html),
        r#"{"og:description":"A \"film\", on an island","og:title":"The Rock","og:type":"video.movie"}"#
    );
    assert_eq!(page(html).image(), Some("rock.png"));
}

#[test]
fn titles_and_descriptions_have_substitutes() {
    for (html, expected) in [
        ("<title>A &amp; B</title>", r#"{"og:title":"A & B"}"#),
        (
            "<h1>Big <b>news</b></h1><p>First.<p>",
            r#"{"og:title":"Big news"}"#,
        ),
        (
            "<p> </p><p>Second <i>one</i>.</p>",
            r#"{"og:description":"Second one."}"#,
        ),
        (
            "<meta name='twitter:title' content='T'><title>U</title>",
            r#"{"og:title":"T"}"#,
        ),
        ("<script>document.write('<title>no</title>')</script>", "{}"),
        ("<noscript><p>Enable scripts</p></noscript><title>x", "{}"),
        ("", "{}"),
        ("no markup", "{}"),
    ] {
        assert_eq!(said(html), expected, "{html}");
    }
    let link = page("<link rel=image_src href=/a.png>");
    assert_eq!(link.image(), Some("/a.png"));
}

#[test]
fn s20_hostile_pages_end() {
    let nested = "<div>".repeat(100_000);
    let attributes = format!("<a {}>", "a ".repeat(50_000));
    let unique: String = (0..50_000).map(|n| format!("a{n}=1 ")).collect();
    let unique = format!("<a {unique}>");
    let open = "<!--".repeat(100_000);
    let entities = "&amp".repeat(100_000);
    let metas = "<meta name=a content=b>".repeat(20_000);
    let title = format!("<title>{}", "x".repeat(400_000));
    for html in [nested, attributes, unique, open, entities, metas, title] {
        let begun = Instant::now();
        let page = read(&html, begun + Duration::from_millis(500));
        assert!(page.properties.len() <= PROPERTIES_MAX);
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn texts_are_cut_and_of_some_encoding() {
    let title = format!("<title>{}</title>", "ä".repeat(5_000));
    let said = page(&title).said();
    let title = said["og:title"].as_str().expect("text");
    assert_eq!(title.chars().count(), SHORT_MAX);
    assert_eq!(text("ä".as_bytes()), "ä");
    assert_eq!(text(b"caf\xe9 au lait"), "café au lait");
    assert!(text(&"ä".as_bytes()[..1]).len() <= 3);
}
