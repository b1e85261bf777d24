//! The web client's files as a browser asks for them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::io::Read;

use axum::body::Body;
use hearth_web::{Source, router};
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH,
};
use http::{HeaderName, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;

async fn get(source: &Source, path: &str, headers: &[(HeaderName, &str)]) -> Response<Vec<u8>> {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    let (head, body) = router(source.clone())
        .oneshot(request)
        .await
        .unwrap()
        .into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Response::from_parts(head, bytes.to_vec())
}

fn text(response: &Response<Vec<u8>>) -> String {
    String::from_utf8(response.body().clone()).unwrap()
}

fn header<'a>(response: &'a Response<Vec<u8>>, name: &HeaderName) -> &'a str {
    response
        .headers()
        .get(name)
        .map_or("", |value| value.to_str().unwrap())
}

/// All addresses of parts that the page names.
fn parts_of_page(page: &str) -> Vec<String> {
    let quoted = page.split('"').filter(|part| part.starts_with("/assets/"));
    quoted.map(str::to_owned).collect()
}

#[tokio::test]
async fn the_page_and_all_its_parts_are_there_with_their_types() {
    let page = get(&Source::BuiltIn, "/", &[]).await;
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(header(&page, &CONTENT_TYPE), "text/html; charset=utf-8");
    assert_eq!(header(&page, &CACHE_CONTROL), "no-cache");
    let parts = parts_of_page(&text(&page));
    assert!(parts.len() > 3, "{parts:?}");
    for path in parts {
        let part = get(&Source::BuiltIn, &path, &[]).await;
        assert_eq!(part.status(), StatusCode::OK, "{path}");
        assert!(
            header(&part, &CACHE_CONTROL).contains("immutable"),
            "{path}"
        );
        let wanted = match path.rsplit('.').next().unwrap() {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            "webmanifest" => "application/json",
            other => panic!("{other}"),
        };
        assert_eq!(header(&part, &CONTENT_TYPE), wanted, "{path}");
    }
}

#[tokio::test]
async fn the_page_forbids_inline_scripts_and_other_hosts() {
    let page = get(&Source::BuiltIn, "/", &[]).await;
    let policy = header(&page, &CONTENT_SECURITY_POLICY).to_owned();
    for part in [
        "default-src 'none'",
        "script-src 'self';",
        "connect-src 'self';",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    for never in ["unsafe", "*", "http:", "https:", "data:"] {
        assert!(!policy.contains(never), "{policy}");
    }
    let script = parts_of_page(&text(&page))
        .into_iter()
        .find(|path| path.ends_with(".js"));
    let script = get(&Source::BuiltIn, &script.unwrap(), &[]).await;
    let policy = header(&script, &CONTENT_SECURITY_POLICY);
    assert_eq!(policy, "default-src 'none'");
    for response in [&page, &script] {
        let sniff = HeaderName::from_static("x-content-type-options");
        assert_eq!(header(response, &sniff), "nosniff");
    }
}

/// The addresses of the modules that a module imports from the start.
async fn imports(path: &str) -> Vec<String> {
    let module = text(&get(&Source::BuiltIn, path, &[]).await);
    let folder = path.rsplit_once('/').unwrap().0;
    let lines = module.lines().filter(|line| line.starts_with("import "));
    let wanted = lines.map(|line| {
        let from = line
            .split('\'')
            .nth(1)
            .unwrap_or_else(|| panic!("{path}: {line}"));
        match from.strip_prefix("../") {
            Some(rest) => format!("{}/{rest}", folder.rsplit_once('/').unwrap().0),
            None => format!("{folder}/{}", from.trim_start_matches("./")),
        }
    });
    wanted.collect()
}

/// Otherwise the browser would find out one after the other what it needs.
#[tokio::test]
async fn the_page_names_every_module_that_the_first_view_needs() {
    let page = text(&get(&Source::BuiltIn, "/", &[]).await);
    let named = parts_of_page(&page);
    for path in named.iter().filter(|path| path.ends_with(".js")) {
        for wanted in imports(path).await {
            assert!(named.contains(&wanted), "{path} imports {wanted}");
        }
    }
}

/// The same after the sign-in.
#[tokio::test]
async fn the_first_module_names_every_module_that_is_needed_later() {
    let page = text(&get(&Source::BuiltIn, "/", &[]).await);
    let known = parts_of_page(&page);
    let main = known
        .iter()
        .find(|path| path.ends_with("/main.js"))
        .unwrap();
    let source = text(&get(&Source::BuiltIn, main, &[]).await);
    let list = source.split_once("const MODULES = [").unwrap().1;
    let list = list.split_once(']').unwrap().0;
    let folder = main.rsplit_once('/').unwrap().0;
    let names = list.split('\'').skip(1).step_by(2);
    let named: Vec<String> = names.map(|name| format!("{folder}/{name}.js")).collect();
    let mut open = ["matrix/client", "ui/app"]
        .map(|name| format!("{folder}/{name}.js"))
        .to_vec();
    let mut needed = open.clone();
    while let Some(path) = open.pop() {
        for wanted in imports(&path).await {
            if !known.contains(&wanted) && !needed.contains(&wanted) {
                needed.push(wanted.clone());
                open.push(wanted);
            }
        }
    }
    needed.sort();
    assert_eq!(named, needed);
}

#[tokio::test]
async fn the_page_holds_no_inline_code() {
    let page = text(&get(&Source::BuiltIn, "/", &[]).await);
    assert!(!page.contains("<style") && !page.contains(" style=") && !page.contains("javascript:"));
    assert!(!page.contains(" onload=") && !page.contains(" onclick="));
    for script in page.split("<script").skip(1) {
        assert!(
            script.contains("src=\"/assets/") && script.contains("></script>"),
            "{script}"
        );
    }
}

#[tokio::test]
async fn a_known_page_is_not_sent_again() {
    let first = get(&Source::BuiltIn, "/", &[]).await;
    let tag = header(&first, &ETAG).to_owned();
    let again = get(&Source::BuiltIn, "/", &[(IF_NONE_MATCH, &tag)]).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
    assert!(again.body().is_empty());
    let other = get(&Source::BuiltIn, "/", &[(IF_NONE_MATCH, "\"0000\"")]).await;
    assert_eq!(other.status(), StatusCode::OK);
}

#[tokio::test]
async fn gzip_is_used_where_the_browser_takes_it() {
    let plain = get(&Source::BuiltIn, "/", &[]).await;
    assert_eq!(header(&plain, &CONTENT_ENCODING), "");
    let small = get(&Source::BuiltIn, "/", &[(ACCEPT_ENCODING, "br, gzip")]).await;
    assert_eq!(header(&small, &CONTENT_ENCODING), "gzip");
    assert!(small.body().len() < plain.body().len());
    let mut unpacked = String::new();
    flate2::read::GzDecoder::new(small.body().as_slice())
        .read_to_string(&mut unpacked)
        .unwrap();
    assert_eq!(unpacked, text(&plain));
    let refused = get(&Source::BuiltIn, "/", &[(ACCEPT_ENCODING, "gzip;q=0")]).await;
    assert_eq!(header(&refused, &CONTENT_ENCODING), "");
}

/// Issue 7, "Must show" 4.
#[tokio::test]
async fn the_first_view_is_under_100_kb() {
    let gzip = [(ACCEPT_ENCODING, "gzip")];
    let page = get(&Source::BuiltIn, "/", &gzip).await;
    let plain = text(&get(&Source::BuiltIn, "/", &[]).await);
    let mut bytes = page.body().len();
    for path in parts_of_page(&plain) {
        bytes += get(&Source::BuiltIn, &path, &gzip).await.body().len();
    }
    assert!(bytes < 100_000, "{bytes}");
}

#[tokio::test]
async fn a_part_of_another_version_is_not_there() {
    for path in [
        "/assets/0000000000000000/js/main.js",
        "/assets/live/js/main.js",
    ] {
        assert_eq!(
            get(&Source::BuiltIn, path, &[]).await.status(),
            StatusCode::NOT_FOUND
        );
    }
}

#[tokio::test]
async fn a_folder_takes_the_place_of_the_built_in_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("index.html"),
        "<script src=\"/assets/{version}/own.js\"></script>",
    )
    .unwrap();
    std::fs::write(folder.path().join("own.js"), "export {};").unwrap();
    let source = Source::Folder(folder.path().to_owned());
    let page = get(&source, "/", &[]).await;
    assert_eq!(text(&page), "<script src=\"/assets/live/own.js\"></script>");
    assert_eq!(header(&page, &ETAG), "");
    let script = get(&source, "/assets/live/own.js", &[]).await;
    assert_eq!(
        (text(&script).as_str(), header(&script, &CACHE_CONTROL)),
        ("export {};", "no-cache")
    );
}

#[tokio::test]
async fn s17_no_path_leads_out_of_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    std::fs::write(outer.path().join("secret"), "secret").unwrap();
    std::fs::create_dir(outer.path().join("client")).unwrap();
    let source = Source::Folder(outer.path().join("client"));
    let absolute = outer.path().join("secret");
    for path in [
        "../secret",
        "..%2fsecret",
        "%2e%2e/secret",
        "x/../../secret",
        ".",
        "..",
        "..%5csecret",
    ] {
        let answer = get(&source, &format!("/assets/live/{path}"), &[]).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let absolute = absolute.to_str().unwrap().replace('/', "%2f");
    let answer = get(&source, &format!("/assets/live/{absolute}"), &[]).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
}
