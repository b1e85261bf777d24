//! The answers: the page, its parts, and the headers of both.

use std::path::Path as FilePath;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hearth_http::ApiError;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::files::{Encoding, Files, INDEX};

/// What the page may do: run the modules and styles of this server, show what the client itself has fetched, and
/// speak to this server. Text never becomes markup: there is no policy that could make it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; \
    media-src blob:; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
/// No device, sensor or payment, for this page and whatever might get into it.
const PERMISSIONS: &str =
    "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()";
/// The page is asked for again each time; the answer is mostly "not modified".
const ASK_AGAIN: &str = "no-cache";
/// For what lies under the hash of its content.
const KEEP: &str = "public, max-age=31536000, immutable";

/// GET /
pub(crate) async fn index(State(files): State<Arc<Files>>, headers: HeaderMap) -> Response {
    let tag = format!("\"{}\"", files.version());
    if files.never_change() && asks_for(&headers, &tag) {
        return with_headers(StatusCode::NOT_MODIFIED.into_response(), &tag, ASK_AGAIN);
    }
    let Some((bytes, encoding)) = files.bytes(INDEX, wanted(&headers)).await else {
        return ApiError::not_found("the folder of the web client has no index.html")
            .into_response();
    };
    let cached = if files.never_change() {
        tag.as_str()
    } else {
        ""
    };
    with_headers(body(INDEX, bytes, encoding), cached, ASK_AGAIN)
}

/// GET /assets/{version}/{path}
pub(crate) async fn asset(
    State(files): State<Arc<Files>>,
    Path((version, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    // A page of another version has to be loaded again: mixing versions would break in ways that nobody can explain.
    if version != files.version() || path == INDEX {
        return ApiError::unrecognized().into_response();
    }
    let Some((bytes, encoding)) = files.bytes(&path, wanted(&headers)).await else {
        return ApiError::unrecognized().into_response();
    };
    let keep = if files.never_change() {
        KEEP
    } else {
        ASK_AGAIN
    };
    part_headers(body(&path, bytes, encoding), keep)
}

fn body(path: &str, bytes: bytes::Bytes, encoding: Encoding) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type(path)));
    if encoding == Encoding::Gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

fn with_headers(mut response: Response, tag: &str, cache: &'static str) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 9] = [
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, POLICY),
        (VARY, "accept-encoding"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), PERMISSIONS),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let (false, Ok(tag)) = (tag.is_empty(), HeaderValue::from_str(tag)) {
        headers.insert(ETAG, tag);
    }
    response
}

/// A part alone is nothing to look at: as a document it may do nothing.
fn part_headers(mut response: Response, cache: &'static str) -> Response {
    let headers = response.headers_mut();
    let fixed: [(HeaderName, &'static str); 4] = [
        (CACHE_CONTROL, cache),
        (CONTENT_SECURITY_POLICY, "default-src 'none'"),
        (VARY, "accept-encoding"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Whether the browser has the version that `tag` names.
fn asks_for(headers: &HeaderMap, tag: &str) -> bool {
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    known.is_some_and(|known| {
        known
            .split(',')
            .any(|one| one.trim().trim_start_matches("W/") == tag)
    })
}

/// The encoding that the browser takes: gzip if it is named without `q=0`.
fn wanted(headers: &HeaderMap) -> Encoding {
    let accepted = headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok());
    let takes_gzip = accepted.unwrap_or_default().split(',').any(|one| {
        let (name, parameters) = one.split_once(';').unwrap_or((one, ""));
        let is_refused = matches!(parameters.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000");
        name.trim().eq_ignore_ascii_case("gzip") && !is_refused
    });
    if takes_gzip {
        Encoding::Gzip
    } else {
        Encoding::Identity
    }
}

fn content_type(path: &str) -> &'static str {
    let extension = FilePath::new(path)
        .extension()
        .and_then(|extension| extension.to_str());
    match extension {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("json" | "webmanifest") => "application/json",
        Some("woff2") => "font/woff2",
        _ => "application/octet-stream",
    }
}
