//! Media of other servers.

use ruma::ServerName;

use crate::{BoxError, BoxFuture, OutOptions, OutResponse};

/// Requests to other servers, by their names. Asked by `media`, answered by `federation`, which knows where a server is
/// and signs for this one.
pub trait MediaPeers: Send + Sync {
    /// `GET` of a path (with its query) from a server. Answers whatever status comes; `connect` and `tls_name` of the
    /// options are set by the answering side.
    fn get<'a>(
        &'a self,
        server: &'a ServerName,
        path_and_query: &'a str,
        signed: Signed,
        options: OutOptions,
    ) -> BoxFuture<'a, Result<OutResponse, BoxError>>;
}

/// Whether a request says whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    /// With this server's `X-Matrix` authorization.
    Yes,
    /// Without, for the endpoints of old.
    No,
}
