//! Other servers' keys, for those who show them to clients.

use ruma::{ServerName, UserId};

use crate::BoxFuture;

/// Why another server did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteKeysError {
    /// It could not be reached in time.
    #[error("the server could not be reached")]
    Unreachable,
    /// It answered with an error, or with something else than was asked for.
    #[error("the server refused: {0}")]
    Refused(String),
}

/// Keys of other servers' users. Asked by `e2ee`, answered by `federation`.
///
/// Bodies are JSON as the server-server API has them; what comes back was not looked at: whoever asks checks it. An
/// implementation limits the size of answers and the time that one takes.
pub trait RemoteKeys: Send + Sync {
    /// POST `/_matrix/federation/v1/user/keys/query`
    fn query<'a>(
        &'a self,
        server: &'a ServerName,
        body: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>>;

    /// POST `/_matrix/federation/v1/user/keys/claim`
    fn claim<'a>(
        &'a self,
        server: &'a ServerName,
        body: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>>;

    /// GET `/_matrix/federation/v1/user/devices/{userId}`
    fn devices<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>>;
}

/// For a server that speaks with no other.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRemoteKeys;

impl RemoteKeys for NoRemoteKeys {
    fn query<'a>(
        &'a self,
        _: &'a ServerName,
        _: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        Box::pin(async { Err(RemoteKeysError::Unreachable) })
    }

    fn claim<'a>(
        &'a self,
        _: &'a ServerName,
        _: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        Box::pin(async { Err(RemoteKeysError::Unreachable) })
    }

    fn devices<'a>(&'a self, _: &'a UserId) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        Box::pin(async { Err(RemoteKeysError::Unreachable) })
    }
}
