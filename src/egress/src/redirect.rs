//! Where a redirect leads.

use hearth_ports::OutError;
use http::{HeaderMap, Method, StatusCode, header};
use url::Url;

use crate::target;

/// Headers that only the server they were meant for may see.
const PRIVATE: [http::HeaderName; 3] = [header::AUTHORIZATION, header::COOKIE, header::HOST];

/// The next URL, if an answer is a redirect that can be followed.
pub(crate) fn next(
    from: &Url,
    method: &Method,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Option<Url>, OutError> {
    let is_redirect = matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308);
    if !is_redirect || !(method == Method::GET || method == Method::HEAD) {
        return Ok(None);
    }
    let Some(location) = headers.get(header::LOCATION) else {
        return Ok(None);
    };
    let to = std::str::from_utf8(location.as_bytes())
        .ok()
        .and_then(|location| from.join(location).ok())
        .ok_or(OutError::Redirect("its target makes no sense"))?;
    let to = target::check(to).map_err(|_| OutError::Redirect("its target is not HTTP"))?;
    if from.scheme() == "https" && to.scheme() == "http" {
        return Err(OutError::Redirect("it leads from HTTPS to HTTP"));
    }
    Ok(Some(to))
}

/// What of the first request's headers goes on to another server.
pub(crate) fn strip(headers: &mut HeaderMap, from: &Url, to: &Url) {
    headers.remove(header::HOST);
    if from.origin() != to.origin() {
        for name in PRIVATE {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_of(from: &str, location: &'static str) -> Result<Option<Url>, OutError> {
        let headers =
            HeaderMap::from_iter([(header::LOCATION, http::HeaderValue::from_static(location))]);
        let from = Url::parse(from).expect(from);
        next(&from, &Method::GET, StatusCode::FOUND, &headers)
    }

    #[test]
    fn relative_and_absolute_targets_are_followed() {
        for (from, location, to) in [
            ("https://a.org/x/y", "/z", "https://a.org/z"),
            ("https://a.org/x/y", "z", "https://a.org/x/z"),
            ("https://a.org/", "//b.org/", "https://b.org/"),
            ("http://a.org/", "https://b.org/", "https://b.org/"),
        ] {
            let next = next_of(from, location)
                .expect("followed")
                .expect("a target");
            assert_eq!(next.as_str(), to);
        }
    }

    #[test]
    fn s16_redirects_to_other_schemes_are_refused() {
        for location in [
            "http://a.org/",
            "file:///etc/passwd",
            "gopher://a.org/",
            "https://u:p@a.org/",
        ] {
            assert!(next_of("https://a.org/", location).is_err(), "{location}");
        }
    }

    #[test]
    fn s16_secrets_do_not_follow_to_another_server() {
        let mut headers: HeaderMap = [header::AUTHORIZATION, header::COOKIE, header::ACCEPT]
            .into_iter()
            .map(|name| (name, http::HeaderValue::from_static("x")))
            .collect();
        let [a, b] =
            ["https://a.org/", "https://a.org:444/"].map(|url| Url::parse(url).expect(url));
        strip(&mut headers, &a, &a);
        assert_eq!(headers.len(), 3);
        strip(&mut headers, &a, &b);
        assert_eq!(headers.keys().collect::<Vec<_>>(), [header::ACCEPT]);
    }
}
