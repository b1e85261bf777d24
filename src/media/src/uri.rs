//! What is behind an `mxc://`.

use hearth_data::media::MediaKey;
use ruma::{OwnedServerName, ServerName};

/// Longest media id that is taken, in bytes.
const MEDIA_ID_BYTES_MAX: usize = 255;

/// A medium's name: its server and its id there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaUri {
    server: OwnedServerName,
    id: String,
}

impl MediaUri {
    /// The name, if its id is one: letters, digits, `_` and `-`, and nothing that means something to a file system.
    pub fn new(server: &ServerName, id: &str) -> Option<Self> {
        let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let is_id = (1..=MEDIA_ID_BYTES_MAX).contains(&id.len()) && id.bytes().all(is_fine);
        is_id.then(|| Self {
            server: server.to_owned(),
            id: id.to_owned(),
        })
    }

    /// The name of an `mxc://` URI.
    pub fn parse(uri: &str) -> Option<Self> {
        let (server, id) = uri.strip_prefix("mxc://")?.split_once('/')?;
        Self::new(&ServerName::parse(server).ok()?, id)
    }

    /// The server where it was uploaded.
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    /// Its id there.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its key in the store of the server `own`.
    pub(crate) fn key(&self, own: &ServerName) -> MediaKey {
        let server = if self.server == own {
            ""
        } else {
            self.server.as_str()
        };
        (server.to_owned(), self.id.clone())
    }
}

impl std::fmt::Display for MediaUri {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "mxc://{}/{}", self.server, self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s17_ids_that_are_paths_are_refused() {
        for id in [
            "",
            ".",
            "..",
            "../../../etc/passwd",
            "..%2f..%2fetc%2fpasswd",
            "a/b",
            "a\\b",
            "a\0b",
            "a b",
            "ä",
            "\u{ff0e}\u{ff0e}",
            "a.png",
            &"a".repeat(256),
        ] {
            let server = ServerName::parse("example.org").expect("a name");
            assert_eq!(MediaUri::new(&server, id), None, "{id:?}");
        }
        for uri in [
            "mxc:///etc",
            "mxc://example.org",
            "https://example.org/a",
            "mxc://example.org/a?b",
        ] {
            assert_eq!(MediaUri::parse(uri), None, "{uri}");
        }
    }

    #[test]
    fn names_are_read_and_written() {
        for uri in ["mxc://example.org/aZ09_-", "mxc://[::1]:8448/x"] {
            assert_eq!(MediaUri::parse(uri).expect(uri).to_string(), uri);
        }
    }
}
