//! A file as an HTTP answer: with the headers that make it harmless, whole or in part.

use std::ops::Range;

use axum::body::Body;
use axum::response::Response;
use hearth_http::ApiError;
use hearth_media::{Download, disposition};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::error::api_error;

/// What a browser may do with a file that it shows (client-server API, "Content repository"): nothing.
const POLICY: &str = "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; \
     style-src 'unsafe-inline'; media-src 'self'; object-src 'self';";
/// The content behind a name never changes.
const CACHE_PRIVATE: &str = "private, max-age=31536000, immutable";
const CACHE_PUBLIC: &str = "public, max-age=31536000, immutable";

/// Who may have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Users of this server.
    Token,
    /// Whoever knows its name.
    Anybody,
}

/// The answer for a file, or for the part of it that the headers ask for.
pub(super) async fn answer(
    download: Download,
    headers: &HeaderMap,
    access: Access,
) -> Result<Response, ApiError> {
    let tag = format!("\"{}\"", download.tag());
    let mut response = match wanted(headers, &tag, download.bytes) {
        Wanted::Nothing => status(StatusCode::NOT_MODIFIED),
        Wanted::Impossible => {
            let mut response = status(StatusCode::RANGE_NOT_SATISFIABLE);
            let range = format!("bytes */{}", download.bytes);
            set(&mut response, header::CONTENT_RANGE, &range);
            response
        }
        Wanted::Whole => body(&download, 0..download.bytes).await?,
        Wanted::Part(range) => {
            let mut response = body(&download, range.clone()).await?;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {}-{}/{}", range.start, range.end - 1, download.bytes);
            set(&mut response, header::CONTENT_RANGE, &range);
            response
        }
    };
    set(&mut response, header::ETAG, &tag);
    let name = download.file_name.as_deref();
    safe(&mut response, &download.content_type, name, access);
    Ok(response)
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

async fn body(download: &Download, range: Range<u64>) -> Result<Response, ApiError> {
    let length = range.end - range.start;
    let pieces = download.read(range).await.map_err(api_error)?;
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}

fn safe(response: &mut Response, content_type: &str, file_name: Option<&str>, access: Access) {
    let disposition = disposition(content_type, file_name).to_string();
    let cache = match access {
        Access::Token => CACHE_PRIVATE,
        Access::Anybody => CACHE_PUBLIC,
    };
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_DISPOSITION, disposition.as_str()),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "cross-origin",
        ),
        (header::CACHE_CONTROL, cache),
        (header::ACCEPT_RANGES, "bytes"),
    ] {
        set(response, name, value);
    }
}

/// What was checked when it was stored, or is made of harmless characters.
fn set(response: &mut Response, name: HeaderName, value: &str) {
    let fallback = HeaderValue::from_static("application/octet-stream");
    let value = HeaderValue::from_str(value);
    let value = match (value, &name) {
        (Ok(value), _) => value,
        (Err(_), &header::CONTENT_DISPOSITION) => HeaderValue::from_static("attachment"),
        (Err(_), _) => fallback,
    };
    response.headers_mut().insert(name, value);
}

/// What a request wants of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wanted {
    Whole,
    Part(Range<u64>),
    /// It has it already.
    Nothing,
    /// There is no such part.
    Impossible,
}

fn wanted(headers: &HeaderMap, tag: &str, bytes: u64) -> Wanted {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let has_it = text(header::IF_NONE_MATCH).is_some_and(|tags| {
        let mut tags = tags
            .split(',')
            .map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|known| known == tag || known == "*")
    });
    if has_it {
        return Wanted::Nothing;
    }
    let is_same = text(header::IF_RANGE).is_none_or(|known| known == tag);
    match text(header::RANGE) {
        Some(range) if is_same => part(range, bytes),
        _ => Wanted::Whole,
    }
}

/// One range of bytes (RFC 9110). Several, and other units, are answered with the whole, as is allowed.
fn part(range: &str, bytes: u64) -> Wanted {
    let Some((first, last)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Wanted::Whole;
    };
    let range = match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(bytes),
        (Ok(first), Err(_)) if last.trim().is_empty() => first..bytes,
        (Err(_), Ok(last)) if first.trim().is_empty() => bytes.saturating_sub(last)..bytes,
        _ => return Wanted::Whole,
    };
    match range.is_empty() {
        true => Wanted::Impossible,
        false => Wanted::Part(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(content_type: &str, file_name: Option<&str>) -> HeaderMap {
        let mut response = status(StatusCode::OK);
        safe(&mut response, content_type, file_name, Access::Token);
        response.into_parts().0.headers
    }

    #[test]
    fn s17_every_file_comes_with_the_headers_that_make_it_harmless() {
        for content_type in [
            "image/png",
            "text/html",
            "image/svg+xml",
            "application/pdf",
            "",
        ] {
            let headers = headers(content_type, Some("a.html"));
            let header = |name: &str| headers[name].to_str().expect("text").to_owned();
            assert_eq!(header("content-security-policy"), POLICY);
            assert_eq!(header("x-content-type-options"), "nosniff");
            assert_eq!(header("cross-origin-resource-policy"), "cross-origin");
            assert_eq!(header("cache-control"), CACHE_PRIVATE);
            let kind = if content_type == "image/png" {
                "inline"
            } else {
                "attachment"
            };
            let disposition = format!("{kind}; filename=a.html");
            assert_eq!(header("content-disposition"), disposition, "{content_type}");
        }
        assert!(POLICY.starts_with("sandbox;") && POLICY.contains("script-src 'none'"));
    }

    #[test]
    fn s17_no_name_adds_a_header_or_ends_one() {
        for name in [
            "a\r\nset-cookie: b=c",
            "\u{202e}gnp.exe",
            "a\"; x=\"b",
            "\0",
            "../../etc/passwd",
        ] {
            let headers = headers("text/html", Some(name));
            assert!(!headers.contains_key("set-cookie"), "{name:?}");
            let disposition = headers["content-disposition"].to_str().expect("text");
            assert!(
                disposition.starts_with("attachment"),
                "{name:?}: {disposition}"
            );
        }
    }

    #[test]
    fn ranges_are_cut_to_the_file() {
        for (range, expected) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=2-5", Wanted::Part(2..6)),
            ("bytes=2-", Wanted::Part(2..10)),
            ("bytes=2-99", Wanted::Part(2..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-99", Wanted::Part(0..10)),
            ("bytes=0-18446744073709551615", Wanted::Part(0..10)),
            ("bytes=10-", Wanted::Impossible),
            ("bytes=-0", Wanted::Impossible),
            ("bytes=5-2", Wanted::Whole),
            ("bytes=0-1,3-4", Wanted::Whole),
            ("lines=0-1", Wanted::Whole),
            ("bytes=x-y", Wanted::Whole),
        ] {
            assert_eq!(part(range, 10), expected, "{range}");
        }
    }
}
