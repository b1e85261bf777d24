//! Keys of other servers' users, asked of their servers.

use std::time::Duration;

use hearth_ports::{BoxFuture, RemoteKeys, RemoteKeysError};
use ruma::{ServerName, UserId};

use crate::remote::encoded;
use crate::{Ask, Client, Error};

/// Largest answer, in bytes: keys of many users with many devices.
const KEYS_BYTES_MAX: u64 = 16 << 20;
/// How long a server may take.
const KEYS_TIME_MAX: Duration = Duration::from_secs(10);

impl Client {
    async fn keys(&self, server: &ServerName, ask: Ask) -> Result<Vec<u8>, RemoteKeysError> {
        let ask = Ask {
            bytes_max: KEYS_BYTES_MAX,
            time_max: KEYS_TIME_MAX,
            ..ask
        };
        match self.ask(server, ask).await {
            Ok(answer) => Ok(answer.body.to_vec()),
            Err(error @ Error::Refused { status, .. }) if status < 500 => {
                Err(RemoteKeysError::Refused(error.to_string()))
            }
            Err(_) => Err(RemoteKeysError::Unreachable),
        }
    }
}

impl RemoteKeys for Client {
    fn query<'a>(
        &'a self,
        server: &'a ServerName,
        body: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        let uri = "/_matrix/federation/v1/user/keys/query".to_owned();
        Box::pin(self.keys(server, Ask::post(uri, body)))
    }

    fn claim<'a>(
        &'a self,
        server: &'a ServerName,
        body: String,
    ) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        let uri = "/_matrix/federation/v1/user/keys/claim".to_owned();
        Box::pin(self.keys(server, Ask::post(uri, body)))
    }

    fn devices<'a>(&'a self, user: &'a UserId) -> BoxFuture<'a, Result<Vec<u8>, RemoteKeysError>> {
        let user_id = encoded(user.as_str());
        let uri = format!("/_matrix/federation/v1/user/devices/{user_id}");
        Box::pin(self.keys(user.server_name(), Ask::get(uri)))
    }
}
